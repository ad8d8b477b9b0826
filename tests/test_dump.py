"""Mode `dump`: a crash is written to a file, which any client opens. No Docker."""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.container import (
    IMPORTED_AT_SIGNAL,
    IMPORTS_AT_SIGNAL,
    IN_MULTIPROCESSING,
    Container,
    ended,
    imported,
)
from support.dap import DapError
from support.project import line, marked, wait_until

# Dumps in format 1, which later releases read too
DUMPS = Path(__file__).with_name("dumps")

RAISE = """
import sys, threading

class Cart:
    def __init__(self):
        self.items = {"apple": [1, 2, 3]}
        self.cart = self

def work(a):
    b = a + 1
    cart = Cart()
    raise ValueError(b)  # here

"""
IN_POOL = """
import multiprocessing, concurrent.futures
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    with %s as pool:
        try:
            pool.%s
        except ValueError as error:
            print("got", error)
"""
# As torch.multiprocessing ends a worker
EXITS = """
import multiprocessing

def run():
    try:
        work(1)
    except ValueError:
        sys.exit(1)

if __name__ == "__main__":
    process = multiprocessing.get_context("%s").Process(target=run)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
# The ways in which libraries handle exceptions themselves, by mechanism.
CRASHES = {
    "main thread": "work(1)\n",
    "thread": "t = threading.Thread(target=work, args=[1])\nt.start()\nt.join()\n",
    "daemon thread": (
        "t = threading.Thread(target=work, args=[1], daemon=True)\nt.start()\nt.join()\n"
    ),
    "_thread": """
import _thread, time
lock = _thread.allocate_lock()
def run():
    with lock:
        started.append(1)
        work(1)
started = []
_thread.start_new_thread(run, ())
while not started or lock.locked():
    time.sleep(0.01)
while len(sys._current_frames()) > 1:
    time.sleep(0.01)
""",
    "fork": IN_MULTIPROCESSING % "fork",
    "spawn": IN_MULTIPROCESSING % "spawn",
    "pool of multiprocessing": IN_POOL % ("context.Pool(1)", "apply(work, [1])"),
    "pool of concurrent.futures": IN_POOL
    % (
        "concurrent.futures.ProcessPoolExecutor(1, mp_context=context)",
        "submit(work, 1).result()",
    ),
    "task of asyncio": """
import asyncio

async def main():
    async def task():
        work(1)
    asyncio.ensure_future(task())
    await asyncio.sleep(0.01)
    print("goes on")

asyncio.run(main())
""",
    "own excepthook of threads": """
threading.excepthook = lambda arguments: print("mine", repr(arguments.exc_value))
t = threading.Thread(target=work, args=[1])
t.start()
t.join()
""",
    "function of atexit": "import atexit\natexit.register(work, 1)\n",
    "own excepthook": """
def report(kind, error, trace):
    print("mine", repr(error), flush=True)

sys.excepthook = report
work(1)
""",
    "wrapped excepthook": """
import io
before = sys.excepthook

def report(kind, error, trace):
    sys.stderr, stderr = io.StringIO(), sys.stderr
    before(kind, error, trace)
    sys.stderr = stderr

sys.excepthook = report
work(1)
""",
    "exit of a command line": """
def main():
    try:
        work(1)
    except ValueError as error:
        print("Error:", error)
        sys.exit(3)

main()
""",
    "exit()": """
def main():
    try:
        work(1)
    except ValueError as error:
        print("Error:", error)
        exit(3)

main()
""",
    "end at once, after a line": """
import os
try:
    work(1)
except ValueError as error:
    print("failed:", error, flush=True)
    os._exit(3)
""",
    "worker that exits": EXITS % "fork",
    "spawned worker that exits": EXITS % "spawn",
    "hooks of several libraries": """
def wrapped(before):
    def report(*error):
        print("before")
        before(*error)
        print("after", flush=True)
    return report

sys.excepthook = wrapped(wrapped(sys.excepthook))
before = threading.excepthook
threading.excepthook = lambda arguments: before(arguments)
t = threading.Thread(target=work, args=[1])
t.start()
t.join()
work(1)
""",
    "group of what was raised nowhere": """
try:
    work(1)
except ValueError as error:
    raise ExceptionGroup("g", [ExceptionGroup("h", [error, KeyError(1)])])
""",
    "group": "try:\n    work(1)\nexcept ValueError as e:\n    raise ExceptionGroup('', [e])\n",
}


# What workers of libraries call to hand an exception on, and stand-ins for it: by module, the name
# of the class, how it is called, and the names of its arguments.
HAND_ON = {
    "torch._utils": ("ExceptionWrapper", "(where='in a worker')", "exc_info=None, where=''"),
    "ray.exceptions": ("RayTaskError", "('task', 'text', error)", "name, text, cause"),
    "loky.process_executor": ("_ExceptionWithTraceback", "(error)", "exc"),
    "joblib.externals.loky.process_executor": ("_ExceptionWithTraceback", "(error)", "exc"),
    "celery.app.trace": ("TraceInfo", "().handle_failure('task')", "task=None"),
}
IN_WORKER = """
import importlib, multiprocessing

def loop(queue):
    module = importlib.import_module("{}")
    try:
        work(1)
    except Exception as error:
        module.{}
        queue.put("handed on")

if __name__ == "__main__":
    queue = multiprocessing.SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=loop, args=[queue])
    process.start()
    print(queue.get())
    process.join()
"""
IN_TEST = """
from types import SimpleNamespace
from _pytest import runner

try:
    work(1)
except ValueError as error:
    excinfo = SimpleNamespace(value=error)
    print(runner.check_interactive_exception(SimpleNamespace(excinfo=excinfo), None))
"""
CAUGHT = """
import _thread
try:
    work(1)
except ValueError:
    try:
        sys.exit(1)
    except SystemExit:
        pass
try:
    sys.exit(2)
except SystemExit:
    pass
threading.Thread(target=sys.exit, args=[1]).start()
print("done")
"""


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    """The folder of the dumps."""
    return tmp_path / "dumps"


def run(container: Container, code: str, mode: str = "dump", **settings: str) -> tuple[int, str]:
    """Run a program to its end, and return its exit code and its output."""
    container.write("p.py", code)
    settings = {"REMORA_DUMPS": str(container.folder / "dumps"), **settings}
    container.start("exec python p.py", mode=mode, **settings)
    return container.exit_code(), re.sub(r"0x\w+", "0x", "\n".join(container.lines))


def dumped(dumps: Path) -> list[dict[str, Any]]:
    """The contents of the dumps, the oldest first."""
    paths = sorted(dumps.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert all(path.name.endswith(".json.gz") for path in paths)
    return [json.loads(gzip.decompress(path.read_bytes())) for path in paths]


def one_dump(dumps: Path) -> dict[str, Any]:
    (found,) = dumped(dumps)
    assert found["format"] == 1
    return found


@pytest.mark.parametrize("kind", CRASHES)
def test_crash_is_dumped_and_ends_as_it_would_have(
    container: Container, dumps: Path, tmp_path: Path, kind: str
) -> None:
    if "group" in kind and container.version < (3, 11):
        pytest.skip("Python 3.11 has the first ExceptionGroup")
    if "atexit" in kind and container.version < (3, 10):
        pytest.skip("before Python 3.10, nothing can find such an exception")
    end = run(container, RAISE + CRASHES[kind])
    found = one_dump(dumps)
    container.stop()
    container.lines.clear()
    assert end == run(container, RAISE + CRASHES[kind], mode="off")
    assert len(list(dumps.iterdir())) == 1
    frame = found["threads"][0]["frames"][0]
    path = tmp_path / "p.py"
    assert (frame["file"], frame["line"], frame["function"]) == (str(path), marked(path), "work")
    assert ["b", "int", "2"] in frame["locals"]
    assert found["sources"][str(path)] == path.read_text()
    assert found["exceptions"][0]["type"] == ("ExceptionGroup" if "group" in kind else "ValueError")


def test_crash_in_a_task_of_uvloop_is_dumped(
    container: Container, dumps: Path, installed: Callable[..., dict[str, str]]
) -> None:
    """uvloop reports exceptions through a method of its own, which cannot be replaced."""
    code = CRASHES["task of asyncio"].replace("import asyncio", "import asyncio, uvloop")
    code = RAISE + code.replace("asyncio.run(", "uvloop.install()\nasyncio.run(")
    settings = installed("uvloop")
    status, output = run(container, code, **settings)
    assert status == 0 and "Task exception was never retrieved" in output
    found = one_dump(dumps)
    assert ["b", "int", "2"] in found["threads"][0]["frames"][0]["locals"]


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_crash_of_a_pools_initializer_is_dumped(
    container: Container, dumps: Path, kind: str
) -> None:
    code = f"""
import concurrent.futures
if __name__ == "__main__":
    with concurrent.futures.{kind}(1, initializer=work, initargs=[1]) as pool:
        print(type(pool.submit(print).exception()).__name__[:6])
"""
    status, output = run(container, RAISE + code)
    assert status == 0 and output.endswith("Broken")
    assert ["b", "int", "2"] in one_dump(dumps)["threads"][0]["frames"][0]["locals"]


@pytest.mark.parametrize("module", HAND_ON)
def test_worker_that_hands_its_exception_on_is_dumped(
    container: Container, dumps: Path, module: str
) -> None:
    name, call, arguments = HAND_ON[module]
    method = call.partition(".")[2].partition("(")[0] or "__init__"
    path = module.replace(".", "/")
    for part in Path(path).parents[:-1]:
        container.write(f"{part}/__init__.py", "")
    container.write(f"{path}.py", f"class {name}:\n    def {method}(self, {arguments}): pass\n")
    assert run(container, RAISE + IN_WORKER.format(module, name + call)) == (0, "handed on")
    found = one_dump(dumps)
    assert ["b", "int", "2"] in found["threads"][0]["frames"][0]["locals"]


@pytest.mark.parametrize("is_failure", [True, False])
def test_failing_test_is_dumped(container: Container, dumps: Path, is_failure: bool) -> None:
    container.write("_pytest/__init__.py", "")
    code = f"def check_interactive_exception(call, report): return {is_failure}\n"
    container.write("_pytest/runner.py", code)
    assert run(container, RAISE + IN_TEST) == (0, str(is_failure))
    assert dumps.exists() == is_failure


def test_files_called_like_modules_are_not_loaded(container: Container, dumps: Path) -> None:
    for name in ("json", "zlib", "re", "remora", "heapq", "ast"):
        container.write(f"{name}.py", "import os\nos._exit(9)\n")
    # The program itself must load none of them: Python 3.9 does for `threading`, and Python 3.13 to
    # print a traceback.
    code = RAISE.replace(", threading", "") + CRASHES["exit of a command line"]
    assert run(container, code)[0] == 3
    one_dump(dumps)


# Modules of the standard library, and of others, that are changed to find exceptions
CHANGED = [
    *("threading", "traceback", "asyncio.base_events", "asyncio.log", "concurrent.futures._base"),
    *("multiprocessing.pool", "_pytest.runner", "ray.exceptions"),
]


@pytest.mark.parametrize("mode", ["crash", "dump"])
def test_own_module_called_like_a_changed_one_stays_as_it_is(
    container: Container, mode: str
) -> None:
    for name in CHANGED:
        path = container.write(f"{name.replace('.', '/')}.py", f"print('{name}')\n")
        while path.parent != container.folder:
            path = path.parent / "__init__.py"
            path.touch()
            path = path.parent
    code = f"import {', '.join(CHANGED)}, os, sys\nsys.stdout.flush()\nos._exit(0)\n"
    assert run(container, code, mode) == (0, "\n".join(CHANGED))


def test_message_that_is_slow_to_search_is_cut_first(container: Container, dumps: Path) -> None:
    """A search of the whole text for keys, such as JSON Web Tokens, takes many minutes."""
    code = 'error = ValueError("-eyJ" * 1_000_000)\nerror.__notes__ = ["-eyJ" * 1_000_000]\n'
    assert run(container, f"{code}raise error\n")[0] == 1
    (shown,) = one_dump(dumps)["exceptions"]
    assert shown["text"].startswith("-eyJ") and len(shown["text"]) < 3000


def test_what_is_caught_is_not_dumped(container: Container, dumps: Path) -> None:
    assert run(container, RAISE + CAUGHT) == (0, "done")
    assert not dumps.exists()


@pytest.mark.parametrize("mode", ["crash", "dump"])
def test_start_loads_only_what_it_needs(container: Container, mode: str) -> None:
    """Importing any of these modules takes milliseconds."""
    names = {"threading", "traceback", "json", "contextlib", "asyncio", "socket", "zlib"}
    _, output = run(container, f"import sys\nprint({names} & set(sys.modules))\n", mode)
    assert output == "set()"


def test_nothing_is_loaded_before_a_crash(container: Container) -> None:
    code = "import sys\nprint(sorted(n for n in sys.modules if n.startswith('_remora.')))\n"
    _, output = run(container, code)
    names = """checks commandline container crashes crashes.dumping crashes.exits crashes.reported
        crashes.uncaught forks hook libraries libraries.imports link pausing program"""
    assert output == str([f"_remora.{name}" for name in names.split()])


# ---- What a dump contains ----

CONTENT = """
import os, sys, threading, numpy
from dataclasses import dataclass

class Hostile:
    def __repr__(self): os._exit(9)
    def __getattr__(self, name): os._exit(9)
    def __len__(self): os._exit(9)
    def __bool__(self): os._exit(9)
    def __eq__(self, other): os._exit(9)
    def __hash__(self): return 1
    @property
    def __class__(self): os._exit(9)
    @property
    def __dict__(self): os._exit(9)
    @property
    def costly(self): os._exit(9)

class Meta(type):
    def __eq__(self, other): os._exit(9)
    def __hash__(self): os._exit(9)
    def __getattribute__(self, name): os._exit(9)
    def __instancecheck__(self, other): os._exit(9)

class Slots:
    __slots__ = ("x", "unset")

class HostileError(Exception):
    def __str__(self): os._exit(9)

def elsewhere(ready, end):
    where = "elsewhere"
    ready.set()
    end.wait()

def inner(path):
    hostile = Hostile()
    meta = Meta("M", (Slots,), {"__slots__": ("y",)})()
    Slots.x.__set__(meta, [hostile])
    password = "swordfish"
    options = {"api_key": "swordfish", "lr": 0.1, "url": "https://u:swordfish@host/"}
    weights = numpy.arange(12.0).reshape(3, 4)
    weights[0, 0] = numpy.nan
    large = numpy.zeros(2_000_000)
    table = {n: n for n in range(200_000)}
    deep = cyclic = []
    for _ in range(5000):
        deep.append([])
        deep = deep[0]
    cyclic.append(cyclic)
    rows = numpy.array([("me", "swordfish")], dtype=[("name", "U9"), ("password", "U9")])
    text = "x" * 100_000_000
    token = numpy.str_("swordfish")
    number = 10 ** 100_000
    raise HostileError("no", path)  # here

def outer():
    try:
        inner("a.csv")
    except HostileError as error:
        raise KeyError("outer") from error

ready, end = threading.Event(), threading.Event()
threading.Thread(target=elsewhere, args=[ready, end], name="other", daemon=True).start()
ready.wait()
sys.excepthook = lambda *_: print("ends")
outer()
"""


def test_dump_contains_stacks_values_and_sources(
    container: Container, dumps: Path, installed: Callable[..., dict[str, str]]
) -> None:
    secret, numpy = {"SERVICE_TOKEN": "opensesame"}, installed("numpy")
    assert run(container, CONTENT, **secret, **numpy) == (1, "ends")
    found = one_dump(dumps)
    text = json.dumps(found["nodes"]) + json.dumps(found["threads"]) + json.dumps(found["command"])
    assert "swordfish" not in text and "opensesame" not in text
    assert "SERVICE_TOKEN" in found["environment"]
    first, second = found["exceptions"][:2]
    assert (first["type"], first["text"]) == ("KeyError", "'outer'")
    assert (second["type"], second["text"]) == ("HostileError", "'no', 'a.csv'")
    assert first["cause"] == [1]
    assert [frame["function"] for frame in found["threads"][0]["frames"]] == ["outer", "<module>"]
    assert found["threads"][1]["name"] == "other"
    inner = {name: rest for name, *rest in second["frames"][0]["locals"]}
    nodes = found["nodes"]
    node = {name: nodes[str(rest[0])] for name, rest in inner.items() if len(rest) == 1}
    assert node["weights"]["text"] == (
        "ndarray float64[3, 4] NaN 1, Inf 0 min 1.0, max 11.0, mean 6"
    )
    assert "of the first 1,000,000" in node["large"]["text"]
    assert node["table"]["size"] == 200_000 and len(node["table"]["children"]) == 100
    assert inner["password"] == ["str", "(hidden)"]
    assert inner["number"] == ["int", "<int of 332193 bits>"]
    assert inner["text"][1].endswith("… (100000000 characters)")
    (row,) = [nodes[str(rest[0])] for name, *rest in node["rows"]["children"] if name == "[0]"]
    assert row["text"] == "void ('name', 'password')"
    assert ["['name']", "str_", "'me'"] in row["children"]
    assert [".x"] == [child[0] for child in node["meta"]["children"]]
    assert node["hostile"]["text"] == "<Hostile object>"


NAMESPACE = """
import os

class Names(dict):
    def __contains__(self, name): os._exit(9)
    get = keys = values = items = __iter__ = __len__ = __contains__

names = Names(rate=7)
exec("def work():\\n    b = rate\\n    1 / 0\\n", names)
dict.get(names, "work")()
"""


def test_global_variables_of_a_class_of_the_program(container: Container, dumps: Path) -> None:
    assert run(container, NAMESPACE)[0] == 1
    (frame, _) = one_dump(dumps)["threads"][0]["frames"]
    assert (frame["locals"], frame["globals"]) == ([["b", "int", "7"]], [["rate", "int", "7"]])


TABLES = """
import datetime, pandas

class Zone(datetime.tzinfo):
    def utcoffset(self, moment): return datetime.timedelta(hours=1)
    tzname = dst = utcoffset

def work():
    many = [n / 1_000_000 for n in range(1_000_000)]
    series = pandas.Series(many, index=many)
    table = pandas.DataFrame({"a": many}, index=many)
    secret = ["swordfish"]
    users = pandas.DataFrame({"name": ["me"], "password": secret, ("a", "token"): secret})
    row = users.iloc[0]
    settings = pandas.DataFrame({"value": ["swordfish", 5]}, index=["password", "lr"])
    index = settings.index
    day = pandas.Timestamp("2026-11-27 03:00")
    there = pandas.Timestamp("2026-11-27 03:00", tz=Zone())
    span = pandas.Timedelta(hours=1)
    Zone.utcoffset = lambda *_: os._exit(9)
    raise ValueError

import os
work()
"""


def test_tables_are_summed_up(
    container: Container, dumps: Path, installed: Callable[..., dict[str, str]]
) -> None:
    assert run(container, TABLES, **installed("pandas"))[0] == 1
    found = one_dump(dumps)
    nodes, (frame, *_) = found["nodes"], found["threads"][0]["frames"]
    assert "swordfish" not in json.dumps({**found, "sources": {}})
    node = {name: nodes[str(rest[0])] for name, *rest in frame["locals"] if len(rest) == 1}
    assert len(node["series"]["children"]) == 101  # with .dtype
    column = node["table"]["children"][1]
    assert len(nodes[str(column[1])]["children"]) == 101  # with .dtype
    assert ["['name']", "str", "'me'"] in node["row"]["children"]
    assert ["['password']", "str", "(hidden)"] in node["row"]["children"]
    value = next(nodes[str(number)] for name, number in node["settings"]["children"][1:])
    assert ["['lr']", "int", "5"] in value["children"]
    assert ["[1]", "str", "'lr'"] in node["index"]["children"]
    assert node["day"]["text"] == "2026-11-27 03:00:00"
    assert node["there"]["text"].endswith("UTC, with a Zone")
    assert node["span"]["text"] == "0 days 01:00:00"


SECRETS = """
import os
from types import SimpleNamespace

class SecretStr:
    def __init__(self, value):
        self._secret_value = value

def work():
    password = "swordfish"
    environment = os.environ
    copied = dict(os.environ)
    secret = SecretStr("swordfish")
    headers = {"Authorization": "swordfish", "X-Api-Key": "swordfish", "Accept": "shown-1"}
    scope = [(b"authorization", b"swordfish"), (b"accept", b"shown-2")]
    form = [["password", "swordfish"], ["name", "shown-3"]]
    auth = ("me", "swordfish")
    credentials = {"user": "me", "value": "swordfish"}
    options = SimpleNamespace(access_token="swordfish", lr="shown-4")
    url = "postgres://me:swordfish@host/shown-5"
    redis = "redis://:swordfish@host/0"
    dsn = "https://swordfish@sentry.example/1"
    line = "host=h user=me password=swordfish dbname=shown-6"
    header = "Authorization: Bearer swordfish0123456789"
    body = '{"token": "swordfish", "name": "shown-7"}'
    key = "sk-swordfish0123456789abcdef"
    raise RuntimeError("cannot log in by ?token=swordfish&name=shown-8")

work()
"""


def test_secrets_of_any_kind_are_left_out(container: Container, dumps: Path) -> None:
    settings = {"SERVICE_TOKEN": "swordfish-1", "DATABASE_URL": "mysql://me:swordfish@host/db"}
    assert run(container, SECRETS, **settings)[0] == 1
    found = one_dump(dumps)
    text = json.dumps({**found, "sources": {}})
    assert "swordfish" not in text, text[text.index("swordfish") - 200 :][:250]
    for number in range(1, 9):
        assert f"shown-{number}" in text


CUT = """
import os, threading
from typing import NamedTuple

SERVICE = os.environ.pop("SERVICE_TOKEN")  # as the careful do

class User(NamedTuple):
    name: str
    password: str

def work():
    known = ("x" * 1890 + SERVICE, "x" * 1990 + SERVICE, b"x" * 490 + SERVICE.encode())
    url = "x " * 940 + "https://me:" + "swordfish" * 30 + "@host/"
    bytes_key = b"y" * 480 + b" sk-" + b"swordfish" * 9
    many = "".join(f"sk-{'swordfish' * 40} " for _ in range(40))
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    pem = f"{begin}\\nswordfish: 4,-{'swordfish' * 90}{end} shown-4"
    named = {"x" * 190 + SERVICE: 1, "shown-1 " + SERVICE: 2}
    user = User("shown-2", "swordfish")
    users = [user]
    sent = "Cookie: swordfish=1; a=swordfish"
    headers = f"GET /\\r\\n{sent}\\r\\nX-Api-Key: swordfish\\r\\nAccept: shown-3"
    error = KeyError(SERVICE)
    words = ["train", "--lr", "shown-5", "--password", "swordfish", "--api-key=swordfish"]
    line = "train --lr shown-6 --api-key swordfish --password='swordfish' --token swordfish"
    text = "user: shown-7\\npassword: swordfish\\n"
    azure = "AccountName=shown-8;AccountKey=swordfish=="
    keys = ["github_pat_" + "swordfish" * 4, "AIza" + "swordfish" * 4, "npm_" + "swordfish" * 4]
    raise RuntimeError("x" * 1990 + SERVICE)

thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.name = "y" * 190 + SERVICE
thread.start()
work()
"""


def test_half_of_a_secret_is_left_out(container: Container, dumps: Path) -> None:
    """A text is searched for secrets before it is cut."""
    token = "it's\\swordfish" + "swordfish" * 20
    container.write("p.py", CUT)
    settings = {"REMORA_DUMPS": str(dumps), "REMORA_MODE": "dump", "SERVICE_TOKEN": token}
    container.start(f'exec python p.py {"z" * 1990}"$SERVICE_TOKEN"', **settings)
    assert container.exit_code() == 1
    found = one_dump(dumps)
    text = json.dumps({**found, "sources": {}})
    for part in ("swordfish", "it's", "it\\'s"):
        assert part not in text, text[text.index(part) - 200 :][:250]
    for number in range(1, 9):
        assert f"shown-{number}" in text
    assert "password=(hidden)" in text


PLAIN = """
import datetime, decimal, enum, pathlib, types

class Zone(datetime.tzinfo):
    def __repr__(self): os._exit(9)
    def utcoffset(self, _): os._exit(9)
    tzname = dst = utcoffset

class Color(enum.Enum):
    RED = 1

class Mine:
    __module__ = "datetime"
    def __repr__(self): os._exit(9)

def work():
    day = datetime.date(2026, 11, 27)
    moment = datetime.datetime(2026, 11, 27, 3, tzinfo=datetime.timezone.utc)
    there = datetime.datetime(2026, 11, 27, 3, tzinfo=Zone())
    price = decimal.Decimal("1.50")
    path = pathlib.PosixPath("data") / "train.csv"
    color = Color.RED
    settings = types.SimpleNamespace(lr=5)
    datetime.date = Mine
    mine = Mine()
    raise ValueError

work()
"""


def test_dates_decimals_paths_and_enums_have_a_text(container: Container, dumps: Path) -> None:
    assert run(container, "import os\n" + PLAIN)[0] == 1
    found = one_dump(dumps)
    nodes, (frame, *_) = found["nodes"], found["threads"][0]["frames"]
    node = {name: nodes[str(rest[0])] for name, *rest in frame["locals"] if len(rest) == 1}
    assert {name: node[name]["text"] for name in node} == {
        "day": "<date object>",  # the program has another class in its place
        "moment": "datetime.datetime(2026, 11, 27, 3, 0, tzinfo=datetime.timezone.utc)",
        "there": "datetime.datetime(2026, 11, 27, 3, 0) with a Zone",
        "price": "Decimal('1.50')",
        "path": "PosixPath('data/train.csv')",
        "color": "<Color.RED>",
        "settings": "<SimpleNamespace object>",
        "mine": "<Mine object>",
    }
    assert node["settings"]["children"] == [[".lr", "int", "5"]]


# ---- Limits ----

MUCH = """
class Node:
    def __init__(self, n):
        self.n, self.text = n, "x" * 500
        self.left, self.right = (Node(2 * n), Node(2 * n + 1)) if n < 4096 else (None, None)

def work():
    near = "the nearest"
    tree = Node(1)
    raise ValueError  # here

work()
"""


def test_size_is_bounded(container: Container, dumps: Path) -> None:
    code, _ = run(container, MUCH, REMORA_DUMP_LIMIT="100000")
    (path,) = dumps.iterdir()
    content = gzip.decompress(path.read_bytes())
    assert 50_000 < len(content) < 100_000
    found = json.loads(content)
    assert (code, found["complete"], len(found["nodes"]) > 50) == (1, False, True)
    assert found["threads"][0]["frames"][0]["locals"][0] == ["near", "str", "'the nearest'"]


def test_many_big_frames_leave_room_for_their_values(container: Container, dumps: Path) -> None:
    code = """
def work(n):
    text, values = "x" * 1500, [[n]]
    work(n - 1) if n else 1 / 0

work(150)
"""
    run(container, code, REMORA_DUMP_LIMIT="400000")
    (path,) = dumps.iterdir()
    assert len(gzip.decompress(path.read_bytes())) < 400_000
    found = one_dump(dumps)
    assert found["nodes"] and len(found["threads"][0]["frames"]) == 152


def test_many_threads_leave_room_for_values(container: Container, dumps: Path) -> None:
    code = """
import threading

def deep(n):
    if n:
        return deep(n - 1)
    begun.release()
    threading.Event().wait()

begun = threading.Semaphore(0)
for _ in range(200):
    threading.Thread(target=deep, args=[100], daemon=True).start()
for _ in range(200):
    begun.acquire()
values = [["near"]]
error = None
for n in range(40):
    try:
        raise ValueError(n) from error
    except ValueError as caught:
        error = caught
raise error
"""
    run(container, code, REMORA_DUMP_LIMIT="200000")
    (path,) = dumps.iterdir()
    assert len(gzip.decompress(path.read_bytes())) < 200_000
    found = one_dump(dumps)
    assert not found["complete"] and 1 < len(found["threads"]) < 200
    assert "['near']" in [node["text"] for node in found["nodes"].values()]


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null"])
def test_dump_that_cannot_be_written_is_reported(container: Container, folder: str) -> None:
    code, output = run(container, RAISE + "work(1)\n", REMORA_DUMPS=folder)
    last = output.splitlines()[-1]
    assert code == 1
    assert last.startswith(f"remora: the ValueError of pid 1 cannot be dumped in {folder}: "), last


LONG = """
Error = type("E\u00e9" * 2000, (Exception,), {})
raise Error
"""
DESCRIPTORS = """
import os
while True:
    os.open("/dev/null", 0)
"""


def test_long_name_is_cut(container: Container, dumps: Path) -> None:
    run(container, LONG, REMORA_ADDRESS=f"{'s' * 300} at x")
    one_dump(dumps)


def test_lack_of_descriptors_is_reported(container: Container, dumps: Path) -> None:
    code, output = run(container, DESCRIPTORS)
    last = "remora: pid 1 cannot be dumped: Too many open files"
    assert (code, output.splitlines()[-1]) == (1, last)


def test_lack_of_memory_is_reported(container: Container, dumps: Path) -> None:
    limit = """
import resource

class Error(Exception):
    pass

def work():
    held = [bytearray(10) for _ in range(200_000)]
    wide = {n: [{m: str(m)} for m in range(100)] for n in range(100)}
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**20, size + 2**20))
    raise Error

work()
"""
    code, output = run(container, limit)
    assert code == 1
    found = [path.name for path in dumps.glob("*")]
    if not found:
        assert "cannot be dumped" in output.splitlines()[-1]
    assert not [name for name in found if name.startswith(".")]


def dumps_of(service: str, dumps: Path, times: range, size: int = 0) -> list[str]:
    """Make files named like a service's dumps, one for each second, and return the names."""
    dumps.mkdir(exist_ok=True)
    paths = [dumps / f"{service}-20261126T0300{n:02}Z-7-KeyError.json.gz" for n in times]
    for number, path in zip(times, paths, strict=True):
        path.write_bytes(bytes(size))
        os.utime(path, (number, number))
    return [path.name for path in paths]


def test_old_dumps_are_removed(container: Container, dumps: Path) -> None:
    old = dumps_of("train", dumps, range(5))
    # Files that somebody else has put there are not dumps.
    own = {"mine.txt", "mine.json.gz"}
    for name in own:
        (dumps / name).touch()
    run(container, RAISE + "work(1)\n", REMORA_DUMP_KEEP="3", REMORA_ADDRESS="train at 127.0.0.1:1")
    (new,) = dumps.glob("train-*-ValueError*")
    assert re.fullmatch(r"train-\d{8}T\d{6}Z-1-ValueError\.json\.gz", new.name)
    assert new.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in dumps.iterdir()} == {*own, *old[-2:], new.name}


def test_old_dumps_are_removed_if_all_are_too_large(container: Container, dumps: Path) -> None:
    old = dumps_of("train", dumps, range(5), 100_000)
    run(container, RAISE + "work(1)\n", REMORA_DUMP_TOTAL="210000", REMORA_ADDRESS="train at x")
    (new,) = dumps.glob("train-*-ValueError*")
    assert {path.name for path in dumps.iterdir()} == {*old[-2:], new.name}


@pytest.mark.parametrize("limit", [("KEEP", "3"), ("TOTAL", "310000")])
def test_no_service_removes_the_dumps_of_another(
    container: Container, dumps: Path, limit: tuple[str, str]
) -> None:
    only = dumps_of("train", dumps, range(1), 100_000)
    old = dumps_of("train-more", dumps, range(1, 5), 100_000)
    run(
        container,
        RAISE + "work(1)\n",
        REMORA_ADDRESS="train-more at x",
        **{f"REMORA_DUMP_{limit[0]}": limit[1]},
    )
    (new,) = dumps.glob("train-more-*-ValueError*")
    assert {path.name for path in dumps.iterdir()} == {*only, *old[-2:], new.name}


def test_newest_dump_stays_however_large_it_is(container: Container, dumps: Path) -> None:
    run(container, RAISE + "work(1)\n", REMORA_DUMP_TOTAL="1")
    one_dump(dumps)


def test_dumps_of_the_same_second_are_all_kept(tmp_path: Path) -> None:
    """Containers of a service share the folder, and the program of each is pid 1."""
    rename = os.rename

    folder = mock.patch.dict(os.environ, REMORA_DUMPS=str(tmp_path))
    with imported("remora.crashes.writing") as dump, folder:

        def write_another_meanwhile(*paths: str) -> None:
            with mock.patch.object(os, "rename", rename):
                assert dump.write()
            rename(*paths)

        with (
            mock.patch.object(dump.time, "time", return_value=1.0),
            mock.patch.object(os, "rename", write_another_meanwhile),
            mock.patch.object(dump.stacks.Stacks, "of_stack", lambda *_: []),
        ):
            assert dump.write()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 and all(name.endswith(".json.gz") for name in names)
    assert f"-{os.getpid()}-stack-2.json.gz" in names[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [("size=4k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_disk_that_takes_nothing_is_reported(
    container: Container, options: str, reason: str
) -> None:
    # Too much for a disk of 4 kB, however well it is compressed
    container.write("p.py", f"{RAISE}work(1)\n# {os.urandom(20_000).hex()}\n")
    mount = f"mkdir dumps && mount -t tmpfs -o {options} none dumps"
    container.start(
        f"{mount} && {{ python p.py; echo ended $?; ls -A dumps; }}",
        mode="dump",
        REMORA_DUMPS=str(container.folder / "dumps"),
    )
    assert container.exit_code() == 0
    where = container.folder / "dumps"
    said = f"remora: the ValueError of pid 4 cannot be dumped in {where}: {reason}"
    assert container.lines[-2:] == [said, "ended 1"]  # no partial file is left


def test_crash_that_comes_again_is_dumped_once(container: Container, dumps: Path) -> None:
    assert run(container, RAISE + 5 * CRASHES["thread"])[0] == 0
    one_dump(dumps)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LIMIT", "0"), ("KEEP", "x"), ("TOTAL", "1G"), ("SECONDS", "-1"), ("ON", "kill")],
)
def test_bad_setting_is_refused(container: Container, name: str, value: str) -> None:
    code, output = run(container, "print(1)\n", **{f"REMORA_DUMP_{name}": value})
    assert code == 78
    assert output.startswith(f"remora: REMORA_DUMP_{name} must be ") and repr(value) in output


WAITS = """
import sys, time

def work():
    n = 5
    print("runs", flush=True)
    time.sleep(600)

"""


@pytest.mark.parametrize("handles", [False, True])
def test_sigterm_is_dumped_first(container: Container, dumps: Path, handles: bool) -> None:
    own = (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" if handles else ""
    )
    container.write("p.py", WAITS + own + "work()\n")
    settings = {"REMORA_DUMPS": str(dumps), "REMORA_DUMP_ON": "term"}
    container.start("python p.py & wait $!", mode="dump", **settings)
    container.says("runs")
    container.execute("pkill", "-TERM", "python")
    assert container.exit_code() == (7 if handles else 143)
    if handles:
        assert not dumps.exists()
    else:
        found = one_dump(dumps)
        (frame, _) = found["threads"][0]["frames"]
        assert (frame["function"], frame["locals"], found["exceptions"]) == (
            "work",
            [["n", "int", "5"]],
            [],
        )


def test_sigterm_while_the_program_imports_is_dumped_after_it(
    container: Container, dumps: Path
) -> None:
    container.write("p.py", IMPORTS_AT_SIGNAL % 15 + WAITS + "work()\n")
    container.write("slow.py", IMPORTED_AT_SIGNAL)
    settings = {"REMORA_DUMPS": str(dumps), "REMORA_DUMP_ON": "term"}
    container.start("python p.py & wait $!", mode="dump", **settings)
    container.says("imports")
    container.execute("pkill", "-TERM", "python")
    assert container.exit_code() == 143
    assert "handler" not in container.log()
    found = one_dump(dumps)
    assert not [file for file in found["sources"] if file.endswith("slow.py")]


# ---- Any values ----


class Trap:
    """An object that records each call of its own code."""

    sprung: ClassVar[list[str]] = []

    def spring(self, *arguments: Any) -> Any:
        Trap.sprung.append("sprung")
        raise SystemExit(9)

    __repr__ = __str__ = __len__ = __iter__ = __getitem__ = __bool__ = __eq__ = spring
    __getattr__ = __contains__ = __index__ = __float__ = __format__ = __dir__ = spring
    __class__ = __dict__ = property(spring)

    def __hash__(self) -> int:
        return id(self)


class Slotted:
    __slots__ = ("one", "other")
    one: Any


# Values that break the rules of their own types.
TrapList, TrapDict = type("TrapList", (Trap, list), {}), type("TrapDict", (Trap, dict), {})


class TrapText(str):
    __repr__ = __str__ = __len__ = __getitem__ = Trap.spring


class TrapNumber(int):
    __repr__ = __str__ = __index__ = __bool__ = Trap.spring


class TrapError(Exception):
    __str__ = __repr__ = Trap.spring
    __traceback__ = args = property(Trap.spring)


# Functions that make a value from other values.
KINDS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": lambda others: dict(enumerate(others)),
    "named": lambda others: {f"name {n}": one for n, one in enumerate(others)},
    "namespace": lambda others: SimpleNamespace(a=others),
    "deep": lambda others: functools.reduce(lambda inner, _: [inner], range(3000), others),
    "big": lambda others: others * 5000,
    "text": lambda others: "x" * 10**6,
    "number": lambda others: 10**10000,
    "bytes": lambda others: bytes(range(256)) * 100,
    "set": lambda others: {id(one) for one in others},
    "trap": lambda others: Trap(),
    "trap key": lambda others: {Trap(): others},
    "trap list": TrapList,
    "trap dict": lambda others: TrapDict(enumerate(others)),
    "trap text": lambda others: TrapText("text"),
    "trap number": lambda others: TrapNumber(5),
    "trap error": lambda others: TrapError(*others),
    "slots": lambda others: Slotted(),
    "generator": lambda others: (one for one in others),
    "partial": lambda others: functools.partial(print, *others),
    "class": lambda others: type("Made", (), {"others": others}),
    "surrogate": lambda others: "\ud800",
    "nan": lambda others: float("nan"),
}
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 30), max_size=4)), max_size=12
)


def graph_of(steps: list[tuple[str, list[int]]]) -> list[Any]:
    """Values that refer to each other, sometimes in circles."""
    found: list[Any] = []
    for kind, numbers in steps:
        found.append(KINDS[kind]([found[n % len(found)] for n in numbers if found]))
    for value, (_, numbers) in zip(found, steps, strict=True):
        for number in numbers:
            other = found[number % len(found)]
            if type(value) is list:
                value.append(other)
            elif type(value) is dict:
                value["other"] = other
            elif type(value) is Slotted:
                value.one = other
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, limit=st.sampled_from([5_000, 50_000, 1_000_000]))
def test_any_values_are_dumped(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[int]]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("dumps")
    names = {"REMORA_DUMPS": str(folder), "REMORA_DUMP_LIMIT": str(limit)}
    Trap.sprung.clear()

    def crash(values: list[Any]) -> None:
        raise TrapError(values)

    with imported("remora.crashes.writing") as dump, mock.patch.dict(os.environ, names):
        dump.written.clear()
        try:
            crash(graph_of(steps))
        except TrapError as error:
            # The stack of pytest and hypothesis is longer than this limit.
            trace = vars(BaseException)["__traceback__"]
            trace.__set__(error, trace.__get__(error).tb_next)
            with mock.patch.object(dump.stacks.Stacks, "of_stack", lambda *_: []):
                path = dump.write(error)
    assert not Trap.sprung
    assert path is not None
    content = gzip.decompress(Path(path).read_bytes())
    found = json.loads(content)
    assert len(content) < limit + 20_000  # which the source of this file may contain
    (frame,) = found["threads"][0]["frames"]
    assert [name for name, *_ in frame["locals"]] == ["values"]
    with imported("remora.crashes.recorded") as recorded:
        opened = recorded.Recorded(found)
        assert opened.answer("stackTrace", {"threadId": 1})["totalFrames"] == 1
        scopes = opened.answer("scopes", {"frameId": 1})["scopes"]
        seen, waiting = set(), [scope["variablesReference"] for scope in scopes]
        while waiting:
            reference = waiting.pop()
            seen.add(reference)
            inside = opened.answer("variables", {"variablesReference": reference})["variables"]
            found_here = {one["variablesReference"] for one in inside} - {0, *seen, *waiting}
            waiting += found_here
        assert steps == [] or limit < 1_000_000 or len(seen) > 1


# ---- Opening a dump ----

CHAINED = """
import threading

class Cart:
    def __init__(self):
        self.items = {"apple": [1, 2, 3], ("a", 1): None}
        self.cart = self
        self.many = list(range(1000))

def parse(text):
    cart = Cart()
    return int(text)  # parse

def main():
    total = 7
    try:
        parse("x")
    except ValueError as error:
        raise KeyError("price") from error  # here

def other():
    idle = "idle"
    end.wait()

end = threading.Event()
threading.Thread(target=other, name="other", daemon=True).start()
main()
"""


def crashed(container: Container, mode: str = "dump", **limits: str) -> None:
    """Write a dump, in a container that continues afterwards."""
    container.write("p.py", CHAINED)
    settings = {"REMORA_DUMPS": str(container.folder / "dumps"), "REMORA_ADDRESS": "shop at here"}
    settings.update(limits)
    command = "REMORA_MODE=dump python p.py; echo ended; exec sleep 600"
    container.start(command, mode=mode, **settings)
    container.says("ended")


class Opened:
    """A client that shows a dump."""

    def __init__(self, container: Container, *names: str) -> None:
        self.process = container.begin_remora("open", *names)
        self.said = [self.process.stdout.readline() for _ in range(2)]
        self.editor = container.attach({container.folder / "p.py": [10]})
        self.stop = self.editor.stopped()
        self.client = self.stop.client

    def frames(self, thread: int) -> list[dict[str, Any]]:
        return self.client.request("stackTrace", threadId=thread)["stackFrames"]

    def threads(self) -> dict[str, int]:
        found = self.client.request("threads")["threads"]
        return {thread["name"]: thread["id"] for thread in found}

    def evaluate(self, expression: str, frame: int) -> str:
        arguments = {"expression": expression, "frameId": frame, "context": "watch"}
        return self.client.request("evaluate", **arguments)["result"]

    def inside(self, reference: int, **options: int) -> dict[str, dict[str, Any]]:
        found = self.client.request("variables", variablesReference=reference, **options)
        return {variable["name"]: variable for variable in found["variables"]}

    def locals(self, frame: int) -> dict[str, dict[str, Any]]:
        scopes = self.client.request("scopes", frameId=frame)["scopes"]
        return self.inside(scopes[0]["variablesReference"])


@pytest.mark.parametrize("mode", ["dump", "off", "demand", "listen"])
def test_dump_is_opened(container: Container, mode: str) -> None:
    crashed(container, mode)
    path = container.folder / "p.py"
    opened = Opened(container)
    assert opened.said[1] == "Waiting for client to attach... shop at here\n"
    stop = opened.stop
    assert (stop.reason, stop.path, stop.line) == ("exception", path, marked(path))
    assert stop.locals == {"total": "7"}
    info = opened.client.request("exceptionInfo", threadId=stop.thread)
    assert info["details"]["message"] == "'price'"
    threads = opened.threads()
    *running, cause = threads
    assert running == ["MainThread", "other"]
    assert cause.startswith("ValueError: invalid literal for int()")
    other = opened.frames(threads["other"])
    frame = next(frame for frame in other if frame["name"] == "other")
    assert opened.locals(frame["id"])["idle"]["value"] == "'idle'"
    (innermost, _) = opened.frames(threads[cause])
    assert (innermost["name"], innermost["line"]) == ("parse", line(path, "# parse"))
    cart = opened.locals(innermost["id"])["cart"]
    assert cart["type"] == "Cart"
    inside = opened.inside(cart["variablesReference"])
    assert inside["cart"]["variablesReference"] == cart["variablesReference"]
    apples = opened.inside(inside["items"]["variablesReference"])["'apple'"]
    assert apples["value"] == "[1, 2, 3]"
    many = inside["many"]["variablesReference"]
    assert list(opened.inside(many, start=10, count=2)) == ["10", "11"]
    for expression, value in {
        "text": "'x'",
        "cart.items['apple'][1]": "2",
        "cart.cart.items['apple'][-1]": "3",
        "cart.many[99]": "99",
    }.items():
        assert opened.evaluate(expression, innermost["id"]) == value
    for expression in ("len(text)", "cart.items['pear']", "nothing", "1 + 1", "cart.many[999]"):
        with pytest.raises(DapError, match=r"can be looked at|was not kept"):
            opened.evaluate(expression, innermost["id"])
    with pytest.raises(DapError, match="has no such thing"):
        opened.evaluate("cart" + "[0]" * 2000, innermost["id"])
    assert not any(shown["verified"] for shown in opened.client.breakpoints.values())
    opened.editor.resume(stop)
    opened.editor.ended()
    assert ended(opened.process).returncode == 0


@pytest.mark.parametrize("path", sorted(DUMPS.iterdir()), ids=lambda path: path.name)
def test_dump_of_another_python_is_opened(container: Container, path: Path) -> None:
    """Each version of Python has written a dump of the program above."""
    container.start("exec sleep 600", mode="off")
    done = container.remora("crashes", "--show", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Python {path.name.split('-')[1].removesuffix('.json.gz')}." in done.stdout
    process = container.begin_remora("open", str(path))
    assert "Waiting for client" in process.stdout.readline() + process.stdout.readline()
    editor = container.attach({})
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.locals) == (Path("/app/p.py"), 19, {"total": "7"})
    source = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["source"]
    shown = stop.client.request("source", sourceReference=source["sourceReference"])
    assert shown["content"] == CHAINED
    editor.resume(stop)
    editor.ended()
    assert ended(process).returncode == 0


def test_crash_of_a_worker_is_opened_and_not_what_follows(
    container: Container, dumps: Path
) -> None:
    code = CRASHES["pool of concurrent.futures"].replace("except ValueError", "except OSError")
    path = container.write("p.py", RAISE + code)
    command = "python p.py; echo ended; exec sleep 600"
    container.start(
        command, REMORA_MODE="dump", REMORA_DUMPS=str(dumps), REMORA_ADDRESS="shop at x"
    )
    container.says("ended")
    assert [len(one["parents"]) for one in dumped(dumps)] == [2, 1]
    for names in ([], ["shop"]):
        shown = container.remora("crashes", "--show", *names).stdout
        assert f"  {path}:{marked(path)} in work\n" in shown and "      b = 2\n" in shown
    newest = container.remora("crashes").stdout.split()[4]
    assert "_RemoteTraceback" in container.remora("crashes", "--show", newest).stdout
    # Another program crashes.
    container.execute("sh", "-c", "REMORA_MODE=dump python -c 1/0")
    assert "ZeroDivisionError" in container.remora("crashes", "--show").stdout


def test_code_without_a_file_is_the_users(container: Container, dumps: Path) -> None:
    settings = {"REMORA_MODE": "dump", "REMORA_DUMPS": str(dumps)}
    container.start("python -c 'total = 7; 1 / 0'; exec sleep 600", **settings)
    wait_until(lambda: dumps.exists() and any(dumps.glob("*.gz")))
    shown = container.remora("crashes", "--show").stdout
    assert "  <string>:1 in <module>\n      total = 7\n" in shown


def test_file_that_was_edited_is_shown_as_it_was(container: Container) -> None:
    crashed(container)
    path = container.folder / "p.py"
    path.write_text("# edited\n" + CHAINED)
    opened = Opened(container)
    source = opened.frames(1)[0]["source"]
    shown = opened.client.request("source", sourceReference=source["sourceReference"])
    assert shown["content"] == CHAINED


@pytest.mark.parametrize("is_complete", [True, False])
def test_dump_that_is_not_complete_says_so(container: Container, is_complete: bool) -> None:
    crashed(container, **({} if is_complete else {"REMORA_DUMP_LIMIT": "4000"}))
    said = "not complete, since REMORA_DUMP_LIMIT or REMORA_DUMP_SECONDS was reached"
    assert (said not in container.remora("crashes", "--show").stdout) == is_complete
    opened = Opened(container)
    opened.client.request("threads")  # is answered after what the Debug Console gets
    output = opened.editor.output.get("important", "")
    assert (f"remora: the dump is {said}\n" not in output) == is_complete


def test_client_that_leaves_lets_the_dump_end(container: Container) -> None:
    crashed(container)
    opened = Opened(container)
    opened.editor.detach()
    assert ended(opened.process).returncode == 0


def test_dumps_are_listed_and_printed(container: Container, dumps: Path) -> None:
    crashed(container)
    (path,) = dumps.iterdir()
    (dumps / "part.json.gz").write_bytes(path.read_bytes()[:500])
    done = container.remora("crashes")
    place = f"{container.folder}/p.py:{marked(container.folder / 'p.py')}"
    first, name = done.stdout.splitlines()
    assert first.endswith(f"  shop  KeyError  {place}") and name == f"  {path.name}"
    assert "part.json.gz is not a dump, or only a part of one" in done.stderr
    (dumps / "part.json.gz").unlink()
    facts = json.loads(container.remora("crashes", "--json").stdout)
    assert (facts["exception"], facts["message"], facts["service"]) == (
        "KeyError",
        "'price'",
        "shop",
    )
    shown = container.remora("crashes", "--show").stdout
    for text in ("KeyError: 'price'", "  cause: exception 1", "      total = 7", "thread other"):
        assert text in shown.splitlines(), shown
    assert container.remora("crashes", "--show", path.name[:6]).stdout == shown
    done = container.remora("open", "nothing")
    assert done.returncode == 1
    hint = "REMORA_MODE=dump writes one when a program crashes"
    assert done.stderr == f"there is no dump called nothing in {dumps}: {hint}\n"


@pytest.mark.parametrize(
    ("patterns", "removed"),
    [
        (["train-20261126T030001Z-7-KeyError.json.gz"], [1]),
        (["*030000Z*", "train-20261126T03000?Z*"], [0, 1, 2]),
        (["*"], [0, 1, 2, 3]),
        (["train", "nothing", "../mine.txt", "train-20261126T030001Z-7-KeyError.json.gz"], [1]),
    ],
)
def test_dumps_are_removed_by_name(
    container: Container, dumps: Path, patterns: list[str], removed: list[int]
) -> None:
    names = [*dumps_of("train", dumps, range(3)), *dumps_of("api", dumps, range(3, 4))]
    for path in (dumps / "mine.txt", dumps.parent / "mine.txt"):
        path.touch()
    container.start("exec sleep 600", mode="off", REMORA_DUMPS=str(dumps))
    done = container.remora("crashes", "--remove", *patterns)
    assert sorted(done.stdout.splitlines()) == sorted(f"removed {names[n]}" for n in removed)
    unknown = {"train", "nothing", "../mine.txt"}.intersection(patterns)
    said = [f"there is no dump called {name} in {dumps}" for name in patterns if name in unknown]
    assert done.stderr.splitlines() == said
    assert done.returncode == (1 if said else 0)
    left = {name for number, name in enumerate(names) if number not in removed}
    assert {path.name for path in dumps.iterdir()} == {"mine.txt", *left}
    assert (dumps.parent / "mine.txt").exists()


def test_dump_that_cannot_be_removed_is_reported(container: Container, dumps: Path) -> None:
    (name,) = dumps_of("train", dumps, range(1))
    (dumps / name).unlink()
    (dumps / name).mkdir()  # even root cannot remove a folder as a file
    container.start("exec sleep 600", mode="off", REMORA_DUMPS=str(dumps))
    done = container.remora("crashes", "--remove", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{name} cannot be removed: Is a directory\n"


def test_files_of_another_user_among_the_dumps_do_no_harm(
    container: Container, dumps: Path
) -> None:
    crashed(container)
    (path,) = dumps.iterdir()
    os.utime(path, (1, 1))
    os.mkfifo(dumps / "pipe.json.gz")
    (dumps / "link.json.gz").symlink_to("nowhere")
    (dumps / "a\x1b[2J.json.gz").write_text("text")
    (dumps / "folder.json.gz").mkdir()
    listed = container.remora("crashes")
    assert listed.returncode == 0 and listed.stdout.endswith(f"  {path.name}\n")
    said = "".join(sorted(listed.stderr.splitlines(keepends=True)))
    for pattern in (
        r"a\uFFFD\[2J.json.gz: .* is not a dump, or only a part of one\n",
        r"folder.json.gz: .* cannot be read: Is a directory\n",
        r"link.json.gz: .* cannot be read: No such file or directory\n",
        r"pipe.json.gz: .* is not a file\n",
    ):
        match = re.match(pattern, said)
        assert match, said
        said = said[match.end() :]
    assert said == ""
    for arguments in (["--show", "pipe"], ["--show", "a"]):
        done = container.remora("crashes", *arguments)
        assert done.returncode == 1 and "\x1b" not in done.stderr
    assert container.remora("crashes", "--remove", "link*", "pipe*").returncode == 0


def test_dump_that_vanishes_during_a_listing_is_left_out(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        (tmp_path / name).touch()
    found = list(os.scandir(tmp_path))
    (tmp_path / "b.json.gz").unlink()
    setting = {"REMORA_DUMPS": str(tmp_path)}
    with imported("remora.crashes.reading") as dumps, mock.patch.dict(os.environ, setting):
        with mock.patch.object(dumps.os, "scandir", return_value=found):
            assert dumps.names() == ["a.json.gz"]


# As `python /dev/stdin`, whose writer may still be there
FROM_A_PIPE = """
import os, time
os.mkfifo("pipe")
code = "def work():\\n    print('runs', flush=True)\\n    while True: time.sleep(0.01)"
exec(compile(code, os.path.abspath("pipe"), "exec"))
work()
"""


def test_program_that_was_read_from_a_pipe_is_dumped(container: Container, dumps: Path) -> None:
    container.write("p.py", FROM_A_PIPE)
    container.start("exec python p.py", mode="dump", REMORA_DUMPS=str(dumps))
    container.says("runs")
    done = container.remora("dump")
    assert done.returncode == 0, done
    assert list(one_dump(dumps)["sources"]) == [str(container.folder / "p.py")]


def test_name_of_a_service_means_its_newest(tmp_path: Path) -> None:
    names = [
        *("shop-20260101T000000Z-7-KeyError", "shop-20260102T000000Z-7-KeyError"),
        *("shop-eval-20260103T000000Z-7-KeyError", "shop2-20260104T000000Z-7-KeyError"),
    ]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.json.gz").touch()
        os.utime(tmp_path / f"{name}.json.gz", (number, number))
    setting = {"REMORA_DUMPS": str(tmp_path)}
    with imported("remora.crashes.reading") as dumps, mock.patch.dict(os.environ, setting):
        meant = {"shop": 1, "shop-eval": 2, "shop-e": 2, "shop-20260101": 0, None: 3, "": 3}
        for name, number in meant.items():
            assert dumps.find(name) == f"{tmp_path}/{names[number]}.json.gz"
        for name in ("sho", "shop-2026"):
            with pytest.raises(dumps.Unreadable, match="say which"):
                dumps.find(name)


@pytest.mark.parametrize("is_there", [True, False])
def test_client_gets_its_own_file_of_the_project(shop: Container, is_there: bool) -> None:
    """The container may have the file anywhere, or may have lost it."""
    copy = shop.folder.parent / "project/src/p.py"
    copy.parent.mkdir(parents=True)
    copy.write_text(CHAINED)
    crashed(shop)
    if not is_there:
        (shop.folder / "p.py").unlink()
    process = shop.begin_remora("open")
    process.stdout.readline()
    editor = shop.attach({Path("/home/me/shop/src/p.py"): [1]})
    assert editor.stopped().path == Path("/home/me/shop/src/p.py")
    editor.detach()
    assert ended(process).returncode == 0


# Changes of a dump after which it is still listed
KEEP_A_HEAD = ("command", "escape")
CHANGES = ["empty", "text", "format", "threads", "exceptions", "command", "time", "escape"]


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_dump_is_reported(container: Container, dumps: Path, change: str) -> None:
    crashed(container)
    (path,) = dumps.iterdir()
    found = json.loads(gzip.decompress(path.read_bytes()))
    if change == "format":
        found["format"] = 2
    elif change == "threads":
        found["threads"] = found["exceptions"] = [5]
    elif change in ("exceptions", "command"):
        found[change] = [{"frames": []}]
    elif change == "time":
        found["time"] = 1e300
    else:
        found["service"] = "a\x1b[2J\n"
    content = {"empty": "", "text": "text"}.get(change, json.dumps(found))
    path.write_bytes(gzip.compress(content.encode()))
    done = container.remora("crashes", "--show")
    assert "Traceback" not in done.stderr and "\x1b" not in done.stdout
    assert done.returncode == (0 if change == "escape" else 1)
    listed = container.remora("crashes")
    assert "\x1b" not in listed.stdout and "Traceback" not in listed.stderr
    assert len(listed.stdout.splitlines()) == (2 if change in KEEP_A_HEAD else 0), listed
    if change not in ("escape", "time"):
        done = container.remora("open")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


# ---- Without a crash ----

RUNS = """
import sys, threading, time

def work():
    n = 5
    print("runs", flush=True)
    while True:
        time.sleep(0.01)

def other():
    idle = "idle"
    time.sleep(600)

threading.Thread(target=other, name="other", daemon=True).start()
work()
"""


@pytest.mark.parametrize("mode", ["dump", "demand", "listen"])
def test_running_programs_are_dumped(container: Container, dumps: Path, mode: str) -> None:
    path = container.write("p.py", RUNS)
    container.start("python p.py", mode=mode, REMORA_DUMPS=str(dumps))
    container.says("runs")
    if mode == "listen":  # stopped by its engine
        editor = container.attach({path: [line(path, "time.sleep(0.01)")]})
        editor.stopped()
    done = container.remora("dump")
    assert done.returncode == 0, (done, container.log())
    written = Path(done.stdout.strip())
    assert written.parent == dumps and "-stack.json.gz" in written.name
    found = one_dump(dumps)
    names = [thread["name"] for thread in found["threads"]]
    assert names[0] == "MainThread" and "other" in names and "remora" not in names
    work = next(one for one in found["threads"][0]["frames"] if one["function"] == "work")
    assert work["locals"] == [["n", "int", "5"]]
    assert container.process.poll() is None


@pytest.mark.parametrize("mode", ["demand", "crash"])
def test_program_that_waits_for_a_client_is_dumped(
    container: Container, dumps: Path, mode: str
) -> None:
    container.write("p.py", RUNS if mode == "demand" else "n = 5\nn / 0\n")
    container.start("exec python p.py", mode=mode, REMORA_DUMPS=str(dumps))
    container.says("runs" if mode == "demand" else "Waiting for client")
    if mode == "demand":
        assert container.remora("attach").returncode == 0
    done = container.remora("dump")
    assert done.returncode == 0, (done, container.log())
    assert one_dump(dumps)["threads"][0]["name"] == "MainThread"


def test_program_that_has_not_begun_is_not_dumped(container: Container, dumps: Path) -> None:
    container.write("p.py", RUNS)
    container.start("exec python p.py", mode="wait", REMORA_DUMPS=str(dumps))
    container.says("Waiting for client")
    done = container.remora("dump")
    text = "has nothing to dump: it has not begun, and waits until a client has attached"
    assert (done.returncode, done.stdout) == (1, f"pid 1 {text}\n")


def test_running_program_that_cannot_be_dumped_is_reported(container: Container) -> None:
    container.write("p.py", RUNS)
    container.start("exec python p.py", mode="dump", REMORA_DUMPS="/proc/nowhere")
    container.says("runs")
    done = container.remora("dump", "1", "99999")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "pid 1 could not write a dump: the container's log says why",
        "pid 99999 cannot write a dump: `remora status` says why, if it is Python",
    ]
    container.says("the stack of pid 1 cannot be dumped in /proc/nowhere: ")
