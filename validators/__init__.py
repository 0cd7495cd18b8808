"""Numerical equivalence between the Paddle reference and every engine.

Knows the runtime and the reference, never the exporter: they meet only in the artifact.
"""
