"""Threads of the debug layer in a program."""

import threading

# Those that were started last. If one went at its own end, what Python runs then would be a thread
# of its own for pydevd, which would take the next thread with that ident for that one.
kept = []


def start(function):
    """Start a thread that the debugger does not show, and return it."""
    thread = threading.Thread(target=function, name="remora", daemon=True)
    vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)
    kept[:] = [*kept[-1:], thread]
    thread.start()
    return thread


def call(function):
    """Call a function, in another thread if this one is the layer's. Raises what it raises.

    This one may have begun in a session that has ended. pydevd would stop it with the program.
    """
    if threading.current_thread() not in kept:
        return function()
    errors = []

    def run():
        try:
            function()
        except Exception as error:
            errors.append(error)

    start(run).join()
    if errors:
        raise errors[0]
