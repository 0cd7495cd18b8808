"""Numerical equivalence between the Paddle reference and every engine.

Knows the runtime and the reference, never the exporter: they meet only in the artifact.
"""

DEFAULT_TOLERANCE = 1e-4
"""For fp32: a value passes within this, plus this times its magnitude. Here, because it costs no import."""
