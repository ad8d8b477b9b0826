"""Change modules of the program as soon as it has imported them.

This module puts a finder into sys.meta_path, and removes it when it is not needed any more.
"""

import sys


class Finder:
    """Calls a function with a module when the program has imported the module.

    When all modules have come, the finder leaves sys.meta_path, so that another debugger does not
    stop in it.

    actions: functions that take a module, by the module's name.
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
        execute = spec and getattr(spec.loader, "exec_module", None)
        if execute:

            def exec_module(module):
                execute(module)
                action(module)
                self.actions.pop(name, None)
                if not self.actions and self in sys.meta_path:
                    sys.meta_path.remove(self)

            spec.loader.exec_module = exec_module
        return spec


def change(actions):
    """Call functions with modules: at once if the module is imported, else when it is.

    actions: functions that take a module, by the module's name.
    """
    for name, action in actions.items():
        if name in sys.modules:
            action(sys.modules[name])
    sys.meta_path.insert(0, Finder(actions))
