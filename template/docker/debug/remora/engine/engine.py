"""The engine in this process: debugpy's pydevd, connected to the hub.

The connection is the session. While it lasts, the program is debugged. When the hub closes it, or
ends, the program runs on at full speed.

This module imports debugpy, and is the only one that starts pydevd.
"""

import os
import re
import sys
import threading
from contextlib import contextmanager, suppress

from .. import forks, link, program, threads
from ..hook import HOME, say
from ..libraries import explicit, greenlets, pickled, watchdogs
from . import answering, apart, changes, ending

# The host that stands for the hub's socket in pydevd
HOST = "hub"

# A socket to the hub that pydevd has not taken yet
connection = None

# debugpy as it was imported here. In sys.modules, the program may have a file of its own by that
# name.
debugpy = None

# The oldest debugpy that works here
OLDEST = (1, 8, 20)


def load():
    """Import debugpy, and change pydevd for this layer. Returns the module pydevd.

    Raises RuntimeError if the program has loaded a pydevd that cannot be used.
    """
    global debugpy
    if debugpy is None:
        reason = problem()
        greenlets.watch(reload)
        if "pydevd" not in sys.modules:
            with apart.only(HOME), no_process_started(), greenlets.support():
                # Do not let pydevd warn that it cannot trace frozen copies of standard modules.
                os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
                # A breakpoint() of another thread must not make pydevd connect somewhere.
                os.environ.setdefault("PYTHONBREAKPOINT", "0")
                # The import of debugpy's API configures pydevd.
                __import__("debugpy.server.api")
                debugpy = sys.modules["debugpy"]
            # debugpy's own breakpoint() is right: it does nothing while no client is attached.
            explicit.answer(debugpy, skip=["breakpoint"])
            explicit.answer_settrace(sys.modules["pydevd"])
        else:
            if reason:
                raise RuntimeError(reason)
            debugpy = sys.modules["debugpy"]
        watchdogs.lift()
        pickled.keep_names()
    pydevd = sys.modules["pydevd"]
    changes.apply(pydevd)
    greenlets.tell_threads()
    return pydevd


def reload():
    """Load the engine again, with modules of its own, before gevent patches the program's."""
    global debugpy
    with forks.joining:
        pydevd, was_attached = sys.modules["pydevd"], program.is_attached()
        # Keep pydevd from warning that gevent needs a setting.
        vars(sys.modules["_pydevd_bundle.pydevd_utils"])["SUPPORT_GEVENT"] = True
        debugger = pydevd.get_global_debugger()
        try:
            # Close the socket first: pydevd would tell the hub that the program ends.
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
    """Return why the pydevd that the program has loaded cannot be used, a text; None if it can.

    Wait while another thread imports debugpy: a half-imported debugpy tells nothing.
    """
    if debugpy is None and "debugpy.server" in sys.modules:
        with suppress(Exception):
            __import__("debugpy.server.api")  # waits for that import, which may have failed
    if debugpy is not None or "pydevd" not in sys.modules:
        return None  # this layer uses it already, or there is none
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
    """Keep the imports of this thread from running `uname -p`, as debugpy does for its log.

    A program that waits for any of its child processes, as a fork server does, would find `uname`.
    """
    import platform

    thread, describe, machine = threading.get_ident(), platform.platform, platform.machine

    def platform_of_this_thread(*arguments, **options):
        if threading.get_ident() == thread and platform.platform is not describe:
            return sys.platform
        return describe(*arguments, **options)

    platform.platform = platform_of_this_thread
    platform.machine = lambda: os.uname().machine  # Python 3.8 runs it for this function too
    try:
        yield
    finally:
        platform.platform, platform.machine = describe, machine


def attach(connected):
    """Let the hub debug this process over `connected`, a socket to it. Returns whether it does.

    Returns when the program may run, at the latest when the connection has ended.
    """
    global connection
    pydevd = load()
    # The session of the last client, or of a hub that has ended
    ending.end_session(pydevd, pydevd.get_global_debugger())
    ending.forget_stops()
    connection = connected
    with forks.lock:
        threads.call(begin_session)
        forks.follow()
    return program.is_attached()


def begin_session():
    """Make pydevd connect to the hub and trace this process."""
    with answering.about_to_trace():
        sys.modules["pydevd"].settrace(
            host=HOST,
            port=0,
            suspend=False,
            notify_stdin=False,
            patch_multiprocessing=False,
            dont_trace_start_patterns=[HOME, os.path.dirname(debugpy.__file__)],
        )


def take_connection():
    """Return a socket to the hub for pydevd: see connect_by_hub() in changes.py.

    A forked process has none yet, and asks for one. Raises OSError if there is no hub, or it has no
    debugger for this process.
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


def begin_child():
    """Go on in a forked process, which gets a debugger of its own if a client is attached."""
    pydevd = sys.modules["pydevd"]
    was_ending = ending.lock.locked()
    # Another thread of the parent may have held any of these locks.
    ending.lock, answering.lock = threading.Lock(), threading.Lock()
    sys.modules["_pydevd_bundle.pydevd_constants"].after_fork()
    debugger = pydevd.get_global_debugger()
    if debugger is not None:
        leave_parent(debugger)
    elif was_ending:
        ending.stop_tracing(pydevd)


def leave_parent(debugger):
    """Replace the debugger of the parent process by one of this process."""
    pydevd = sys.modules["pydevd"]
    was_attached = debugger.is_attached()
    # Close this copy of the socket, so that the hub notices when the parent ends.
    try:
        debugger._client_socket.close()
    except (AttributeError, OSError):
        pass
    # The callers, from the innermost: begin_child(), end_child() of forks.py, what has forked.
    caller = sys._getframe(3).f_code
    runs_another = caller.co_name == "_execute_child"  # subprocess, with a preexec_fn
    try:
        with answering.about_to_trace():
            pydevd.settrace_forked(setup_tracing=was_attached and not runs_another)
    except Exception as error:
        if was_attached and not runs_another:
            say(f"pid {os.getpid()} goes on without a debugger: {error}")
    if not program.is_attached():
        ending.stop_tracing(pydevd)


program.loaded_engine = sys.modules[__name__]  # type: ignore[assignment]
