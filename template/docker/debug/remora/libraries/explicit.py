"""Calls of debugpy and pydevd in the program's own code.

The hub answers calls that are about its own port: it listens there already. So
`debugpy.listen(5678)` returns, and later calls behave as if debugpy had listened. At another port,
debugpy does what it always does, unless a client of the hub debugs the process: a process has one
debugger, so there is no need to listen.

`pydevd.settrace(host)` calls the debugger of another editor, such as PyCharm. If a client of the
hub is attached, the call is a breakpoint. If nothing answers at the host, the call is ignored.

This module replaces functions of the modules debugpy and pydevd.
"""

import os
import sys

from .. import link, program
from ..hook import HOME, say, setting
from . import imports


def answer(debugpy, skip=()):
    """Replace the functions of debugpy that the hub answers, except those named in `skip`."""
    if not hasattr(debugpy, "wait_for_client"):
        return  # a module of the program that is also called debugpy
    imports.forget("pydevd")  # the pydevd that debugpy imports is its own
    for name, function in FUNCTIONS.items():
        if name not in skip:
            setattr(debugpy, name, _wrapped(function, getattr(debugpy, name)))


def answer_settrace(pydevd):
    """Make pydevd.settrace() in the program's own code an explicit breakpoint."""
    original = getattr(pydevd, "settrace", None)
    if getattr(original, "__module__", __name__) == __name__:
        return  # there is no such function, or it is replaced already
    reaches_nobody = False

    def settrace(*arguments, **options):
        nonlocal reaches_nobody
        caller = sys._getframe(1)
        package = caller.f_globals.get("__name__", "").partition(".")[0]
        if package in ("_remora", "debugpy", "pydevd"):
            return original(*arguments, **options)
        if program.is_attached():
            is_to_stop = options.get("suspend", arguments[4] if len(arguments) > 4 else True)
            return original(suspend=True, stop_at_frame=caller) if is_to_stop else None
        if reaches_nobody:
            return None  # pydevd takes itself for connected, and would wait without end
        try:
            return original(*arguments, **options)
        except OSError as error:
            reaches_nobody = True
            say(
                f"pid {os.getpid()} goes on after pydevd.settrace(), which could not connect:"
                f" {error}"
            )

    pydevd.settrace = settrace


def _wrapped(function, original):
    def wrapper(*arguments, **options):
        return function(original, *arguments, **options)

    vars(wrapper).update(vars(original))  # such as wait_for_client.cancel
    return wrapper


def _listen(original, address, **options):
    port = int(setting("PORT", "5678"))
    if (address if isinstance(address, int) else address[1]) != port:
        if not program.is_attached():
            return original(address, **options)
        say(
            f"pid {os.getpid()} does not listen at another port:"
            f" a client of port {port} debugs it already"
        )
        if "ipykernel.debugger" in sys.modules:
            raise RuntimeError("another client debugs this kernel")  # or it waits there forever
    if not link.exists(link.HUB):  # a client would be shown the fork
        link.start_hub(wait=True)
    return "127.0.0.1", port


def _wait_for_client(original):
    # The program may have made its own debugpy listen, at another port.
    has_session = "pydevd" in sys.modules and sys.modules["pydevd"].get_global_debugger()
    return original() if has_session else program.join(held=True)


def _breakpoint(original):
    # In a session of the program's own debugpy, the original function would stop in this file.
    if program.is_attached():
        pydevd = sys.modules["pydevd"]
        frame, debugger = sys._getframe(), pydevd.get_global_debugger()
        # The built-in breakpoint() reaches this function through a file of debugpy.
        while frame and (
            frame.f_code.co_filename.startswith(HOME + "/")
            or debugger.get_file_type(frame) == debugger.PYDEV_FILE
        ):
            frame = frame.f_back
        pydevd.settrace(
            suspend=True,
            trace_only_current_thread=True,
            patch_multiprocessing=False,
            stop_at_frame=frame,
        )


def _is_client_connected(original):
    return program.is_attached()


FUNCTIONS = {
    "listen": _listen,
    "wait_for_client": _wait_for_client,
    "breakpoint": _breakpoint,
    "is_client_connected": _is_client_connected,
}

# Which function changes which module once the program has imported it: see imports.py.
ACTIONS = {"debugpy": answer, "pydevd": answer_settrace}
