"""Import the engine apart from the program's own modules.

The engine imports much of the standard library. A program may have files called like parts of it
(queue.py, code.py), or have changed sys.path. Neither is to find the other's modules.
"""

import os
import sys
import threading
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import PathFinder
from contextlib import contextmanager
from types import ModuleType

# What pydevd imports for its consoles only, which nobody opens here: 30 ms and 6 MB for a process.
UNUSED = {"http.server", "xmlrpc.client", "xmlrpc.server"}


def standard_library():
    """Return the folders of the standard library, as sys.path has them."""
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
    """Return the folder that Python puts in front of sys.path for the program: see sys.path[0]."""
    from remora.commandline import program_of
    from remora.container import own_command

    command = own_command()
    name = program_of(command)
    if name and "-m" not in command and os.path.exists(name):
        return os.path.dirname(os.path.realpath(name))
    return os.getcwd()


def in_folders(name, folders):
    """Tell whether one of some folders has a module or package of that name."""
    return any(
        os.path.exists(f"{folder}/{name}.py") or os.path.isfile(f"{folder}/{name}/__init__.py")
        for folder in folders
    )


class StandIn(ModuleType):
    """A module of which only the names are asked for. It is its own loader."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return object

    def create_module(self, spec):
        return self

    def exec_module(self, module):
        """Leave it as it is."""


class Finder:
    """Have the imports of this thread find what is in some folders, and nothing else.

    sys.path stays as it is, since the program's other threads import meanwhile. Where there are
    none, modules that are not used are stood in for.
    """

    def __init__(self, folders):
        self.folders, self.thread, self.found = folders, threading.get_ident(), set()
        self.unused = UNUSED if len(sys._current_frames()) == 1 else ()

    def find_spec(self, name, path=None, target=None):
        if threading.get_ident() != self.thread:
            return None
        if name in self.unused:
            # A module is no Loader, but this one has the methods of one.
            return ModuleSpec(name, StandIn(name))  # type: ignore[arg-type]
        spec = (
            BuiltinImporter.find_spec(name, path, target)
            or FrozenImporter.find_spec(name, path, target)
            or PathFinder.find_spec(name, self.folders if path is None else path, target)
        )
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self.found.add(name)
        return spec


@contextmanager
def at_once():
    """Have no import of this thread put off, as Python 3.15 does with some or with all."""
    if not hasattr(sys, "set_lazy_imports_filter"):
        yield
        return
    thread, of_program = threading.get_ident(), vars(sys)["get_lazy_imports_filter"]()

    def is_lazy(*names):
        is_of_program = threading.get_ident() != thread
        return is_of_program and (of_program is None or of_program(*names))

    sys.set_lazy_imports_filter(is_lazy)
    try:
        yield
    finally:
        sys.set_lazy_imports_filter(of_program)


@contextmanager
def only(home):
    """Have imports find the standard library and what is in the folder `home`, and nothing else.

    Afterwards, a module that the program would not have found, since a file of its own comes first,
    is not there for it, unless it is one of pydevd's.
    """
    library = standard_library()
    path, environment = list(sys.path), dict(os.environ)
    own_folders = [folder for folder in path if folder not in library]
    try:
        own_folders = [script_folder(), *own_folders[: _first(path, library)]]
    except OSError:
        pass  # the working directory is gone

    # What the program has loaded under a name that the engine means otherwise
    hidden = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if file and name != "__main__" and not file.startswith((home, *library)):
            if in_folders(top, [home, *library]):
                hidden[name] = sys.modules.pop(name)
    pydevd = f"{home}/debugpy/_vendored/pydevd"
    finder = Finder([home, pydevd, *library])
    sys.meta_path.insert(0, finder)
    try:
        with at_once():
            yield
    finally:
        sys.meta_path.remove(finder)
        loaded = {name.partition(".")[0] for name in finder.found}
        # pydevd imports parts of itself later, by their names.
        shadowed = {
            name
            for name in loaded
            if in_folders(name, own_folders) and not in_folders(name, [pydevd])
        }
        for name in finder.found:
            if name.partition(".")[0] in shadowed:
                sys.modules.pop(name, None)
        for name in UNUSED:
            if isinstance(sys.modules.get(name), StandIn):
                package, _, own_name = name.partition(".")
                del sys.modules[name]
                vars(sys.modules.get(package, finder)).pop(own_name, None)
        sys.modules.update(hidden)
        # What debugpy sets for processes that it starts itself, and what engine.py does meanwhile
        for name in set(os.environ) - set(environment):
            if name.startswith("PYDEVD_") or name == "PYTHONBREAKPOINT":
                del os.environ[name]


def _first(path, library):
    """Return how many folders of a sys.path come before those of the standard library."""
    return next((n for n, folder in enumerate(path) if folder in library), len(path))
