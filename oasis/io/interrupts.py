"""Interrupts: signals whose exception would be lost are sent again, until it can be raised.

No exception passes through C code that calls functions of ours, through `__del__`, or what a weak reference calls.
"""

import os
import signal
import sys
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

    def is_free(number: int, frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code not in codes:
            frame = frame.f_back
        if frame is not None:
            send_again(number)
        return frame is None

    with before_handlers(is_free):
        yield


@contextmanager
def before_handlers(first: Callable[[int, FrameType | None], bool]) -> Iterator[None]:
    """Call a function before the handlers of SIGINT and SIGTERM in the block, in the main thread.

    Args:
        first: is given the signal and the frame it interrupts; returns whether the handler is to be called.
    """
    handlers: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if first(number, frame):
            handlers[number](number, frame)

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


@contextmanager
def never_lost(number: Callable[[], int]) -> Iterator[None]:
    """Raise KeyboardInterrupt again in the block, where Python or C code could only ignore it.

    Args:
        number: returns that of the signal whose handler has raised it.
    """
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            send_again(number())
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def send_again(number: int) -> None:
    """Send a signal to this process in a moment."""
    again = threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
