"""The run: a folder with everything about one training, and the operations on it."""

from oasis.run.evaluation import Evaluation
from oasis.run.run import Run

__all__ = ["Evaluation", "Run"]
