"""The options of the fit of particles: `data.refinement`."""

from typing import Annotated, Literal

from pydantic import Field

from oasis.options import Options

Width = Annotated[float, Field(gt=0, lt=9)]  # mm; soft faces of a cube do not overlap
Scale = Annotated[float, Field(gt=0, le=1000)]


class RefinementOptions(Options):
    """Options of the fit of particles.

    Attributes:
        renderer: a file with a learned correction of the renderer (see `examples/neutrino/renderers.py`), or null.
        method: the optimiser. L-BFGS moves all events of a batch with one common step length.
        steps: number of steps of the optimiser.
        learning_rate: that of Adam's first step, in units of the spreads; it falls to 0 along a cosine.
        starts: fits of every event, the first from the predicted values, the others from random values around
            them; the best is kept.
        restarts: rounds of further fits for events that are stuck, each with `restart_starts` fits.
        restart_starts: fits of each such event in a round.
        stuck: deviance of the image over its expectation above which an event is stuck.
        add: whether a nucleus is added to events that stay stuck and have a free class.
        softness: mm, widths of the faces between cubes in the first and the last step, with geometric steps
            between.
        background: p.e. expected in every cube in addition, so that charge far from all tracks has a finite
            gradient.
        energy_spread: expected relative error of predicted energies.
        energy_error: MeV, expected error of predicted energies in addition, in quadrature.
        direction_spread: degrees, expected error of predicted directions along each of two axes.
        vertex_spread: mm, expected error of the predicted vertex along each axis.
        error_scales: factors for the standard errors of vertex, energies and directions, for what the likelihood
            does not know: nuclei that were missed or invented, and minima that no start has found. The defaults
            were measured on validation events of the quickstart.
    """

    renderer: str | None = None
    method: Literal["adam", "lbfgs"] = "adam"
    steps: int = Field(150, ge=1, le=1_000_000)
    learning_rate: float = Field(0.3, gt=0, le=1000)
    starts: int = Field(12, ge=1, le=10_000)
    restarts: int = Field(2, ge=0, le=100)
    restart_starts: int = Field(16, ge=1, le=10_000)
    stuck: float = Field(2.5, gt=1, le=1e9)
    add: bool = True
    softness: tuple[Width, Width] = (8.0, 0.3)
    background: float = Field(0.2, gt=0, le=1e6)
    energy_spread: float = Field(0.05, ge=0, le=1000)
    energy_error: float = Field(5.0, ge=0, le=1000)
    direction_spread: float = Field(30.0, gt=0, le=180)
    vertex_spread: float = Field(1.5, gt=0, le=1000)
    error_scales: tuple[Scale, Scale, Scale] = (1.6, 1.6, 1.0)
