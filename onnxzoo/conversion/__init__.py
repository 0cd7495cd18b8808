"""Converts a model's ONNX file to the format of another runtime, for phones and small devices.

    convert       the whole procedure: writes a folder whose model gives the recorded outputs, or writes nothing
    targets       the formats, by name
    target        what a format is, and the job of a child process
    description   what stands beside a converted model: model.json, labels.txt
    child         the child process that converts or runs, within its limits
    ort, openvino_ir, mnn, ncnn    a format each

A converter can crash, hang, or write a wrong file and report success. So converters and the runtimes of their results
run in child processes, and a result is judged by the outputs that it gives for the artifact's conformance vectors.
"""
