"""Both families in NumPy and float64, as the papers write them: the numbers that every fp32 engine should give.

A second reference beside the Paddle one, for machines without a framework and as the yardstick that fp32 engines,
Paddle included, are measured with. Nothing is shared with the Paddle models, with the export forms or with what fills
graphs: a mistake in any of these shows as a difference. `engine.py` is the way in; `swinv2.py` and `pvt_v2.py` are the
models, `layers.py` the layers that both have, `erf.py` the error function, which NumPy lacks.
"""
