"""Accuracy on labelled images: measuring it on any engine, and writing it into an artifact."""
