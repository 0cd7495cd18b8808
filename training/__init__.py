"""Training and evaluation of the reference models, installed as `onnxzoo.training`.

- a batch: `images` (reading), `augment`, `randaugment`, `mixing`, `batches`, `streams` (random numbers)
- a step: `recipe` (hyperparameters), `network`, `optimizer`, `schedule`, `ema`, `parallel`
- a training run: `session` (from a request to files), `trainer`, `validation`, `state`, `metrics`, `writing`

`onnxzoo.data` opens the data sets; `onnxzoo.evaluation` measures accuracy on any engine. Paddle is loaded only by
`network`, `optimizer`, `ema`, `parallel`, `validation` and the modules that import them.
"""
