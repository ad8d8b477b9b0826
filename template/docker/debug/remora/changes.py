"""What is changed in pydevd, so that it serves the hub, and how a session of it is ended.

If pydevd lacks what a change replaces, the program runs on without a debugger; a line says so.
Without what a nicety replaces, it is debugged all the same.
"""

import os
import sys
import threading
import time
from types import SimpleNamespace

from remora import paths, tracing, values
from remora.hook import say

applied = False

# Held while a session ends, until all is undone that pydevd has changed in the process.
ending = threading.Lock()

# How long threads that were stopped may take to notice that they are to go on, in seconds.
TIMEOUT = 5

# pydevd puts a function in its place that warns of its use.
settrace = sys.settrace


def apply(pydevd):
    """Make all changes, once."""
    global applied
    if not applied:
        for change in (
            connect_by_hub,
            wait_no_longer_than_hub,
            leave_processes,
            stop_when_closed,
            paths.apply,
        ):
            change(pydevd)
        is_early = threading.current_thread() is threading.main_thread()
        if not tracing.find_library(pydevd, settrace) and not is_early:
            say(
                f"in pid {os.getpid()}, only threads that start from now on can stop:"
                " on Python 3.8, the others could on x86 with glibc"
            )
        for nicety in (pause_in_program, keep_no_frames, values.apply):
            try:
                nicety(pydevd)
            except (AttributeError, ImportError):
                pass
        applied = True


def replace(owner, name, replacement):
    """Replace an attribute that has to be there: another one would change nothing."""
    getattr(owner, name)
    setattr(owner, name, replacement)


def connect_by_hub(pydevd):
    """Have pydevd use the socket that this process has to the hub."""
    from remora import engine

    connect = pydevd.start_client

    def start_client(host, port):
        # Any other host is one that the program's own code connects to.
        return engine.take_connection() if host == engine.HOST else connect(host, port)

    replace(pydevd, "start_client", start_client)


def wait_no_longer_than_hub(pydevd):
    """Have a program that waits for a client wait no longer than there is a connection."""

    def wait_for_ready_to_run(self):
        while not self.ready_to_run and not self.pydb_disposed:
            self.process_internal_commands()
            self._py_db_command_thread_event.clear()
            self._py_db_command_thread_event.wait(0.1)

    replace(pydevd.PyDB, "wait_for_ready_to_run", wait_for_ready_to_run)


def leave_processes(pydevd):
    """Have pydevd leave alone how processes are started, as the hook is in them, and start none."""
    import pydevd_tracing
    from _pydev_bundle import pydev_monkey
    from _pydevd_bundle.pydevd_defaults import PydevdCustomization

    replace(pydev_monkey, "patch_new_process_functions", lambda: None)
    # What pydevd would import in processes that it has started itself
    replace(PydevdCustomization, "PREIMPORT", "")
    # For the machine, platform of Python 3.8 runs `uname -p`.
    pydevd_tracing.platform = SimpleNamespace(machine=lambda: os.uname().machine)


def stop_when_closed(pydevd):
    """Have the program run at full speed once the connection to the hub has ended."""
    from _pydevd_bundle import pydevd_comm

    def end(thread):
        end_session(pydevd, thread.py_db)

    replace(pydevd_comm.ReaderThread, "_terminate_on_socket_close", end)


def end_session(pydevd, debugger):
    """End a session of pydevd, unless it has ended: None stands for the one that may be ending."""
    with ending:
        if debugger is None or getattr(debugger, "has_ended", False):
            return
        debugger.has_ended = True
        debugger.dispose_and_kill_all_pydevd_threads()
        pydevd.set_global_debugger(None)
        # A thread that pydevd still holds would have itself traced again.
        deadline = time.monotonic() + TIMEOUT
        while is_anything_stopped() and time.monotonic() < deadline:
            time.sleep(0.01)
        stop_tracing(pydevd)
        try:
            forget_session(debugger)
        except AttributeError:
            pass  # it is another pydevd, which keeps other things


def is_anything_stopped():
    """Tell whether a thread has not yet noticed that it is to go on."""
    return any(
        getattr(getattr(thread, "additional_info", None), "is_in_wait_loop", False)
        for thread in threading.enumerate()
    )


def pause_in_program(pydevd):
    """Have a pause that comes early stop in the program, and not where Python itself starts."""
    from _pydevd_bundle.pydevd_comm_constants import CMD_THREAD_SUSPEND

    wait = pydevd.PyDB.do_wait_suspend

    def do_wait_suspend(self, thread, frame, *arguments, **options):
        if getattr(thread, "stop_reason", None) == CMD_THREAD_SUSPEND and is_starting(frame):
            return None  # pydevd tries again at the next line
        return wait(self, thread, frame, *arguments, **options)

    pydevd.PyDB.do_wait_suspend = do_wait_suspend


def is_starting(frame):
    """Tell whether a frame is below `site`, which runs before the program."""
    while frame:
        if frame.f_code.co_name == "main" and frame.f_globals.get("__name__") == "site":
            return True
        frame = frame.f_back
    return False


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
        # Without stop_thread here, a loop that calls nothing would never get to it.
        trace = None if thread == threading.get_ident() else stop_thread
        while frame:
            frame.f_trace = trace
            frame = frame.f_back
    settrace(None)


def stop_thread(frame, event, argument):
    """End the tracing of a thread, as its trace function: no thread can do so for another."""
    if sys.gettrace() is stop_thread:
        settrace(None)
    while frame:
        if frame.f_trace is stop_thread:
            frame.f_trace = None
        frame = frame.f_back


def forget_session(debugger):
    """Let go of what refers to a session that has ended, so that its memory is free at once.

    The garbage collector comes to an idle program only after hundreds of sessions.
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
    # These refer to the debugger itself.
    debugger.trace_dispatch = debugger._local_thread_trace_func = None
    debugger.source_mapping._on_source_mapping_changed = None


def forget_stops():
    """Have no thread stop again where it was stopped, or about to, when the last client left."""
    from _pydevd_bundle import pydevd_thread_lifecycle

    pydevd_thread_lifecycle.resume_threads("*")


def keep_no_frames(pydevd):
    """Have pydevd keep no frames, with all of their variables, in which it has started tracing.

    The frame of the function that does so is one of them, and would keep itself.
    """
    if pydevd.PYDEVD_USE_SYS_MONITORING:
        # There, a thread of a server sometimes stopped as a dummy of threading with the same ident,
        # and the client got no answer for its variables. Why is not known yet.
        return
    import pydevd_tracing

    def set_tracing_for_untraced_contexts(self, breakpoints_changed=False):
        frames = sys._current_frames()
        for thread in threading.enumerate():
            names = ("is_pydev_daemon_thread", "pydev_do_not_trace")
            if any(getattr(thread, name, False) for name in names):
                frames.pop(thread.ident, None)
        while frames:
            self.set_trace_for_frame_and_parents(*frames.popitem())

    replace(pydevd.PyDB, "set_tracing_for_untraced_contexts", set_tracing_for_untraced_contexts)
    # By its own frame, what pydevd has for sys.settrace looks only for its caller.
    pydevd_tracing.get_frame = lambda: SimpleNamespace(f_back=sys._getframe(2))
