"""Inference: images from files are separated and their maps written."""
