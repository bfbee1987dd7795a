"""Statistics: estimates with confidence intervals, ROC curves, bins and principal curves."""
