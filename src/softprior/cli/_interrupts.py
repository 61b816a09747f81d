"""Ctrl-C ends a command within seconds, wherever it is."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

PATIENCE = 2.0  # seconds for a command to end by itself
EXIT_CODE = 130
_shown = False


def end_on_ctrl_c(message: str) -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, as ever, and, where that does not end the
    process soon, ends it with the message.

    An interrupt raised while a module is imported may be swallowed, or crash in the module's C
    code: there the process ends at once, and so it does at a second Ctrl-C. A thread pool finishes
    its work before it lets go of an interrupt. Nothing is lost: files get their names when they are
    whole, and other processes end with this one.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # it is ignored, or somebody else's

    def end() -> NoReturn:
        cursor = "\033[?25h" if os.isatty(2) else ""  # a progress bar hides it
        try:
            os.write(2, (cursor + ("" if _shown else f"{message}\n")).encode(errors="replace"))
        finally:
            os._exit(EXIT_CODE)

    def on_interrupt(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, lambda number, frame: end())
        if _is_importing(frame):
            end()
        timer = threading.Timer(PATIENCE, end)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)


def has_been_shown() -> None:
    """The message has been shown: an end that has to be forced adds nothing."""
    global _shown
    _shown = True


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
