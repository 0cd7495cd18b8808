"""Passes over a converted graph, one file each, in place: what each requires and ensures stands in its docstring.

`onnxzoo.exports.finish` runs them in order.
"""
