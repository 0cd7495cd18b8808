"""The textbook models in PaddlePaddle, which exports start from. Importing this does not load Paddle; building does."""
