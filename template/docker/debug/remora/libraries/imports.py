"""Change modules of the program as soon as it has imported them.

While the program has not imported all of them, this module has one finder in sys.meta_path. When
all modules have come, it takes the finder out, so that another debugger does not stop in it.
"""

import sys
from _thread import get_ident

# The functions to call with a module that the program has not imported yet, by the module's name
awaited = {}


class Finder:
    """Finds the modules of `awaited` by the other finders, and gives each a Loader."""

    def __init__(self):
        # What each thread is looking for. Another finder may ask all finders, too.
        self.searches = set()

    def find_spec(self, name, path=None, target=None):
        search = name, get_ident()
        if name not in awaited or search in self.searches:
            return None
        self.searches.add(search)
        try:
            finders = [getattr(finder, "find_spec", None) for finder in sys.meta_path]
            specs = (find(name, path, target) for find in finders if find)
            spec = next(filter(None, specs), None)
        finally:
            self.searches.discard(search)
        if hasattr(getattr(spec, "loader", None), "exec_module"):
            spec.loader = Loader(spec)
        return spec


class Loader:
    """Takes the place of a module's loader until it executes the module.

    The loader itself stays as it is, since it may be the loader of other modules, too.
    """

    def __init__(self, spec):
        self.spec, self.loader = spec, spec.loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def exec_module(self, module):
        self.spec.loader = self.loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self.loader
        self.loader.exec_module(module)
        for action in forget(self.spec.name):
            apply(action, module)


finder = Finder()


def change(actions):
    """Call functions with modules: at once if the module is imported, else when it is.

    actions: functions that take a module, by the module's name.
    """
    for name, action in actions.items():
        module = sys.modules.get(name)
        if module is not None:
            apply(action, module)
        elif action not in awaited.setdefault(name, []):
            awaited[name].append(action)
    if awaited and finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


def apply(action, module):
    """Call a function with a module, which it changes if the module is the expected one."""
    try:
        action(module)
    except (AttributeError, TypeError):
        pass  # another version, or a module of the program with that name


def forget(name):
    """Await a module no longer. Returns the functions that waited for it."""
    actions = awaited.pop(name, [])
    if not awaited and finder in sys.meta_path:
        sys.meta_path.remove(finder)
    return actions
