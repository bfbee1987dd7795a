"""The separator: scaling, backbone, heads and class names in one module."""
