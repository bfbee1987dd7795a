"""The overlap-aware loss and its parts."""
