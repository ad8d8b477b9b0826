"""Values that are too big to show completely: a client sees at once what they are.

These tests count touched elements and sent bytes. benchmarks.md has times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import dap
from support.container import Container
from support.project import marked

# How much of a big value may be touched or sent for its line, and for its content.
LINE, INSIDE = 2_000, 60_000

# Containers that count which of their elements are read.
COUNTED = """
import collections, dataclasses, functools, types
from array import array

touched = collections.Counter()

def counting(kind):
    class Counting(kind):
        __repr__ = kind.__repr__
        def __iter__(self):
            for item in kind.__iter__(self):
                touched[kind.__name__] += 1
                yield item
    return Counting

class Verbose:
    def __repr__(self):
        touched["Verbose"] += 1
        return "verbose"

@dataclasses.dataclass
class Batch:
    x: list
    name: str = "train"

N = 300_000

def main():
    table = counting(dict)((n, n) for n in range(N))
    sequence = counting(list)(range(N))
    group = counting(set)(range(N))
    line = counting(collections.deque)(range(N))
    verbose = Verbose()
    batch = Batch(list(range(N)))
    space = types.SimpleNamespace(x=list(range(N)), small=1)
    numbers = array("d", range(N))
    view = dict.fromkeys(range(N)).keys()
    proxy = types.MappingProxyType(dict.fromkeys(range(N)))
    users = collections.UserList(range(N))
    small = Batch([1, 2])
    return 1  # here

main()
"""


class Shown:
    """The values of a function, as shown to a client."""

    def __init__(self, stop: dap.Stop) -> None:
        self.client, self.thread = stop.client, stop.thread
        found = self.client.request("stackTrace", threadId=stop.thread)["stackFrames"]
        self.frame = found[0]["id"]
        scopes = self.client.request("scopes", frameId=self.frame)["scopes"]
        self.lines = self._inside(scopes[0])

    def _inside(self, value: dict[str, Any]) -> dict[str, dict[str, Any]]:
        reference = value["variablesReference"]
        found = self.client.request("variables", variablesReference=reference)["variables"]
        return {variable["name"]: variable for variable in found}

    def inside(self, *names: str) -> dict[str, dict[str, Any]]:
        """Open a value, and values inside it, by their names."""
        found = self.lines
        for name in names:
            found = self._inside(found[name])
        return found

    def evaluate(self, expression: str) -> str:
        found = self.client.request(
            "evaluate", expression=expression, frameId=self.frame, context="watch"
        )
        return found["result"]


def shown(container: Container, code: str, **environment: str) -> Shown:
    """Run a program up to its line with `# here`."""
    path = container.write("p.py", code)
    container.start("python p.py", **environment)
    return Shown(container.attach({path: [marked(path)]}).stopped())


def test_big_values_are_hardly_touched(container: Container) -> None:
    values = shown(container, COUNTED)
    for name in values.lines:
        assert len(values.lines[name]["value"]) < LINE, name
        if values.lines[name]["variablesReference"]:
            inside = values.inside(name)
            assert sum(len(entry["value"]) for entry in inside.values()) < INSIDE, name
    for kind in ("dict", "list", "set", "deque"):
        assert 0 < int(values.evaluate(f"touched[{kind!r}]")) < LINE, kind
    assert values.lines["batch"]["value"].startswith("Batch(x=[0, 1, 2, ")
    assert values.lines["batch"]["value"].endswith(", ...], name='train')")
    assert values.lines["small"]["value"] == "Batch(x=[1, 2], name='train')"
    assert values.lines["space"]["value"].endswith(", ...], small=1)")
    assert values.lines["view"]["value"] == "<dict_keys, len() = 300000>"
    assert values.inside("numbers")["000001"]["value"] == "1.0"
    assert values.inside("proxy")["1"]["value"] == "None"


def test_text_of_an_object_is_made_once(container: Container) -> None:
    """The text is also part of the text of each method. A text that took long is not made again."""
    values = shown(container, COUNTED)
    assert values.lines["verbose"]["value"] == "verbose"
    before = values.evaluate("touched['Verbose']")
    methods = values.inside("verbose", "special variables")
    assert methods["__repr__"]["value"] == "<bound method Verbose.__repr__ of a Verbose>"
    assert values.evaluate("touched['Verbose']") == before
    values.evaluate("setattr(__import__('sys').modules['_remora.engine.values'], 'PATIENCE', 0)")
    assert values.evaluate("verbose") == "verbose"
    assert "repr() took 0.0 s before" in values.evaluate("verbose")


# Values whose texts need a lock, which the program has where it stops
STUCK = """
import threading, time

lock = threading.Lock()

class Waits:
    def __repr__(self):
        with lock:
            return "free"

class Polls:
    def __repr__(self):
        while not lock.acquire(timeout=0.1):
            pass
        return "free"

waits, polls = Waits(), Polls()

def main():
    with lock:
        print("locked")  # here

if {in_thread}:
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
else:
    main()
print(repr(waits), repr(polls), flush=True)
"""


@pytest.mark.parametrize("in_thread, name", [(False, "waits"), (False, "polls"), (True, "polls")])
def test_text_that_does_not_end_is_ended(container: Container, in_thread: bool, name: str) -> None:
    """It is ended, even if it needs what the paused program has, and then the program goes on."""
    values = shown(container, STUCK.replace("{in_thread}", str(in_thread)))
    values.evaluate("setattr(__import__('sys').modules['_remora.engine.values'], 'LIMIT', 0.2)")
    assert "repr() did not end in 0.2 s" in values.evaluate(f"[{name}]")
    assert values.evaluate("1 + 1") == "2"
    values.client.request("continue", threadId=values.thread)
    container.says("free free")
    assert container.exit_code() == 0


def test_all_elements_can_be_opened(container: Container) -> None:
    code = "n = list(range(3_000_000))\nm = list(range(1_200))\nprint()  # here\n"
    values = shown(container, code)
    assert list(values.inside("n", "more")) == [
        "[100:1000100]",
        "[1000100:2000100]",
        "[2000100:3000000]",
    ]
    last = ("n", "more", "[2000100:3000000]")
    assert len(values.inside(*last)) == 1000
    end = values.inside(*last, "[2999100:3000000]")
    assert (len(end), end["2999999"]["value"]) == (900, "2999999")
    assert values.inside("m", "more", "[100:1100]")["0101"]["value"] == "101"


# Attributes whose code counts its calls, hangs, or changes the program
PROPERTIES = """
import enum, functools, pathlib, types

called = []

def loaded(name):
    if name.startswith("__"):  # pydevd looks for methods
        raise AttributeError(name)
    called.append(name)
    return "imported"

class Column:
    def __set_name__(self, owner, name):
        self.name = name
    def __get__(self, row, owner):
        if row is None:
            return self
        if self.name not in row.__dict__:
            called.append(self.name)
        return row.__dict__.setdefault(self.name, "from the database")
    def __set__(self, row, value):
        row.__dict__[self.name] = value

class Row:
    loaded, unloaded = Column(), Column()
    def __init__(self):
        self.size, self.loaded = 3, "loaded"
    @property
    def hangs(self):
        while True:
            pass
    @property
    def costly(self):
        called.append("costly")
        return "computed"
    @property
    def fails(self):
        raise LookupError("no row")
    @functools.cached_property
    def cached(self):
        called.append("cached")
        return "kept"

class Lazy:
    def __dir__(self):
        return ["part"]
    def __getattr__(self, name):
        return loaded(name)

class Loading(dict):
    def __getitem__(self, key):
        called.append(key)
        return super().__getitem__(key)

Color = enum.Enum("Color", "RED")

def main():
    row, lazy, loading, color = Row(), Lazy(), Loading(one=1), Color.RED
    module = types.ModuleType("module")
    module.__dir__, module.__getattr__ = lazy.__dir__, loaded
    path = pathlib.Path("a/b.txt")
    numbers = (n for n in range(3))
    text = "x" * 10_000_000
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return 1  # here

main()
"""


def test_opening_a_value_calls_nothing(container: Container) -> None:
    values = shown(container, PROPERTIES)
    row = values.inside("row")
    for name in values.lines:
        if values.lines[name]["variablesReference"]:
            values.inside(name)
    assert values.evaluate("called") == "[]"
    assert values.lines["loading"]["value"] == "{'one': 1}"
    expected = {"loaded": "'loaded'", "size": "3"}
    assert {name: row[name]["value"] for name in expected} == expected
    later = {name for name in row if row[name].get("presentationHint") == {"lazy": True}}
    assert later == {"unloaded", "hangs", "costly", "cached", "fails"}
    assert values.inside("lazy")["part"]["presentationHint"] == {"lazy": True}
    assert values.inside("module")["part"]["presentationHint"] == {"lazy": True}
    assert values.inside("color")["name"]["value"] == "'RED'"
    assert values.inside("path")["suffix"]["value"] == "'.txt'"
    assert values.evaluate("list(numbers)") == "[0, 1, 2]"
    assert len(values.lines["text"]["value"]) < 100_000
    # What a user opens is computed.
    assert values.inside("row", "costly")["costly"]["value"] == "'computed'"
    assert values.inside("row", "cached")["cached"]["value"] == "'kept'"
    assert values.inside("row")["cached"]["value"] == "'kept'"
    assert values.inside("row", "fails")["fails"]["value"] == "LookupError('no row')"
    assert values.inside("lazy", "part")["part"]["value"] == "'imported'"


# ---- NumPy and pandas ----


@pytest.fixture
def packages(installed: Callable[..., dict[str, str]]) -> dict[str, str]:
    """The setting with which a program finds pandas."""
    return installed("pandas")


FRAMES = """
import numpy as np
import pandas as pd

N = 200_000
computed = []

class Table(pd.DataFrame):
    @property
    def costly(self):
        computed.append(1)
        return "computed"

def main():
    vector = np.ones(3_000_000)
    cube = np.ones((400, 100, 100))
    rows = np.zeros(2_000_000, dtype=[("a", "i4"), ("b", "f8")])
    objects = np.full(2_000_000, None, dtype=object)
    masked = np.ma.masked_less(np.arange(2_000_000), 5)
    table = Table({"n": np.arange(N), "text": ["x"] * N})
    column = table["text"]
    days = pd.date_range("2020", periods=N, freq="s")
    groups = pd.DataFrame({"key": np.arange(N), "value": np.ones(N)}).groupby("key")
    few = Table({"n": [1, 2]})
    return 1  # here

main()
"""


def test_arrays_and_tables_show_computed_parts_on_request(
    container: Container, packages: dict[str, str]
) -> None:
    values = shown(container, FRAMES, **packages)
    lines = {name: entry["value"] for name, entry in values.lines.items()}
    assert all(len(line) < LINE for line in lines.values())
    assert lines["table"].endswith("[200000 rows x 2 columns]")
    cube, vector = values.inside("cube"), values.inside("vector")
    assert (cube["shape"]["value"], cube["dtype"]["value"]) == (
        "(400, 100, 100)",
        "dtype('float64')",
    )
    assert "1.0" in values.inside("vector", "[0:100]")["00"]["value"]
    assert values.inside("vector", "imag")["imag"]["value"].startswith("array([0., ")
    lazy = {"lazy": True}
    assert vector["imag"]["presentationHint"] == lazy
    for name in ("objects", "rows", "masked", "column", "days"):
        inside = values.inside(name)
        assert inside["shape"]["value"].startswith("("), name
        assert inside["[0:100]"]["value"].startswith("["), name
        assert inside["T"]["presentationHint"] == lazy, name
    table = values.inside("table")
    assert table["text"]["type"] == "Series" and table["values"]["presentationHint"] == lazy
    assert "int64" in table["dtypes"]["value"]
    assert values.inside("groups")["ngroups"]["presentationHint"] == lazy
    # The debugger computes only what a client requests.
    assert values.evaluate("computed") == "[]"
    assert values.inside("table", "costly")["costly"]["value"] == "'computed'"
    assert values.inside("few")["costly"]["value"] == "'computed'"
