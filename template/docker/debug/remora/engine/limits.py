"""End a call of the program's code that takes too long, or whose client has left.

Such a call may wait without end: for a lock that another paused thread has, or for a server. The
paused thread makes the call, so the program could not go on.
"""

import ctypes
from signal import pthread_kill

from .. import container, forks
from ..libraries import greenlets
from .tracing import API

# The calls that end_all() ends
running = set()


class TooLong(BaseException):
    """A call has not ended in time. The program's own `except Exception` does not catch this."""


class Call:
    """A call in this thread, the body of a `with`. Another thread can end it, which raises TooLong.

    In a thread other than the main one, this cannot end a call that waits inside a library. Under
    gevent, no call is ended: an exception could reach another greenlet.
    """

    def __enter__(self):
        self.ident, self.lock = forks.get_ident(), forks.allocate_lock()
        self.is_over = self.is_ended = False
        running.add(self)
        return self

    def end(self):
        with self.lock:
            if not (self.is_over or self.is_ended or greenlets.is_patched()):
                self.is_ended = True
                raise_in(self.ident)

    def __exit__(self, *error):
        with self.lock:
            self.is_over = True
        running.discard(self)
        # If the call has ended just before Python raises TooLong, Python does so here.
        for _ in range(100 if self.is_ended else 0):
            pass


def end_all():
    """End all calls, because their client has left."""
    for call in list(running):
        call.end()


def within(seconds, function, *arguments):
    """Return what a function returns. Raises TooLong if that takes longer than some seconds."""
    import pydevd

    tracker = getattr(pydevd.get_global_debugger(), "timeout_tracker", None)
    if tracker is None:  # the session has ended, or this is a later pydevd
        return function(*arguments)
    with Call() as call, tracker.call_on_timeout(seconds, call.end):
        return function(*arguments)


def raise_in(ident):
    """Raise TooLong in a thread."""
    API.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(TooLong))
    if ident == forks.main_ident:
        # A signal ends what the thread waits for. In the signal's handler, Python then raises.
        pthread_kill(ident, container.SIGNAL)
