"""Artifacts: reading and writing the folder of one model, and checking its content, which is untrusted.

folder.py         config.json and the folder as a whole
file.py           one file of it: its allowed location, and whether it matches config.json
config_fields.py  types and ranges of config.json's fields
onnx_checks.py    checks of an ONNX file, by onnx_graph.py and onnx_shapes.py on the wire format of onnx_wire.py
vectors.py        the recorded inputs and outputs in conformance.npz, read by npz.py
external_data.py  whether an ONNX file stores data in other files
"""
