"""End a call of the program's code that takes too long, while the program is paused.

Such a call may wait without end: for a lock that another paused thread has, or for a server. The
paused thread makes the call, so a client could not let the program go on.
"""

import ctypes
import threading
from signal import pthread_kill

from . import container
from .tracing import API


class TooLong(BaseException):
    """A call has not ended in time. The program's own `except Exception` does not catch this."""


def within(seconds, function, *arguments):
    """Return what a function returns. Raises TooLong if that takes longer than some seconds.

    In a thread other than the main one, this cannot end a call that waits inside a library.
    """
    import pydevd

    tracker = getattr(pydevd.get_global_debugger(), "timeout_tracker", None)
    if tracker is None:  # the session has ended, or a later pydevd has no such tracker
        return function(*arguments)
    late = []
    call = {"ident": threading.get_ident(), "late": late}
    try:
        with tracker.call_on_timeout(seconds, interrupt, call):
            return function(*arguments)
    finally:
        # If the call has ended just before Python raises TooLong, Python does so here.
        for _ in range(100 if late else 0):
            pass


def interrupt(ident, late):
    """Raise TooLong in a thread, and note in the list `late` that this has been done."""
    late.append(True)
    API.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLong))
    if ident == threading.main_thread().ident:
        # A signal ends what the thread waits for. In the signal's handler, Python then raises.
        pthread_kill(ident, container.SIGNAL)
