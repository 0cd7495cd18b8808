"""What runs in the processes that are timed: the protocol (`serve`), what a start reports (`conformance`), and models.

The Python that runs these modules may be one that has no onnxzoo: they import only each other, the standard library,
numpy, Pillow, and the library that they are about.
"""
