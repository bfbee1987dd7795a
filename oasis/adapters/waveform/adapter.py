"""The waveform adapters: a signal pulse on a structured background, and pulses that pile up."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.study import Study
from oasis.adapters.waveform.files import FEWEST_SAMPLES, read_templates, read_waveforms
from oasis.adapters.waveform.metrics import pulse_columns, pulse_figure, separations
from oasis.adapters.waveform.noise import MeasuredNoise, Noise
from oasis.adapters.waveform.options import PulsesOptions, RecordOptions, WaveformOptions
from oasis.adapters.waveform.scene import (
    INTERFERENCE,
    SIGNAL,
    PulseOptions,
    PulseSource,
    PulsesScene,
    WaveformScene,
)
from oasis.adapters.waveform.trigger import Whitening
from oasis.data.mixing import split_indices
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError
from oasis.io.signal_tables import Abscissa

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}
FEWEST = 10  # measured pulses that are divided among splits; fewer are shared

RecordT = TypeVar("RecordT", bound=RecordOptions, covariant=True)


class _RecordAdapter(Adapter[RecordT], Generic[RecordT]):
    """The common base of both adapters."""

    spatial_dims = 1
    unit = "mV"
    thresholds = 0.5
    defaults: Mapping[str, Any] = {
        "model": {"name": "unet", "base_channels": 16, "depth": 6, "norm": "batch"},
        "head": {"name": "denoised"},
        "scaling": {"name": "asinh", "noise": 1.0},
    }

    @property
    def size(self) -> tuple[int]:
        """Length of a waveform."""
        return (self.options.samples,)

    @property
    def times(self) -> Floats:
        """The times of the samples of a waveform (n,), ns."""
        return np.asarray(self.options.sampling_ns * np.arange(self.options.samples))

    def abscissa(self, sample: Sample) -> Abscissa:
        """Return the times of the samples of a waveform, ns."""
        return Abscissa("time (ns)", self.times)

    def noise(self, split: str = "train") -> Noise:
        """Return the noise of a split.

        Raises:
            ConfigError: there are too few measured traces for three splits.
            DataError: a file is invalid, or traces are shorter than a waveform.
        """
        options = self.options
        path = options.noise.traces
        if path is None:
            return options.noise.gaussian(options.samples, options.sampling_ns)
        traces = read_waveforms(path)
        if traces.shape[1] < options.samples:
            raise DataError(
                f"{path}: traces of {traces.shape[1]} samples are shorter than a waveform, data.samples: "
                f"{options.samples}"
            )
        try:
            return MeasuredNoise(traces[split_indices(len(traces), FRACTIONS)[split]], options.samples)
        except ConfigError as error:
            raise ConfigError(f"data.noise.traces: {path}: {error}") from None

    def source(self, pulses: PulseOptions, split: str) -> PulseSource:
        """Return the source of the pulses of a split; a small number of measured pulses is shared by all splits.

        Raises:
            DataError: a file of measured pulses is invalid.
        """
        if pulses.templates is None:
            return PulseSource(pulses)
        templates = read_templates(pulses.templates)
        if len(templates) >= FEWEST:
            templates = templates[split_indices(len(templates), FRACTIONS)[split]]
        return PulseSource(pulses, templates, self.options.sampling_ns)

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return recorded waveforms, one per row, as images (k, 1, n) in mV, converted as set in `data.read`.

        Raises:
            DataError: the array does not contain waveforms.
        """
        options = self.options.read
        fewest = max(FEWEST_SAMPLES, options.baseline_samples)
        if raw.shape[-1] < fewest:
            raise DataError(
                f"waveforms of {raw.shape[-1]} samples, expected at least {fewest}: in an array with two axes "
                "each row is one"
            )
        waveforms = super().as_images(raw, dark) * np.float32(options.mv_per_unit)
        if options.baseline_samples:
            waveforms -= np.median(waveforms[..., : options.baseline_samples], axis=-1, keepdims=True)
        return waveforms

    @cached_property
    def _noise_of_events(self) -> tuple[float, Whitening]:
        """The rms of the noise, and its whitening, which gives the significance of a pulse."""
        noise = self.noise()
        return noise.rms, Whitening(noise.autocovariance)

    def _pulse_columns(self, predicted: NDArray[np.float32], true: NDArray[np.float32]) -> dict[str, float]:
        """Return the columns of one pulse from its maps (n,)."""
        rms, whitening = self._noise_of_events
        columns = pulse_columns(predicted, true, self.options.sampling_ns, rms, self.options.detect)
        return columns | {"matched_snr": whitening.significance(true) if columns["amplitude_true"] > 0 else np.nan}


class WaveformAdapter(_RecordAdapter[WaveformOptions]):
    """Signal pulses on a background of slow pulses, afterpulses and pickup in waveforms of a detector, in mV."""

    classes = (SIGNAL, INTERFERENCE)
    defaults = {
        **_RecordAdapter.defaults,
        "loss": {
            "class_weights": {SIGNAL: 2, INTERFERENCE: 1},
            "region_weights": {SIGNAL: 3, INTERFERENCE: 1, f"{SIGNAL}&{INTERFERENCE}": 6},
        },
    }
    study = Study(
        name=SIGNAL,
        quantity="snr",
        label="signal amplitude / rms of the noise",
        edges=(0.5, 1, 2, 3, 5, 8, 15, 50),
        signal="snr >= 1 and snr < 5",
        background="amplitude_true == 0",
    )

    def scene(self, split: str) -> WaveformScene:
        """Return the scene from which the waveforms of a split are mixed."""
        options = self.options
        return WaveformScene(
            self.times,
            options.arrival,
            self.noise(split),
            self.source(options.signal, split),
            self.source(options.background, split),
        )

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return the measurements of the signal pulse: see `pulse_columns`, and its significance `matched_snr`."""
        return {SIGNAL: self._pulse_columns(prediction.maps[0, 0], sample.target[0, 0])}

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `pulses`: errors of amplitude and arrival, and the efficiency, against the SNR."""
        rows = table[table["class"] == SIGNAL]
        return {"pulses": pulse_figure(rows, "snr", self.study.edges, self.study.label)}


class PulsesAdapter(_RecordAdapter[PulsesOptions]):
    """Interchangeable pulses that pile up in waveforms of a detector, in mV.

    The classes are `pulse_1` and so on, as many as set by the option `pulses`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """One class for each pulse that a waveform can have."""
        return tuple(f"pulse_{number + 1}" for number in range(self.options.pulses))

    @property
    def interchangeable(self) -> tuple[tuple[str, ...]]:
        """All classes, in one group."""
        return (self.classes,)

    @property
    def study(self) -> Study:
        """The errors of all pulses against the time to the nearest other pulse."""
        return Study(
            name="pulse_1",
            quantity="separation",
            label="time to the nearest other pulse (ns)",
            edges=(0, 10, 20, 40, 80, 160, 320, 2000),
            group="id",
            interchangeable=self.classes[1:],
        )

    def scene(self, split: str) -> PulsesScene:
        """Return the scene from which the waveforms of a split are mixed."""
        options = self.options
        source = self.source(options.pulse, split)
        return PulsesScene(self.classes, self.times, options.arrival, self.noise(split), source, options.gap_ns)

    def event_rows(self, prediction: EventPrediction, sample: Sample) -> Mapping[str, Mapping[str, float]]:
        """Return the measurements of every pulse, and `separation`, the time to the nearest other pulse in ns."""
        columns = [
            self._pulse_columns(found[0], true[0])
            for found, true in zip(prediction.maps, sample.target, strict=True)
        ]
        gaps = separations(np.array([row["arrival_true"] for row in columns]))
        return {
            name: row | {"separation": float(gap)}
            for name, row, gap in zip(self.classes, columns, gaps, strict=True)
        }

    def figures(self, table: "pd.DataFrame") -> Mapping[str, "Figure"]:
        """Return the figure `pulses`: errors and efficiency as for signal pulses, against the separation."""
        return {"pulses": pulse_figure(table, self.study.quantity, self.study.edges, self.study.label)}
