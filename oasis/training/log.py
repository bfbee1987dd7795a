"""The log of a training: `log.csv`, a row per epoch."""

from pathlib import Path

import pandas as pd

from oasis.io.tables import read_csv

VALIDATION = "val/total"  # the loss that decides which epoch is the best


def read_log(path: Path) -> pd.DataFrame:
    """Return the log, one row per epoch.

    Raises:
        DataError: there is no log, or it is damaged.
    """
    return read_csv(path, numbers=("epoch", VALIDATION, "seconds"))
