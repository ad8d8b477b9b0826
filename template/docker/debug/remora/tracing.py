"""Tracing of threads that run already, on Python 3.8 to 3.11.

There, sys.settrace() is for the thread that calls it. pydevd reaches other threads by a library,
which is built for x86 and glibc: neither for ARM, as in containers on a Mac, nor for Alpine. So
here is another one, for Python 3.9 and later. From Python 3.12 on, pydevd needs none.
"""

import ctypes
import sys
import threading
import time

# A trace function as C has it: Py_tracefunc. The last argument may be NULL.
TRACE_FUNCTION = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p
)

# How much of a PyThreadState is looked at for the ident of its thread, in bytes.
LENGTH = 512

# Python calls these at any time, so they have to stay.
kept = []

# How long a thread that is being started may take to run, in seconds.
TIMEOUT = 5


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


class CheckedLibrary:
    """pydevd's library, made sure to trace the thread that is meant.

    A thread that is being started has the ident of the one that starts it, until it runs. Of the
    threads with an ident, pydevd's library takes the newest. So the function that it sets in
    another thread first looks whose thread it is in, and a thread looks whether it got its own.
    """

    def __init__(self, library):
        self.attach = library.AttachDebuggerTracing
        self.trace = None  # what other threads are to be traced by, the last time somebody asked

    def AttachDebuggerTracing(self, verbose, settrace, trace, ident, argument):
        """Have a thread traced from its next event on. Arguments and result: see Library."""

        def attach(function, thread=ident):
            return self.attach(verbose, settrace, ctypes.py_object(function), thread, argument)

        def attach_own(function):
            deadline = time.monotonic() + TIMEOUT
            own = ctypes.c_uint(threading.get_ident())
            result = attach(trace_nothing, own)
            while sys.gettrace() is not trace_nothing and time.monotonic() < deadline:
                time.sleep(0.0001)  # until the thread that has this one's ident runs
                result = attach(trace_nothing, own)
            # This thread starts none before it returns, so it is the only one with its ident.
            return result or attach(function, own)

        def begin(frame, event, argument):
            if not is_own(ident):
                attach(begin)
            attach_own(self.trace)
            return self.trace(frame, event, argument)

        if is_own(ident):
            return attach_own(trace.value)
        self.trace = trace.value
        vars(begin).update(library=self)
        return attach(begin)


def is_own(ident):
    """Tell whether an ident, cut to an unsigned int, is the one of the thread that asks."""
    return ident.value == ctypes.c_uint(threading.get_ident()).value


def is_traced_by(function):
    """Tell whether a function traces this thread, or will from the next call on."""
    trace = sys.gettrace()
    library = getattr(trace, "library", None)
    return function is (library.trace if library else trace)


def trace_nothing(frame, event, argument):
    """Trace nothing, as the trace function of a thread."""


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
    """Have pydevd use its library with care, or the one here if it has none. settrace: see Library.

    Returns whether threads that run already can be traced.
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
        result = 0
        for ident in enters_itself.keys() - own_threads():
            result = trace_threads(function, [ident], not enters_itself[ident]) or result
        return result

    pydevd_tracing.set_trace_to_threads = set_trace_to_threads


def start_threads_quietly(pydevd):
    """Have pydevd not complain, in the program's output, of threads that are just being started."""
    from _pydev_bundle import pydev_log

    critical = pydev_log.critical

    def say(message, *arguments):
        if not message.startswith("thread._ident is None"):
            critical(message, *arguments)

    pydev_log.critical = say


def own_threads():
    """Return the idents of the debugger's own threads, which threading.enumerate() leaves out."""
    threads = list(vars(threading)["_active"].items())
    return {ident for ident, thread in threads if getattr(thread, "pydev_do_not_trace", False)}


def is_of_threading(frame):
    """Tell whether `threading` has started the thread of a frame, or pydevd in its place."""
    while frame.f_back:
        frame = frame.f_back
    starter = frame.f_globals.get("__name__", "")
    return starter == "threading" or starter.endswith("pydev_monkey")
