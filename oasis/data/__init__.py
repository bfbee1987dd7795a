"""Samples, components, mixing, storage and augmentation."""
