"""Exceptions that nothing catches, in any thread or child process, and what is done with them.

Every hook that was there before reports the exception first, as it would without a debugger.
"""

import _thread
import builtins
import os
import sys

from remora import imports, program

# When an exception is found: the process is about to end by it; or goes on; or ends by now. Or it
# is a hook that something wraps, which may hold back what was reported until the hook returns.
ENDING, GOING_ON, AT_EXIT, WRAPPED = "ending", "going on", "at exit", "wrapped"

# The instruction that a frame ends with, of Python 3.8 to 3.10.
RETURN_VALUE = 83

# How many exceptions of a group are looked at, in all.
MEMBERS = 1000

# What to do with an exception: a function of it, and of when it is found.
act = None

# The last exception of the main thread that was acted on.
seen = None

# One that is to be acted on when Python ends.
pending = None

# Of a sys.exit() of the main thread while an exception was handled: that exception, the outermost
# frame, and where that was.
left = None


def catch(action, more=()):
    """Have something done with every exception that nothing else has caught.

    action: see `act`. more: changes to other modules that find exceptions, as imports.py has them.
    """
    global act
    import atexit

    act = action
    catch_in_main()
    catch_in_unnamed_threads()
    catch_exits()
    atexit.register(at_exit)
    actions = {"threading": catch_in_threads, "traceback": catch_in_children}
    imports.change({**actions, **dict(more)})


def tell(error, moment):
    """Act on an exception, unless it is an end that was asked for, or was raised nowhere."""
    if error is None or issubclass(type(error), (SystemExit, KeyboardInterrupt)):
        return
    if trace_of(innermost(error)) is not None:  # as a main script has none that cannot be parsed
        act(error, moment)


def trace_of(error):
    """Return the traceback of an exception, whatever its class makes of that name."""
    return vars(BaseException)["__traceback__"].__get__(error)


def innermost(error):
    """Return the exception to look at: of a group (Python 3.11), the first that was raised."""
    kind = vars(builtins).get("BaseExceptionGroup", ())
    waiting, found = [error], error
    for _ in range(MEMBERS):
        if not waiting:
            break
        one = waiting.pop()
        is_group = issubclass(type(one), kind)
        if is_group:
            waiting.extend(reversed(kind.exceptions.__get__(one)[:MEMBERS]))
        if trace_of(one) is not None:
            if not is_group:
                return one
            found = one if found is error else found
    return found


# ---- What Python itself reports ----


def catch_in_main():
    """Have exceptions found that end the main thread."""
    report = sys.excepthook

    def excepthook(kind, error, trace):
        global seen
        report(kind, error, trace)
        seen = error
        tell(error, ENDING if sys.excepthook is excepthook else WRAPPED)

    sys.excepthook = excepthook


def catch_in_threads(threading):
    """Have exceptions found that end a thread. threading: the module."""
    report = threading.excepthook

    def excepthook(arguments):
        report(arguments)
        tell(arguments.exc_value, GOING_ON if threading.excepthook is excepthook else WRAPPED)

    threading.excepthook = excepthook


def catch_in_unnamed_threads():
    """Have exceptions found that end a thread of `_thread`."""
    report = sys.unraisablehook

    def unraisablehook(arguments):
        report(arguments)
        if "thread started by" in (arguments.err_msg or ""):
            is_outer = sys.unraisablehook is unraisablehook
            tell(arguments.exc_value, GOING_ON if is_outer else WRAPPED)

    sys.unraisablehook = unraisablehook


def catch_in_children(traceback):
    """Have exceptions found that end a child of multiprocessing, which reports them itself.

    traceback: the module, by which it does.
    """
    report = traceback.print_exc

    def print_exc(*arguments, **options):
        report(*arguments, **options)
        caller = sys._getframe(1).f_code
        if caller.co_name == "_bootstrap" and "multiprocessing" in caller.co_filename:
            tell(sys.exc_info()[1], ENDING)

    traceback.print_exc = print_exc


# ---- The end of Python ----


def at_exit():
    """Act on what libraries have caught in a sys.excepthook of their own, as pretty ones do."""
    global seen
    error = take_pending()
    if error is None:
        error = getattr(sys, "last_value", None)
        if error is None:
            error = take_left()
        if error is seen or not isinstance(error, BaseException):
            return
    seen = error
    tell(error, AT_EXIT)


def take_pending():
    """Return the exception that is to be acted on at the end, once."""
    global pending
    error, pending = pending, None
    return error


def take_left():
    """Return the exception that a sys.exit() has followed, once, if the program ends by that."""
    global left
    ending, left = left, None
    if ending is None:
        return None
    error, outermost, place = ending
    # Or the end was caught, and the program has gone on.
    if sys.version_info >= (3, 11):
        return error if outermost.f_lasti == place else None
    # Code in `finally` is another place, until Python 3.11.
    return error if outermost.f_code.co_code[outermost.f_lasti] != RETURN_VALUE else None


def act_later(error):
    """Have an exception acted on when Python ends, before the program's own handlers of that."""
    global pending
    import atexit

    pending = error
    atexit.register(at_exit)


def catch_exits():
    """Have exceptions found after which the program ends itself, as command lines have it."""
    leave, leave_at_once = sys.exit, os._exit

    def exit(*status):
        global left
        try:
            leave(*status)
        except SystemExit as ending:
            # A command line that is wrong ends a program with 2.
            code = ending.code
            is_failure = code is not None and not (type(code) is int and code in (0, 2))
            if _thread.get_ident() == program.main:
                left = None
                if is_failure and ending.__context__ is not None:
                    frame = sys._getframe(1)
                    while frame.f_back is not None:
                        frame = frame.f_back
                    left = ending.__context__, frame, frame.f_lasti
            raise

    def _exit(status):
        global seen
        later, error = take_pending(), sys.exc_info()[1]
        if error is None:
            error = take_left()  # as of a child of multiprocessing
        # While a client is waited for, the debug layer ends the process so, too.
        if status and (later is not None or error is not seen):
            seen = error = error if later is None else later
            tell(error, ENDING)
        leave_at_once(status)

    exit.__doc__, _exit.__doc__ = leave.__doc__, leave_at_once.__doc__
    sys.exit, os._exit = exit, _exit
