"""Training: the Lightning module, the trainer and the journal of a run."""
