"""CSV files: texts that a spreadsheet would compute are quoted, numbers are not."""

import csv

import numpy as np
import pandas as pd
import pytest

from oasis.errors import DataError
from oasis.io.tables import read_csv, write_csv

TRICKS = ['=HYPERLINK("http://x","y")', "+1+1", "-2+3", "@SUM(A1)", "\t=1"]


def cells(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_texts_that_are_formulas_are_quoted(tmp_path):
    plain = ["a.npy", "a=b", "", "caf\u00e9", "'x'", "a\rb", 'a,"b"\nc']
    table = pd.DataFrame(
        {"source": [*TRICKS, *plain], "=1": 1.5, "mixed": [None, *range(len(TRICKS + plain) - 1)]}
    )
    write_csv(table, tmp_path / "a.csv")
    header, *rows = cells(tmp_path / "a.csv")
    assert header == ["source", "'=1", "mixed"]
    assert [row[0] for row in rows] == [
        *(f"'{trick}" for trick in TRICKS),
        *(text.replace("\r", "\\r") for text in plain),
    ]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)
    assert list(table) == ["source", "=1", "mixed"], "the table is as it was"


def test_numbers_are_written_as_pandas_writes_them(tmp_path):
    table = pd.DataFrame(
        {
            "a": [-1.5, np.nan, 1e-300, np.inf],
            "b": [-1, 2, 3, 4],
            "c": np.array([-0.1, 1, 2, 3], np.float32),
            "d": [True, False, True, True],
            "e": ["-1.5", "+3", "-1e5", "-inf"],
        }
    )
    write_csv(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == table.to_csv(index=False)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame([[1, "=x"]], columns=["a", "a"])]
)
def test_odd_tables_are_written(tmp_path, frame):
    write_csv(frame, tmp_path / "a.csv")
    assert len(cells(tmp_path / "a.csv")) == 1 + len(frame)
    with pytest.raises(DataError, match="cannot be written"):
        write_csv(frame, tmp_path / "a.csv" / "b.csv")


def test_rows_that_are_longer_than_the_header_are_refused(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1\n1,2,3\n")
    with pytest.raises(DataError, match=r"log.csv: not a table of comma-separated values"):
        read_csv(tmp_path / "log.csv", numbers=("epoch",))
    (tmp_path / "log.csv").write_text("epoch,loss\n0,1,3,4\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"log.csv: not a table of comma-separated values"):
        read_csv(tmp_path / "log.csv", numbers=("epoch",))
