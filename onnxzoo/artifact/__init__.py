"""Artifacts: what a folder of one model is, reading one, and the checks of everything in it, which is untrusted.

folder.py         config.json and the folder as a whole
file.py           one file of it: where it may lie, whether it is the announced one
config_fields.py  types and ranges of config.json's fields
onnx_checks.py    what an ONNX file may be, by onnx_graph.py and onnx_shapes.py on the wire format of onnx_wire.py
external_data.py  whether an ONNX file keeps data in other files
"""
