"""This process, as one that can be debugged: at its start, and when the hub asks."""

import _signal
import _thread
import os
import sys
from time import sleep

from . import commandline, container, forks, link, pausing
from .hook import own_command, say, setting

# The mode of this process
mode = ""

# Whether begin() is running, and whether the hub has asked meanwhile. During begin(), this thread
# holds import locks that the engine needs, so the answer has to wait.
is_beginning, was_asked = False, False
# True for each time that a signal may still be put off until an import has ended. A whole program
# may run in an import, so the times are limited.
tries = iter([True] * 40)

# The module `engine`, once all of it is loaded (another thread may be loading it)
loaded_engine = None

# These functions, and sleep(), before gevent patches them
start_new_thread, get_ident = _thread.start_new_thread, _thread.get_ident


def begin(chosen):
    """Do what the mode says, at the start of this process. The hook has checked REMORA_TARGET.

    chosen: a mode except `off`; "" if `env -i`, sudo or cron has cleared the environment.
    """
    global mode, is_beginning
    if not container.is_interpreter("self"):
        return  # as in uWSGI, whose workers would end with SIGSEGV under an engine
    command = own_command()
    if commandline.whose_helper(command):
        return
    settings = os.environ
    if not chosen:
        # Take the settings of the container's command. If its environment belongs to another user
        # or has been cleared, only the hub knows the mode.
        settings = container.environment()
        chosen = setting("MODE", "off" if container.is_environment_known() else "unknown", settings)
        target = setting("TARGET", environment=settings)
        if chosen == "off" or not commandline.is_target(command, target):
            return
    held_ranks = setting("RANK", environment=settings)
    if held_ranks:
        from . import ranks

        if not ranks.is_held(held_ranks, command):
            chosen = ranks.MODE_WHEN_FREE.get(chosen, chosen)
    mode, is_beginning = chosen, True
    try:
        _signal.signal(container.SIGNAL, on_signal)
    except ValueError:
        return  # a sub-interpreter, which cannot be debugged
    forks.watch()
    pausing.begin()
    sys.breakpointhook = breakpoint_hook
    try:
        begin_mode(command)
    finally:
        is_beginning = False
        if was_asked and "_remora.engine.engine" not in sys.modules:
            answer()


def begin_mode(command):
    """Do what the mode says for the process with this command line."""
    if mode == "crash":
        from .crashes import crash

        crash.catch()
    if mode == "dump":
        from .crashes import dumping

        dumping.catch()
    if mode in ("wait", "listen"):
        from .libraries import explicit, imports

        imports.change(explicit.ACTIONS)
    if mode == "wait" and container.is_held(command):
        from . import ranks, waiting

        waiting.for_client(held=True, **ranks.facts_for_hub())
    elif mode == "unknown" and link.exists(link.HUB) and container.is_held(command):
        from . import waiting

        waiting.for_client(held_if="wait")
    elif link.exists(link.ATTACHED) and not container.is_assistant(command):
        join()
    elif mode in ("wait", "listen") and not link.exists(link.HUB):
        link.start_hub(wait=False)


def join(**facts):
    """Ask the hub for a debugger for this process, and let it in. Returns whether there is one.

    Returns when the program may run, with its breakpoints set.
    facts: see _let_in() in hub/server.py.
    """
    # If another thread connects, or waits for a client, this thread can still write a dump.
    is_first = forks.joining.acquire("asked" not in facts)
    try:
        return let_in(facts if is_first else dict(facts, only_dumps=True))
    finally:
        if is_first:
            forks.joining.release()


def let_in(facts):
    """Do the work of join()."""
    connection = link.connect()
    if connection is None:
        return False
    if "pydevd" in sys.modules or "debugpy.server" in sys.modules:
        from .engine import engine

        problem = engine.problem()
        if problem:
            if not tell_problem(connection, problem):
                say(f"pid {os.getpid()} cannot be debugged: {problem}")
            return False
    facts.update(command=own_command(), is_back=connection.is_back)
    answer = link.exchange(connection, facts)
    if dump_if_asked(connection, answer):
        return False
    is_wanted = bool(answer and answer["engine"])
    if is_wanted:
        try:
            with forks.lock:
                from .engine import engine

                engine.load()  # it may fail, so do it before the user is told to attach
        except BaseException as error:
            # Tell the hub before the connection ends, or the hub would ask again at once.
            another = isinstance(error, Exception) and link.connect()
            if another:
                tell_problem(another, repr(error))
            connection.close()
            raise
    for line in (answer or {}).get("say", []):
        say(line)
    if not is_wanted:
        connection.close()
        return False
    connection.settimeout(None)
    return engine.attach(connection)


def tell_problem(connection, problem):
    """Tell the hub why this process cannot be debugged, a text. Returns whether it is dumped.

    The hub notes the reason for the user, and does not ask again.
    """
    is_done = dump_if_asked(connection, link.exchange(connection, {"problem": problem}))
    connection.close()
    return is_done


def dump_if_asked(connection, answer):
    """Write a dump of this process if the hub asks for one. Returns whether it does."""
    if not (answer and answer.get("dump")):
        return False
    from .crashes import dumping

    link.exchange(connection, {"dumped": dumping.write()})
    connection.close()
    return True


def is_attached():
    """Tell whether a client debugs this process, by the hub or by the program's own debugpy.

    A pydevd that is not debugpy's, such as PyCharm's, does not tell.
    """
    return getattr(sys.modules.get("pydevd"), "_is_attached", bool)()


def on_signal(_, frame):
    """Answer the hub, which asks for this process, in a new thread.

    The signal may have interrupted the main thread anywhere, even while it held a lock.
    """
    global was_asked
    pausing.asked += 1
    if is_beginning:
        was_asked = True
        return
    has_gevent = "gevent.monkey" in sys.modules
    # If the new thread were the first to import `threading`, it would become the main thread there.
    needed = ["threading", "_remora.libraries.greenlets"] if has_gevent else ["threading"]
    missing = [name for name in needed if name not in sys.modules]
    if missing and put_off(container.SIGNAL, frame):
        return
    for name in missing:
        __import__(name)
    # pydevd replaces this function, and treats threads that begin in another way as dummies.
    start, function = _thread.start_new_thread, start_answer
    if has_gevent:
        greenlets = sys.modules["_remora.libraries.greenlets"]
        greenlets.follow()
        if greenlets.is_patched():  # one of `threading` would be a greenlet
            start, function = start_new_thread, answer
    try:
        start(function, ())
    except RuntimeError:
        pass  # Python is ending, or there cannot be more threads


def put_off(number, frame):
    """Send this process a signal once more, soon, if it has interrupted an import in `frame`.

    An import in the signal's handler could break it. Returns whether the signal comes again.
    """
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    try:
        return bool(frame and next(tries, False) and start_new_thread(send_again, (number,)))
    except RuntimeError:
        return False  # as above


def send_again(number):
    sleep(0.05)
    os.kill(os.getpid(), number)


def start_answer():
    """Answer in a thread of `threading`: a thread of `_thread` would be a dummy there."""
    from . import threads

    threads.start(answer)


def answer():
    """Let in the debugger that the hub has for this process."""
    try:
        join(asked=True)
    except Exception as error:
        say(f"pid {os.getpid()} cannot be debugged: {error!r}")


def breakpoint_hook(*arguments, **options):
    """Stop at an explicit breakpoint() if a debugger is attached; ignore it if none is."""
    if loaded_engine:
        loaded_engine.stop_here()
