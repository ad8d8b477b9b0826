"""A debugger for days: many clients one after the other, many children, and nothing grows.

    nox -s soak

It prints what the program and debugpy's adapter have after each tenth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from project import Project, marked, wait_until

pytestmark = pytest.mark.docker

CLIENTS, CHILDREN = 200, 1000

# How much more memory there may be at the end than after the first tenth, in parts of it.
TOLERANCE = 0.1

# What debugpy's adapter keeps of each child until the client leaves, in KiB: at most.
KEPT_OF_A_CHILD = 10

# A thread for each client waits in the adapter for as long as a program may take to connect, 60 s.
COMMAND = "DEBUGPY_PROCESS_SPAWN_TIMEOUT=1 python src/program.py"

WAIT = """
import time
while True:
    time.sleep(0.01)  # here
"""

FORK = f"""
import multiprocessing
def work(number):
    result = number + 41  # here
context = multiprocessing.get_context("fork")
for number in range({CHILDREN}):
    child = context.Process(target=work, args=[number])
    child.start()
    child.join()
input()
"""


@dataclass
class Usage:
    """What a process has at a moment: KiB of memory, open files, threads."""

    memory: int
    files: int
    threads: int


class Watched:
    """A process of the container, by its pid, and what it has after each tenth."""

    def __init__(self, project: Project, name: str, pid: str) -> None:
        self.project, self.name, self.pid = project, name, pid
        self.noted: list[Usage] = []
        self.idle = self.usage()

    def usage(self) -> Usage:
        script = f"cat /proc/{self.pid}/status; echo Files: $(ls /proc/{self.pid}/fd | wc -l)"
        text = run(self.project, script)
        memory, files, threads = (
            int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])
            for name in ("VmRSS", "Files", "Threads")
        )
        return Usage(memory, files, threads)

    def note(self, when: str) -> None:
        """Note what it has, once the threads that only wait for a time to pass have ended."""
        wait_until(lambda: self.usage().threads <= self.idle.threads)
        self.noted.append(self.usage())
        print(f"{when:<14} {self.name:<8} {self.noted[-1]}", flush=True)

    def has_not_grown(self, but_for: int = 0) -> None:
        first, last = self.noted[0], self.noted[-1]
        assert last.files <= first.files
        assert last.memory <= first.memory * (1 + TOLERANCE) + but_for


def run(project: Project, script: str) -> str:
    return project.compose("exec", "-T", "train", "bash", "-c", script).stdout


def watched(project: Project) -> list[Watched]:
    """The program and its adapter."""
    program = run(project, "cd /run/debugpy && ls *.json").split(".")[0]
    adapter = run(project, "grep -l debugpy/[a]dapter /proc/[0-9]*/cmdline").split("/")[2]
    return [Watched(project, "program", program), Watched(project, "adapter", adapter)]


def test_clients_one_after_the_other(project: Project) -> None:
    path = project.start(WAIT, COMMAND, REMORA_MODE="listen")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    processes = []
    for number in range(1, CLIENTS + 1):
        editor = project.attach(marked(path), source=path)
        assert editor.stopped().path == path
        editor.detach()
        project.editors.clear()  # each with all that it was told
        processes = processes or watched(project)
        if number % (CLIENTS // 10) == 0:
            for process in processes:
                process.note(f"client {number}")
    for process in processes:
        process.has_not_grown()


def test_children_through_one_port(project: Project) -> None:
    path = project.start(FORK, f"sleep infinity | {COMMAND}", REMORA_MODE="wait")
    project.compose("up", "--detach", "--wait", REMORA_MODE="wait")
    editor = project.attach(marked(path), source=path)
    processes, seen = [], set()
    for number in range(1, CHILDREN + 1):
        stop = editor.stopped()
        assert stop.line == marked(path)
        seen.add(int(stop.locals["number"]))
        processes = processes or watched(project)
        if number % (CHILDREN // 10) == 0:
            for process in processes:
                process.note(f"child {number}")
        editor.resume(stop)
    assert seen == set(range(CHILDREN))
    program, adapter = processes
    program.has_not_grown()
    adapter.has_not_grown(but_for=KEPT_OF_A_CHILD * CHILDREN)
