"""Forks of this process: a fork waits while the engine is loaded, and a child gets its own engine.

A child has only the thread that forked. Nothing finishes what the parent's other threads had begun,
and nothing releases the locks that they held.
"""

import _thread
import os

# These functions, before gevent patches them
RLock, allocate_lock, get_ident = _thread.RLock, _thread.allocate_lock, _thread.get_ident

# The ident of the main thread
main_ident = get_ident()

# Held while a debugger is let in: the hub may ask while the process connects by itself.
joining = allocate_lock()

# Held while the engine is loaded or connected, and during a fork. The thread that holds it may fork
# itself, as in a signal's handler.
lock = RLock()

# How long a fork waits, in seconds. The engine may need what the forking thread holds, such as the
# lock of the module `logging`.
TIMEOUT = 5

# Whether a child's engine goes on: see follow()
follows = False


def watch():
    """Take note of forks, from now on."""
    os.register_at_fork(before=wait, after_in_parent=release, after_in_child=begin_child)


def wait():
    lock.acquire(True, TIMEOUT)


def release():
    try:
        lock.release()
    except RuntimeError:
        pass  # this thread has waited in vain


def follow():
    """Make pydevd debug the forked children of this process, too.

    Python calls functions in the order in which they were registered. By now `threading` is
    imported, which forgets the parent's threads. It would take those of pydevd for some of them.
    """
    global follows
    if not follows:
        os.register_at_fork(after_in_child=end_child)
        follows = True


def begin_child():
    """Go on in a forked process. If it has an engine, end_child() does more.

    The hub may ask for this process meanwhile. A lock keeps it from answering twice.
    """
    global lock, joining, main_ident
    lock, joining, main_ident = RLock(), allocate_lock(), get_ident()
    if follows:
        joining.acquire()  # until the end of end_child()


def end_child():
    """Go on with the engine in a forked process."""
    if not follows:
        return
    from .engine import engine

    try:
        engine.begin_child()
    finally:
        joining.release()
