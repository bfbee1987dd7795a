"""Evaluation: the event table, and the metrics and figures computed from it."""
