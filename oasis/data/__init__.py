"""Data: samples, components, mixing, sample files and augmentation."""
