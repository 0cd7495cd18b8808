"""Smaller files of a model, made from its fp32 ONNX file: int8 for CPUs, fp16 for GPUs, with what they cost.

    quantize      the whole way: an artifact gets the file, validated, or stays as it was
    images        the images that ranges are taken from, and those that the result is measured on
    layers        the layers of a graph that can be quantised; a graph with one of them quantised
    static        ONNX Runtime's static quantiser, set up for files that are right on every CPU
    search        which layers go back to fp32 so that the noise stays within its limits
    half          ONNX Runtime's converter to fp16, and what overflows or loses there
    measure       running a candidate: its noise, its Top-1 drop
    report        what was made and what it costs, as values

Only `static` and `half` import onnxruntime, for its quantiser and its converter; models run in the engines.
"""
