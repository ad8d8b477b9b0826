"""gevent, which makes the threads of a program greenlets.

pydevd has a mode for that, in which it has modules such as `threading` of its own. It has to be
chosen before pydevd is imported. So if gevent comes later, pydevd is imported again.
"""

import os
import sys
from contextlib import contextmanager

from remora import container, imports, program

# The modules whose patching makes threads greenlets
MODULES = {"threading", "_thread", "thread"}

# Whether tracing goes on in whichever greenlet of the main thread runs
follows = False

# Whether gevent was about to patch those modules, when pydevd was here already
is_coming = False


def is_patched():
    """Tell whether threads of the program are greenlets, or are about to be."""
    monkey = sys.modules.get("gevent.monkey")
    return is_coming or (bool(monkey) and monkey.is_module_patched("threading"))


@contextmanager
def support():
    """Have pydevd, which is imported meanwhile, be in the mode that the program needs."""
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


def watch(reload):
    """Have a function called before gevent makes threads greenlets."""

    def on_event(event):
        global is_coming
        is_patch = type(event).__name__ == "GeventWillPatchModuleEvent"
        if is_patch and event.module_name in MODULES and not is_patched():
            is_coming = True
            reload()

    imports.change({"gevent.events": lambda module: module.subscribers.append(on_event)})


def follow():
    """Have tracing go on in whichever greenlet of the main thread runs, which calls this."""
    global follows
    follows = True
    if sys.version_info < (3, 12):
        import greenlet

        greenlet.settrace(on_switch)


def on_switch(event, greenlets):
    if program.is_attached():
        sys.modules["pydevd_tracing"].reapply_settrace()


def tell_threads():
    """Tell pydevd which thread is the main one, and that this one, if another, is not to be shown.

    For its own module `threading`, the main thread is the one that has imported that.
    """
    threading = sys.modules["_pydev_bundle._pydev_saved_modules"].threading
    main = program.main
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
