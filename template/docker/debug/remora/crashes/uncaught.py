"""Find exceptions that nothing catches, in any thread or child process.

This module replaces hooks of sys, and a function of threading. The hook that was there before
reports the exception first, as it would without a debugger.
"""

import _thread
import builtins
import sys

from .. import forks
from ..libraries import imports

# When an exception is found: it is about to end the process; the process goes on; Python is ending;
# or another hook wraps this layer's hook, and may print its report only afterwards.
ENDING, GOING_ON, AT_EXIT, WRAPPED = "ending", "going on", "at exit", "wrapped"

# How many exceptions of a group are looked at, in all levels.
MEMBERS = 1000

# How the file names begin of code that a user types at a prompt: of `code`, Python 3.13 and IPython
TYPED = ("<console>", "<python-input-", "<ipython-input-")

# The function that is called with an exception, and with one of these moments
act = None

# The last exception that `act` was called with, except those that only a thread reports
last_error = None


def catch(action, more=()):
    """Call a function with every exception that nothing else catches.

    action: takes the exception and the moment. more: further functions that change modules to find
    exceptions, by the module's name: see libraries/imports.py.
    """
    global act
    act = action
    catch_in_main()
    catch_what_python_ignores()
    imports.change({"threading": catch_in_threads, **dict(more)})


def act_on(error, moment):
    """Act on an exception at a moment, unless it is a wanted end, or was raised nowhere."""
    if error is None or issubclass(type(error), (SystemExit, KeyboardInterrupt)):
        return
    if is_typed(error):
        return  # the user reads it at the prompt, and goes on there
    if trace_of(innermost(error)) is not None:  # a script that cannot be parsed raises nowhere
        act(error, moment)


def is_typed(error):
    """Tell whether code that a user has typed at a prompt has raised an exception."""
    trace, is_prompt = trace_of(error), hasattr(sys, "ps1")
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        # A script that is read from a pipe is called <stdin>, too.
        if file.startswith(TYPED) or (is_prompt and file.startswith("<stdin>")):
            return True
        trace = trace.tb_next
    return False


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


def replace(name, hook):
    """Replace a hook of sys, and what Python keeps as its own hook, so that both stay the same.

    `exceptiongroup` and `code` compare them, and print an exception in another way if they differ.
    """
    if getattr(sys, f"__{name}__") is getattr(sys, name):
        setattr(sys, f"__{name}__", hook)
    setattr(sys, name, hook)


def catch_in_main():
    """Find exceptions that end the main thread."""
    report = sys.excepthook

    def excepthook(kind, error, trace):
        global last_error
        report(kind, error, trace)
        last_error = error
        moment = ENDING if _thread.get_ident() == forks.main_ident else GOING_ON
        act_on(error, moment if sys.excepthook is excepthook else WRAPPED)

    replace("excepthook", excepthook)


def catch_in_threads(threading):
    """Find exceptions that end a thread. threading: the module.

    The program may replace threading.excepthook as a whole. So find what calls that hook.
    """
    make = threading._make_invoke_excepthook

    def _make_invoke_excepthook():
        report = make()

        def invoke_excepthook(thread):
            report(thread)
            error = sys.exc_info()[1]
            if error is not last_error:  # or the program's own hook has called sys.excepthook
                act_on(error, GOING_ON)

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

    replace("unraisablehook", unraisablehook)
