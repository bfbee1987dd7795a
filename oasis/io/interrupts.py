"""Interrupts: signals that wait while C code runs functions of ours, since no exception may pass through it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

RETRY_SECONDS = 0.02


@contextmanager
def postponed_within(*functions: Callable[..., Any]) -> Iterator[None]:
    """Let SIGINT and SIGTERM wait in the block while one of the functions runs; their handlers may raise.

    Args:
        functions: written in Python.
    """
    codes = {function.__code__ for function in functions}
    handlers: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code not in codes:
            frame = frame.f_back
        if frame is None:
            handlers[number](number, frame)
            return
        again = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    if threading.current_thread() is threading.main_thread():
        handlers |= {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    replaced = [number for number, handler in handlers.items() if callable(handler)]
    for number in replaced:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, handlers[number])
