"""Inference: separation of images in files, and output of their maps."""
