"""Keep the signal by which the hub asks from ending signal.pause(): the program would go on.

This module replaces that function.
"""

import _signal
import sys

# How often the hub has asked
asked = 0

wait = _signal.pause


def pause():
    while True:
        before = asked
        wait()
        if asked == before:
            return  # another signal has come


pause.__doc__, pause.__module__ = wait.__doc__, "signal"


def begin():
    """Replace signal.pause(), also for a program that has yet to import `signal`."""
    for name in ("_signal", "signal"):
        if name in sys.modules:
            vars(sys.modules[name]).update(pause=pause)
