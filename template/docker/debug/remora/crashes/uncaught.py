"""Find exceptions that nothing catches, in any thread or child process.

This module replaces hooks and functions of sys, os, threading and traceback. The hook that was
there before reports the exception first, as it would without a debugger.
"""

import _thread
import builtins
import os
import sys
from _sitebuiltins import Quitter

from .. import forks
from ..libraries import imports

# When an exception is found: it is about to end the process; the process goes on; Python is ending;
# or another hook wraps this layer's hook, and may print its report only afterwards.
ENDING, GOING_ON, AT_EXIT, WRAPPED = "ending", "going on", "at exit", "wrapped"

# The instruction with which a frame returns, on Python 3.8 to 3.10
RETURN_VALUE = 83

# How many exceptions of a group are looked at, in all levels.
MEMBERS = 1000

# The function that is called with an exception, and with one of these moments
act = None

# The last exception of the main thread that `act` was called with
last_error = None

# The exception that `act` will be called with when Python ends
pending = None

# What the main thread left by its last sys.exit() in an `except` or `finally`: (the exception that
# was handled, the outermost frame, the place in that frame)
handled_at_exit = None


def catch(action, more=()):
    """Call a function with every exception that nothing else catches.

    action: takes the exception and the moment. more: further functions that change modules to find
    exceptions, by the module's name: see libraries/imports.py.
    """
    global act
    import atexit

    act = action
    catch_in_main()
    catch_what_python_ignores()
    catch_exits()
    atexit.register(at_exit)
    imports.change({"threading": catch_in_threads, "traceback": catch_in_children, **dict(more)})


def act_on(error, moment):
    """Act on an exception at a moment, unless it is a wanted end, or was raised nowhere."""
    if error is None or issubclass(type(error), (SystemExit, KeyboardInterrupt)):
        return
    if trace_of(innermost(error)) is not None:  # a script that cannot be parsed raises nowhere
        act(error, moment)


def trace_of(error):
    """Return the traceback of an exception, even if its class replaces that attribute."""
    return vars(BaseException)["__traceback__"].__get__(error)


def members(error):
    """Return the exceptions in a group (Python 3.11); () for an exception that is not a group."""
    kind = getattr(builtins, "BaseExceptionGroup", ())
    return vars(kind)["exceptions"].__get__(error) if issubclass(type(error), kind) else ()


def innermost(error):
    """Return an exception; for a group, the first exception in it that was raised."""
    waiting, found = [error], error
    for _ in range(MEMBERS):
        if not waiting:
            break
        one = waiting.pop()
        inner = members(one)
        waiting.extend(reversed(inner[:MEMBERS]))
        if trace_of(one) is not None:
            if not inner:
                return one
            found = one if found is error else found
    return found


# ---- What Python itself reports ----


def catch_in_main():
    """Find exceptions that end the main thread."""
    report = sys.excepthook

    def excepthook(kind, error, trace):
        global last_error
        report(kind, error, trace)
        last_error = error
        act_on(error, ENDING if sys.excepthook is excepthook else WRAPPED)

    sys.excepthook = excepthook


def catch_in_threads(threading):
    """Find exceptions that end a thread. threading: the module.

    The program may replace threading.excepthook as a whole. So find what calls that hook.
    """
    make = threading._make_invoke_excepthook

    def _make_invoke_excepthook():
        report = make()

        def invoke_excepthook(thread):
            report(thread)
            act_on(sys.exc_info()[1], GOING_ON)

        return invoke_excepthook

    threading._make_invoke_excepthook = _make_invoke_excepthook


def catch_what_python_ignores():
    """Find exceptions that end a thread of the module `_thread`, or a function of `atexit`."""
    report = sys.unraisablehook

    def unraisablehook(arguments):
        report(arguments)
        message = arguments.err_msg or ""
        if "in atexit callback" in message:  # Python 3.10
            act_on(arguments.exc_value, AT_EXIT)
        elif "thread started by" in message:
            is_outer = sys.unraisablehook is unraisablehook
            act_on(arguments.exc_value, GOING_ON if is_outer else WRAPPED)

    sys.unraisablehook = unraisablehook


def catch_in_children(traceback):
    """Find exceptions that end a child of multiprocessing, which prints them by `traceback`."""
    report = traceback.print_exc

    def print_exc(*arguments, **options):
        global handled_at_exit
        report(*arguments, **options)
        caller = sys._getframe(1).f_code
        if caller.co_name == "_bootstrap" and "multiprocessing" in caller.co_filename:
            handled_at_exit = None
            act_on(sys.exc_info()[1], ENDING)

    traceback.print_exc = print_exc


# ---- The end of Python ----


def at_exit():
    """Act on an exception that a library's own sys.excepthook has reported, as pretty ones do."""
    global last_error
    error = take_pending()
    if error is None:
        error = getattr(sys, "last_value", None)
        if error is None:
            error = take_handled_at_exit()
        if error is last_error or not isinstance(error, BaseException):
            return
    last_error = error
    act_on(error, AT_EXIT)


def take_pending():
    """Return the exception that `act` must be called with at the end, and forget it."""
    global pending
    error, pending = pending, None
    return error


def take_handled_at_exit():
    """Return the exception that the main thread was handling at its sys.exit(), and forget it.

    None if something has caught the SystemExit, and the program has gone on.
    """
    global handled_at_exit
    ending, handled_at_exit = handled_at_exit, None
    if ending is None:
        return None
    error, outermost, place = ending  # after a caught SystemExit, the frame has moved on
    if sys.version_info >= (3, 11):
        return error if outermost.f_lasti == place else None
    # Before Python 3.11, code in `finally` moves the frame too. Ask whether it has returned.
    return error if outermost.f_code.co_code[outermost.f_lasti] != RETURN_VALUE else None


def act_later(error):
    """Call `act` when Python ends, before the program's own atexit functions."""
    global pending
    import atexit

    pending = error
    atexit.register(at_exit)


def catch_exits():
    """Find exceptions after which the program ends itself, as many command lines do."""
    leave_at_once = os._exit

    def _exit(status):
        global last_error
        later, error = take_pending(), sys.exc_info()[1]
        if error is None:
            error = take_handled_at_exit()  # such as of a child of multiprocessing
        # A kept process ends by this function, too: do not act on its exception again.
        if status and (later is not None or error is not last_error):
            last_error = error = error if later is None else later
            act_on(error, ENDING)
        leave_at_once(status)

    _exit.__doc__ = leave_at_once.__doc__
    os._exit, sys.exit = _exit, noting(sys.exit)
    Quitter.__call__ = noting(Quitter.__call__)  # type: ignore[method-assign]  # exit(), quit()


def noting(leave):
    """Return a function like sys.exit() that also takes note of the exception before it."""

    def exit(*arguments):
        global handled_at_exit
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
                handled_at_exit = None
                if is_failure and ending.__context__ is not None:
                    while frame.f_back is not None:
                        frame = frame.f_back
                    handled_at_exit = ending.__context__, frame, frame.f_lasti
            raise

    exit.__doc__ = leave.__doc__
    return exit
