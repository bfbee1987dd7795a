"""Camera: counts become physical units in the same way in training and in prediction."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.data.samples import Array
from oasis.options import Options

MOST = 1e9  # counts, and units


class Camera(Options):
    """A linear camera: signal = (counts - offset) * gain.

    Attributes:
        offset: counts in the dark.
        gain: units of signal per count, such as photoelectrons per count.
        read_noise: rms of the noise in the dark, in units of signal; for simulated noise.

    Example:
        >>> Camera(offset=100, gain=0.5).signal(np.array([100, 104]))
        array([0., 2.], dtype=float32)
    """

    offset: float = Field(0.0, ge=-MOST, le=MOST)
    gain: float = Field(1.0, gt=0, le=MOST)
    read_noise: float = Field(0.0, ge=0, le=MOST)

    def signal(self, counts: NDArray[np.generic]) -> Array:
        """Return counts as signal in physical units."""
        return (counts.astype(np.float32) - np.float32(self.offset)) * np.float32(self.gain)

    def observe(self, signal: Array, rng: np.random.Generator) -> Array:
        """Return an expected signal as it would be measured.

        Photons arrive with Poisson statistics, the read noise is Gaussian, and counts are whole numbers, not
        negative. Units of signal have to be single photons (or photoelectrons).
        """
        noisy = rng.poisson(np.maximum(signal, 0)) + rng.normal(0, self.read_noise, signal.shape)
        return self.signal(np.maximum(np.round(noisy / self.gain + self.offset), 0))
