"""The notebooks run from top to bottom, in a small size: a cell of parameters states one for tests."""

import ast
import json
import re
import warnings
from pathlib import Path

import matplotlib
import pytest

FOLDER = Path(__file__).parent.parent / "docs/notebooks"
WRITE = "%%writefile "
LARGEST = 500_000  # bytes of a notebook with its outputs


def books():
    return sorted(FOLDER.glob("*.ipynb"))


def cells_of(path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"]), cell["metadata"]


def run_cell(text, namespace, where):
    """Run a cell, and show what its last line gives as a notebook would."""
    if text.startswith(WRITE):
        first, _, rest = text.partition("\n")
        Path(first.removeprefix(WRITE)).write_text(rest)
        return
    tree = ast.parse(text, where)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), namespace)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, "eval"), namespace)
        shown = getattr(value, "_repr_html_", None)
        assert shown is None or shown()


@pytest.mark.parametrize("path", books(), ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    matplotlib.use("Agg")
    namespace = {"__name__": "__notebook__"}
    for number, (text, metadata) in enumerate(cells_of(path)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_cell(text, namespace, f"{path.name}, code cell {number}")
        namespace |= metadata.get("small", {})
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("path", books(), ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_shows_and_is_listed(path):
    text = path.read_text()
    book = json.loads(text)
    outputs = [one for cell in book["cells"] for one in cell.get("outputs", ())]
    assert book["nbformat"] == 4
    assert outputs, "run docs/execute.py"
    assert {one["output_type"] for one in outputs} <= {"stream", "execute_result", "display_data"}
    assert len(text) < LARGEST
    assert not re.search(r"/(tmp|home|root)/", text)
    assert f"notebooks/{path.name}" in (FOLDER.parent / "notebooks.md").read_text()
