"""Checks in environments of their own: nox -l lists them."""

import nox

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FAST = ("config", "data", "instances", "io", "loss", "models", "separator", "starting", "stats", "training")

nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The fast part of the tests with the core, augmentation and backbones; arguments after -- replace it."""
    session.install(".[test,augment,backbones]")
    session.run("pytest", "-q", *(session.posargs or [f"tests/{name}" for name in FAST]))


@nox.session
def conda(session: nox.Session) -> None:
    """The recipe for conda-forge, rendered, and the package built from this tree."""
    session.install("py-rattler-build", "hatchling", "pip")
    session.run("python", "conda/build.py", "dist/conda")
