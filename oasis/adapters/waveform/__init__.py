"""Waveforms of detectors: signal pulses on a structured background, and pile-up of pulses."""

from oasis.adapters.waveform.adapter import PulsesAdapter, WaveformAdapter

__all__ = ["PulsesAdapter", "WaveformAdapter"]
