"""Trace threads that run already, on Python 3.8 to 3.11.

On these versions, sys.settrace() applies only to the thread that calls it. pydevd reaches other
threads by a library in C, which exists for x86 with glibc: not for ARM, as in containers on a Mac,
and not for Alpine. So this module replaces the library, on Python 3.9 and later. Python 3.12 and
later can trace all threads without a library.

This module replaces functions of pydevd, and calls Python's C API by ctypes.
"""

import ctypes
import sys
import threading
import time

from .. import program

# A trace function in C: Py_tracefunc. The last argument may be NULL.
TRACE_FUNCTION = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p
)

# Python's C API. The program may use ctypes.pythonapi, with other types of arguments and results.
API = ctypes.PyDLL(None)

# How many bytes of a PyThreadState are searched for the ident of its thread.
LENGTH = 512

# Python may call these at any time, so they must stay in memory.
kept = []

# How long a new thread may take to begin, in seconds.
TIMEOUT = 5


class Library:
    """Replaces pydevd's library. Raises AttributeError if this Python lacks the function.

    settrace: Python's own sys.settrace, since pydevd replaces it.
    """

    def __init__(self, settrace):
        self.settrace = settrace
        self._set_trace = API._PyEval_SetTrace
        self._set_trace.argtypes = [ctypes.c_void_p, TRACE_FUNCTION, ctypes.py_object]

    def AttachDebuggerTracing(self, _verbose, _settrace, trace, ident, _argument):
        """Trace a thread from its next event on. Returns 0, or 1 if there is no such thread.

        trace, ident: the trace function and the thread's ident, as ctypes objects.
        """

        def begin(_, frame, what, argument):
            self.settrace(trace.value)  # in that thread, where it replaces begin()
            return 0

        state = states().get(ident.value)  # ident.value is cut to an unsigned int
        if state is None:
            return 1
        kept.append(TRACE_FUNCTION(begin))
        self._set_trace(state, kept[-1], None)
        return 0


class CheckedLibrary:
    """pydevd's library, with a check that it traces the right thread.

    Until a new thread runs, it has the ident of the thread that starts it. If several threads have
    the same ident, pydevd's library takes the newest. So a function that is set in another thread
    first checks in which thread it runs. A thread checks whether its own function has reached it.
    """

    def __init__(self, library):
        self.attach = library.AttachDebuggerTracing
        self.trace = None  # the last trace function that was set in another thread

    def AttachDebuggerTracing(self, verbose, settrace, trace, ident, argument):
        """Trace a thread from its next event on. Arguments and result: see Library."""

        def attach(function, thread=ident):
            return self.attach(verbose, settrace, ctypes.py_object(function), thread, argument)

        def attach_own(function):
            deadline = time.monotonic() + TIMEOUT
            own = ctypes.c_uint(program.get_ident())
            result = attach(trace_nothing, own)
            while sys.gettrace() is not trace_nothing and time.monotonic() < deadline:
                program.sleep(0.0001)  # until the new thread with the same ident runs
                result = attach(trace_nothing, own)
            # This thread starts none before it returns, so no other has its ident.
            return result or attach(function, own)

        def begin(frame, event, argument):
            if ident.value != cut(program.get_ident()):
                attach(begin)
            attach_own(self.trace)
            return self.trace(frame, event, argument)

        if ident.value == cut(program.get_ident()):
            return attach_own(trace.value)
        if ident.value == cut(threading.get_ident()):
            return 1  # gevent's ident of a greenlet: pydevd uses sys.settrace() instead
        self.trace = trace.value
        vars(begin)["checked_by"] = self
        return attach(begin)


def cut(ident):
    """Return the ident of a thread as pydevd's library takes it, an unsigned int."""
    return ctypes.c_uint(ident).value


def is_traced_by(function):
    """Tell whether a function traces this thread, or will from the next call on."""
    trace = sys.gettrace()
    library = getattr(trace, "checked_by", None)
    return function is (library.trace if library else trace)


def trace_nothing(frame, event, argument):
    """Trace nothing: a trace function that only marks a thread."""


def states():
    """Return the addresses of all PyThreadStates, by the thread's ident, cut to an unsigned int."""
    for function in (API.PyThreadState_Get, API.PyInterpreterState_Get):
        function.restype = ctypes.c_void_p
    for function in (API.PyInterpreterState_ThreadHead, API.PyThreadState_Next):
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    own = words(API.PyThreadState_Get()).index(program.get_ident())
    found, state = {}, API.PyInterpreterState_ThreadHead(API.PyInterpreterState_Get())
    while state:
        found[cut(words(state)[own])] = state
        state = API.PyThreadState_Next(state)
    return found


def words(state):
    """Return the beginning of the PyThreadState at an address, as a list of unsigned numbers."""
    size = ctypes.sizeof(ctypes.c_ulong)
    return list((ctypes.c_ulong * (LENGTH // size)).from_address(state))


def find_library(pydevd, settrace):
    """Make pydevd use its library with a check, or the one of this module if it has none.

    settrace: see Library. Returns whether threads that run already can be traced.
    """
    import pydevd_tracing

    if pydevd.PYDEVD_USE_SYS_MONITORING:
        return True
    theirs = pydevd_tracing._load_python_helper_lib()
    try:
        library = CheckedLibrary(theirs) if theirs else Library(settrace)
    except AttributeError:
        return False
    pydevd_tracing._load_python_helper_lib = lambda: library
    return True


def take_threads_as_they_are(pydevd):
    """Make pydevd trace all threads that run, even if others begin and end at that moment.

    pydevd fails at a thread that has no ident yet, and leaves the rest untraced. Until a thread has
    registered itself in `threading`, pydevd believes that it is foreign, and registers a dummy.
    """
    import pydevd_tracing

    trace_threads = pydevd_tracing.set_trace_to_threads

    def set_trace_to_threads(function, thread_idents=None, create_dummy_thread=True):
        if thread_idents is not None:  # one thread, which often is the caller
            return trace_threads(function, thread_idents, create_dummy_thread)
        enters_itself = {ident: is_of_threading(f) for ident, f in sys._current_frames().items()}
        result = 0
        for ident in enters_itself.keys() - own_threads():
            result = trace_threads(function, [ident], not enters_itself[ident]) or result
        return result

    pydevd_tracing.set_trace_to_threads = set_trace_to_threads


def start_threads_quietly(pydevd):
    """Keep pydevd from complaining, in the program's output, of threads that are just starting."""
    from _pydev_bundle import pydev_log

    critical = pydev_log.critical

    def say(message, *arguments):
        if not message.startswith("thread._ident is None"):
            critical(message, *arguments)

    pydev_log.critical = say


def own_threads():
    """Return the idents of the debugger's own threads, which threading.enumerate() leaves out."""
    threads = list(threading._active.items())  # type: ignore[attr-defined]
    return {ident for ident, thread in threads if getattr(thread, "pydev_do_not_trace", False)}


def is_of_threading(frame):
    """Tell whether `threading`, or pydevd in its place, has started the thread of a frame."""
    while frame.f_back:
        frame = frame.f_back
    starter = frame.f_globals.get("__name__", "")
    return starter == "threading" or starter.endswith("pydev_monkey")
