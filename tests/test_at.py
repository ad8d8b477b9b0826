"""The command `remora at` prints values at a line, without an editor. No Docker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.container import Container, debug_python, ended
from support.project import line, marked, wait_until

LOOP = """
import time

def work(number):
    name = "x" * 300
    time.sleep(0.01)
    return number  # here

number = 0
while True:
    number += 1
    work(number)
    print(number, flush=True)  # there
"""

ONCE = """
import sys

def work(name):
    return name + "!"  # here

if __name__ == "__main__":
    print("done", work(sys.argv[1]), flush=True)
"""


@pytest.fixture
def loop(container: Container) -> Path:
    return container.write("src/loop.py", LOOP)


def goes_on(container: Container) -> None:
    """Wait until a loop has continued."""
    count = len(container.lines)
    wait_until(lambda: len(container.lines) > count + 10)


def facts(done: subprocess.CompletedProcess[str]) -> list[dict]:
    """What the command has printed with --json."""
    assert done.returncode == 0, done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def waits(container: Container, *arguments: str) -> subprocess.Popen[str]:
    """Start the command, and return once it waits for the line."""
    process = container.begin_remora("at", *arguments)
    attached = "a client is attached"
    wait_until(lambda: attached in container.remora("status").stdout or process.poll() is not None)
    return process


# ---- What the command prints ----


@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash"])
def test_values_at_a_line_are_printed(container: Container, loop: Path, mode: str) -> None:
    container.start("python src/loop.py", mode=mode)
    state = " waits " if mode == "wait" else " runs "
    wait_until(lambda: state in container.remora("status").stdout)
    number, caller = marked(loop), line(loop, "    work(number)")
    done = container.remora("at", f"src/loop.py:{number}", "--eval", "number * 0", "nothing")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    shown = lines.pop(-6)
    assert shown.startswith("  number = ") and int(shown.split()[-1]) > 0
    (pid,) = (word for word in lines[0].split() if word.endswith(","))
    assert lines == [
        f"src/loop.py:{number} in work (pid {pid} python src/loop.py)",
        "stack",
        f"  src/loop.py:{number} in work",
        f"  src/loop.py:{caller} in <module>",
        "locals",
        f"  name = '{'x' * 199}…",
        "values",
        "  number * 0 = 0",
        "errors",
        "  nothing: NameError: name 'nothing' is not defined",
        "",
    ]
    goes_on(container)
    status = container.remora("status").stdout
    assert "no client is attached" in status or "the port is closed" in status
    assert container.is_open() == (mode in ("wait", "listen"))


def test_json_is_an_object_on_a_line_for_each_stop(container: Container, loop: Path) -> None:
    container.start("python src/loop.py", mode="listen")
    container.says("Listening")
    number = marked(loop)
    options = ["--json", "--count", "3", "--when", "number % 5 == 0", "--eval", "1 / 0", "name[:2]"]
    stops = facts(container.remora("at", f"src/loop.py:{number}", *options))
    numbers = [int(stop["locals"].pop("number")) for stop in stops]
    assert all(number % 5 == 0 for number in numbers)
    assert len(numbers) == 3 and numbers == sorted(set(numbers))
    here = {"file": "src/loop.py", "line": number, "function": "work"}
    caller = {**here, "line": line(loop, "    work(number)"), "function": "<module>"}
    for stop in stops:
        assert stop.pop("pid") > 1
        assert stop == {
            **here,
            "command": "python src/loop.py",
            "thread": "MainThread",
            "stack": [here, caller],
            "locals": {"name": f"'{'x' * 199}…"},
            "values": {"name[:2]": "'xx'"},
            "errors": {"1 / 0": "ZeroDivisionError: division by zero"},
        }


def test_program_that_starts_later_is_read(container: Container) -> None:
    path = container.write("p.py", ONCE)
    container.start("until [ -e go ]; do sleep 0.1; done; python p.py a; sleep 1000", mode="demand")
    process = waits(container, f"p.py:{marked(path)}", "--json")
    container.write("go", "")
    (stop,) = facts(ended(process))
    assert (stop["command"], stop["locals"]) == ("python p.py a", {"name": "'a'"})
    container.says("done a!")


CHILDREN = """
import os, subprocess, sys, threading
import p

if os.fork() == 0:
    p.work("fork")
    os._exit(0)
os.wait()
subprocess.run([sys.executable, "p.py", "child"])
thread = threading.Thread(target=p.work, args=["thread"], name="own")
thread.start()
thread.join()
p.work("parent")
print("done", flush=True)
"""


def test_children_and_threads_are_read(container: Container) -> None:
    path = container.write("p.py", ONCE)
    container.write("children.py", CHILDREN)
    container.start("python children.py")
    container.says("Waiting for client")
    stops = facts(container.remora("at", f"p.py:{marked(path)}", "--json", "--count", "4"))
    found = [(stop["locals"]["name"], stop["thread"]) for stop in stops]
    assert found[2:] == [("'thread'", "own"), ("'parent'", "MainThread")]
    assert [name for name, _ in found[:2]] == ["'fork'", "'child'"]
    parents, child = {stop["pid"] for stop in stops[2:]}, {stop["pid"] for stop in stops[:2]}
    assert len(parents) == 1 and len(child) == 2 and not parents & child
    assert stops[1]["command"].endswith("python p.py child")
    container.says("done")
    assert container.exit_code() == 0


def test_explicit_breakpoint_is_passed_over(container: Container, loop: Path) -> None:
    loop.write_text(LOOP.replace("time.sleep(0.01)", "breakpoint()"))
    container.start("python src/loop.py", mode="listen")
    container.says("Listening")
    (stop,) = facts(container.remora("at", f"src/loop.py:{marked(loop)}", "--json"))
    assert stop["line"] == marked(loop)
    goes_on(container)


# ---- When no program reaches the line ----


def test_line_that_is_not_reached_is_reported(container: Container, loop: Path) -> None:
    path = container.write("p.py", ONCE)
    container.start("python src/loop.py & python -S src/loop.py & wait", mode="listen")
    container.says("Listening")
    wait_until(lambda: container.remora("status").stdout.count("src/loop.py") == 2)
    done = container.remora("at", f"p.py:{marked(path)}", "--timeout", "10")
    assert (done.returncode, done.stdout) == (1, "")
    first, *lines = done.stderr.splitlines()
    assert first == f"p.py:{marked(path)} was not reached in 10 seconds, in mode listen"
    lines = [text.split(maxsplit=2)[2] for text in lines]
    assert [text for text in lines if text.startswith("is debugged")]
    assert "it was started with an option that keeps the hook out (-S)" in done.stderr
    assert "the breakpoint is set" in done.stderr
    goes_on(container)


@pytest.mark.parametrize("condition", ["nothing", "1 / 0"])
def test_condition_that_raises_is_reported(
    container: Container, loop: Path, condition: str
) -> None:
    container.start("python src/loop.py", mode="listen")
    container.says("Listening")
    place = f"src/loop.py:{marked(loop)}"
    done = container.remora("at", place, "--when", condition, "--timeout", "10", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{place} with {condition} was not reached in 10 seconds")
    error = {"nothing": "NameError: name 'nothing' is not defined", "1 / 0": "ZeroDivisionError"}
    assert error[condition] in done.stderr.splitlines()[-1]


def test_fewer_stops_than_asked_for_are_reported(container: Container) -> None:
    path = container.write("p.py", ONCE)
    container.start("python p.py a; sleep 1000")
    container.says("Waiting for client")
    place = f"p.py:{marked(path)}"
    done = container.remora("at", place, "--count", "2", "--timeout", "10", "--json")
    assert len(facts(done)) == 1
    assert done.stderr == "1 of 2 stops in 10 seconds\n"


def test_file_that_is_not_in_the_container_is_reported(shop: Container) -> None:
    shop.write("../project/tools/loop.py", LOOP)
    shop.start("python -c 'import time; time.sleep(1000)'", mode="listen")
    shop.says("Listening")
    done = shop.remora("at", "tools/loop.py:7", "--timeout", "10")
    assert done.returncode == 1
    assert "the breakpoint is not set: tools/loop.py is not in this container" in done.stderr


def test_mode_off_is_reported(container: Container, loop: Path) -> None:
    container.start("python src/loop.py", mode="off")
    done = container.remora("at", f"src/loop.py:{marked(loop)}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "REMORA_MODE is off, so nothing in this container can be debugged\n"
    assert not container.hubs()


# ---- Beside editors ----


def test_attached_editor_is_left_alone(container: Container, loop: Path) -> None:
    container.start("python src/loop.py", mode="listen")
    editor = container.attach({loop: [marked(loop)]})
    stop = editor.stopped()
    done = container.remora("at", f"src/loop.py:{marked(loop)}")
    assert (done.returncode, done.stdout) == (3, "")
    refused = "the container is already being debugged by another client: end that session first\n"
    assert done.stderr == refused
    editor.resume(stop)
    assert editor.stopped().line == marked(loop)


def test_crash_is_left_to_an_editor(container: Container) -> None:
    path = container.write("p.py", ONCE.replace('name + "!"', "name + 1"))
    container.start("exec python p.py a", mode="crash")
    container.says("Waiting for client")
    done = container.remora("at", f"p.py:{marked(path)}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "pid 1 has crashed, and is kept for an editor: attach one first\n"
    stop = container.attach({}).stopped()
    assert (stop.reason, stop.line) == ("exception", marked(path))


@pytest.mark.parametrize(("name", "exit_code"), [("INT", 130), ("TERM", -15), ("KILL", -9)])
@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_signal_leaves_nothing_behind(
    container: Container, loop: Path, name: str, exit_code: int, mode: str
) -> None:
    container.start("python src/loop.py & python src/loop.py & wait", mode=mode)
    wait_until(lambda: container.remora("status").stdout.count(" runs ") == 2)
    # The program is stopped, or about to stop.
    process = waits(container, f"src/loop.py:{marked(loop)}", "--count", "1000000")
    (pid,) = container.pids_of_remora("at")
    container.execute("kill", f"-{name}", pid)
    done = ended(process)
    assert (done.returncode, done.stderr) == (exit_code, "")
    wait_until(lambda: container.remora("status").stdout.count(" runs ") == 2)
    goes_on(container)
    if mode == "demand":
        assert container.remora("attach").returncode == 0
    editor = container.attach({loop: [line(loop, "# there")]})
    stops = [editor.stopped(), editor.stopped()]
    assert {stop.line for stop in stops} == {line(loop, "# there")}
    assert len({stop.client for stop in stops}) == 2


def test_hub_that_is_killed(container: Container, loop: Path) -> None:
    container.start("python src/loop.py", mode="listen")
    container.says("Listening")
    process = waits(container, f"src/loop.py:{marked(loop)}", "--when", "number < 0")
    (hub,) = container.hubs()
    container.execute("kill", "-KILL", hub)
    done = ended(process)
    assert done.returncode == 1
    assert "was not reached before the session ended" in done.stderr
    goes_on(container)


# ---- Places ----


def test_place_is_found_by_any_path_of_the_file(shop: Container) -> None:
    """The file is in the project's `src`, beside a namesake, and in the container's `/app`."""
    path = shop.write("shop/loop.py", LOOP)
    shop.write("../project/src/shop/loop.py", LOOP)
    shop.write("../project/tools/loop.py", "print()\n")
    shop.start("python shop/loop.py", mode="listen")
    shop.says("Listening")
    for name in [
        "src/shop/loop.py",
        "./src/shop/../shop/loop.py",
        "shop/loop.py",
        "/home/dev/project/src/shop/loop.py",
        "C:\\Users\\dev\\project\\src\\shop\\loop.py",
        str(path),
    ]:
        (stop,) = facts(shop.remora("at", f"{name}:{marked(path)}", "--json"))
        assert stop["file"] == "src/shop/loop.py", name
        assert {frame["file"] for frame in stop["stack"]} == {"src/shop/loop.py"}


@pytest.mark.parametrize("name", ["src/loop.py", "/home/dev/project/src/loop.py", "{}/src/loop.py"])
def test_place_is_found_without_a_copy_of_the_project(
    container: Container, loop: Path, name: str
) -> None:
    container.start("python src/loop.py", mode="listen")
    container.says("Listening")
    place = f"{name.format(container.folder)}:{marked(loop)}"
    (stop,) = facts(container.remora("at", place, "--json"))
    assert stop["file"] == stop["stack"][1]["file"] == "src/loop.py"


def test_place_in_a_library_is_found(container: Container, loop: Path) -> None:
    library = container.write("lib/site-packages/steps.py", "def step():\n    return 1\n")
    imports = LOOP.replace("import time", "import colorsys, time, steps")
    loop.write_text(f"{imports}    steps.step(), colorsys.rgb_to_hls(1, 1, 1)\n")
    container.start("PYTHONPATH=lib/site-packages python src/loop.py", mode="listen")
    container.says("Listening")
    (stop,) = facts(container.remora("at", f"{library}:2", "--json"))
    assert (stop["function"], stop["stack"][1]["file"]) == ("step", "src/loop.py")
    find = "import colorsys; print(colorsys.__file__)"
    standard = Path(container.execute(str(container.python), "-c", find).stdout.strip())
    number = standard.read_text().splitlines().index("def rgb_to_hls(r, g, b):") + 2
    (stop,) = facts(container.remora("at", f"{standard}:{number}", "--json"))
    assert (stop["file"], stop["function"]) == (str(standard), "rgb_to_hls")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["src/loop.py"],
            "a place must be FILE:LINE, such as src/shop/cart.py:41, not 'src/loop.py'",
        ),
        (["src/loop.py:x"], "a place must be FILE:LINE, such as src/shop/cart.py:41"),
        ([":3"], "a place must be FILE:LINE, such as src/shop/cart.py:41"),
        (["a.py:1"], "a.py is not a Python file or template of the project or this container"),
        (["/:1"], "/ is not a Python file or template of the project or this container"),
        (
            ["lib/main.py:1"],
            "lib/main.py is not a Python file or template of the project or this container: there"
            " is api/main.py, worker/main.py",
        ),
        (["main.py:1"], "main.py may be api/main.py or worker/main.py: say which"),
        (
            ["src/loop.py:8"],
            "line 8 of src/loop.py has no code: the nearest lines with code are 6, 7, 9",
        ),
        (
            ["src/loop.py:99"],
            "line 99 of src/loop.py is past its end, line 13: the nearest lines with code are"
            " 11, 12, 13",
        ),
        (["src/loop.py:7", "--when", "x ="], "'x =' is not an expression: "),
        (["src/loop.py:7", "--eval", "x", "1 +"], "'1 +' is not an expression: "),
        (["src/loop.py:7", "--count", "0"], "--count must be 1 or more, and --timeout 0 or more"),
        (
            ["src/loop.py:7", "--timeout", "nan"],
            "--count must be 1 or more, and --timeout 0 or more",
        ),
    ],
)
def test_wrong_command_is_refused(
    shop_with_files: Container, arguments: list[str], message: str
) -> None:
    done = shop_with_files.remora("at", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def shop_with_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("shop")
    container = Container(debug_python(folder), folder / "app")
    for name in ("api/main.py", "worker/main.py"):
        container.write(f"../project/{name}", f"print({name!r})\n")
    container.write("src/loop.py", LOOP)
    container.start("sleep 1000", mode="listen")
    yield container
    container.stop()
