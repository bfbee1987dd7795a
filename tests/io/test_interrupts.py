"""Signals wait while C code runs our functions, and are raised as soon as it does not."""

import os
import signal
import threading
import time

import h5py
import numpy as np
import pytest

from oasis.io import hdf5
from oasis.io.hdf5 import append_rows, create_hdf5
from oasis.io.interrupts import postponed_within

DEADLINE = 60.0


def wait():
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        time.sleep(0.01)


def test_a_signal_waits_until_the_function_has_ended():
    done = []

    def careful():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        done.append(True)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), postponed_within(careful):  # noqa: PT012
        careful()
        wait()
    assert done
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_outside_of_the_function_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt), postponed_within(wait):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(DEADLINE)


def test_other_threads_than_the_main_one_leave_signals_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with postponed_within(wait):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


def test_an_interrupt_while_hdf5_writes_ends_it_with_a_file_that_can_be_read(tmp_path, monkeypatch):
    write, begun = hdf5._Patient.write, []

    def interrupted(self, data):
        if not begun:
            begun.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return write(self, data)

    monkeypatch.setattr(hdf5._Patient, "write", interrupted)
    path = tmp_path / "rows.h5"
    rows = np.ones((10, 1000))
    with pytest.raises(KeyboardInterrupt), create_hdf5(path) as file:  # noqa: PT012
        append_rows(file, "rows", rows)
        file.flush()
        wait()
    with h5py.File(path) as file:
        assert np.array_equal(file["rows"][:], rows)
