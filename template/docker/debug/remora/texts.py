"""Make the text of a value, in one line. No code of the program runs, which may hang or raise.

A class can change its names, repr() and isinstance() in any way. So this module reads everything by
functions of Python's own types.
"""

import os
import re
from collections import deque
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

# How long a text may be, and how many elements of a container it shows.
LENGTH, SHOWN = 2000, 10

# Stands for a value that is not written
HIDDEN = "(hidden)"

# Words in the name of a secret. `key` alone is usually not a secret, but the key of a dictionary.
SECRET = re.compile(
    r"(?i)(?<![a-z])(auth|authorization|bearer|cookie|credentials?|dsn|pass|passphrase|passwd"
    r"|password|private|pwd|secrets?)(?![a-z])|token(?![a-z])|[a-z0-9][-_]?key(?![a-z])"
    r"|passw(or)?d|secret|credential"
)
# A container with such a name is hidden as a whole. Here, tokens and keys are usually not secrets.
SECRETS = re.compile(
    r"(?i)(?<![a-z])(auth|authorization|cookies?|credentials?|passwords?|secrets?)(?![a-z])"
)
KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|\b(sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(gh[pousr]|glpat|hf|xox[abprs])[-_][A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"
    r"|(?i:\b(?<=bearer )|\b(?<=basic ))[A-Za-z0-9+/._~-]{16,}=*"
)
# Passwords in an address, after name=, and in JSON
PASSWORDS = re.compile(
    r"""(://[^/\s:@]*:)[^/\s]+(?=@)"""
    r"""|((?i:passw(?:or)?d|pwd|secret|token|(?:api|access|private)[-_]?key)"""
    r"""(?:\w{0,20}=['"]?|['"]\s*:\s*['"]))[^\s'"&;,)]+"""
)

# Types whose repr() is Python's own, and takes no time
PLAIN = (bool, float, complex, type(None), type(Ellipsis), type(NotImplemented), range)


def is_secret(name):
    """Tell whether a name says that its value is a secret."""
    return SECRET.search(name) is not None


def secrets_of_environment():
    """Return the values of environment variables whose names say that they are secrets."""
    there = dict(os.environ).items()
    return {value for name, value in there if is_secret(name) and len(value) > 5}


def without_secrets(text, known=()):
    """Return a text without known secrets, and without what looks like a key or a password."""
    for secret in known:
        text = text.replace(secret, HIDDEN)
    if len(text) > 12:
        text = PASSWORDS.sub(rf"\1\2{HIDDEN}", KEYS.sub(HIDDEN, text))
    return text


def is_a(value, *kinds):
    """Tell whether a value is of one of Python's own types, or of a subclass of one."""
    return issubclass(type(value), kinds)


def is_exactly(value, *kinds):
    """Tell whether a value's class is one of some types. A metaclass may replace `==`: use `is`."""
    return any(type(value) is kind for kind in kinds)


def bases(value):
    """Return the classes of a value, its own first."""
    return type.__dict__["__mro__"].__get__(type(value))


def name_of(kind, attribute="__qualname__"):
    """Return the name of a class, or with "__module__" of its module; "?" if it has none."""
    try:
        name = type.__dict__[attribute].__get__(kind)
    except AttributeError:
        return "?"
    return name if type(name) is str else "?"


def type_name(value):
    """Return the name of a value's class, as a client sees it."""
    return name_of(type(value))


def is_builtin(kind):
    """Tell whether a class is written in C, and not in Python (Py_TPFLAGS_HEAPTYPE)."""
    return not type.__dict__["__flags__"].__get__(kind) & 512


def cut(text, length=LENGTH):
    """Return a text, cut to `length` characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def excerpt(text, known=()):
    """Return the beginning of a text, without secrets, LENGTH characters long at most.

    The end of a secret may lie behind that. A search of megabytes would hold up the program's end.
    """
    return cut(without_secrets(text[: LENGTH * 10], known))


def line(value, known=(), depth=1):
    """Return the text of a value, at most twice LENGTH long.

    known: secrets to leave out. depth: on how many levels elements are shown.
    """
    try:
        return cut(_line(value, known, depth), LENGTH * 2)
    except Exception as error:
        return f"<{type_name(value)}: {type(error).__name__}>"


def _line(value, known, depth):
    kind = type(value)
    if is_exactly(value, *PLAIN):
        return repr(value)
    if is_a(value, str):
        count, most = str.__len__(value), LENGTH - 100
        start = str.__getitem__(value, slice(0, most))
        more = f"… ({count} characters)" if count > most else ""
        return repr(without_secrets(start, known)) + more
    if is_a(value, bytes, bytearray):
        base = bytes if is_a(value, bytes) else bytearray
        first = bytes(base.__getitem__(value, slice(0, LENGTH // 4)))
        more = f"… ({base.__len__(value)} bytes)" if base.__len__(value) > len(first) else ""
        return without_secrets(repr(first), known) + more
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
        return f"{name_of(kind)}({message_of(value, known)})"
    if is_a(value, dict, list, tuple, set, frozenset, deque):
        return _line_of_container(value, known, depth)
    return f"<{name_of(kind)} object>"


def _line_of_container(value, known, depth):
    found, marks = elements(value, SHOWN)
    prefix = "" if is_exactly(value, dict, list, tuple, set) else type_name(value)
    count = size(value)
    if depth <= 0 and count:
        few = f"{prefix}{marks[0]}…{marks[1]}"
        return few if count < SHOWN else f"<{type_name(value)} of {count}>"
    parts, is_secret_pair = [], is_pair_of_secret(value)
    for key, element in found:
        shown = HIDDEN if is_secret_pair and key == 1 else line(element, known, depth - 1)
        if is_a(value, dict):
            shown = HIDDEN if must_hide(key, element) else shown
            parts.append(f"{cut(line(key, known, 0), 100)}: {cut(shown, 200)}")
        else:
            parts.append(cut(shown, 200))
    more = f", … ({count} in all)" if count > len(parts) else ""
    return f"{prefix}{marks[0]}{', '.join(parts)}{more}{marks[1]}"


def must_hide(name, value):
    """Tell whether a value must be hidden because of its name."""
    if type(name) is bytes:
        name = name.decode("latin-1")
    if type(name) is not str:
        return False
    if is_a(value, str, bytes, bytearray):
        return is_secret(name)
    return is_a(value, dict, list, tuple, set, frozenset) and SECRETS.search(name) is not None


def is_pair_of_secret(value):
    """Tell whether a value is a pair of a name and a secret, as in a list of headers."""
    if not is_a(value, tuple, list) or size(value) != 2:
        return False
    (_, name), (_, secret) = elements(value, 2)[0]
    return must_hide(name, secret)


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


def message_of(error, known=()):
    """Return the text of an exception. known: secrets to leave out."""
    arguments = BaseException.args.__get__(error)
    names = type.__dict__["__dict__"].__get__
    text_of = next(kind for kind in bases(error) if "__str__" in names(kind))
    shown = list(arguments)
    if text_of is OSError:
        shown += [OSError.filename.__get__(error), OSError.filename2.__get__(error)]
    are_plain = all(is_exactly(one, str, bytes, int, float, type(None)) for one in shown)
    if text_of is not BaseException and is_builtin(text_of) and are_plain:
        return excerpt(text_of.__str__(error), known)
    if len(arguments) == 1 and type(arguments[0]) is str:
        return excerpt(arguments[0], known)
    return ", ".join(line(one, known, 0) for one in arguments[:SHOWN])
