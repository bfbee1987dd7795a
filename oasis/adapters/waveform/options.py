"""The options of the waveform adapters: the section `data`."""

from typing import Annotated

from pydantic import Field, field_validator

from oasis.adapters.options import DataOptions, Rising, SplitCounts
from oasis.adapters.waveform.files import FEWEST_SAMPLES
from oasis.adapters.waveform.noise import NoiseOptions
from oasis.adapters.waveform.scene import BackgroundOptions, PulseOptions
from oasis.options import Options

Share = Annotated[float, Field(ge=0, le=1)]


class ReadOptions(Options):
    """The options for reading files of recorded waveforms in `oasis predict`.

    Attributes:
        mv_per_unit: mV per unit of the file, for example per count of the digitiser; negative for negative pulses.
        baseline_samples: number of samples at the start that are baseline, whose median is subtracted; 0 for
            waveforms with a baseline of 0.
    """

    mv_per_unit: float = Field(1.0, ge=-1e12, le=1e12)
    baseline_samples: int = Field(0, ge=0, le=1_000_000)

    @field_validator("mv_per_unit")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0:
            raise ValueError("expected a factor other than 0")
        return value


class RecordOptions(DataOptions):
    """The options of a waveform that both adapters share.

    Attributes:
        samples: number of samples of a waveform.
        sampling_ns: sampling period, ns.
        events: waveforms per split.
        files: an HDF5 file of samples by split, used instead of the simulation.
        arrival: bounds of the start of pulses, as fractions of the waveform.
        detect: minimum predicted peak of a detected pulse, in units of the noise's rms.
        noise: noise and baseline.
        read: how files of recorded waveforms are read.
    """

    samples: int = Field(1024, ge=FEWEST_SAMPLES, le=8192)
    sampling_ns: float = Field(4.0, gt=0, le=1e9)
    events: SplitCounts = SplitCounts(train=4000, val=1000, test=4000)
    arrival: Annotated[tuple[Share, Share], Rising] = (0.1, 0.8)
    detect: float = Field(3.0, gt=0, le=1e6)
    noise: NoiseOptions = NoiseOptions()
    read: ReadOptions = ReadOptions()


class WaveformOptions(RecordOptions):
    """The section `data` of the adapter `waveform`.

    Attributes:
        signal: the signal pulses.
        background: the structured background under them.
    """

    signal: PulseOptions = PulseOptions()
    background: BackgroundOptions = BackgroundOptions()


class PulsesOptions(RecordOptions):
    """The section `data` of the adapter `pulses`.

    Attributes:
        pulses: maximum number of pulses in a waveform, which is the number of classes.
        pulse: their amplitude and shape.
        gap_ns: mean time from one pulse to the next, ns.
    """

    pulses: int = Field(3, ge=2, le=6)
    pulse: PulseOptions = PulseOptions(amplitude=(2.0, 50.0))
    gap_ns: float = Field(150.0, gt=0, le=1e12)
