"""Show big values quickly: in less than a second, with their type, shape and first elements.

pydevd shows only the first elements of most containers. But pydevd reads all properties of a value
that a user opens (see attributes.py), and makes the text of some values from everything in them.

This module replaces functions of pydevd.
"""

import time
from array import array
from collections import UserDict, UserList
from itertools import islice
from types import MappingProxyType, MethodType, SimpleNamespace

from . import attributes, limits
from .attributes import Later, LaterResolver

# The text of a container with more elements is never made from all of them.
MANY = 10_000

# Classes with slow properties, by package; and the number of elements from which on they are slow.
PROPERTIES = {
    "numpy": ({"ndarray"}, 2**20),  # pydevd reads no min and max of bigger arrays
    "pandas": ({"NDFrame", "Index", "ExtensionArray", "BaseGroupBy", "BaseWindow"}, 100_000),
}

# Properties of these classes that are quick
QUICK = set(
    "shape size ndim dtype dtypes itemsize columns index axes name names attrs empty freq tz levels"
    " nlevels codes categories ordered closed flags strides keys obj".split()
)

# How many elements of an array are shown, as pydevd does for other containers.
SHOWN = 100

# How long a text may take to be made again, and at all, in seconds; and classes whose texts took
# too long to be made again, with the seconds.
PATIENCE, LIMIT = 1, 5
slow = {}

# Types whose texts end soon
SIMPLE = {bool, bytes, float, int, str, type(None)}


def apply(pydevd):
    """Make pydevd show big values quickly. Raises AttributeError or ImportError if it cannot."""
    from _pydevd_bundle import pydevd_suspended_frames
    from _pydevd_bundle.pydevd_safe_repr import SafeRepr

    open_soon(pydevd_suspended_frames)
    describe_soon(SafeRepr)


# ---- The line of a value ----


def describe_soon(representation):
    """Keep pydevd from making a text from everything in a value. representation: SafeRepr."""
    of_dict, of_other = representation._repr_dict, representation._repr_other
    of_all = representation.__call__

    def __call__(self, obj):
        if type(obj) in SIMPLE or self.raw_value:
            return of_all(self, obj)
        try:
            return limits.within(LIMIT, of_all, self, obj)
        except limits.TooLong:
            return f"<{type(obj).__qualname__} at {id(obj):#x}: repr() did not end in {LIMIT} s>"

    def _repr_dict(self, obj, level, *marks):
        # pydevd itself copies the list of all keys, and calls the program's own __getitem__().
        shown = self.maxcollection[level] if level < len(self.maxcollection) else 0
        is_own = type(obj).__getitem__ is not dict.__getitem__
        if shown and (is_own or shown < len(obj)):
            try:
                obj = {key: dict.__getitem__(obj, key) for key in islice(obj, shown)}
            except Exception:
                pass  # the program's own code failed; pydevd copes with that
        return of_dict(self, obj, level, *marks)

    def _repr_other(self, obj, level):
        kind = type(obj)
        if self.raw_value or self.maxother_outer > representation.maxother_outer:
            yield from of_other(self, obj, level)  # the user copies it, and wants all
        elif kind is MethodType:
            # Its own text contains the text of its object.
            owner = type(obj.__self__).__qualname__
            yield f"<bound method {getattr(obj, '__qualname__', '?')} of a {owner}>"
        elif kind in slow:
            yield f"<{kind.__qualname__} at {id(obj):#x}: repr() took {slow[kind]:.1f} s before>"
        elif has_generated_text(kind) and any(map(is_long, vars(obj).values())):
            yield f"{kind.__qualname__}("
            for index, (name, value) in enumerate(vars(obj).items()):
                yield f"{', ' if index else ''}{name}="
                yield from self._repr(value, level + 1)
            yield ")"
        else:
            start = time.monotonic()
            try:
                yield from of_other(self, obj, level)
            finally:
                if time.monotonic() - start > PATIENCE:
                    slow[kind] = time.monotonic() - start

    # pydevd shows only the length of these if they have more than 60 elements.
    views = [type(view) for view in ({}.keys(), {}.values(), {}.items())]
    more = (array, MappingProxyType, UserDict, UserList, *views)
    representation.long_iter_types = (*representation.long_iter_types, *more)
    representation._repr_dict, representation._repr_other = _repr_dict, _repr_other
    representation.__call__ = __call__


def has_generated_text(kind):
    """Tell whether repr() of a class shows all attributes, as a dataclass's does."""
    text = kind.__repr__
    text = getattr(text, "__wrapped__", text)
    file = getattr(getattr(text, "__code__", None), "co_filename", "")
    is_generated = file == "<string>" or file.startswith("<attrs generated")
    return kind is SimpleNamespace or (is_generated and hasattr(kind, "__dict__"))


def is_long(value):
    """Tell whether a value is a container of Python's own types with more than MANY elements."""
    return type(value).__module__ in ("builtins", "collections", "array") and (
        hasattr(type(value), "__len__") and len(value) > MANY
    )


# ---- What is in a value ----


class Part:
    """A range of the elements of a sequence."""

    def __init__(self, sequence, start, stop):
        self.sequence, self.start, self.stop = sequence, start, stop

    def __repr__(self):
        return f"[{self.start}:{self.stop}]"


def open_soon(frames):
    """Compute slow properties only when a user opens them. frames: the module suspended_frames."""
    from _pydevd_bundle import pydevd_constants, pydevd_resolver

    attributes.apply(pydevd_resolver.DefaultResolver)
    size = pydevd_constants.PYDEVD_CONTAINER_BUCKET_SIZE
    of_parts = PartResolver(size, pydevd_resolver.MoreItemsRange)
    more = pydevd_resolver.MoreItems
    more.get_contents_debug_adapter_protocol = lambda more, *_: of_parts.of_others(more)
    get_type, get_data = frames.get_type, frames._ObjectVariable.get_var_data
    others = {
        Later: LaterResolver(),
        Part: of_parts,
        array: pydevd_resolver.tupleResolver,
        MappingProxyType: pydevd_resolver.dictResolver,
    }
    of_big = BigResolver()

    def get_type_of_big(value):
        kind, name, resolver = get_type(value)
        resolver = others.get(type(value), resolver)
        return kind, name, of_big if is_big(value) else resolver

    def get_var_data(self, *arguments, **options):
        data = get_data(self, *arguments, **options)
        if type(self.value) is Later:
            # A client that knows this hint, such as VS Code, shows a button, and then the value.
            data["presentationHint"] = {"lazy": True}
        return data

    frames.get_type, frames._ObjectVariable.get_var_data = get_type_of_big, get_var_data


def is_big(value):
    """Tell whether a value has slow properties, and enough elements to make them slow."""
    for kind in type(value).__mro__:
        names, limit = PROPERTIES.get(str(kind.__module__).partition(".")[0], ((), 0))
        if kind.__name__ in names:
            try:
                data = data_of(value)
                return (data.size if kind.__name__ == "ndarray" else len(data)) > limit
            except Exception:
                return False
    return False


def data_of(value):
    """Return the data that pandas has grouped, else the value.

    The length of the groups would be slow.
    """
    return getattr(value, "__dict__", {}).get("obj", value)


class PartResolver:
    """Gives pydevd the smaller parts of a part of a sequence, at most `size` of them.

    size: how many elements the smallest part has. items: pydevd's class of such a part.
    """

    def __init__(self, size, items):
        self.size, self.items = size, items

    def of_others(self, more):
        """Return the parts that pydevd has not shown. more: pydevd's MoreItems."""
        part = Part(more.value, more.handled_items, len(more.value))
        return self.get_contents_debug_adapter_protocol(part)

    def get_contents_debug_adapter_protocol(self, part, fmt=None):
        size, kind = self.size, self.items
        while size * self.size < part.stop - part.start:
            size, kind = size * self.size, Part
        starts = range(part.start, part.stop, size)
        found = [kind(part.sequence, n, min(n + size, part.stop)) for n in starts]
        return [(repr(smaller), smaller, None) for smaller in found]


class BigResolver:
    """Gives pydevd the first elements, the attributes and the properties of a big value."""

    def get_contents_debug_adapter_protocol(self, value, fmt=None):
        classes, read, later = type(value).__mro__, [], []
        quick = QUICK if data_of(value) is value else ()
        for name in dir(value):
            of_class = next((vars(kind)[name] for kind in classes if name in vars(kind)), self)
            if of_class is not self and (callable(of_class) or name.startswith("_")):
                continue  # a method, or internal
            if of_class is self or name in quick:  # columns are not of the class
                try:
                    read.append((name, getattr(value, name), f".{name}"))
                except Exception as error:
                    read.append((name, error, None))
            else:
                later.append((name, Later(value, name), f".{name}"))
        return [*self.first(value), *read, *later]

    def first(self, value):
        """Return the first elements; [] if the value has rows of several columns."""
        try:
            if not hasattr(value, "columns"):
                part = getattr(value, "iloc", value)[:SHOWN]
                return [(f"[0:{len(part)}]", list(part), None)]
        except Exception:
            pass  # such as an array without dimensions
        return []
