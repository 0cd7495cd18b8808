"""Numerical equivalence between the Paddle reference and every engine.

It uses the runtime and the reference, never the exporter; they exchange data only through the artifact.
"""
