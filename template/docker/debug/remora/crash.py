"""Mode `crash`: an uncaught exception is kept until a client has looked at it."""

import _thread
import os
import sys

from remora import link, program, uncaught
from remora.hook import say, setting


def catch():
    """Have every exception that nothing else has caught looked at.

    A worker that is kept holds up its pool. So what it hands on is left to the parent, unless
    REMORA_TARGET has named the worker: the hook passes over those that it does not name.
    """
    more = ()
    if setting("TARGET"):
        from remora import reported

        more = reported.handed_on()
    uncaught.catch(keep, more)


def keep(error, moment):
    """Keep what an exception leaves, where nothing waits for this. moment: see uncaught.py"""
    if program.is_attached():
        return  # its user has chosen which exceptions to stop at
    if moment == uncaught.WRAPPED:
        is_main = _thread.get_ident() == program.main
        # Python 3.12 starts no thread any more when it ends, so there is no later.
        if is_main and sys.version_info[:2] != (3, 12):
            return uncaught.act_later(error)
        moment = uncaught.ENDING if is_main else uncaught.WRAPPED
    try:
        import threading

        if moment == uncaught.AT_EXIT:
            # By now the main thread has ended for pydevd, which leaves a process without threads.
            thread = threading.Thread(target=hold, args=[error, True])
            thread.start()
            return program.until_signal(thread.join)
        if moment == uncaught.WRAPPED:
            return threading.Thread(target=hold, args=[error, False]).start()
        # Python waits for no daemon thread, and pydevd leaves a process that has no others.
        done = threading.Event()
        threading.Thread(target=done.wait, daemon=False).start()
    except RuntimeError:  # as Python 3.12 has it
        return say(f"the {name_of(error)} of pid {os.getpid()} cannot be kept: Python ends")
    try:
        hold(error, moment == uncaught.ENDING)
    finally:
        done.set()


def name_of(error):
    """Return the name of an exception's class."""
    return type(error).__name__


def hold(error, ends):
    """Wait until a client has attached and gone on from an exception, or nobody wants to wait.

    ends: whether the process ends then
    """
    try:
        program.until_signal(wait_for_client, error, ends)
    except Exception as problem:
        say(f"cannot show the {name_of(error)} of pid {os.getpid()}: {problem!r}")


def wait_for_client(error, ends):
    """Show an exception to the client, which may have yet to come."""
    # What has reported it may have its output in a buffer, which a signal would not write.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, or none
    link.start_hub(wait=True)
    connection = link.connect()
    if connection is None and link.exists(link.HUB):
        return None  # it is another user's, which has been said
    answer = connection and link.exchange(connection, {"crash": name_of(error), "ends": ends})
    if not answer:
        problem = "the debugger's hub does not answer"
        return say(f"the {name_of(error)} of pid {os.getpid()} cannot be kept: {problem}")
    connection.settimeout(None)
    for line in answer.get("say", []):
        say(line)
    if answer["kept"]:
        if program.join(crashed=True):
            show(error)
    elif answer["holds"]:
        connection.recv(1)  # until the hub closes it
    connection.close()


def show(error):
    """Stop the client at the line that raised an exception, with its variables."""
    from remora.engine import debugpy

    error = uncaught.innermost(error)
    api = debugpy.server.api  # which has no imports, as debugpy itself has at the first call
    if hasattr(api, "trigger_exception_handler"):
        api.trigger_exception_handler(error, as_uncaught=False)
        return

    # Before 1.8.22, which is all that Python 3.8 and 3.9 get, debugpy had no function for this.
    import threading

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
