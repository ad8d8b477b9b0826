"""Make the text of a value, in one line. No code of the program runs, which may hang or raise.

A class can change its names, repr() and isinstance() in any way. So this module reads everything by
functions of Python's own types.
"""

import os
import sys
from collections import deque
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)

from .hiding import ENVIRONMENT, HIDDEN, LENGTH, beginning, excerpt, must_hide

# How many elements of a container a text shows.
SHOWN = 10

# Types whose repr() is Python's own, and takes no time
PLAIN = (bool, float, complex, type(None), type(Ellipsis), type(NotImplemented), range)
# The same in modules that the program may have imported. They have nothing inside.
PLAIN_OF = {"datetime": ("date", "timedelta", "datetime", "time"), "decimal": ("Decimal",)}


def is_a(value, *kinds):
    """Tell whether a value is of one of Python's own types, or of a subclass of one."""
    return issubclass(type(value), kinds)


def is_exactly(value, *kinds):
    """Tell whether a value's class is one of some types. A metaclass may replace `==`: use `is`."""
    return any(type(value) is kind for kind in kinds)


def fact(kind, attribute):
    """Return what Python itself says about a class, even if a metaclass replaces the attribute."""
    return type.__dict__[attribute].__get__(kind)


def field(error, attribute):
    """Return an attribute of BaseException, even if the exception's class replaces it."""
    return vars(BaseException)[attribute].__get__(error)


def bases(value):
    """Return the classes of a value, its own first."""
    return fact(type(value), "__mro__")


def name_of(kind, attribute="__qualname__"):
    """Return the name of a class, or with "__module__" of its module; "?" if it has none."""
    try:
        name = fact(kind, attribute)
    except AttributeError:
        return "?"
    return name if type(name) is str else "?"


def type_name(value):
    """Return the name of a value's class, as a client sees it."""
    return name_of(type(value))


def is_builtin(kind):
    """Tell whether a class is written in C, and not in Python (Py_TPFLAGS_HEAPTYPE)."""
    return not fact(kind, "__flags__") & 512


def cut(text, length=LENGTH):
    """Return a text, cut to `length` characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def line(value, depth=1):
    """Return the text of a value, at most twice LENGTH long.

    depth: on how many levels elements are shown.
    """
    try:
        return cut(_line(value, depth), LENGTH * 2)
    except Exception as error:
        return f"<{type_name(value)}: {type(error).__name__}>"


def _line(value, depth):
    kind = type(value)
    if is_exactly(value, *PLAIN):
        return repr(value)
    if is_a(value, str):
        count, most = str.__len__(value), LENGTH - 100
        more = f"… ({count} characters)" if count > most else ""
        return repr(beginning(str.__getitem__(value, slice(0, ENVIRONMENT)), most)) + more
    if is_a(value, bytes, bytearray):
        base = bytes if is_a(value, bytes) else bytearray
        count, most = base.__len__(value), LENGTH // 4
        more = f"… ({count} bytes)" if count > most else ""
        near = base.__getitem__(value, slice(0, ENVIRONMENT))
        text = beginning(near.decode(errors="surrogateescape"), most)
        return repr(text.encode(errors="surrogateescape")) + more
    if is_a(value, int):
        bits = int.bit_length(value)
        return int.__repr__(value) if bits < 4000 else f"<{name_of(kind)} of {bits} bits>"
    if is_a(value, float):
        return float.__repr__(value)
    if is_a(value, type):
        return f"<class {name_of(value)!r}>"
    if is_exactly(value, FunctionType, BuiltinFunctionType, GeneratorType, CoroutineType):
        return f"<{name_of(kind)} {value.__qualname__}>"
    if kind is MethodType:
        function = value.__func__
        name = function.__name__ if is_exactly(function, FunctionType, BuiltinFunctionType) else "?"
        return f"<method {name} of a {type_name(value.__self__)}>"
    if kind is ModuleType:
        name = dict.get(vars(ModuleType)["__dict__"].__get__(value), "__name__")
        return f"<module {line(name)}>"
    if kind is CodeType:
        return f"<code {value.co_name}>"
    if is_a(value, BaseException):
        return f"{name_of(kind)}({message_of(value)})"
    if is_a(value, dict, list, tuple, set, frozenset, deque):
        return _line_of_container(value, depth)
    return _line_of_library(value) or f"<{name_of(kind)} object>"


def _line_of_library(value):
    """Return the text of a date, decimal, path or member of an enum; None for another value."""
    kind = type(value)
    for place, names in PLAIN_OF.items():
        found = vars(sys.modules.get(place, os)).get
        is_one = any(kind is found(name) for name in names)
        # The program may have a module of that name, whose class has code of its own.
        if is_one and type(vars(kind).get("__repr__")) is WrapperDescriptorType:
            zone = getattr(value, "tzinfo", None)  # may be of a class of the program
            if zone is None or zone is found("timezone").utc:
                return repr(value)
            return f"{value.replace(tzinfo=None)!r} with a {type_name(zone)}"
    facts = dict(attributes(value, 20))
    parts = facts.get("_raw_paths") or facts.get("_parts")  # Python 3.12, and before
    is_path = name_of(kind).endswith("Path") and type(parts) is list
    if is_path and all(type(part) is str for part in parts):
        return f"{name_of(kind)}({excerpt(os.path.join('', *parts) or '.')!r})"
    name = facts.get("_name_")
    return f"<{name_of(kind)}.{name}>" if type(name) is str and "_value_" in facts else None


def attributes(value, count):
    """Yield the data attributes of a value as (name, value).

    count: how many at most, without those that classes have in __slots__.
    """
    has_all = False
    for kind in bases(value):
        names = fact(kind, "__dict__")
        own = names.get("__dict__")
        if not has_all and is_exactly(own, GetSetDescriptorType, MemberDescriptorType):
            has_all = True
            found = list(dict.items(own.__get__(value)))[:count]
            yield from ((name, child) for name, child in found if type(name) is str)
        for name, member in list(names.items())[:1000]:  # from __slots__
            if type(member) is MemberDescriptorType and type(name) is str and name != "__dict__":
                try:
                    yield name, member.__get__(value)
                except AttributeError:
                    pass  # the attribute is not set


def _line_of_container(value, depth):
    found, marks = elements(value, SHOWN)
    prefix = "" if is_exactly(value, dict, list, tuple, set) else type_name(value)
    count = size(value)
    if depth <= 0 and count:
        few = f"{prefix}{marks[0]}…{marks[1]}"
        return few if count < SHOWN else f"<{type_name(value)} of {count}>"
    parts, names, fields = [], element_names(value), field_names(value)
    for key, element in found:
        is_pair = is_a(value, dict)
        name = key if is_pair else names[key] if key < len(names) else ""
        start = f"{cut(line(key, 0), 100)}: " if is_pair else f"{name}=" if fields else ""
        shown = HIDDEN if must_hide(name, element) else line(element, depth - 1)
        parts.append(start + cut(shown, 200))
    more = f", … ({count} in all)" if count > len(parts) else ""
    return f"{prefix}{marks[0]}{', '.join(parts)}{more}{marks[1]}"


def field_names(value):
    """Return the names of a named tuple's elements; () for another value."""
    if is_a(value, tuple):
        for kind in bases(value):
            names = fact(kind, "__dict__").get("_fields")
            if type(names) is tuple and all(type(name) is str for name in names):
                return names
    return ()


def element_names(value):
    """Return the names of a sequence's elements: fields, a header's name, options; () if none."""
    fields = field_names(value)
    if fields or not is_a(value, tuple, list):
        return fields
    found, is_pair = [one for _, one in elements(value, 100)[0]], size(value) == 2
    is_name = [is_pair or (type(one) is str and one.startswith("--")) for one in found]
    return ["", *(one if is_name[number] else "" for number, one in enumerate(found[:-1]))]


def size(value):
    """Return how many elements a container of Python's own types has; 0 for other values."""
    for base in (dict, list, tuple, set, frozenset, deque):
        if is_a(value, base):
            return base.__len__(value)
    return 0


def elements(value, count, skip=0):
    """Return elements of a container, as a list of (key or index, element), and its brackets.

    count: how many. skip: how many before them are left out.
    """
    if is_a(value, dict):
        return list(islice(dict.items(value), skip, skip + count)), "{}"
    for base, marks in ((list, "[]"), (tuple, "()"), (set, "{}"), (frozenset, "{}"), (deque, "[]")):
        if is_a(value, base):
            found = list(islice(base.__iter__(value), skip, skip + count))
            return list(enumerate(found, skip)), marks
    return [], "()"


def message_of(error):
    """Return the text of an exception."""
    arguments = field(error, "args")
    text_of = next(kind for kind in bases(error) if "__str__" in fact(kind, "__dict__"))
    shown = list(arguments)
    if text_of is OSError:
        shown += [OSError.filename.__get__(error), OSError.filename2.__get__(error)]
    are_plain = all(is_exactly(one, str, bytes, int, float, type(None)) for one in shown)
    if text_of is not BaseException and is_builtin(text_of) and are_plain:
        return excerpt(text_of.__str__(error))
    if len(arguments) == 1 and type(arguments[0]) is str:
        return excerpt(arguments[0])
    return ", ".join(line(one, 0) for one in arguments[:SHOWN])
