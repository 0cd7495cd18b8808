"""Training and evaluation of the reference models, installed as `onnxzoo.training`.

- what is trained on: `data` (opens class folders, lists, IDX files), `dataset`, `subsets`, `idx`
- what a batch is: `images` (reading), `augment`, `randaugment`, `mixing`, `batches`, `streams` (random numbers)
- what a step does: `recipe` (hyperparameters), `network`, `optimizer`, `schedule`, `ema`, `parallel`
- what a training is: `session` (from a request to files), `trainer`, `validation`, `state`, `metrics`, `writing`
- how good a model is, on any engine: `evaluate`

Paddle is loaded by `network`, `optimizer`, `ema`, `parallel`, `validation` and what imports them; not by the others.
"""
