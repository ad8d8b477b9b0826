"""Values as nodes of a graph, the most important first. No code of the program runs.

A node is {"type", "text", "size", "children"}. A child is [name, number of its node]; or [name,
type, text] if there is nothing inside. The name is what follows the value in an expression: `.x`,
`[0]`, `['a']`. If there is no such expression, the name is in round brackets: `(key)`.
"""

import time
from collections import deque
from functools import partial
from heapq import heappop, heappush
from types import (
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

from ..engine.values import SHOWN
from . import hiding, summaries, texts
from .hiding import HIDDEN
from .texts import is_a, is_exactly

# Types of a program's own parts, and types of values without children
PARTS = (type, CodeType, FunctionType, BuiltinFunctionType, ModuleType)
LEAVES = (*PARTS, bool, int, float, complex, type(None), str, bytes, bytearray)


class Graph:
    """Values, and what is inside them.

    room    how many bytes the nodes may take, approximately
    until   when to stop (a time of time.monotonic())
    """

    def __init__(self, room, until):
        self.room, self.until = room, until
        hiding.learn()
        self.is_complete = True
        # How many characters of text have been made, for values and for frames
        self.made = 0
        # Numbers of values by their id(). The list keeps the values, so that no other gets the same
        # id.
        self._numbers, self._kept = {}, []
        self._queue = []

    def child(self, name, value, rank, secret_name):
        """Return a value as an entry of a list of children, and queue its node.

        rank: the lower, the sooner the node is written. secret_name: the name that may tell of a
        secret.
        """
        if hiding.must_hide(secret_name, value):
            return [name, texts.type_name(value), HIDDEN]
        if is_a(value, *LEAVES) or (is_exactly(value, tuple, list, dict, set) and not value):
            return [name, texts.type_name(value), self.line(value)]
        number = self._numbers.get(id(value))
        if number is None:
            # Limit the numbers: a value takes memory even if its node is never written.
            if len(self._kept) * 50 > self.room:
                self.is_complete = False
                return [name, texts.type_name(value), self.line(value)]
            number = self._numbers[id(value)] = len(self._kept)
            self._kept.append(value)
            heappush(self._queue, (rank, number))
        return [name, number]

    def nodes(self):
        """Yield (number, node), as long as there is time."""
        while self._queue:
            if time.monotonic() > self.until:
                self.is_complete = False
                return
            rank, number = heappop(self._queue)
            yield number, self.node(self._kept[number], rank + 1)

    def is_full(self):
        """Tell whether stacks must get no more variables, so that the values have room."""
        is_full = self.made > self.room // 4 or time.monotonic() > self.until
        self.is_complete = self.is_complete and not is_full
        return is_full

    def is_crowded(self):
        """Tell whether there must be no more stacks, so that the values have room."""
        is_crowded = self.made > self.room // 2
        self.is_complete = self.is_complete and not is_crowded
        return is_crowded

    def line(self, value):
        """Return the text of a value."""
        found = summaries.line(value) or texts.line(value)
        self.made += len(found)
        return found

    def node(self, value, rank):
        """Return the node of a value. rank: the rank of its children."""
        node = {"type": texts.type_name(value), "text": self.line(value)}
        children = []
        try:
            if texts.size(value) > SHOWN:
                node["size"] = texts.size(value)
            for name, child, secret_name in inside(value):
                children.append(self.child(name, child, rank, secret_name))
        except Exception as error:  # such as a dictionary that another thread changes
            children.append(["(more)", type(error).__name__, "cannot be read"])
        if children:
            node["children"] = children
        return node


def inside(value):
    """Yield what is inside a value, as (name, child, name that may tell of a secret)."""
    kind, found = type(value), summaries.inside(value)
    if found is not None:
        for name, child in found:
            yield name, child, name
        return
    if texts.name_of(kind) == "_Environ" and texts.name_of(kind, "__module__") == "os":
        return  # a dump has its names elsewhere
    elements, _ = texts.elements(value, SHOWN)
    is_sequence, names = is_a(value, list, tuple, deque), texts.element_names(value)
    for key, child in elements:
        if is_a(value, dict):
            if not is_a(key, str, int, float, type(None)):
                yield "(key)", key, ""
            name = texts.cut(texts.line(key, 0), 200)
            yield f"[{name}]", child, key
        else:
            told = names[key] if key < len(names) else ""
            yield f"[{key}]" if is_sequence else f"({key})", child, told
    for name, child in texts.attributes(value, SHOWN * 2):
        yield f".{name}", child, name
    if kind is MethodType:
        yield ".__self__", value.__self__, ""
    elif kind is partial:
        yield from ((f".{name}", getattr(value, name), "") for name in ("func", "args", "keywords"))
    elif is_exactly(value, GeneratorType, CoroutineType):
        frame = value.gi_frame if kind is GeneratorType else value.cr_frame
        if frame is not None:
            yield from ((f"({name})", child, name) for name, child in locals_of(frame))
    elif is_a(value, BaseException):
        yield ".args", texts.field(value, "args"), ""


def locals_of(frame):
    """Return the local variables of a frame, as a list of (name, value)."""
    found = frame.f_locals
    if texts.name_of(type(found)) == "FrameLocalsProxy":  # Python 3.13
        found = dict(found)
    if not is_a(found, dict):
        return []  # the body of a class whose metaclass has its own namespace
    return [(name, value) for name, value in list(dict.items(found)) if type(name) is str]
