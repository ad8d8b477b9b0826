"""Wait for a client, and let signals end the wait."""

import _signal

from . import link, program
from .hook import end_by_signal


def for_client(**facts):
    """Connect to the hub, and wait where the mode says so. facts: see join() in program.py."""

    def wait():
        if program.mode == "wait":
            link.start_hub(wait=True)
        program.join(**facts)

    until_signal(wait)


def until_signal(wait, *arguments):
    """Call `wait`, which waits for a client. Meanwhile, Ctrl+C and `docker stop` end this process.

    They do not raise an exception: an import or a callback may swallow it.
    """
    handlers = {}
    try:
        for number in (_signal.SIGINT, _signal.SIGTERM):
            if _signal.getsignal(number) not in (None, _signal.SIG_IGN):
                handlers[number] = _signal.signal(number, end_by_signal)
    except ValueError:
        pass  # this is not the main thread, which goes on with the program
    try:
        wait(*arguments)
    finally:
        for number, handler in handlers.items():
            _signal.signal(number, handler)
