"""The textbook models, in Paddle and in NumPy (`exact`), and the reading of checkpoints: the truth for all the rest.

Importing this package does not load PaddlePaddle; building a Paddle model does.
"""
