"""The recipe for conda states what the package states: version, dependencies, command, licence."""

import re
import tomllib

import pytest
import yaml

import oasis

OTHER_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # of PyPI and of conda-forge
VARIANT = {"python_min": "3.11", "version": oasis.__version__, "PYTHON": "python"}


@pytest.fixture
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture
def recipe(root):
    text = (root / "conda/recipe.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\{ (\w+) \}\}", lambda name: VARIANT[name[1]], text))


def test_it_is_of_this_version_with_the_commands_of_the_package(recipe, project):
    assert recipe["context"]["version"] == oasis.__version__
    assert recipe["package"] == {"name": project["name"], "version": oasis.__version__}
    commands = [f"{name} = {where}" for name, where in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands
    assert (recipe["about"]["license"], recipe["about"]["summary"]) == (project["license"], project["description"])


def test_it_has_the_dependencies_of_the_package(recipe, project):
    stated = [re.fullmatch(r"([\w-]+)(.*)", one).groups() for one in project["dependencies"]]
    needed = {f"{OTHER_NAMES.get(name, name)} {bound}" for name, bound in stated}
    assert {*recipe["requirements"]["run"]} == needed | {"python >=3.11"}
    assert project["requires-python"] == ">=3.11"


def test_it_is_built_with_what_the_build_system_needs(recipe, root):
    needed = tomllib.loads((root / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {*recipe["requirements"]["host"]} == {*needed, "pip", "python 3.11.*"}


def test_it_can_be_rendered(recipe, root):
    rattler_build = pytest.importorskip("rattler_build")
    stated = rattler_build.Stage0Recipe.from_file(root / "conda/recipe.yaml")
    (rendered,) = stated.render(rattler_build.VariantConfig({"python_min": ["3.11"]}))
    values = rendered.recipe.to_dict()
    assert values["requirements"] == recipe["requirements"]
    assert values["build"]["noarch"] == "python"
