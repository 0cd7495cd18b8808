"""The textbook models in PaddlePaddle, from which exports are made. Paddle is loaded when a model is built."""
