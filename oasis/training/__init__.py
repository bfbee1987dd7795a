"""Training: the Lightning module, `fit`, checkpoints and the journal of a run."""
