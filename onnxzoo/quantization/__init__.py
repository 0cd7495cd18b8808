"""Makes smaller files from a model's fp32 ONNX file, int8 for CPUs and fp16 for GPUs, and measures what they cost.

    quantize      the whole procedure: adds the validated file to an artifact, or leaves the artifact unchanged
    images        the images for calibration and those for measuring the result
    layers        the layers of a graph that can be quantised; a graph with one of them quantised
    static        ONNX Runtime's static quantiser, configured for files that are correct on every CPU
    noise         its two units: a fraction of the signal's power, and dB
    search        selects the layers that return to fp32 so that the noise stays within its limits
    half          ONNX Runtime's converter to fp16; finds nodes that overflow or lose too much
    measure       runs a candidate and measures its noise and its Top-1 drop
    report        the resulting file and its costs, as values

Only `static` and `half` import onnxruntime, for its quantiser and its converter; models run in our engines.
"""
