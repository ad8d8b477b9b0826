"""Mode `dump`: when a dump is written. What writes it is loaded only then."""

import _signal
import os

from remora import reported, uncaught
from remora.hook import say, setting

# The module `dump`, once it is loaded. The program may have a package of the same name as this one.
writer = None


def catch():
    """Have a dump written of every exception that nothing else has caught."""
    uncaught.catch(lambda error, _: write(error), reported.all_changes())
    catch_signal()


def write(error=None, frame=None):
    """Write a dump of this process, and return its path: see write() in dump.py."""
    global writer
    try:
        if writer is None:
            from remora import apart

            with apart.only(os.path.dirname(os.path.dirname(__file__))):
                from remora import dump
            writer = dump
        return writer.write(error, frame)
    except BaseException as problem:
        say(f"pid {os.getpid()} cannot be dumped: {type(problem).__name__}")


def catch_signal():
    """Write a dump before SIGTERM ends this process, if REMORA_DUMP_ON says so.

    A program that handles the signal itself replaces this.
    """
    number = _signal.SIGTERM
    if setting("DUMP_ON") != "term" or _signal.getsignal(number) != _signal.SIG_DFL:
        return
    owner = os.getpid()

    def on_end(_, frame):
        _signal.signal(number, _signal.SIG_DFL)
        if os.getpid() == owner:  # the one that is told, not all its children
            write(frame=frame)
        _signal.raise_signal(number)
        # PID 1 is not ended by a signal, and goes on.
        _signal.signal(number, on_end)

    _signal.signal(number, on_end)
