"""The package as it is installed: a wheel with every file that the commands need, and no other."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

build = pytest.importorskip("hatchling.build")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the working tree."""
    folder, before = tmp_path_factory.mktemp("wheel"), os.getcwd()
    os.chdir(ROOT)
    try:
        return folder / build.build_wheel(str(folder))
    finally:
        os.chdir(before)


def test_the_wheel_holds_the_package_alone_with_its_templates(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"oasis", "oasis_seg"}
    for name in ("quickstarts/migdal.yaml", "templates/adapter.py.txt", "templates/folder.yaml.txt"):
        assert f"oasis/starting/{name}" in names
    assert sum(name.startswith("oasis/starting/quickstarts/") for name in names) >= 5


def test_its_metadata_state_licence_and_paper(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "oasis-seg"
    assert metadata["License-Expression"] == "MIT"
    assert any("arxiv.org" in url for url in metadata.get_all("Project-URL"))


def test_its_description_has_no_link_that_leads_nowhere(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    text = metadata.get_payload()
    assert (metadata["Description-Content-Type"], text.split("\n")[0]) == ("text/markdown", "# oasis-seg")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert "https://arxiv.org/abs/2510.06194" in links
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.fixture(scope="module")
def hook():
    """The hook that writes the description."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_to_the_repository_once_it_is_stated(hook):
    assert doctest.testmod(hook).failed == 0
    readme = (ROOT / "README.md").read_text()
    text = hook.published(readme, "https://example.org/o/n", "0.1.0")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    files = {link.split("/v0.1.0/")[1].partition("#")[0] for link in links if "/o/n/" in link}
    assert len(files) > 20
    assert all((ROOT / file).exists() for file in files)
    assert "![Input, true map" in text
    code = re.compile("^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
    assert code.findall(text) == code.findall(readme)


def test_a_release_without_a_repository_is_refused(hook):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert (hook.main() is None) == ("Source" in urls)


@pytest.mark.parametrize(
    ("words", "file", "line"),
    [
        (["init", "migdal"], "migdal.yaml", "adapter: migdal"),
        (["new-adapter", "stars"], "stars.py", "class Stars"),
        (["demo", "waveform", "--events", "8"], "runs/demo-waveform/config.yaml", "adapter: waveform"),
    ],
)
def test_commands_work_from_the_wheel_alone(wheel, tmp_path, words, file, line):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    where = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import oasis, sys; assert 'site' in oasis.__file__; from oasis.__main__ import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=where, check=True, timeout=120)
    assert line in (tmp_path / file).read_text()
