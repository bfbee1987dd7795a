"""Runs the notebooks and stores their outputs, which the documentation shows: python docs/execute.py [NAME...].

All of them take some minutes. What changes from run to run without a meaning, such as times, is not stored.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"


def execute(path: Path) -> None:
    """Run a notebook in an empty folder, and store its outputs in it."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [plain(one) for one in cell.outputs if one.get("name") != "stderr"]
    nbformat.write(book, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def plain(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an output without the number of its cell."""
    if "execution_count" in output:
        output.execution_count = None
    return output


if __name__ == "__main__":
    chosen = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in chosen:
        execute(FOLDER / f"{name}.ipynb")
