"""Statistics: estimates with their intervals, ROC curves, bins and principal curves."""
