"""Mode `crash`: keep the process after an uncaught exception until a client has looked at it."""

import _thread
import os
import sys

from .. import forks, link, program, waiting
from ..hook import say, setting
from . import exits, uncaught

# Held while an exception of this process waits for a client, or is shown. The hub keeps one crash
# of a process at a time, so a client sees them one after the other.
turn = _thread.allocate_lock()

# How many exceptions nobody has looked at, as the hub has let them go
unseen = 0


def catch():
    """Catch every exception that nothing else catches, for keep().

    A kept worker would hold up its pool. So this leaves exceptions that a worker hands on to its
    parent, except if REMORA_TARGET is set: this process is then one that the setting names.
    """
    more = ()
    if setting("TARGET"):
        from . import reported

        more = reported.handed_on()
    os.register_at_fork(after_in_child=free_turn)
    uncaught.catch(keep, more)
    exits.catch()


def free_turn():
    """Forget the parent's exceptions in a forked process, which has one thread."""
    global turn
    turn = _thread.allocate_lock()


def keep(error, moment):
    """Keep the process after an exception, in a thread that holds nothing else up.

    error: the exception. moment: one of ENDING, GOING_ON, AT_EXIT, WRAPPED of uncaught.py.
    """
    if program.is_attached():
        return  # the user has chosen which exceptions to stop at
    if moment == uncaught.WRAPPED:
        is_main = _thread.get_ident() == forks.main_ident
        # Python 3.12 starts no threads while it ends, so it cannot act then.
        if is_main and sys.version_info[:2] != (3, 12):
            return exits.act_later(error)
        moment = uncaught.ENDING if is_main else uncaught.WRAPPED
    try:
        import threading

        if moment == uncaught.AT_EXIT:
            # By now, pydevd believes that the main thread has ended. It leaves a process without
            # threads, so start another thread.
            thread = threading.Thread(target=hold, args=[error, True])

            def run():
                thread.start()
                thread.join()

            return waiting.until_signal(run)
        if moment == uncaught.WRAPPED:
            return threading.Thread(target=hold, args=[error, False]).start()
        # pydevd leaves a process that has only daemon threads, so start one of another kind.
        done = threading.Event()
        threading.Thread(target=done.wait, daemon=False).start()
    except RuntimeError:  # raised by Python 3.12 while it ends
        return say(f"the {name_of(error)} of pid {os.getpid()} cannot be kept: Python ends")
    except Exception as problem:  # such as a file of the program called threading.py
        return say(f"the {name_of(error)} of pid {os.getpid()} cannot be kept: {problem!r}")
    try:
        hold(error, moment == uncaught.ENDING)
    finally:
        done.set()


def name_of(error):
    """Return the name of an exception's class."""
    return type(error).__name__


def hold(error, ends):
    """Wait until a client has looked at an exception and gone on, or nobody wants to wait.

    ends: whether the process then ends.
    """
    try:
        waiting.until_signal(wait_for_turn, error, ends)
    except Exception as problem:
        say(f"cannot show the {name_of(error)} of pid {os.getpid()}: {problem!r}")


def wait_for_turn(error, ends):
    """Call wait_for_client() once no other exception of this process waits. Arguments: see hold().

    If the hub lets the other exception go, keep none: the process should go on.
    """
    unseen_before = unseen
    if not turn.acquire(False):
        say(f"{name_of(error)} in pid {os.getpid()} is shown after the one that is kept")
        turn.acquire()
    try:
        if unseen == unseen_before:
            wait_for_client(error, ends)
    finally:
        turn.release()


def wait_for_client(error, ends):
    """Show an exception to the client, and wait for one if none is attached.

    Arguments: see hold().
    """
    global unseen
    # The output that reports the exception may be in a buffer, which a signal would discard.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, or None
    link.start_hub(wait=True)
    connection = link.connect()
    if connection is None:
        return  # these functions have said why
    answer = link.exchange(connection, {"crash": name_of(error), "ends": ends})
    if not answer:
        problem = "the debugger's hub does not answer"
        return say(f"the {name_of(error)} of pid {os.getpid()} cannot be kept: {problem}")
    connection.settimeout(None)
    for line in answer.get("say", []):
        say(line)
    if answer["kept"]:
        if program.join(crashed=True):
            show(error)
        else:
            unseen += 1
    elif answer["holds"]:
        connection.recv(1)  # until the hub closes the connection
    connection.close()


def show(error):
    """Stop the client at the line that raised an exception, with its variables."""
    from ..engine.engine import debugpy

    error = uncaught.innermost(error)
    api = debugpy.server.api  # its functions import nothing, unlike debugpy's own
    if hasattr(api, "trigger_exception_handler"):
        api.trigger_exception_handler(error, as_uncaught=False)
        return

    # debugpy has this function since 1.8.22, but the last for Python 3.8 and 3.9 is older.
    import threading

    import pydevd

    debugger, thread = pydevd.get_global_debugger(), threading.current_thread()
    frame, trace = None, uncaught.trace_of(error)
    while trace:
        if debugger.get_file_type(trace.tb_frame) != debugger.PYDEV_FILE:
            frame = trace.tb_frame
        trace = trace.tb_next
    info = debugger.set_additional_thread_info(thread)
    info.is_tracing += 1  # keep the debugger from tracing itself
    try:
        exception = (type(error), error, error.__traceback__)
        debugger.do_stop_on_unhandled_exception(thread, frame, {}, exception)
    finally:
        info.is_tracing -= 1
