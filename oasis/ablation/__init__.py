"""Ablation: trainings that differ in chosen keys."""
