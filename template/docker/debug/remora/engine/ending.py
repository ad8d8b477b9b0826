"""The end of a session of pydevd: end the tracing, and release what pydevd keeps of the session.

This module touches pydevd's data, and the trace functions of all threads.
"""

import sys
import threading
import time

from ..sources import paths
from . import limits, tracing, values

# Held until everything is undone that pydevd has changed in the process.
lock = threading.Lock()

# How long stopped threads may take to notice that they may go on, in seconds.
TIMEOUT = 5

# sys.settrace() before pydevd replaces it with a function that warns
settrace = sys.settrace


def end_session(pydevd, debugger):
    """End a session of pydevd, unless it has ended.

    debugger: pydevd's PyDB. None waits for another thread that may be ending the session.
    """
    with lock:
        if debugger is None or getattr(debugger, "has_ended", False):
            return
        debugger.has_ended = True
        debugger.dispose_and_kill_all_pydevd_threads()
        pydevd.set_global_debugger(None)
        # A thread that is still stopped would start to trace itself again.
        deadline = time.monotonic() + TIMEOUT
        limits.end_all()
        while is_anything_stopped() and time.monotonic() < deadline:
            time.sleep(0.01)
        stop_tracing(pydevd)
        try:
            forget_session(debugger)
        except AttributeError:
            pass  # another version of pydevd, which keeps other things


def is_anything_stopped():
    """Tell whether a thread has not yet noticed that it may go on."""
    return any(
        getattr(getattr(thread, "additional_info", None), "is_in_wait_loop", False)
        for thread in threading.enumerate()
    )


def stop_tracing(pydevd):
    """Undo what pydevd has done to this process to trace it."""
    from _pydev_bundle.pydev_monkey import undo_patch_thread_modules
    from _pydevd_bundle.pydevd_constants import PYDEVD_USE_SYS_MONITORING

    undo_patch_thread_modules()
    if PYDEVD_USE_SYS_MONITORING:
        from _pydevd_sys_monitoring import pydevd_sys_monitoring

        pydevd_sys_monitoring.stop_monitoring(all_threads=True)
        return
    import pydevd_tracing

    pydevd_tracing.restore_sys_set_trace_func()
    threading.settrace(None)
    pydevd_tracing.set_trace_to_threads(stop_thread, create_dummy_thread=False)
    for thread, frame in sys._current_frames().items():
        # Without stop_thread here, a loop that calls nothing would be traced without end.
        trace = None if thread == threading.get_ident() else stop_thread
        while frame:
            frame.f_trace = trace
            frame = frame.f_back
    settrace(None)


def stop_thread(frame, event, argument):
    """End the tracing of the thread that runs this, as its trace function.

    No thread can end the tracing of another.
    """
    if tracing.is_traced_by(stop_thread):
        settrace(None)
    while frame:
        if frame.f_trace is stop_thread:
            frame.f_trace = None
        frame = frame.f_back


def forget_session(debugger):
    """Release what refers to a session that has ended, so that its memory is free at once.

    In an idle program, the garbage collector would run only after hundreds of sessions.
    """
    import pydevd_tracing
    from _pydevd_bundle.pydevd_constants import _thread_id_to_thread_found as known

    threads = threading.enumerate()
    for thread in [*threads, *known.values()]:
        info = getattr(thread, "additional_info", None)
        if info:
            info.thread_tracer = info.top_level_thread_tracer_unhandled = None
            info.top_level_thread_tracer_no_back_frames = []
    for key in [key for key, thread in list(known.items()) if thread not in threads]:
        del known[key]
    pydevd_tracing._last_tracing_func_thread_local = threading.local()
    paths.pending.clear()
    values.slow.clear()
    # These refer to the debugger. A thread that begins at this moment still reads both attributes.
    debugger.trace_dispatch = None
    debugger._local_thread_trace_func = threading.local()
    debugger.source_mapping._on_source_mapping_changed = None


def forget_stops():
    """Let all threads go on that pydevd has stopped, or is about to stop, for the last client."""
    from _pydevd_bundle import pydevd_thread_lifecycle

    pydevd_thread_lifecycle.resume_threads("*")
