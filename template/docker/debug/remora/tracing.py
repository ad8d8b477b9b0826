"""Tracing of threads that run already, on Python 3.8 to 3.11.

There, sys.settrace() is for the thread that calls it. pydevd reaches other threads by a library,
which is built for x86 and glibc: neither for ARM, as in containers on a Mac, nor for Alpine. So
here is another one, for Python 3.9 and later. From Python 3.12 on, pydevd needs none.
"""

import ctypes
import sys
import threading

# A trace function as C has it: Py_tracefunc. The last argument may be NULL.
TRACE_FUNCTION = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p
)

# How much of a PyThreadState is looked at for the ident of its thread, in bytes.
LENGTH = 512

# Python calls these at any time, so they have to stay.
kept = []


class Library:
    """What pydevd calls of its library. Raises AttributeError if this Python has no such function.

    settrace: sys.settrace as Python has it; pydevd puts another one in its place.
    """

    def __init__(self, settrace):
        self.settrace = settrace
        self._set_trace = ctypes.pythonapi._PyEval_SetTrace
        self._set_trace.argtypes = [ctypes.c_void_p, TRACE_FUNCTION, ctypes.py_object]

    def AttachDebuggerTracing(self, _verbose, _settrace, trace, ident, _argument):
        """Have a thread traced from its next event on. Returns 0, or 1 if there is no such thread.

        trace, ident: the trace function, and the thread's ident, as ctypes has them
        """

        def begin(_, frame, what, argument):
            self.settrace(trace.value)  # in the thread itself: this function is not called again
            return 0

        state = states().get(ident.value)  # which is cut to an unsigned int
        if state is None:
            return 1
        kept.append(TRACE_FUNCTION(begin))
        self._set_trace(state, kept[-1], None)
        return 0


def states():
    """Return where in memory the PyThreadState of each thread is, by the end of its ident."""
    api = ctypes.pythonapi
    for function in (api.PyThreadState_Get, api.PyInterpreterState_Get):
        function.restype = ctypes.c_void_p
    for function in (api.PyInterpreterState_ThreadHead, api.PyThreadState_Next):
        function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    own = words(api.PyThreadState_Get()).index(threading.get_ident())
    found, state = {}, api.PyInterpreterState_ThreadHead(api.PyInterpreterState_Get())
    while state:
        found[ctypes.c_uint(words(state)[own]).value] = state
        state = api.PyThreadState_Next(state)
    return found


def words(state):
    """Return the beginning of a PyThreadState, as unsigned numbers."""
    size = ctypes.sizeof(ctypes.c_ulong)
    return list((ctypes.c_ulong * (LENGTH // size)).from_address(state))


def find_library(pydevd, settrace):
    """Have pydevd use the library here if it has none of its own. settrace: see Library.

    Returns whether threads that run already can be traced.
    """
    import pydevd_tracing

    if pydevd.PYDEVD_USE_SYS_MONITORING or pydevd_tracing._load_python_helper_lib():
        return True
    try:
        library = Library(settrace)
    except AttributeError:
        return False
    pydevd_tracing._load_python_helper_lib = lambda: library
    return True


def take_threads_as_they_are(pydevd):
    """Have pydevd trace the threads that run, where others begin and end at the same moment.

    It fails at a thread that has no ident yet, and leaves the rest untraced. A thread that is about
    to enter itself into `threading` it takes for one that it does not know, and enters another one.
    """
    import pydevd_tracing

    trace_threads = pydevd_tracing.set_trace_to_threads

    def set_trace_to_threads(function, thread_idents=None, create_dummy_thread=True):
        if thread_idents is not None:  # as of each thread that traces itself, often
            return trace_threads(function, thread_idents, create_dummy_thread)
        enters_itself = {ident: is_of_threading(f) for ident, f in sys._current_frames().items()}
        threads = threading.enumerate()
        own = {t.ident for t in threads if getattr(t, "pydev_do_not_trace", False)}
        result = 0
        for ident in enters_itself.keys() - own:
            result = trace_threads(function, [ident], not enters_itself[ident]) or result
        return result

    pydevd_tracing.set_trace_to_threads = set_trace_to_threads


def is_of_threading(frame):
    """Tell whether `threading` has started the thread of a frame, or pydevd in its place."""
    while frame.f_back:
        frame = frame.f_back
    starter = frame.f_globals.get("__name__", "")
    return starter == "threading" or starter.endswith("pydev_monkey")
