"""Timing models against each other: latency, memory, accuracy, and how near they come to what the machine can do.

    plan           what is to be measured, checked before anything is
    contenders     the processes: models in engines, and the matrix products (`products`) that are the machine's limit
    run            the whole way: a group of contenders for each model and batch size
    timing         contenders in processes of their own, in turn, behind a gate that finds the machine's bad moments
    result         the figures, as values
    plot           accuracy against speed; only this imports matplotlib
    engine_child   what runs in the process of an engine
    peers          other ways to run the same weights; `prepared` makes their weights and files
    children/      what runs in processes whose Python may have no onnxzoo

The scripts in benchmarks/ time by the same means.
"""
