"""Tracing of threads that run already, on Python 3.9 to 3.11, where pydevd has no library for it.

There, sys.settrace() is for the thread that calls it. pydevd reaches other threads by a library,
which is built for x86 and glibc: neither for ARM, as in containers on a Mac, nor for Alpine. From
Python 3.12 on, pydevd needs none.
"""

import ctypes
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
