"""Runs the notebooks and stores their outputs, which the documentation shows: python docs/execute.py [NAME...].

All of them take some minutes. What differs from run to run without a meaning, such as times, is not stored.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"
PICTURES = ("text/html", "image/png")  # which make the same as text superfluous


def execute(path: Path) -> None:
    """Run a notebook in an empty folder, and store its outputs in it."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    nbformat.write(plain(book), path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def plain(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook without numbers of cells, times, progress and versions."""
    book.metadata.language_info = {"name": "python"}
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for one in cell.outputs:
                if "execution_count" in one:
                    one.execution_count = None
                if any(kind in one.get("data", {}) for kind in PICTURES):
                    one.data.pop("text/plain", None)
    return book


if __name__ == "__main__":
    chosen = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in chosen:
        execute(FOLDER / f"{name}.ipynb")
