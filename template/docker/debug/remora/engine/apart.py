"""Import the engine apart from the program's own modules.

The engine imports much of the standard library. The program may have files with the names of
standard modules (queue.py, code.py), or may have changed sys.path. The engine must not find the
program's modules, and the program must not find the engine's.

For the time of an import, this module changes sys.meta_path, sys.modules and os.environ.
"""

import os
import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import PathFinder
from _imp import extension_suffixes
from _thread import get_ident

# Modules that pydevd imports only for its consoles, which nobody opens here. A stand-in for them
# saves a process 30 ms and 6 MB.
UNUSED = {"http.server", "xmlrpc.client", "xmlrpc.server"}


def standard_library():
    """Return the folders of the standard library, a list of paths as in sys.path."""
    folder = os.path.dirname(os.__file__)
    binary = os.path.join(sys.exec_prefix, os.path.basename(os.path.dirname(folder)))
    version = os.path.basename(folder)
    candidates = [
        f"{os.path.dirname(folder)}/python{sys.version_info[0]}{sys.version_info[1]}.zip",
        folder,
        f"{folder}/lib-dynload",
        f"{sys.base_exec_prefix}/lib/{version}/lib-dynload",
        f"{binary}/{version}/lib-dynload",
    ]
    return [path for path in dict.fromkeys(candidates) if os.path.exists(path)]


def script_folder():
    """Return the folder that Python puts in front of sys.path for the program: see sys.path[0].

    Raises OSError if that is the working directory, and it is deleted.
    """
    from ..commandline import program_of
    from ..hook import own_command

    command = own_command()
    name = program_of(command)
    if name and "-m" not in command and os.path.exists(name):
        return os.path.dirname(os.path.realpath(name))
    return os.getcwd()


def in_folders(name, folders):
    """Tell whether one of `folders` (paths) has a module or a package called `name`."""
    endings = [".py", "/__init__.py", *extension_suffixes()]
    return any(os.path.isfile(f"{folder}/{name}{end}") for folder in folders for end in endings)


class StandIn(type(sys)):  # type: ignore[misc]  # the class of modules
    """A module from which pydevd only reads names. Each name gives `object`.

    The stand-in is also its own loader.
    """

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return object

    def create_module(self, spec):
        return self

    def exec_module(self, module):
        """Execute nothing: the stand-in has no code."""


class Finder:
    """Restrict the imports of this thread to `folders` and to what is built into Python.

    sys.path stays as it is, since the program's other threads may import meanwhile. If the process
    has one thread, stand-ins replace the modules of UNUSED. (Another thread could import a
    stand-in.)
    """

    def __init__(self, folders):
        self.folders, self.thread, self.found = folders, get_ident(), set()
        self.unused = UNUSED if len(sys._current_frames()) == 1 else ()

    def find_spec(self, name, path=None, target=None):
        if get_ident() != self.thread:
            return None
        if name in self.unused:
            return ModuleSpec(name, StandIn(name))  # which loads itself
        spec = (
            BuiltinImporter.find_spec(name, path, target)
            or FrozenImporter.find_spec(name, path, target)
            or PathFinder.find_spec(name, self.folders if path is None else path, target)
        )
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self.found.add(name)
        return spec


class ContextManager:
    """A context manager that runs a generator to its `yield`, and at the end what is in `finally`.

    contextlib has one, too, but imports modules that may be the program's own.
    """

    def __init__(self, steps):
        self.steps = steps

    def __enter__(self):
        next(self.steps)

    def __exit__(self, *_):
        self.steps.close()


def context_manager(function):
    """Make a generator function return such a context manager."""
    return lambda *arguments: ContextManager(function(*arguments))


@context_manager
def at_once():
    """Import at once, in this thread, what Python 3.15 would import lazily."""
    if not hasattr(sys, "set_lazy_imports_filter"):
        yield
        return
    thread = get_ident()
    of_program = sys.get_lazy_imports_filter()  # type: ignore[attr-defined]

    def is_lazy(*names):
        is_of_program = get_ident() != thread
        return is_of_program and (of_program is None or of_program(*names))

    sys.set_lazy_imports_filter(is_lazy)
    try:
        yield
    finally:
        sys.set_lazy_imports_filter(of_program)


@context_manager
def only(home):
    """Restrict this thread's imports to the standard library and to the folder `home` (a path).

    The program may have a file with the name of a module that is imported meanwhile. At the end,
    such a module is removed from sys.modules, so that the program finds its own. pydevd's modules
    stay.
    """
    library, environment = standard_library(), set(os.environ)
    own_folders = _folders_before(library)
    hidden = _hide_modules([home, *library])
    pydevd = f"{home}/debugpy/_vendored/pydevd"
    finder = Finder([home, pydevd, *library])
    sys.meta_path.insert(0, finder)
    try:
        with at_once():
            yield
    finally:
        sys.meta_path.remove(finder)
        # Keep pydevd's own parts: pydevd imports more of them later, by their names.
        loaded = {name.partition(".")[0] for name in finder.found}
        shadowed = {
            name
            for name in loaded
            if in_folders(name, own_folders) and not in_folders(name, [pydevd])
        }
        for name in finder.found:
            if name.partition(".")[0] in shadowed:
                sys.modules.pop(name, None)
        _remove_stand_ins()
        sys.modules.update(hidden)
        # debugpy sets these for processes that it starts itself, and engine.py sets some for the
        # import.
        for name in set(os.environ) - environment:
            if name.startswith("PYDEVD_") or name == "PYTHONBREAKPOINT":
                del os.environ[name]


def _folders_before(library):
    """Return the program's folders in sys.path that come before those of the standard library."""
    first = next((n for n, folder in enumerate(sys.path) if folder in library), len(sys.path))
    try:
        return [script_folder(), *sys.path[:first]]
    except OSError:  # the working directory is deleted
        return sys.path[:first]


def _hide_modules(folders):
    """Remove what the program has loaded by a name that means another module in `folders`.

    Returns the modules by name, to put them back into sys.modules.
    """
    hidden = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and not file.startswith(tuple(folders)):
            if in_folders(name.partition(".")[0], folders):
                hidden[name] = sys.modules.pop(name)
    return hidden


def _remove_stand_ins():
    """Let the program import the real modules, also as attributes of their packages."""
    for name in UNUSED:
        if isinstance(sys.modules.get(name), StandIn):
            package, _, own_name = name.partition(".")
            del sys.modules[name]
            if package in sys.modules:
                vars(sys.modules[package]).pop(own_name, None)
