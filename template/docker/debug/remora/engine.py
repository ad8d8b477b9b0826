"""The engine in this process: debugpy's pydevd, connected to the hub for as long as it is wanted.

The connection is the session: the program is debugged while the connection is there, and when the
hub closes it, or has ended, the program runs on at full speed.
"""

import os
import re
import sys
import threading
from contextlib import contextmanager

from remora import apart, changes, ending, explicit, greenlets, link, program, threads, watchdogs
from remora.hook import say

# Where debugpy is.
HOME = os.path.dirname(os.path.dirname(__file__))

# The host that stands for the hub's socket in pydevd.
HOST = "hub"

# What is connected to the hub and not yet taken by pydevd.
connection = None

# debugpy as it was imported here; the program may have another module of that name.
debugpy = None


# The oldest debugpy that is known to work here.
OLDEST = (1, 8, 20)


def load():
    """Import debugpy, and make of pydevd what is needed here. Returns pydevd."""
    global debugpy
    # Kept here, since the program may have a module of its own under that name again.
    if debugpy is None:
        greenlets.watch(reload)
        if "pydevd" not in sys.modules:
            with apart.only(HOME), no_process_started(), greenlets.support():
                # Without it, pydevd warns that it cannot trace frozen copies of standard modules.
                os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
                # Without it, a breakpoint() of another thread would have pydevd connect somewhere.
                os.environ.setdefault("PYTHONBREAKPOINT", "0")
                # Its API makes pydevd what it is for debugpy.
                __import__("debugpy.server.api")
                debugpy = sys.modules["debugpy"]
            # Its own breakpoint() does nothing while no client is attached, as it is to.
            explicit.answer(debugpy, but=["breakpoint"])
            explicit.answer_settrace(sys.modules["pydevd"])
        else:
            if problem():
                raise RuntimeError(problem())
            debugpy = sys.modules["debugpy"]
        watchdogs.lift()
    pydevd = sys.modules["pydevd"]
    changes.apply(pydevd)
    greenlets.tell_threads()
    return pydevd


def reload():
    """Load the engine anew, with modules of its own, before gevent patches those of the program."""
    global debugpy
    with program.joining:
        pydevd, was_attached = sys.modules["pydevd"], program.is_attached()
        vars(sys.modules["_pydevd_bundle.pydevd_utils"]).update(SUPPORT_GEVENT=True)  # or it warns
        debugger = pydevd.get_global_debugger()
        try:
            # The hub is not told that the program ends, since it comes back.
            debugger._client_socket.shutdown(2)
        except (AttributeError, OSError):
            pass
        ending.end_session(pydevd, debugger)
        folder = os.path.dirname(debugpy.__file__)
        for name, module in list(sys.modules.items()):
            places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
            if any(place and place.startswith(folder) for place in places):
                del sys.modules[name]
        debugpy, changes.applied = None, False
        if was_attached:
            program.let_in({})


def problem():
    """Return why the pydevd that the program has loaded itself cannot be used here, else None."""
    if debugpy is not None:
        return None  # it is in use
    version = getattr(sys.modules.get("debugpy"), "__version__", "")
    if "debugpy.server.api" not in sys.modules or not version:
        return "it has loaded a pydevd itself that is not debugpy's"
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not OLDEST <= numbers < (2,):
        oldest = ".".join(map(str, OLDEST))
        return f"it has loaded debugpy {version} itself; {oldest} or later, below 2, works"
    if sys.modules["pydevd"].get_global_debugger() is not None:
        return f"it is debugged by debugpy {version}, which it has started itself"
    return None


@contextmanager
def no_process_started():
    """Have the imports of this thread run no `uname -p`, as debugpy does to note it in its log.

    A program that waits for whatever child of it ends, as a fork server does, would find it.
    """
    import platform

    thread, describe, machine = threading.get_ident(), platform.platform, platform.machine

    def platform_of_this_thread(*arguments, **options):
        if threading.get_ident() == thread and platform.platform is not describe:
            return sys.platform
        return describe(*arguments, **options)

    platform.platform = platform_of_this_thread
    platform.machine = lambda: os.uname().machine  # for which Python 3.8 runs it too
    try:
        yield
    finally:
        platform.platform, platform.machine = describe, machine


def attach(connected):
    """Let the hub debug this process, over a socket to it. Returns whether it does.

    It returns when the program is to run, at the latest when the connection has ended.
    """
    global connection
    pydevd = load()
    # That of the client before, or of a hub that has ended
    ending.end_session(pydevd, pydevd.get_global_debugger())
    ending.forget_stops()
    connection = connected
    threads.call(begin_session)
    register_fork()
    return program.is_attached()


def begin_session():
    """Have pydevd trace this process, and connect it to the hub."""
    with changes.about_to_trace():
        sys.modules["pydevd"].settrace(
            host=HOST,
            port=0,
            suspend=False,
            notify_stdin=False,
            patch_multiprocessing=False,
            dont_trace_start_patterns=[HOME, os.path.dirname(debugpy.__file__)],
        )


def take_connection():
    """Return the socket to the hub that pydevd is to use: see changes.py.

    A process that was forked has none yet, and asks for one.
    """
    global connection
    if connection is None:
        connection = link.connect()
        if connection is None:
            raise OSError("there is no hub")
        answer = link.exchange(connection, {"forked": True})
        if not answer or not answer["engine"]:
            connection.close()
            connection = None
            raise OSError("the hub has no debugger")
        connection.settimeout(None)
    taken, connection = connection, None
    return taken


def stop_here():
    """Stop at the caller's caller, if a client debugs this process."""
    if program.is_attached():
        debugpy.server.api.breakpoint()


# ---- Forks ----

has_registered = False


def register_fork():
    """Have processes that are forked from this one debugged too."""
    global has_registered
    if not has_registered:
        has_registered = True
        os.register_at_fork(after_in_child=after_fork)


def after_fork():
    """Go on in a process that was forked from this one: with a debugger of its own, if any.

    The hub, which may ask for it meanwhile, is not answered a second time: see program.join().
    """
    try:
        debugger = sys.modules["pydevd"].get_global_debugger()
        if debugger is not None:
            leave_parent(debugger)
    finally:
        program.joining.release()


def leave_parent(debugger):
    """Exchange the debugger of the process that this one was forked from for one of its own."""
    ending.lock = threading.Lock()
    changes.lock = threading.Lock()
    pydevd = sys.modules["pydevd"]
    was_attached = debugger.is_attached()
    # The hub is to see the parent's end when the parent ends.
    try:
        debugger._client_socket.close()
    except (AttributeError, OSError):
        pass
    caller = sys._getframe(2).f_code
    runs_another = caller.co_name == "_execute_child"  # of subprocess, with a preexec_fn
    try:
        with changes.about_to_trace():
            pydevd.settrace_forked(setup_tracing=was_attached and not runs_another)
    except Exception as error:
        if was_attached and not runs_another:
            say(f"pid {os.getpid()} goes on without a debugger: {error}")
    if not program.is_attached():
        ending.stop_tracing(pydevd)


program.loaded_engine = sys.modules[__name__]  # type: ignore[assignment]  # None until now
