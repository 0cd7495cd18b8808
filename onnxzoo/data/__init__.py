"""Images and labels on disk, without Paddle: what a path stands for, data sets of every layout, files of class names."""
