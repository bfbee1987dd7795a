"""The recipe for conda states what the package states: version, dependencies, command, licence."""

import re
import tomllib

import jinja2
import pytest
import yaml

import oasis

OTHER_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # of PyPI and of conda-forge


@pytest.fixture
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture
def recipe(root):
    text = (root / "conda/meta.yaml").read_text()
    return yaml.safe_load(jinja2.Template(text).render(environ={}, PYTHON="python", python_min="3.11"))


def test_it_is_of_this_version_with_the_commands_of_the_package(recipe, project):
    assert recipe["package"] == {"name": project["name"], "version": oasis.__version__}
    commands = [f"{name} = {where}" for name, where in project["scripts"].items()]
    assert recipe["build"]["entry_points"] == commands
    assert (recipe["about"]["license"], recipe["about"]["summary"]) == (project["license"], project["description"])


def test_it_has_the_dependencies_of_the_package(recipe, project):
    stated = [re.fullmatch(r"([\w-]+)(.*)", one).groups() for one in project["dependencies"]]
    needed = {f"{OTHER_NAMES.get(name, name)} {bound}" for name, bound in stated}
    assert {*recipe["requirements"]["run"]} == needed | {"python >=3.11"}
    assert project["requires-python"] == ">=3.11"
