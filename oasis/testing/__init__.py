"""Testing: a check that an adapter keeps the contract on which training, evaluation and prediction rely."""

from oasis.testing.adapter import check_adapter
from oasis.testing.case import ContractError

__all__ = ["ContractError", "check_adapter"]
