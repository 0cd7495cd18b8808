"""Images and labels on disk, without Paddle: the walk over folders, data sets of every layout, files of class names."""
