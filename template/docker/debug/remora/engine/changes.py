"""Changes to pydevd, so that it serves the hub.

This module replaces attributes of pydevd's modules.

If pydevd lacks what a necessary change replaces, the program runs on without a debugger, and the
log says so. If pydevd lacks what an improvement replaces, the program is debugged without it.
"""

import itertools
import os
import sys
import threading
from types import SimpleNamespace

from ..hook import say
from ..libraries import templates
from ..sources import paths
from . import answering, delays, ending, tracing, values

applied = False

# Where a session begins to count changes of breakpoints: see forget_breakpoints().
changes_before = itertools.count(10_000, 10_000)


def apply(pydevd):
    """Make all changes, once.

    Raises AttributeError or ImportError if pydevd lacks a necessary part.
    """
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
        if not tracing.find_library(pydevd, ending.settrace) and not is_early:
            say(
                f"in pid {os.getpid()}, only threads that start from now on can stop:"
                " on Python 3.8, earlier threads can only on x86 with glibc"
            )
        for improvement in (
            answering.answer_when_traced,
            answering.refuse_what_fails,
            pause_in_program,
            stop_when_uncaught,
            keep_no_frames,
            forget_breakpoints,
            delays.wake_threads,
            delays.begin_at_once,
            delays.skip_libraries,
            end_quietly,
            tracing.take_threads_as_they_are,
            tracing.start_threads_quietly,
            values.apply,
            templates.apply,
        ):
            try:
                improvement(pydevd)
            except (AttributeError, ImportError):
                pass
        applied = True


def replace(owner, name, replacement):
    """Replace an attribute that must exist: an attribute of a new name would change nothing.

    Raises AttributeError if `owner` has no attribute `name`.
    """
    getattr(owner, name)
    setattr(owner, name, replacement)


def connect_by_hub(pydevd):
    """Make pydevd use this process's socket to the hub."""
    from . import engine

    connect = pydevd.start_client

    def start_client(host, port):
        # Another host is one that the program's own code connects to.
        return engine.take_connection() if host == engine.HOST else connect(host, port)

    replace(pydevd, "start_client", start_client)


def wait_no_longer_than_hub(pydevd):
    """Let a program wait for a client only as long as it is connected to the hub."""

    def wait_for_ready_to_run(self):
        while not self.ready_to_run and not self.pydb_disposed:
            self._py_db_command_thread_event.wait(0.1)
            self._py_db_command_thread_event.clear()
            self.process_internal_commands()

    replace(pydevd.PyDB, "wait_for_ready_to_run", wait_for_ready_to_run)


def leave_processes(pydevd):
    """Keep pydevd out of how processes are started, and let it start none itself.

    The hook runs in every new process already.
    """
    import pydevd_tracing
    from _pydev_bundle import pydev_monkey
    from _pydevd_bundle.pydevd_defaults import PydevdCustomization

    replace(pydev_monkey, "patch_new_process_functions", lambda: None)
    # pydevd would import these modules in processes that it has started itself.
    replace(PydevdCustomization, "PREIMPORT", "")
    # On Python 3.8, platform.machine() would run `uname -p`.
    pydevd_tracing.platform = SimpleNamespace(machine=lambda: os.uname().machine)


def stop_when_closed(pydevd):
    """Let the program run at full speed once the connection to the hub has ended."""
    from _pydevd_bundle import pydevd_comm

    def end(thread):
        ending.end_session(pydevd, thread.py_db)

    replace(pydevd_comm.ReaderThread, "_terminate_on_socket_close", end)


def forget_breakpoints(pydevd):
    """Make pydevd forget which lines had breakpoints in an earlier session.

    pydevd stores for each code object which lines have one, together with the debugger's count of
    changes, and looks again when the count differs. A new debugger would begin to count at the same
    number, so each debugger begins at a number of its own.
    """
    begin = pydevd.PyDB.__init__

    def __init__(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.mtime += next(changes_before)

    pydevd.PyDB.__init__ = __init__


def end_quietly(pydevd):
    """Silence an error message of Python 3.13 and later at the end of a traced process.

    When a thread ends that pydevd knows only as a dummy, pydevd asks for the thread again, which
    makes another dummy. Python deletes that dummy when the module `threading` is already empty.
    """
    tracker = threading._DeleteDummyThreadOnDel  # type: ignore[attr-defined]
    forget = tracker.__del__

    def __del__(self):
        try:
            forget(self)
        except TypeError:
            pass

    tracker.__del__ = __del__


def pause_in_program(pydevd):
    """Make an early pause stop in the program, and not in Python's own start-up code."""
    from _pydevd_bundle.pydevd_comm_constants import CMD_THREAD_SUSPEND

    wait = pydevd.PyDB.do_wait_suspend

    def do_wait_suspend(self, thread, frame, *arguments, **options):
        if getattr(thread, "stop_reason", None) == CMD_THREAD_SUSPEND and is_starting(frame):
            return None  # pydevd tries again at the next line
        return wait(self, thread, frame, *arguments, **options)

    pydevd.PyDB.do_wait_suspend = do_wait_suspend


def stop_when_uncaught(pydevd):
    """Make pydevd find exceptions that nothing in the program catches, on Python 3.8 to 3.11.

    pydevd looks for the outermost function of a thread once. Before the program begins, that is the
    import of Python's own start-up code.
    """
    begin = pydevd.PyDB.__init__

    def __init__(self, *arguments, **options):
        begin(self, *arguments, **options)
        trace_of = getattr(self, "fix_top_level_trace_and_get_trace_func", None)

        def fix_top_level_trace_and_get_trace_func(py_db, frame):
            trace, is_final = trace_of(py_db, frame)
            while is_final and frame.f_back:
                frame = frame.f_back
            is_start = frame.f_code.co_filename.startswith(("<frozen importlib", "<frozen zip"))
            return trace, is_final and not is_start

        if trace_of is not None:
            self.fix_top_level_trace_and_get_trace_func = fix_top_level_trace_and_get_trace_func

    pydevd.PyDB.__init__ = __init__


def is_starting(frame):
    """Tell whether a frame is called by `site`, which runs before the program."""
    while frame:
        if frame.f_code.co_name == "main" and frame.f_globals.get("__name__") == "site":
            return True
        frame = frame.f_back
    return False


def keep_no_frames(pydevd):
    """Make pydevd store no frames, with all their variables, when it starts tracing.

    Among the frames that it would store is that of its own function, which would keep itself alive.
    """
    import pydevd_tracing

    def set_tracing_for_untraced_contexts(self, breakpoints_changed=False):
        if pydevd.PYDEVD_USE_SYS_MONITORING and breakpoints_changed:
            pydevd.pydevd_sys_monitoring.update_monitor_events()
        frames = sys._current_frames()
        for ident in tracing.own_threads():
            frames.pop(ident, None)
        while frames:
            self.set_trace_for_frame_and_parents(*frames.popitem())
        if pydevd.PYDEVD_USE_SYS_MONITORING:
            pydevd.pydevd_sys_monitoring.restart_events()

    replace(pydevd.PyDB, "set_tracing_for_untraced_contexts", set_tracing_for_untraced_contexts)
    # pydevd's function for sys.settrace needs only its caller's frame, but would store its own.
    pydevd_tracing.get_frame = lambda: SimpleNamespace(f_back=sys._getframe(2))
