"""Mode `dump`: decide when to write a dump. Only then load writing.py, which writes it."""

import _signal
import os

from .. import program
from ..hook import HOME, say, setting
from . import exits, reported, uncaught

# The module `writing`, once it is loaded
writer = None


def catch():
    """Write a dump of every exception that nothing else catches."""
    uncaught.catch(lambda error, _: write(error), reported.all_changes())
    exits.catch()
    catch_signal()


def write(error=None, frame=None):
    """Write a dump of this process. Never raises.

    Arguments and result: see write() in writing.py.
    """
    global writer
    try:
        if writer is None:
            from ..engine import apart

            with apart.only(HOME):
                from . import writing
            writer = writing
        return writer.write(error, frame)
    except BaseException as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        say(f"pid {os.getpid()} cannot be dumped: {reason}")


def catch_signal():
    """Write a dump before SIGTERM ends this process, if REMORA_DUMP_ON is `term`.

    If the program sets a handler of its own for the signal, that handler replaces this function's.
    """
    number = _signal.SIGTERM
    if setting("DUMP_ON") != "term" or _signal.getsignal(number) != _signal.SIG_DFL:
        return
    owner = os.getpid()

    def on_end(_, frame):
        is_own = os.getpid() == owner  # and not a forked child
        if is_own and writer is None and program.put_off(number, frame):
            return
        _signal.signal(number, _signal.SIG_DFL)
        if is_own:
            write(frame=frame)
        _signal.raise_signal(number)
        # A signal does not end PID 1: the process goes on.
        _signal.signal(number, on_end)

    _signal.signal(number, on_end)
