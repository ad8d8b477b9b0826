"""End a call of the program's code that takes too long, while the program is paused.

Such a call may wait without end: for a lock that another paused thread has, or for a server. The
paused thread makes the call, so a client could not let the program go on.
"""

import ctypes
from signal import pthread_kill

from .. import container, forks
from ..libraries import greenlets
from .tracing import API


class TooLong(BaseException):
    """A call has not ended in time. The program's own `except Exception` does not catch this."""


def within(seconds, function, *arguments):
    """Return what a function returns. Raises TooLong if that takes longer than some seconds.

    In a thread other than the main one, this cannot end a call that waits inside a library. Under
    gevent, this waits for the call: an exception could reach another greenlet.
    """
    import pydevd

    tracker = getattr(pydevd.get_global_debugger(), "timeout_tracker", None)
    # There is no tracker if the session has ended, or in a later pydevd.
    if tracker is None or greenlets.is_patched():
        return function(*arguments)
    ident, lock, is_over, is_late = forks.get_ident(), forks.allocate_lock(), False, False

    def interrupt():
        nonlocal is_late
        with lock:
            if not is_over:
                is_late = True
                raise_in(ident)

    try:
        with tracker.call_on_timeout(seconds, interrupt):
            return function(*arguments)
    finally:
        with lock:
            is_over = True
        # If the call has ended just before Python raises TooLong, Python does so here.
        for _ in range(100 if is_late else 0):
            pass


def raise_in(ident):
    """Raise TooLong in a thread."""
    API.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLong))
    if ident == forks.main_ident:
        # A signal ends what the thread waits for. In the signal's handler, Python then raises.
        pthread_kill(ident, container.SIGNAL)
