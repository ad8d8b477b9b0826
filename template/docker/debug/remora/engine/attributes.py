"""Show what is in a value without running the program's code.

pydevd reads all properties of a value that a user opens. A property may be slow, hang, or change
the program: a cached property stores its value, and an attribute of a table's row may ask the
database. Here, a client sees such attributes as `Later`, and they are read only when a user opens
them.

This module replaces a function of pydevd.
"""

import os
from types import FunctionType

# Packages whose properties are quick. values.py knows where those of NumPy and pandas are not.
TRUSTED = ("enum", "types", "numpy", "pandas", "torch")

# The standard library, whose properties are quick
LIBRARY = os.path.dirname(os.__file__) + "/"


class Later:
    """An attribute that is read only when a user opens it."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __repr__(self):
        return "(open it to compute it)"


class LaterResolver:
    """Gives pydevd the value of a Later, or the error that reading it has raised."""

    def get_contents_debug_adapter_protocol(self, later, fmt=None):
        try:
            return [(later.name, getattr(later.owner, later.name), "")]
        except Exception as error:
            return [(later.name, error, None)]


def apply(resolver):
    """Make pydevd read later what runs the program's code. resolver: its class DefaultResolver."""
    read = resolver._get_py_dictionary

    def _get_py_dictionary(self, var, names=None, used___dict__=False):
        if not names:
            names, used___dict__ = self.get_names(var)
        later = []
        if not used___dict__ and not issubclass(type(var), type):
            later = [name for name in names if runs_code(var, name)]
        names = [name for name in names if name not in later]
        found, used___dict__ = read(self, var, names, used___dict__) if names else ({}, False)
        found.update((name, Later(var, name)) for name in later)
        return found, used___dict__

    resolver._get_py_dictionary = _get_py_dictionary


def runs_code(value, name):
    """Tell whether reading an attribute runs code of the program, or of a library like an ORM."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except Exception:
        own = {}
    kind = type(value)
    of_class = [vars(base)[name] for base in kind.__mro__ if name in vars(base)][:1]
    if of_class and type(of_class[0]) is property:
        function = of_class[0].fget
        if is_of_library(function):
            return False
    elif name in own:
        return False
    elif of_class:
        function = getattr(type(of_class[0]), "__get__", None)
    else:  # dir() has the name from __dir__()
        function = getattr(kind, "__getattr__", own.get("__getattr__"))
    is_trusted = str(getattr(function, "__module__", "")).partition(".")[0] in TRUSTED
    return isinstance(function, FunctionType) and not is_trusted


def is_of_library(function):
    """Tell whether a property's function is of the standard library."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return file.startswith((LIBRARY, "<frozen")) and "-packages" not in file
