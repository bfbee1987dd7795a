"""The package as it is installed: a wheel with every file that the commands need, and no other."""

import os
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

build = pytest.importorskip("hatchling.build")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the working tree."""
    root = os.path.dirname(os.path.dirname(__file__))
    folder, before = tmp_path_factory.mktemp("wheel"), os.getcwd()
    os.chdir(root)
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
