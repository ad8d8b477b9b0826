"""What is changed in pydevd, so that it serves the hub.

If pydevd lacks what a change replaces, the program runs on without a debugger; a line says so.
Without what a nicety replaces, it is debugged all the same.
"""

import itertools
import os
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

from remora import ending, paths, templates, tracing, values
from remora.hook import say

applied = False

# Answers of pydevd that wait until it traces the process, with the debugger that gives each; None
# unless it is about to begin.
held, lock = None, threading.Lock()

# What the count of changes of breakpoints begins at in a session.
changes_before = itertools.count(10_000, 10_000)


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
        if not tracing.find_library(pydevd, ending.settrace) and not is_early:
            say(
                f"in pid {os.getpid()}, only threads that start from now on can stop:"
                " on Python 3.8, the others could on x86 with glibc"
            )
        for nicety in (
            answer_when_traced,
            pause_in_program,
            keep_no_frames,
            forget_breakpoints,
            end_quietly,
            tracing.take_threads_as_they_are,
            tracing.start_threads_quietly,
            values.apply,
            templates.apply,
        ):
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
            self._py_db_command_thread_event.wait(0.1)
            self._py_db_command_thread_event.clear()
            self.process_internal_commands()

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
        ending.end_session(pydevd, thread.py_db)

    replace(pydevd_comm.ReaderThread, "_terminate_on_socket_close", end)


def answer_when_traced(pydevd):
    """Have pydevd answer that it is configured when the program stops at breakpoints."""
    from _pydevd_bundle.pydevd_process_net_command_json import PyDevJsonCommandProcessor

    answer = PyDevJsonCommandProcessor.on_configurationdone_request

    def on_configurationdone_request(self, py_db, request):
        found = answer(self, py_db, request)
        with lock:
            if held is None:
                return found
            held.append((py_db, found))

    PyDevJsonCommandProcessor.on_configurationdone_request = on_configurationdone_request


@contextmanager
def about_to_trace():
    """Hold the answers of answer_when_traced() until what is done in here traces the process."""
    global held
    with lock:
        held = []
    try:
        yield
    finally:
        with lock:
            ready, held = held, None
        for debugger, answer in ready:
            debugger.writer.add_command(answer)


def forget_breakpoints(pydevd):
    """Have no breakpoint of an earlier session hit.

    pydevd keeps by code which lines have one, until the debugger's count of changes is another. A
    new debugger would begin that count anew.
    """
    begin = pydevd.PyDB.__init__

    def __init__(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.mtime += next(changes_before)

    pydevd.PyDB.__init__ = __init__


def end_quietly(pydevd):
    """Have Python 3.13 and later end without a word of threads that pydevd has made dummies of.

    pydevd asks for such a thread once more when it ends, which makes another dummy. That one goes
    only when `threading` is empty already.
    """
    tracker = getattr(threading, "_DeleteDummyThreadOnDel", None)  # if None, the next line raises
    forget = tracker.__del__

    def __del__(self):
        try:
            forget(self)
        except TypeError:
            pass

    tracker.__del__ = __del__


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


def keep_no_frames(pydevd):
    """Have pydevd keep no frames, with all of their variables, in which it has started tracing.

    The frame of the function that does so is one of them, and would keep itself.
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
    # By its own frame, what pydevd has for sys.settrace looks only for its caller.
    pydevd_tracing.get_frame = lambda: SimpleNamespace(f_back=sys._getframe(2))
