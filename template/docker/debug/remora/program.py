"""This process, as one that can be debugged: when it starts, when it is asked, when it forks."""

import _signal
import _thread
import os
import sys

from remora import commandline, container, link
from remora.hook import end_by_signal, say, setting

# The mode of this process.
mode = ""

# Whether begin() is at work, and whether the hub has asked meanwhile. Until then this thread holds
# locks of imports that the engine needs.
is_beginning, was_asked = False, False

# The module `engine` once all of it is loaded, which another thread may be doing.
loaded_engine = None

# As they are before gevent patches them
allocate_lock, start_new_thread = _thread.allocate_lock, _thread.start_new_thread
get_ident = _thread.get_ident

# The main thread
main = get_ident()

# Held while a debugger is let in; the hub may ask while the process comes by itself.
joining = allocate_lock()


def begin(chosen):
    """Do in a process that starts what its mode says. The hook has passed over those not meant.

    chosen: a mode but `off`, or "" if the environment has none, which `env -i`, sudo or cron may
    have cleared.
    """
    global mode, is_beginning
    if not container.is_interpreter("self"):
        return  # Python is built in, as in uWSGI, whose workers an engine ends with SIGSEGV
    command = container.own_command()
    if commandline.is_tracker(command):
        return
    settings = os.environ
    if not chosen:
        # The command has the settings, unless it is another user's, or has cleared its own
        # environment: then the hub knows more.
        settings = container.environment()
        chosen = setting("MODE", "off" if container.is_environment_known() else "unknown", settings)
        target = setting("TARGET", environment=settings)
        if chosen == "off" or not commandline.is_target(command, target):
            return
    held_ranks = setting("RANK", environment=settings)
    if held_ranks:
        from remora import ranks

        if not ranks.is_held(held_ranks, command):
            chosen = ranks.FREE.get(chosen, chosen)
    mode, is_beginning = chosen, True
    try:
        _signal.signal(container.SIGNAL, on_signal)
    except ValueError:
        return  # a sub-interpreter, which cannot be debugged
    os.register_at_fork(after_in_child=begin_child)
    sys.breakpointhook = breakpoint_hook
    if mode == "crash":
        from remora import crash

        crash.catch()
    if mode == "dump":
        from remora import dumping

        dumping.catch()
    if mode in ("wait", "listen"):
        from remora import explicit, imports

        imports.change(explicit.ACTIONS)
    if mode == "wait" and container.is_held(command):
        from remora import ranks

        wait_for_client(held=True, **ranks.told())
    elif mode == "unknown" and link.exists(link.HUB) and container.is_held(command):
        wait_for_client(held_if="wait")
    elif link.exists(link.ATTACHED) and not container.is_beside(command):
        join()
    elif mode in ("wait", "listen") and not link.exists(link.HUB):
        link.start_hub(wait=False)
    is_beginning = False
    if was_asked and "remora.engine" not in sys.modules:
        join(asked=True)


def wait_for_client(**facts):
    """Join, and wait where the mode says so."""

    def wait():
        if mode == "wait":
            link.start_hub(wait=True)
        join(**facts)

    until_signal(wait)


def until_signal(wait, *arguments):
    """Call what waits for a client. Ctrl+C and `docker stop` end this process meanwhile.

    Not by an exception, which an import or a callback may swallow.
    """
    handlers = {}
    try:
        for number in (_signal.SIGINT, _signal.SIGTERM):
            if _signal.getsignal(number) not in (None, _signal.SIG_IGN):
                handlers[number] = _signal.signal(number, end_by_signal)
    except ValueError:
        pass  # of another thread than the main one, which goes on with the program
    try:
        wait(*arguments)
    finally:
        for number, handler in handlers.items():
            _signal.signal(number, handler)


def begin_child():
    """Go on in a process that was forked; for its engine, if there is one, see engine.py."""
    global joining, main
    joining, main = allocate_lock(), get_ident()
    if loaded_engine and loaded_engine.has_registered:
        joining.acquire()  # which engine.after_fork() releases


def join(**facts):
    """Ask the hub whether it has a debugger for this process, and let that in.

    It returns when the program is to run: if a debugger is there, with its breakpoints set. Returns
    whether one is. facts: see Server._take_program() in server.py.
    """
    # Who is asked by the hub while it comes by itself has been heard.
    if not joining.acquire("asked" not in facts):
        return False
    try:
        return let_in(facts)
    finally:
        joining.release()


def let_in(facts):
    """Do what join() does, which holds the lock meanwhile."""
    connection = link.connect()
    if connection is None:
        return False
    if "pydevd" in sys.modules:
        from remora import engine

        problem = engine.problem()
        if problem:
            # The hub does not ask again, and can tell why.
            answer = link.exchange(connection, {"problem": problem})
            if is_dumped(connection, answer):
                return False
            connection.close()
            say(f"pid {os.getpid()} cannot be debugged: {problem}")
            return False
    answer = link.exchange(connection, dict(facts, command=container.own_command()))
    if is_dumped(connection, answer):
        return False
    is_wanted = bool(answer and answer["engine"])
    if is_wanted:
        from remora import engine

        try:
            engine.load()  # which may fail, so before the user is told to attach
        except BaseException:
            connection.close()
            raise
    for line in (answer or {}).get("say", []):
        say(line)
    if not is_wanted:
        connection.close()
        return False
    connection.settimeout(None)
    return engine.attach(connection)


def is_dumped(connection, answer):
    """Write a dump of this process if the hub asks for that. Returns whether it does."""
    if not (answer and answer.get("dump")):
        return False
    from remora import dumping

    link.exchange(connection, {"dumped": dumping.write()})
    connection.close()
    return True


def is_attached():
    """Tell whether a client debugs this process: by the hub, or by a debugpy of the program's own.

    Another pydevd than debugpy's, such as PyCharm's, does not tell.
    """
    return getattr(sys.modules.get("pydevd"), "_is_attached", bool)()


def on_signal(*_):
    """Answer the hub, which asks for this process.

    In a thread of its own: the signal may have interrupted the main thread anywhere, while it held
    a lock or imported a module.
    """
    global was_asked
    if is_beginning:
        was_asked = True
        return
    # Not first in the other thread, which it would take for the main one.
    import threading  # noqa: F401

    # By pydevd's own, if it is there: it would take another thread that begins for a dummy.
    start, function = _thread.start_new_thread, start_answer
    if "gevent.monkey" in sys.modules:
        from remora import greenlets

        greenlets.follow()
        if greenlets.is_patched():
            start, function = start_new_thread, answer  # one of `threading` would be a greenlet
    try:
        start(function, ())
    except RuntimeError:
        pass  # Python ends, or there can be no more threads


def start_answer():
    """Start the thread that answers: of `threading`, for which a thread of `_thread` is a dummy."""
    from remora import threads

    threads.start(answer)


def answer():
    """Let the debugger in that the hub has for this process."""
    try:
        join(asked=True)
    except Exception as error:
        say(f"pid {os.getpid()} cannot be debugged: {error!r}")


def breakpoint_hook(*arguments, **options):
    """Stop at an explicit breakpoint() if a debugger is there, and ignore it if none is."""
    if loaded_engine:
        loaded_engine.stop_here()
