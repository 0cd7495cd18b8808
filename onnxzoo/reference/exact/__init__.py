"""Both families in NumPy and float64, as in the papers, with the outputs that every fp32 engine should reproduce.

This is a second reference in addition to Paddle's. It runs on machines without a framework, and the errors of fp32
engines, including Paddle, are measured against it. It shares no code with the Paddle models, the export forms or the
filling of graphs, so a mistake in any of these shows as a difference. `engine.py` is the entry point; `swinv2.py` and
`pvt_v2.py` are the models, `layers.py` has their common layers, `erf.py` the error function, which NumPy lacks.
"""
