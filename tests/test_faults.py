"""Faults while debugging: what the user sees, and that nothing is lost."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import dap
from support.project import COUNT, Project, copy, marked, remora, wait_until
from support.rendering import REPOSITORY

pytestmark = pytest.mark.docker


def goes_on(project: Project) -> None:
    """Wait until the program has printed more."""
    lines = len(project.log().splitlines())
    wait_until(lambda: len(project.log().splitlines()) > lines)


def start(project: Project, mode: str = "listen", **settings: object) -> Path:
    """Start the program in a mode, and return its path once it can be debugged."""
    if settings:
        project.override("settings.yml", **settings)
    path = project.start(COUNT, REMORA_MODE=mode)
    project.compose("up", "--detach", "--wait", REMORA_MODE=mode)
    return path


def stop_at_breakpoint(project: Project, path: Path) -> tuple[dap.Editor, dap.Stop]:
    """Attach, and return where the program has stopped: at its marked line."""
    editor = project.attach(marked(path), source=path)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    return editor, stop


# ---- The client ----


@pytest.mark.parametrize("at_breakpoint", [True, False])
def test_next_client_can_attach_after_a_dropped_connection(
    project: Project, at_breakpoint: bool
) -> None:
    path = start(project)
    for _ in range(3):
        editor, stop = stop_at_breakpoint(project, path)
        if not at_breakpoint:
            editor.set_breakpoints(path)
            editor.resume(stop)
            goes_on(project)
        # As if the client were killed, or its machine lost
        editor.close()
        goes_on(project)


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_client_can_attach_before_the_program_starts(project: Project, mode: str) -> None:
    command = "until [ -e src/go ]; do sleep 0.1; done; python src/program.py"
    path = project.start(COUNT, command, REMORA_MODE=mode)
    # The command returns although no Python runs yet.
    project.compose("up", "--detach", "--wait", REMORA_MODE=mode)
    editor = project.attach(marked(path), source=path)
    assert editor.clients[0].request("threads") == {"threads": []}
    (project.root / "src/go").touch()
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.locals["number"]) == (path, marked(path), "1")


def test_probes_of_the_published_port_do_no_harm(project: Project) -> None:
    path = start(project)
    port = project.configuration("train: attach")["connect"]["port"]
    for _ in range(5):
        socket.create_connection(("127.0.0.1", port), timeout=dap.TIMEOUT).close()
    stop_at_breakpoint(project, path)


# ---- The program, its container and the engine, while it is stopped at a breakpoint ----


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("KILL", 137)])
def test_killed_program_ends_its_session(project: Project, signal: str, code: int) -> None:
    path = start(project)
    editor, stop = stop_at_breakpoint(project, path)
    pid = stop.client.event("process")["systemProcessId"]
    project.compose("exec", "-T", "train", "bash", "-c", f"kill -{signal} {pid}")
    assert editor.stopped_or_ended() is None
    assert project.exit_code() == code
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    stop_at_breakpoint(project, path)


@pytest.mark.parametrize("starter", ["remora attach", "the next program", "the health check"])
def test_hub_that_is_killed(project: Project, starter: str) -> None:
    """The program runs on. Another hub replaces the killed one, and a client can attach again."""
    # The usual health check could start a hub at any time. `remora status` does not.
    check = {"test": ["CMD-SHELL", "remora status | grep 'port 5678 ('"]}
    settings: dict[str, Any] = {} if starter == "the health check" else {"healthcheck": check}
    path = start(project, **settings)
    editor, _ = stop_at_breakpoint(project, path)
    is_hub = "tr '\\0' ' ' <$p/cmdline | grep -q '_remora/[_]_main__.py hub'"
    kill = f"for p in /proc/[0-9]*; do {is_hub} && kill -KILL ${{p#/proc/}} && echo killed; done"
    done = project.compose("exec", "-T", "train", "bash", "-c", kill, check=False)
    assert done.stdout == "killed\n"
    assert editor.stopped_or_ended() is None
    goes_on(project)
    if starter == "remora attach":
        assert "mode listen, the port is closed" in remora(project, "status").stdout
        assert "is ready: train at 127.0.0.1:" in remora(project, "attach").stdout
    elif starter == "the next program":
        project.compose("exec", "-T", "train", "python", "-c", "pass")
    wait_until(lambda: "mode listen, port 5678 (" in remora(project, "status").stdout)
    stop_at_breakpoint(project, path)


def test_program_without_memory_ends_its_session(project: Project) -> None:
    path = start(project, mem_limit="200m", memswap_limit="200m")
    editor, stop = stop_at_breakpoint(project, path)
    frames = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"]
    stop.client.send("evaluate", expression="len(bytearray(b'x') * 10**9)", frameId=frames[0]["id"])
    assert editor.stopped_or_ended() is None
    assert project.exit_code() == 137


def test_restarted_container_is_debugged_again(project: Project) -> None:
    path = start(project)
    editor, _ = stop_at_breakpoint(project, path)
    project.compose("restart", "--timeout", "2")
    assert editor.stopped_or_ended() is None
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    _, stop = stop_at_breakpoint(project, path)
    assert int(stop.locals["number"]) < 1000


@pytest.mark.alone
def test_container_is_debugged_again_after_the_engine_restarts(project: Project) -> None:
    path = start(project, restart="always")
    editor, _ = stop_at_breakpoint(project, path)
    done = subprocess.run(
        [REPOSITORY / "tests/engine.sh", "restart"], capture_output=True, text=True
    )
    if done.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert editor.stopped_or_ended() is None
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    stop_at_breakpoint(project, path)


# ---- What is in the container ----


# Takes the debugger's port, and then writes its pid to a file.
TAKE = """
import os, signal, socket
taken = socket.create_server(("", 5678))
with open("/tmp/draft", "w") as file:
    file.write(str(os.getpid()))
os.rename("/tmp/draft", "/tmp/taken")
signal.pause()
"""


def start_with_taken_port(project: Project, code: str, mode: str) -> Path:
    """Start a program in a container where another process has taken the port first."""
    (project.root / "src/take.py").write_text(TAKE)
    wait = "until [ -e /tmp/taken ]; do sleep 0.1; done"
    # The health check would start the hub, which would take the port itself.
    check = "CMD-SHELL [ -e /tmp/taken ] && remora ready --health".split(" ", 1)
    project.override("check.yml", healthcheck={"test": check})
    command = f"REMORA_MODE=off python src/take.py & {wait}; python src/program.py"
    return project.start(code, command, REMORA_MODE=mode)


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_port_that_is_taken_in_the_container_is_reported(project: Project, mode: str) -> None:
    """One line says so, however often the health check runs. The program runs on."""
    start_with_taken_port(project, COUNT, mode)
    wait_until(lambda: "number 1\n" in project.log())

    wait_until(lambda: len(project.health_checks()) >= 3)
    (message,) = project.messages()
    assert message.startswith("remora: port 5678 cannot be opened (")
    assert "REMORA_PORT names another port" in message
    assert "without a debugger" in message
    # Docker keeps the output of a check.
    assert project.health_checks()[-1]["ExitCode"] == 1
    assert project.health_checks()[-1]["Output"].startswith("port 5678 cannot be opened (")
    done = remora(project, "attach", check=False)
    assert done.returncode == 1 and done.stdout.startswith("port 5678 cannot be opened (")
    goes_on(project)


def test_port_is_opened_once_it_is_free(project: Project) -> None:
    """A client can attach once the port is free."""
    path = start_with_taken_port(project, COUNT, "listen")
    wait_until(lambda: project.messages() != [])
    project.compose("exec", "-T", "train", "bash", "-c", "kill $(cat /tmp/taken)")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    stop_at_breakpoint(project, path)


@pytest.mark.parametrize("gone", ["debugpy", "."])
@pytest.mark.parametrize("mode", ["wait", "crash"])
def test_program_runs_on_if_debugpy_is_missing(project: Project, mode: str, gone: str) -> None:
    """Either the package is missing, or a volume hides everything that the debug image adds."""
    project.override("hidden.yml", tmpfs=[f"/opt/remora/python3.13/{gone}"])
    project.start("print(1)\nraise ValueError", REMORA_MODE=mode)
    assert project.exit_code() == 1
    (message,) = project.messages()
    said = ("goes on without a debugger: ", "no /opt/remora/", "cannot show the ValueError")
    assert any(text in message for text in said)
    printed = project.output()
    project.more_files.remove("hidden.yml")
    project.compose("up", "--detach", REMORA_MODE="off")
    assert project.exit_code() == 1
    assert printed == sorted(project.log().splitlines())


@pytest.fixture(scope="module")
def built_with_clock(build) -> Project:
    """A project whose programs have a clock that tests can set."""

    def prepare(root: Path) -> None:
        dockerfile = root / "Dockerfile"
        end = "\n\n\n# ---- Production"
        install = "apt-get update && apt-get install --yes --no-install-recommends libfaketime"
        dockerfile.write_text(dockerfile.read_text().replace(end, f"\nRUN {install}{end}", 1))

    return build(prepare)


@pytest.fixture
def project_with_clock(built_with_clock: Project, tmp_path: Path):
    project = copy(built_with_clock, tmp_path)
    yield project
    project.down()


def test_clock_that_jumps_does_no_harm(project_with_clock: Project) -> None:
    project = project_with_clock
    clock = project.root / "src/clock"

    def set_clock(offset: str) -> None:
        """Replace the file as a whole, because a thread may read it at any time."""
        clock.with_suffix(".new").write_text(offset)
        clock.with_suffix(".new").replace(clock)

    set_clock("+0")
    library = "$$(find / -xdev -name libfaketime.so.1 | head -n 1)"
    command = f"export LD_PRELOAD={library}; exec python src/program.py"
    project.override(
        "clock.yml",
        environment={
            "FAKETIME_TIMESTAMP_FILE": "/app/src/clock",
            "FAKETIME_NO_CACHE": "1",
            # The monotonic clock does not jump.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    code = COUNT.replace("    number += 1", "    number += 1\n    year = time.gmtime().tm_year")
    path = project.start(code, command, REMORA_MODE="listen")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen")
    editor, stop = stop_at_breakpoint(project, path)
    this_year = int(stop.locals["year"])
    for years in (10, -10):
        set_clock(f"{years:+}y")
        for _ in range(2):
            editor.resume(stop)
            stop = editor.stopped()
        assert abs(int(stop.locals["year"]) - this_year - years) <= 1
        # Later clients see no difference.
        editor.resume(stop)
        editor.detach()
        editor, stop = stop_at_breakpoint(project, path)
