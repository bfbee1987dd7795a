"""Pulse shapes: two exponentials, either directly or after a charge amplifier with a CR-RC^n shaper.

References:
    Knoll, Radiation Detection and Measurement, 4th ed. 2010, chapters 16 and 17: pulse shaping.
    Abramowitz and Stegun 1972, 13.1.27 and 13.2.1: Kummer's function.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from scipy.optimize import minimize_scalar
from scipy.special import factorial, hyp1f1

from oasis.options import Options

Floats = NDArray[np.float64]


class PulseShape(Options):
    r"""A pulse that begins at 0 and has a peak of 1.

    .. math:: i(t) = e^{-t/\tau_f} - e^{-t/\tau_r}

    With `shaping_ns` this is the current into an amplifier that integrates and shapes it: it is convolved with
    :math:`(t/\tau_s)^n e^{-t/\tau_s}`, the impulse response of integrator and CR-RC^n shaper, which is never
    negative.

    Attributes:
        rise_ns: time constant of the rise.
        fall_ns: time constant of the fall.
        shaping_ns: time constant of the shaper, or none for no shaper.
        order: number of integrations (RC) of the shaper.
        spread: relative standard deviation from pulse to pulse of a common factor of both time constants.

    Example:
        >>> shape = PulseShape(rise_ns=10, fall_ns=100)
        >>> round(shape.peak_ns, 2), float(shape(shape.peak_ns)), round(shape.area_ns, 2)
        (25.58, 1.0, 129.15)
    """

    rise_ns: float = Field(10.0, gt=0, le=1e9)
    fall_ns: float = Field(100.0, gt=0, le=1e9)
    shaping_ns: float | None = Field(None, gt=0, le=1e9)
    order: int = Field(1, ge=1, le=20)
    spread: float = Field(0.0, ge=0, le=0.3)

    @model_validator(mode="after")
    def _rises_first(self) -> "PulseShape":
        if self.rise_ns >= self.fall_ns:
            raise ValueError("expected rise_ns below fall_ns")
        return self

    def __call__(self, times: ArrayLike) -> Floats:
        """Return the pulse at times in ns after its start; it is 0 before."""
        return np.asarray(self._unscaled(np.asarray(times, dtype=float)) / _peak(self)[1])

    @property
    def peak_ns(self) -> float:
        """Time from the start of the pulse to its peak."""
        return _peak(self)[0]

    @property
    def area_ns(self) -> float:
        """The integral of the pulse."""
        shaper = 1.0 if self.shaping_ns is None else self.shaping_ns * float(factorial(self.order))
        return (self.fall_ns - self.rise_ns) * shaper / _peak(self)[1]

    def drawn(self, rng: np.random.Generator) -> "PulseShape":
        """Return the shape of one pulse with randomly varied time constants."""
        if not self.spread:
            return self
        factor = float(np.exp(rng.normal(0, self.spread)))
        return self.model_copy(update={"rise_ns": self.rise_ns * factor, "fall_ns": self.fall_ns * factor})

    def _unscaled(self, times: Floats) -> Floats:
        late = np.maximum(times, 0.0)
        decays = 1 / self.fall_ns, 1 / self.rise_ns
        if self.shaping_ns is None:
            fall, rise = (np.exp(-decay * late) for decay in decays)
        else:
            fall, rise = (_shaped(late, decay, 1 / self.shaping_ns, self.order) for decay in decays)
        return np.asarray(fall - rise)


@lru_cache(maxsize=256)
def _peak(shape: PulseShape) -> tuple[float, float]:
    """Return the time and height of the peak of the unscaled pulse."""
    rise, fall = shape.rise_ns, shape.fall_ns
    time = rise * fall / (fall - rise) * float(np.log(fall / rise))
    if shape.shaping_ns is not None:
        latest = rise + fall + (shape.order + 1) * shape.shaping_ns  # the mean of a density of this shape
        time = float(
            minimize_scalar(
                lambda t: -shape._unscaled(np.asarray(t)), bounds=(0, latest), options={"xatol": 1e-9 * latest}
            ).x
        )
    return time, float(shape._unscaled(np.asarray(time)))


def _shaped(times: Floats, decay: float, shaper: float, order: int) -> Floats:
    r"""Return :math:`\int_0^t e^{-a (t - u)} (b u)^n e^{-b u} du` at times of at least 0.

    It is :math:`b^n t^{n+1} e^{-at} M(n+1, n+2, (a-b)t) / (n+1)` with Kummer's function M; for b < a, Kummer's
    transformation prevents overflow.
    """
    if shaper >= decay:
        kummer = np.exp(-decay * times) * hyp1f1(order + 1, order + 2, (decay - shaper) * times)
    else:
        kummer = np.exp(-shaper * times) * hyp1f1(1, order + 2, (shaper - decay) * times)
    return np.asarray(shaper**order * times ** (order + 1) * kummer / (order + 1))
