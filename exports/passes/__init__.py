"""Passes that modify a converted graph in place, one file each; its docstring states what it requires and ensures.

`onnxzoo.exports.finish` runs them in order.
"""
