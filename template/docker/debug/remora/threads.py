"""Threads of the debug layer in a program, which the debugger neither shows nor stops."""

import threading

# The last threads that were started. Their objects must outlive them. Otherwise pydevd would see a
# new thread in Python's last steps of such a thread, and would confuse that with a later thread of
# the same ident.
kept = []


def start(function):
    """Start a thread of this layer that calls `function`, and return it."""
    thread = threading.Thread(target=function, name="remora", daemon=True)
    # These attributes are pydevd's.
    vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)
    kept[:] = [*kept[-1:], thread]
    thread.start()
    return thread


def call(function):
    """Call a function, in a new thread if the present thread is the layer's.

    A thread of the layer may have begun in an earlier session. pydevd would stop such a thread with
    the program. Raises what the function raises.
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
