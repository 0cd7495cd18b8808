"""Trained weights, without any framework: reading checkpoints of every kind under PaddleClas's names, and downloading.

checkpoint.py           a file of any kind as a Checkpoint
pdparams.py             .pdparams: pickles, read by safe_pickle.py and pickled_arrays.py, which run nothing in them
safetensors_file.py     .safetensors
naming.py               the names of timm and transformers
state.py                whether a state has every parameter in its shape
checkpoint_download.py  PaddleClas's checkpoints
seeded.py               random weights that behave like trained ones
"""
