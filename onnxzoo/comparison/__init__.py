"""Comparing an engine's outputs with a reference's.

compare.py     the comparison: names, shapes, values, noise, best classes
figures.py     the figures of one output
tolerances.py  what may differ in each precision, from the records in `onnxzoo.precisions`
"""
