"""Find exceptions that the program reports itself before it ends, as many command lines do.

This module replaces functions of sys, os and traceback, and those that `site` adds.
"""

import _thread
import os
import sys
from _sitebuiltins import Quitter

from .. import forks
from ..libraries import imports
from . import uncaught

# The instruction with which a frame returns, on Python 3.8 to 3.10
RETURN_VALUE = 83

# The exception that uncaught.act() will be called with when Python ends
pending = None

# What the main thread left by its last sys.exit() in an `except` or `finally`: (the exception that
# was handled, the outermost frame, the place in that frame)
handled = None


def catch():
    """Find exceptions after which the program ends itself."""
    import atexit

    os._exit, sys.exit = acting(os._exit), noting(sys.exit)
    Quitter.__call__ = noting(Quitter.__call__)  # type: ignore[method-assign]  # exit(), quit()
    atexit.register(at_exit)
    imports.change({"traceback": catch_in_children})


def catch_in_children(traceback):
    """Find exceptions that end a child of multiprocessing, which prints them by `traceback`."""
    report = traceback.print_exc

    def print_exc(*arguments, **options):
        global handled
        report(*arguments, **options)
        caller = sys._getframe(1).f_code
        if caller.co_name == "_bootstrap" and "multiprocessing" in caller.co_filename:
            handled = None
            uncaught.act_on(sys.exc_info()[1], uncaught.ENDING)

    traceback.print_exc = print_exc


def at_exit():
    """Act on an exception that a library's own sys.excepthook has reported, as pretty ones do."""
    error = take_pending()
    if error is None:
        error = getattr(sys, "last_value", None)
        if error is None:
            error = take_handled()
        if error is uncaught.last_error or not isinstance(error, BaseException):
            return
    uncaught.last_error = error
    uncaught.act_on(error, uncaught.AT_EXIT)


def take_pending():
    """Return the exception that `act` must be called with at the end, and forget it."""
    global pending
    error, pending = pending, None
    return error


def take_handled():
    """Return the exception that the main thread was handling at its sys.exit(), and forget it.

    None if something has caught the SystemExit, and the program has gone on.
    """
    global handled
    ending, handled = handled, None
    if ending is None:
        return None
    error, outermost, place = ending  # after a caught SystemExit, the frame has moved on
    if sys.version_info >= (3, 11):
        return error if outermost.f_lasti == place else None
    # Before Python 3.11, code in `finally` moves the frame too. Ask whether it has returned.
    return error if outermost.f_code.co_code[outermost.f_lasti] != RETURN_VALUE else None


def act_later(error):
    """Call uncaught.act() when Python ends, before the program's own atexit functions."""
    global pending
    import atexit

    pending = error
    atexit.register(at_exit)


def acting(leave):
    """Return a function like os._exit() that acts on the exception before it."""

    def _exit(status):
        later, error = take_pending(), sys.exc_info()[1]
        if error is None:
            error = take_handled()  # such as of a child of multiprocessing
        # A kept process ends by this function, too: do not act on its exception again.
        if status and (later is not None or error is not uncaught.last_error):
            uncaught.last_error = error = error if later is None else later
            uncaught.act_on(error, uncaught.ENDING)
        leave(status)

    return named(_exit, leave, "os")


def named(function, original, module):
    """Return a function with the name and text of another: it can be sent to another process."""
    function.__doc__, function.__module__ = original.__doc__, module
    function.__qualname__ = original.__qualname__
    return function


def noting(leave):
    """Return a function like sys.exit() that also takes note of the exception before it."""

    def exit(*arguments):
        global handled
        try:
            leave(*arguments)
        except SystemExit as ending:
            # By convention, a program ends with 2 if its command line is wrong.
            code = ending.code
            is_failure = code is not None and not (type(code) is int and code in (0, 2))
            frame = sys._getframe(1)
            # multiprocessing has caught the exit of a spawned child, and repeats it here.
            is_repeated = is_failure and frame.f_code.co_name == "spawn_main"
            if _thread.get_ident() == forks.main_ident and not is_repeated:
                handled = None
                if is_failure and ending.__context__ is not None:
                    while frame.f_back is not None:
                        frame = frame.f_back
                    handled = ending.__context__, frame, frame.f_lasti
            raise

    return named(exit, leave, leave.__module__)
