"""The documentation: its Python runs and prints what it says, its commands, keys and links exist; about 40 s.

A block marked with `<!-- not run -->` on the line before is left out. A `text` block that follows a `python` block
is what that block prints.
"""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

import oasis
from oasis.cli import app, run
from oasis.evaluation.event_table import COLUMNS, evaluate
from oasis.evaluation.identity import IDENTITY
from oasis.evaluation.summary import summarise
from oasis.io.arrays import SUFFIXES
from oasis.run import Run

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if not {"_build", "api"} & {*path.parts})]
FENCE = re.compile(r"^```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SMALL = ["data.events={train: 16, val: 8, test: 40}", "training.epochs=1", "training.workers=0"]


@dataclass(frozen=True)
class Block:
    """A fenced block, its place in the page and what stands between it and the block before."""

    language: str
    text: str
    line: int
    before: str

    @property
    def skipped(self):
        return self.before.rstrip().endswith("<!-- not run -->")


def blocks_of(page):
    content, end, blocks = page.read_text(), 0, []
    for fence in FENCE.finditer(content):
        line = content.count("\n", 0, fence.start("text"))
        blocks.append(Block(fence["language"], fence["text"], line, content[end : fence.start()]))
        end = fence.end()
    return blocks


def pages_with(*languages):
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if any(block.language in languages for block in blocks_of(page))
    ]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A folder as the tutorial leaves it, with a model that has hardly been trained."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    with contextlib.chdir(folder):
        changes = [part for change in SMALL for part in ("--set", change)]
        assert run(["train", "examples/migdal/quickstart.yaml", "--quiet", *changes]) == 0
        assert run(["evaluate", "runs/migdal", "--quiet"]) == 0
    (folder / "frames").mkdir()
    frames = np.random.default_rng(0).exponential(9, (10, 96, 96)).astype(np.float32)
    for path in ("frames.npy", "frames/0.npy"):
        np.save(folder / path, frames)
    return folder


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_runs_and_prints_what_the_page_says(page, workspace, tmp_path, monkeypatch):
    folder = shutil.copytree(workspace, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(folder)
    namespace = {"__name__": "__docs__"}
    printed = None
    for block in blocks_of(page):
        if block.language == "python" and not block.skipped:
            code = compile("\n" * block.line + block.text, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, namespace)
            printed = out.getvalue()
        elif block.language == "text" and printed is not None and not block.before.strip():
            same = doctest.OutputChecker().check_output(block.text, printed, doctest.NORMALIZE_WHITESPACE)
            assert same, f"{page}:{block.line}: the block before prints\n{printed}"
        else:
            printed = None


def commands_of(page):
    for block in blocks_of(page):
        if block.language in ("console", "bash"):
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if "oasis" in words and (words[0] in ("oasis", "srun") or words[0].startswith("python")):
                    yield words[words.index("oasis") + 1 :]


@pytest.mark.parametrize("page", pages_with("console", "bash"))
def test_commands_exist_with_their_options_and_keys(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    group = typer.main.get_command(app)
    for name, *arguments in commands_of(page):
        assert name in group.commands, f"{page}: oasis {name}"
        context = group.commands[name].make_context(name, arguments)
        config = context.params.get("config")
        if config is not None:
            Run.from_config(config, context.params["changes"])


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_yaml_is_a_configuration(page):
    for block in blocks_of(page):
        if block.language == "yaml":
            Run.from_values({"adapter": "migdal", "run": "runs/x", **yaml.safe_load(block.text)})


def test_every_command_is_in_the_reference():
    content = (DOCS / "reference" / "commands.md").read_text()
    names = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"^### `oasis ([\w-]+)`$", content, flags=re.MULTILINE)) == names
    assert set(re.findall(r"\{\{ command_(\w+) \}\}", content)) == {name.replace("-", "_") for name in names}


@pytest.fixture
def rooms(monkeypatch):
    """The module that writes the pages of the API."""
    monkeypatch.syspath_prepend(DOCS)
    yield importlib.import_module("rooms")
    del sys.modules["rooms"]


def test_every_module_is_on_the_page_of_its_room(rooms, tmp_path, monkeypatch):
    assert doctest.testmod(rooms).failed == 0
    monkeypatch.setattr(rooms, "FOLDER", tmp_path / "api")
    rooms.write()
    (tmp_path / "api/oasis.gone.md").touch()
    rooms.write()
    pages = {path.stem: path.read_text() for path in (tmp_path / "api").iterdir()}
    packages = [one for one in pkgutil.iter_modules(oasis.__path__, "oasis.") if one.ispkg]
    domains = [one for one in pkgutil.iter_modules(oasis.adapters.__path__, "oasis.adapters.") if one.ispkg]
    assert {*pages} == {"oasis", *(one.name for one in (*packages, *domains))}
    listed = [
        name for text in pages.values() for name in re.findall(r"^\.\. automodule:: (.+)$", text, flags=re.M)
    ]
    assert len(listed) == len({*listed})
    modules = {one.name for one in pkgutil.walk_packages(oasis.__path__, "oasis.") if not one.ispkg}
    of_run = {
        name for name in modules if name.startswith("oasis.run.")
    }  # on whose page the class is shown as a whole
    assert modules - {*listed} - of_run == {"oasis.__main__"}
    assert ".. autoclass:: oasis.run.Run\n" in pages["oasis.run"]


def anchors_of(page):
    """The anchors of headings, as GitHub and MyST make them, and explicit ones."""
    content = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", content, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return made | set(re.findall(r"^\((.+)\)=$", content, flags=re.MULTILINE))


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{page}: {link}"


def test_tables_of_the_reference_are_made_of_every_option(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import conf
    import tables

    assert doctest.testmod(tables).failed == doctest.testmod(conf).failed == 0
    assert {*conf.NOTEBOOKS} == {path.stem for path in (DOCS / "notebooks").glob("*.ipynb")}
    content = "".join(page.read_text() for page in DOCS.rglob("*.md") if "_build" not in page.parts)
    assert set(re.findall(r"{{ (\w+) }}", content)) == set(conf.myst_substitutions)
    for name, text in conf.myst_substitutions.items():
        assert len(text.splitlines()) > 2, name
        assert ":math:" not in text, name
    assert "| `--browser, --no-browser` | `--browser` |" in conf.myst_substitutions["command_view"]
    assert "with `--each` a folder" in conf.myst_substitutions["command_predict"]
    typed = (
        "(a: ~typing.Annotated[list[str] | None, <typer.models.OptionInfo object at 0x7f0a>] = None, b: int = 1)"
    )
    assert conf.shorten(None, "", "", None, None, typed, "None")[0] == "(a: list[str] | None = None, b: int = 1)"
    for field in oasis.TrainingOptions.model_fields:
        assert f"| `{field}` |" in conf.myst_substitutions["training"]
    assert "| `epochs` | integer, ≥\u00a01 | `50` |" in conf.myst_substitutions["training"]
    for name in ("conf", "rooms", "tables"):
        del sys.modules[name]


def test_every_column_of_a_migdal_event_table_is_described():
    test = Run.from_config(ROOT / "examples/migdal/quickstart.yaml").dataset("test")
    page = (DOCS / "reference/event_table.md").read_text()
    for name in test[0].meta:
        assert f"`{name}`" in page or name in {*COLUMNS, *IDENTITY}


def test_every_kind_of_image_file_is_named():
    page = (DOCS / "howto/own_data.md").read_text()
    for suffix in SUFFIXES:
        assert f"`{suffix}`" in page


def test_the_api_page_names_what_can_be_imported():
    page = (DOCS / "reference/api.md").read_text()
    for name in oasis.__all__:
        assert f"`{name}`" in page


@pytest.fixture
def microscopy(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    small = ["data.events={train: 16, val: 8, test: 24}", "data.size=[32, 48]", "model.base_channels=4"]
    run_folder = [f"run={tmp_path / 'run'}", "training.epochs=2", "training.workers=0"]
    return Run.from_config("examples/own_adapter.yaml", [*small, *run_folder])


def test_images_of_the_example_adapter_are_sums_of_their_maps(microscopy):
    samples = [microscopy.dataset("test")[index] for index in range(24)]
    for sample in samples:
        expected = sample.target.sum(axis=0)
        noise = (sample.image - expected) / np.sqrt(expected + 4)
        assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
        assert noise.std() == pytest.approx(1, abs=0.1)
        seen = sample.target.sum(axis=(1, 2, 3)) > 0
        assert (seen <= np.array([sample.meta["cells"] > 0, sample.meta["fibres"] > 0])).all()
    light = sum(sample.target.sum(axis=(2, 3)) for sample in samples)
    np.testing.assert_allclose(light[:, 0] / light.sum(axis=1), [0.8, 0.3], rtol=1e-4)


def test_the_example_adapter_trains_and_is_evaluated(microscopy):
    separator = microscopy.train()
    dataset = microscopy.dataset("test")
    table = evaluate(separator, dataset, microscopy.adapter, workers=0)
    assert len(table) == 48
    assert {*COLUMNS, *IDENTITY, "cells", "fibres"} == set(table)
    summary = summarise(table, microscopy.adapter.study)
    assert summary.bins["events"].sum() > 0
    assert "share of the fibre under cells" in summary.text("photons")
    image = dataset[0].image
    maps = separator.separate(image)
    assert {name: values.shape for name, values in maps.items()} == {"cell": (2, 32, 48), "fibre": (2, 32, 48)}
    assert all((values >= 0).all() for values in maps.values())
    assert (sum(maps.values()) <= np.maximum(image, 0) * 1.01 + 1e-3).all()
