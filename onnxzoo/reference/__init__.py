"""The textbook Paddle models and the reading of checkpoints: the truth that exports start from.

Importing this package does not load PaddlePaddle; building a model does.
"""
