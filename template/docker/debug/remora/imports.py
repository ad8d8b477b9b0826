"""Changes to modules of the program, made as soon as it has imported them."""

import sys


class Finder:
    """Calls a function with a module when the program has imported it.

    It goes when it has found all, so that no debugger of the program's own stops in it after that.

    actions: the functions, by the name of the module
    """

    def __init__(self, actions):
        self.actions = actions

    def find_spec(self, name, path=None, target=None):
        action = self.actions.get(name)
        if action is None:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        loader = getattr(spec, "loader", None)
        execute = getattr(loader, "exec_module", None)
        if execute:

            def exec_module(module):
                execute(module)
                action(module)
                self.actions.pop(name, None)
                if not self.actions and self in sys.meta_path:
                    sys.meta_path.remove(self)

            loader.exec_module = exec_module
        return spec


def change(actions):
    """Call functions with those modules that are imported already, and with others then."""
    for name, action in actions.items():
        if name in sys.modules:
            action(sys.modules[name])
    sys.meta_path.insert(0, Finder(actions))
