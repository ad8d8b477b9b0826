"""The messages of Remora that no other test provokes. No Docker.

A test provokes each message in docs/troubleshooting.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.container import Container, imported
from support.dap import DapError
from support.project import wait_until
from support.rendering import REPOSITORY

TESTS = REPOSITORY / "tests"


def test_each_row_of_the_page_is_made_by_a_test() -> None:
    page = (REPOSITORY / "docs/troubleshooting.md").read_text()
    rows = re.findall(r"^\| `(.+)` \| ", page, flags=re.MULTILINE)
    rows = [row for row in rows if row not in STATES]
    code = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    code = re.sub(r'"\n\s+f?"', "", code)  # a text may continue in the next line
    parts = {row: [part.strip() for part in row.split("…")] for row in rows}
    missing = [row for row in rows if not all(part in code for part in parts[row])]
    assert len(rows) > 40 and missing == []


# The command's words for a process, in the first table: the tests of each command check them.
STATES = ["waits", "has crashed", "runs", "ready", "is debugged", "no debugger"]

# A program inside a library that never returns to Python
BUSY = """
import itertools
print("busy", flush=True)
sum(itertools.repeat(1))
"""


def test_program_that_is_inside_a_library_is_reported(container: Container) -> None:
    path = container.write("busy.py", BUSY)
    container.start("exec python busy.py", mode="listen")
    container.says("busy")
    editor = container.attach({path: [4]})
    said = "has not answered yet: it is inside a library that is not Python"
    wait_until(lambda: said in editor.output.get("important", ""))
    editor.detach()
    done = container.remora("attach")
    assert done.returncode == 1
    assert "has not answered: it is inside a library that is not Python, or stopped" in done.stdout


def test_container_without_a_program_is_reported(container: Container) -> None:
    path = container.write("p.py", "print(1)\n")
    container.start("python -c pass; sleep 1000", mode="listen")
    wait_until(container.is_open)
    done = container.remora("attach")
    said = "no Python process runs yet; those that start are debugged"
    assert (done.returncode, said in done.stdout) == (0, True)
    editor = container.attach({path: [1]})
    (breakpoint,) = editor.clients[0].breakpoints.values()
    assert breakpoint["message"] == "Waiting for a program that has this file."
    said = "no Python program is here yet: the next one that starts is debugged"
    wait_until(lambda: said in editor.output.get("important", ""))
    with pytest.raises(DapError, match="no program runs at this moment"):
        editor.clients[0].request("evaluate", expression="1")


# Another process has taken the hub's name, and does not answer.
SQUATTER = r"""
import os, socket
namespace = os.stat("/proc/self/ns/pid").st_ino
with socket.socket(socket.AF_UNIX) as squatter:
    squatter.bind(f"\0remora-{namespace}-hub")
    squatter.listen()
    print("listens", flush=True)
    while True:
        squatter.accept()[0].close()
"""


def test_hub_that_does_not_answer_is_reported(container: Container) -> None:
    container.write("squatter.py", SQUATTER)
    container.start("exec python -S squatter.py", mode="listen")
    container.says("listens")
    for command in ("ready", "attach"):
        done = container.remora(command)
        assert (done.returncode, done.stdout) == (1, "the debugger's hub does not answer\n")


def reason(container: Container, name: str) -> str:
    """What `remora status` says about the only Python process with a name in its command line."""
    wait_until(lambda: name in container.remora("status").stdout)
    return container.remora("status").stdout.splitlines()[-1].strip()


def test_interpreter_that_came_later_is_reported(container: Container) -> None:
    container.write("p.py", "input()\n")
    python = os.path.realpath(sys.executable)
    container.start(f"sleep 1000 | {python} p.py", mode="listen")
    wait_until(lambda: reason(container, "p.py").startswith("its interpreter has no hook"))


def test_interpreter_that_has_just_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [os.path.realpath(sys.executable), "-c", "input()"]
    environment = {"REMORA_MODE": "listen"}
    with (
        imported("remora.command.processes") as processes,
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process,
    ):
        monkeypatch.setattr(processes, "START", float("inf"))
        young = processes.why_not(process.pid)
        monkeypatch.setattr(processes, "START", 0)
        old = processes.why_not(process.pid)
        process.communicate(b"\n")
    assert young == "it has only just started: ask again in a moment"
    assert old.startswith("its interpreter has no hook")


# Like uWSGI: a program that is not called python, but contains Python's library.
BUILT_IN = """
import mmap
with open("libpython3.so.1.0", "rb") as file:
    library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
input()
"""


def test_program_with_python_built_in_is_reported(container: Container) -> None:
    container.write("p.py", BUILT_IN)
    container.write("libpython3.so.1.0", "library")
    python = Path(os.path.realpath(sys.executable))
    home = f"PYTHONHOME={python.parents[1]}"
    container.start(f"cp {python} uwsgi; sleep 1000 | {home} ./uwsgi p.py", mode="listen")
    said = "it is not a Python interpreter: Python is built into it, as into uWSGI"
    assert reason(container, "p.py") == said
