"""Mode `crash`: an uncaught exception is kept until a client has looked at it."""

import os
import sys
import threading
from contextlib import suppress

from remora import link, program, uncaught
from remora.hook import say


def catch():
    """Have every exception that nothing else has caught looked at."""
    uncaught.catch(keep, keep_at_end)


def keep_at_end(error):
    """Keep an exception that is found when Python ends."""
    # By now the main thread has ended for pydevd, which leaves a process without threads.
    last = threading.Thread(target=keep, args=[error])
    try:
        last.start()
        program.until_signal(last.join)
    except RuntimeError:
        say_lost(error)


def say_lost(error):
    """Say that Python 3.12, which starts no thread any more when it ends, cannot run an engine."""
    say(f"the {type(error).__name__} of pid {os.getpid()} cannot be kept: Python ends")


def keep(error):
    """Keep what an uncaught exception leaves until a client has attached and gone on from there."""
    if program.is_attached():
        return  # its user has chosen which exceptions to stop at
    # Python waits for no daemon thread, and pydevd leaves a process that has no others.
    done = threading.Event()
    try:
        threading.Thread(target=done.wait, daemon=False).start()
    except RuntimeError:
        return say_lost(error)
    try:
        program.until_signal(wait_for_client, error)
    except Exception as problem:
        say(f"cannot show the {type(error).__name__} of pid {os.getpid()}: {problem!r}")
    finally:
        done.set()


def wait_for_client(error):
    """Show an exception to the client, which may have yet to come."""
    # What has reported it may have its output in a buffer, which a signal would not write.
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or none
            stream.flush()
    from remora import engine

    engine.load()  # which may fail, so before anything is promised
    say(f"{type(error).__name__} in pid {os.getpid()}, kept as it is")
    link.start_hub(wait=True)
    if program.join(crashed=True):
        show(error)


def show(error):
    """Stop the client at the line that raised an exception, with its variables."""
    from remora.engine import debugpy

    error = uncaught.innermost(error)
    if hasattr(debugpy, "trigger_exception_handler"):
        debugpy.trigger_exception_handler(error, as_uncaught=False)
        return

    # Before 1.8.22, which is all that Python 3.8 and 3.9 get, debugpy had no function for this.
    import pydevd

    debugger, thread = pydevd.get_global_debugger(), threading.current_thread()
    frame, trace = None, uncaught.trace_of(error)
    while trace:
        if debugger.get_file_type(trace.tb_frame) != debugger.PYDEV_FILE:
            frame = trace.tb_frame
        trace = trace.tb_next
    info = debugger.set_additional_thread_info(thread)
    info.is_tracing += 1  # the debugger's own work is not to be traced
    try:
        exception = (type(error), error, error.__traceback__)
        debugger.do_stop_on_unhandled_exception(thread, frame, {}, exception)
    finally:
        info.is_tracing -= 1
