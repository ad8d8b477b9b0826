"""Programs under gevent, which turns threads into greenlets.

pydevd has a mode for gevent, in which it uses its own copies of modules such as `threading`. The
mode must be chosen before pydevd is imported. So if gevent comes later, pydevd is imported again.
"""

import os
import sys
from contextlib import contextmanager

from .. import container, forks, program
from . import imports

# Modules that turn threads into greenlets when gevent patches them
MODULES = {"threading", "_thread", "thread"}

# Whether tracing continues in each greenlet that runs in the main thread
follows = False

# Whether gevent was about to patch a module of MODULES after pydevd had been imported
is_coming = False

# The function that watch() was last given
reload = None


def is_patched():
    """Tell whether the program's threads are greenlets, or are about to be."""
    monkey = sys.modules.get("gevent.monkey")
    return is_coming or (bool(monkey) and monkey.is_module_patched("threading"))


@contextmanager
def support():
    """Choose pydevd's mode for an import of pydevd in the body of the `with`."""
    settings = {}
    if is_patched():
        settings["GEVENT_SUPPORT"] = "True"
    if is_coming:
        # Compiled modules cannot be imported twice.
        settings["PYDEVD_USE_CYTHON"] = "NO"
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


def watch(function):
    """Call `function`, without arguments, before gevent turns threads into greenlets."""
    global reload
    reload = function
    imports.change({"gevent.events": subscribe})


def subscribe(events):
    """Let gevent tell what it is about to patch. events: its module."""
    if on_event not in events.subscribers:
        events.subscribers.append(on_event)


def on_event(event):
    global is_coming
    is_patch = type(event).__name__ == "GeventWillPatchModuleEvent"
    if is_patch and event.module_name in MODULES and not is_patched():
        is_coming = True
        # Once gevent has patched locks, an import that waits for another thread needs gevent's hub,
        # which imports modules itself when it begins: so begin it before.
        sys.modules["gevent"].get_hub()
        reload()


def follow():
    """Continue tracing in each greenlet that runs in this thread, which must be the main one."""
    global follows
    follows = True
    if sys.version_info < (3, 12):
        import greenlet

        greenlet.settrace(on_switch)


def on_switch(event, greenlets):
    if program.is_attached():
        sys.modules["pydevd_tracing"].reapply_settrace()


def tell_threads():
    """Tell pydevd which thread is the main one, and hide this thread if it is another.

    pydevd's own copy of `threading` takes the thread that has imported it for the main one.
    """
    threading = sys.modules["_pydev_bundle._pydev_saved_modules"].threading
    main = forks.main_ident
    if threading is sys.modules["threading"] or main == program.get_ident():
        return
    if not follows:
        os.kill(os.getpid(), container.SIGNAL)  # gevent has come while pydevd was imported
    thread = threading.main_thread()
    if thread.ident != main:
        threading._active.pop(thread.ident, None)
        threading._active[main] = thread
        thread._ident = main
    this = threading.current_thread()
    this.pydev_do_not_trace = this.is_pydev_daemon_thread = True
