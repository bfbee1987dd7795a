"""Testing: whether an adapter keeps the contract that training, evaluation and prediction rely on."""

from oasis.testing.adapter import check_adapter
from oasis.testing.case import ContractError

__all__ = ["ContractError", "check_adapter"]
