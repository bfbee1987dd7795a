"""Evaluation: the event table and all that is measured and drawn from it."""
