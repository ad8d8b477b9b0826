"""One debug session for all Python programs of a container, however they start. No Docker."""

from __future__ import annotations

import fnmatch
import glob
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import dap
from support.container import (
    IMPORTED_AT_SIGNAL,
    IMPORTS_AT_SIGNAL,
    PROGRAM,
    SWALLOWED,
    Container,
    ended,
    imported,
)
from support.project import marked, wait_until

# Programs that end one after the other, each started in another way.
IN_TURN = {
    "one after the other": ("python p.py a && python p.py b", ["a", "b"]),
    "a one-liner first": ("python -c 'print(1)' && python p.py a", ["a"]),
    "exec of itself": ("exec python again.py a b c", ["a", "b", "c"]),
    "behind a shell": ("python parent.py 'python p.py a'", ["a"]),
    "behind os.system": ("python system.py a", ["a"]),
    "a script with #!": ("python parent.py ./script.py", ["s"]),
    "a cleared environment": ('env -i "$(command -v python)" p.py a', ["a"]),
    "make": ("make -s", ["a"]),
}


@pytest.mark.parametrize("kind", IN_TURN)
def test_programs_in_turn(container: Container, kind: str) -> None:
    command, names = IN_TURN[kind]
    path = container.write("p.py", PROGRAM)
    more = "if sys.argv[2:]: os.execv(sys.executable, [sys.executable, __file__, *sys.argv[2:]])\n"
    again = container.write("again.py", PROGRAM.replace("import sys", "import os, sys") + more)
    container.write(
        "parent.py", "import subprocess, sys\nsubprocess.run(sys.argv[1], shell=True)\n"
    )
    container.write("system.py", "import os, sys\nos.system('python p.py ' + sys.argv[1])\n")
    script = container.write("script.py", f"#!{container.python}\nimport p\n")
    script.chmod(0o755)
    container.write("Makefile", "all:\n\tpython p.py a\n")
    if kind == "a script with #!":
        container.write("p.py", PROGRAM.replace("sys.argv[1]", "'s'"))
    if kind == "exec of itself":
        path = again
    container.start(command)
    editor = container.attach({path: [marked(path)]})
    for name in names:
        stop = editor.stopped()
        assert (stop.path, stop.line, stop.function) == (path, marked(path), "work")
        assert stop.locals["name"] == repr(name)
        editor.resume(stop)
    assert container.exit_code() == 0
    assert [f"done {name}" in container.lines for name in names] == [True] * len(names)
    # The program was held once, or not at all if the client came before it.
    assert container.log().count("Waiting for client to attach...") <= 1


# Programs that run at the same time, each named once.
AT_ONCE = {
    "three beside each other": ("python p.py a & python p.py b & python p.py c & wait", "abc"),
    "subprocess": ("python family.py subprocess", "ab"),
    "a fork": ("python family.py fork", "ab"),
    "a child of multiprocessing, forked": ("python family.py mp-fork", "ab"),
    "a child of multiprocessing, spawned": ("python family.py mp-spawn", "ab"),
    "a child of a fork server": ("python family.py mp-forkserver", "ab"),
    "a child behind a shell": ("python family.py shell", "ab"),
    "posix_spawn": ("python family.py posix_spawn", "ab"),
}

# A program that reaches the line in p.py while its child does too.
FAMILY = """
import multiprocessing, os, subprocess, sys

import p

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "subprocess":
        end = subprocess.Popen([sys.executable, "p.py", "b"]).wait
    elif how == "shell":
        end = subprocess.Popen("exec 2>&1; python p.py b; true", shell=True).wait
    elif how == "posix_spawn":
        pid = os.posix_spawn(sys.executable, [sys.executable, "p.py", "b"], os.environ)
        end = lambda: os.waitpid(pid, 0)
    elif how == "fork":
        pid = os.fork()
        if pid == 0:
            p.work("b")
            os._exit(0)
        end = lambda: os.waitpid(pid, 0)
    else:
        child = multiprocessing.get_context(how[3:]).Process(target=p.work, args=["b"])
        child.start()
        end = child.join
    p.work("a")
    end()
"""


@pytest.mark.parametrize("kind", AT_ONCE)
def test_programs_at_once(container: Container, kind: str) -> None:
    command, names = AT_ONCE[kind]
    path = container.write("p.py", PROGRAM.replace("\nwork(", '\nif __name__ == "__main__": work('))
    container.write("family.py", FAMILY)
    container.start(command)
    editor = container.attach({path: [marked(path)]})
    stops = [editor.stopped() for _ in names]
    assert {stop.path for stop in stops} == {path}
    assert sorted(stop.locals["name"] for stop in stops) == [repr(name) for name in names]
    # Each program has a session of its own.
    assert len({id(stop.client) for stop in stops}) == len(names)
    for stop in stops:
        editor.resume(stop)
    assert container.exit_code() == 0


def test_one_press_of_stop_ends_all_sessions(container: Container) -> None:
    path = container.write("p.py", PROGRAM)
    container.start("python p.py a & python p.py b & wait; python p.py c")
    editor = container.attach({path: [marked(path)]})
    stops = [editor.stopped(), editor.stopped()]
    root = editor.clients[0]
    root.request("disconnect", terminateDebuggee=False)
    for stop in stops:
        if stop.client is not root:
            stop.client.event("terminated")
    # Later programs are not held, because a client was attached.
    assert container.exit_code() == 0
    assert sorted(x for x in container.lines if x.startswith("done")) == [
        "done a",
        "done b",
        "done c",
    ]


class PlainEditor(dap.Editor):
    """An editor that opens no sessions for children."""

    def _follow(self, configuration: dict) -> None:
        pass


def test_client_without_child_sessions_lets_children_run(container: Container, monkeypatch) -> None:
    path = container.write("p.py", PROGRAM)
    container.write(
        "parent.py",
        "import subprocess, sys\nsubprocess.run([sys.executable, 'p.py', 'child'])\n",
    )
    monkeypatch.setattr(dap, "Editor", PlainEditor)
    container.start("python parent.py; python p.py next")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.locals["name"] == "'next'"
    assert "done child" in container.lines
    editor.resume(stop)
    assert container.exit_code() == 0
    assert any("runs on without a debugger" in line for line in editor.traffic)


def test_slow_first_program_does_not_hold_up_the_others(container: Container) -> None:
    """The other programs do not wait long for the first, and can be debugged."""
    path = container.write("loop.py", LOOP)
    wait = "until [ -e go ]; do sleep 0.1; done"
    container.start(f"python loop.py & echo $! >first; {wait}; python loop.py & wait", "listen")
    container.says("Listening")
    first = (container.folder / "first").read_text().strip()
    container.execute("kill", "-STOP", first)
    container.write("go", "")

    def is_second(state: str) -> bool:
        rows = container.remora("status").stdout.splitlines()
        return any(state in row and f"pid {first} " not in row for row in rows if "loop.py" in row)

    wait_until(lambda: is_second(" runs "))
    with ThreadPoolExecutor() as pool:
        attached = pool.submit(container.attach, {path: [marked(path)]})
        wait_until(lambda: is_second(" ready "))
        wait_until(lambda: is_second(" runs "))
        container.execute("kill", "-CONT", first)
        editor = attached.result()
    assert len({id(editor.stopped().client) for _ in range(2)}) == 2


def test_client_attaches_after_one_that_has_not_finished(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start("exec python loop.py", mode="listen")
    container.says("Listening")
    editor = container.attach({path: [marked(path)]})  # so that the engine is loaded
    editor.resume(editor.stopped())
    editor.detach()
    client = dap.Client("127.0.0.1", container.port)
    client.request("initialize", adapterID="debugpy")
    client.send("attach")
    client.event("initialized")
    client.close()
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().path == path
    assert "has not answered yet" not in editor.output.get("important", "")


def test_early_pause_stops_in_the_program(container: Container) -> None:
    """A pause before the program begins stops in the program, not in Python's own start."""
    path = container.write("p.py", PROGRAM)
    container.start("python p.py a")
    wait_until(container.is_open)
    client = dap.Client("127.0.0.1", container.port)
    client.request("initialize", adapterID="debugpy")
    client.send("attach")
    client.event("initialized")
    client.set_breakpoints(path, marked(path))
    client.send("configurationDone")
    client.send("pause", threadId=1)
    stop = client.where(client.event("stopped"))
    assert (stop.reason, stop.path) == ("pause", path)
    client.close()
    assert container.exit_code() == 0


# ---- What mode `wait` holds ----


@pytest.mark.parametrize(
    "command",
    [
        ["python", "p.py", "x"],
        ["python", "-c", "print('done x')"],
        ["sh", "-c", "python p.py x"],
        ["python", "-I", "p.py", "x"],
        ["python", "-m", "json.tool", "--help"],
    ],
)
def test_what_is_run_beside_is_not_held(container: Container, command: list[str]) -> None:
    container.write("p.py", PROGRAM)
    container.start("python p.py a")
    container.says("Waiting for client to attach...")
    command = [str(container.python) if part == "python" else part for part in command]
    done = container.execute(*command)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert container.lines[-1].startswith("remora: ")


def test_what_is_run_beside_is_debugged(container: Container) -> None:
    path = container.write("p.py", PROGRAM)
    container.start("python p.py a")
    editor = container.attach({path: [marked(path)]})
    first = editor.stopped()
    thread = threading.Thread(
        target=container.execute, args=[str(container.python), "p.py", "beside"]
    )
    thread.start()
    second = editor.stopped()
    assert (first.locals["name"], second.locals["name"]) == ("'a'", "'beside'")
    editor.resume(second)
    thread.join()
    editor.resume(first)
    assert container.exit_code() == 0


@pytest.mark.parametrize("installer", ["pip3 --version", "python -m pip --version"])
def test_installers_are_not_held(container: Container, installer: str) -> None:
    path = container.write("p.py", PROGRAM)
    subprocess.run([container.python, "-m", "ensurepip"], check=True, capture_output=True)
    container.start(f"{installer} && echo installed && python p.py a")
    container.says("installed")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.locals["name"] == "'a'"
    editor.resume(stop)
    assert container.exit_code() == 0


# A shell stands in for each init and for uv: it has the same command line.
@pytest.mark.parametrize("name", ["docker-init", "tini", "dumb-init", "watchexec", "uv"])
def test_program_that_uv_runs_is_held(container: Container, name: str) -> None:
    path = container.write("p.py", PROGRAM)
    arguments = ["run", "p.py"] if name == "uv" else ["uv", "run", "p.py"]
    container.write(arguments[0], "python p.py a; :")
    container.start(f"exec bash -c 'exec -a {name} bash {' '.join(arguments)}'")
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    assert stop.locals["name"] == "'a'"
    editor.resume(stop)
    assert container.exit_code() == 0


def test_what_uv_starts_to_install_is_not_held(container: Container) -> None:
    container.write("p.py", PROGRAM)
    container.write("sync", "python p.py a; :")
    container.start("bash -c 'exec -a uv bash sync' && echo installed")
    assert container.exit_code() == 0
    wait_until(lambda: container.lines == ["done a", "installed"])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python -m pip install x", True),
        ("/usr/bin/python3 /usr/bin/pip3.13 install x", True),
        ("python -m uv run p.py", True),  # it becomes uv itself
        ("uv sync", True),
        ("/usr/local/bin/uv pip install x", True),
        ("uv tool install x", True),
        ("uv run p.py", False),
        ("uv --directory /app run --frozen p.py", False),
        ("uv tool uvx ruff", False),
        ("docker-init -- uv run p.py", False),
        ("tini uv sync", False),
        ("python pip.py", False),
        ("", False),
    ],
)
def test_installers_are_recognized(command: str, expected: bool) -> None:
    with imported("remora.commandline") as commandline:
        assert commandline.is_installer(command.split()) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python p.py x", "p.py"),
        ("python -u -m pack.age x", "pack.age"),
        ("python -- p.py", "p.py"),
        ("python -c code p.py", None),
        ("python - p.py", None),
        ("python -u - p.py", None),
        ("python", None),
    ],
)
def test_program_of_a_command_line_is_found(command: str, expected: str | None) -> None:
    with imported("remora.commandline") as commandline:
        assert commandline.program_of(command.split()) == expected


def test_helper_of_a_library_is_not_held(container: Container) -> None:
    path = container.write("p.py", PROGRAM)
    helper = container.write("lib/site-packages/ray/agent.py", "print('helped')")
    container.start(f"python {helper} && python p.py a")
    container.says("helped")
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().locals["name"] == "'a'"


@pytest.mark.parametrize("mode", ["wait", "demand"])
def test_program_that_the_loader_runs_is_debugged(container: Container, mode: str) -> None:
    """The kernel knows it by the loader's name, as it knows an emulated program by the emulator's.

    That is how an image for another processor runs, for example on a Mac.
    """
    (loader, *_) = glob.glob("/lib*/ld-linux*.so.*") + glob.glob("/lib/ld-musl*.so.1")
    path = container.write("loop.py", LOOP)
    container.start(f'exec {loader} "$(command -v python)" loop.py', mode=mode)
    if mode == "demand":
        wait_until(lambda: "runs" in container.remora("status").stdout)
        assert "is ready" in container.remora("attach").stdout
    stop = container.attach({path: [marked(path)]}).stopped()
    assert (stop.path, stop.line) == (path, marked(path))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/usr/bin/qemu-x86_64 /usr/bin/python3 a.py", "/usr/bin/python3 a.py"),
        ("/usr/bin/qemu-x86_64 /usr/bin/python3 python3 a.py", "python3 a.py"),
        ("/run/rosetta/rosetta /app/venv/bin/python python -m a", "python -m a"),
        ("/lib64/ld-linux-x86-64.so.2 /usr/bin/tini -- a", "/usr/bin/tini -- a"),
        ("/usr/bin/qemu-x86_64", "/usr/bin/qemu-x86_64"),
        ("python a.py", "python a.py"),
        ("", ""),
    ],
)
def test_emulator_is_left_out_of_the_command_line(command: str, expected: str) -> None:
    with imported("remora.container") as layer:
        assert layer.without_emulator(command.split()) == expected.split()


def test_program_with_python_built_in_runs_on(container: Container) -> None:
    """As in uWSGI, whose workers do not survive an engine."""
    container.write("p.py", PROGRAM)
    shutil.copy(container.python.resolve(), container.python.with_name("built-in"))
    container.start("built-in p.py a")
    assert container.exit_code() == 0
    assert container.lines == ["done a"]


def test_command_that_clears_its_environment_below_an_init_is_debugged(
    container: Container,
) -> None:
    """If only the entry point has set a mode, the hub knows it. The init is a shell here."""
    path = container.write("loop.py", LOOP)
    container.write(
        "init.sh", "env -i $(command -v python) loop.py & REMORA_MODE=listen python loop.py & wait"
    )
    container.start("exec bash -c 'exec -a tini bash init.sh'", mode="")
    container.says("Listening")
    wait_until(lambda: container.remora("status").stdout.count(" runs ") == 2)
    editor = container.attach({path: [marked(path)]})
    assert len({id(editor.stopped().client) for _ in range(2)}) == 2


@pytest.mark.parametrize("options", [{}, {"autoReload": {"enable": True}}])
def test_working_directory_that_is_deleted(container: Container, options: dict[str, Any]) -> None:
    generated = "exec(compile('def f(): pass\\nf()', 'generated.py', 'exec'))\n"
    path = container.write("p.py", generated + PROGRAM)
    container.start(f"cd $(mktemp -d) && rmdir $PWD && python {path} a")
    editor = container.attach({path: [marked(path)]}, **options)
    stop = editor.stopped()
    assert (stop.path, stop.locals["name"]) == (path, "'a'")
    editor.resume(stop)
    assert container.exit_code() == 0


@pytest.mark.parametrize("kept", ["", "A=1", 'PATH="$PATH" LANG=C'])
def test_command_that_clears_its_environment_is_debugged(container: Container, kept: str) -> None:
    """Without an init, only the health check then has the settings of the container."""
    path = container.write("loop.py", LOOP)
    container.start(f'exec env -i {kept} "$(command -v python)" loop.py', mode="")
    wait_until(lambda: " runs " in container.remora("status").stdout)
    ended(container.begin_remora("ready", "--health", REMORA_MODE="listen"))
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().path == path


def test_container_without_a_mode_is_off(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start("exec python loop.py", mode="")
    wait_until(lambda: f"python {path.name}" in container.remora("status").stdout)
    assert "REMORA_MODE is off" in container.remora("status").stdout


def test_target_is_a_pattern_over_the_command_line(container: Container) -> None:
    path = container.write("p.py", PROGRAM)
    container.start(
        "python p.py migrate && python p.py runserver", REMORA_TARGET="*p.py runserver*"
    )
    container.says("done migrate")
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().locals["name"] == "'runserver'"


@given(st.text("ab*?[]", max_size=8), st.text("ab[]", max_size=12))
def test_pattern_matches_as_in_a_shell(pattern: str, text: str) -> None:
    """One difference: `[` stands for itself."""
    with imported("remora.commandline") as commandline:
        expected = fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))
        assert commandline.matches(text, pattern) == expected


@pytest.mark.parametrize(("name", "exit_code"), [("INT", 130), ("TERM", 143)])
def test_signal_ends_a_program_that_is_held(
    container: Container, name: str, exit_code: int
) -> None:
    """A signal ends even PID 1, which the kernel protects from signals without a handler."""
    container.write("p.py", PROGRAM)
    container.start("exec python p.py a")
    container.says("Waiting for client to attach")
    container.execute("kill", f"-{name}", "1")
    assert container.exit_code() == exit_code


def test_interrupt_of_a_program_that_is_held_is_not_lost(container: Container) -> None:
    container.write("p.py", PROGRAM)
    path = container.write("swallowed.py", SWALLOWED)
    (site_packages,) = container.python.parents[1].glob("lib/python3*/site-packages")
    # Before remora.pth, in alphabetical order.
    start_up = site_packages / "a.pth"
    start_up.write_text(f"import sys; exec(open({str(path)!r}).read(), {{}})\n")
    try:
        container.start("exec python p.py a")
        assert container.exit_code() == 130
    finally:
        start_up.unlink()
    assert "done a" not in container.lines


# ---- listen and demand ----

LOOP = """
import time
while True:
    time.sleep(0.01)
    number = 1  # here
"""


def test_listen_loads_nothing_until_a_client_attaches(container: Container) -> None:
    note = "print('pydevd' in sys.modules, file=open('loaded', 'a'))"
    path = container.write("loop.py", "import sys\n" + LOOP.replace("number = 1", note))
    container.start("python loop.py", mode="listen")
    loaded = container.folder / "loaded"
    container.says("Listening, a client can attach at any time")
    wait_until(lambda: loaded.exists() and loaded.read_text().count("False") > 3)
    assert "True" not in loaded.read_text()
    for _ in range(3):
        editor = container.attach({path: [marked(path)]})
        stop = editor.stopped()
        assert stop.path == path
        editor.resume(stop)
        editor.detach()
        lines = len(loaded.read_text())
        wait_until(lambda before: len(loaded.read_text()) > before + 50, lines)


def test_demand_opens_the_port_when_asked(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start("python loop.py & python loop.py & wait", mode="demand")
    wait_until(lambda: container.remora("status").stdout.count("runs") == 2)
    status = container.remora("status").stdout
    assert "mode demand, the port is closed" in status
    assert not container.hubs() and not container.is_open()
    done = container.remora("ready")
    assert (done.returncode, done.stdout) == (
        1,
        "REMORA_MODE is demand, so no client can attach: `remora attach` opens the port\n",
    )
    done = container.remora("attach")
    assert done.returncode == 0 and done.stdout.count("is ready: ") == 2
    editor = container.attach({path: [marked(path)]})
    stops = [editor.stopped(), editor.stopped()]
    assert len({id(stop.client) for stop in stops}) == 2
    status = container.remora("status").stdout
    assert "a client is attached" in status and status.count("is debugged") == 2


@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_signal_while_the_program_imports_breaks_no_import(container: Container, mode: str) -> None:
    path = container.write("p.py", IMPORTS_AT_SIGNAL % 23 + LOOP)
    container.write("slow.py", IMPORTED_AT_SIGNAL)
    container.start("exec python p.py", mode=mode)
    container.says("imports")
    if mode == "demand":
        container.remora("attach")
    editor = container.attach({path: [marked(path)]})
    assert editor.stopped().line == marked(path)
    assert container.lines == [text for text in container.lines if "handler" not in text]


def test_hub_that_is_killed_is_survived(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start("python loop.py", mode="listen")
    container.says("Listening")
    editor = container.attach({path: [marked(path)]})
    editor.stopped()
    (hub,) = container.hubs()
    container.execute("kill", "-KILL", hub)
    assert editor.stopped_or_ended() is None
    wait_until(lambda: not container.is_open())
    assert container.remora("attach").returncode == 0
    assert container.attach({path: [marked(path)]}).stopped().path == path


def test_no_other_hub_is_started_beside_one(container: Container) -> None:
    """Otherwise, each program that is held would wait until that other hub has ended."""

    def next_pid() -> int:
        return int(container.execute("sh", "-c", "echo $$").stdout)

    container.start("sleep 600", mode="demand")
    assert container.remora("attach").returncode == 0
    before = next_pid()
    assert container.remora("attach").returncode == 0
    assert next_pid() == before + 2  # the command, and this shell


def test_hub_that_does_not_listen_yet_is_waited_for() -> None:
    with imported("remora.link") as link, socket.socket(socket.AF_UNIX) as hub:
        hub.bind("\0" + link.name(link.HUB))
        assert link.exists(link.HUB) and not link.is_served()
        hub.listen()
        assert link.is_served()


def test_hub_loads_no_library_for_encryption(container: Container) -> None:
    """Such a library would be a fifth of the hub's memory."""
    container.write("loop.py", LOOP)
    container.start("exec python loop.py", mode="listen")
    container.says("Listening")
    (hub,) = container.hubs()
    libraries = container.execute("cat", f"/proc/{hub}/maps").stdout
    assert "[heap]" in libraries and "ssl" not in libraries


def test_hub_keeps_no_pipe_open(container: Container) -> None:
    container.start("python -c 'print(1)' 2>&1 | cat; echo ended", mode="listen")
    container.says("ended")


def test_off_leaves_no_trace(container: Container) -> None:
    names = "[name for name in sys.modules if 'debug' in name or 'remora' in name]"
    code = f"import sys; print({names}, sys.path)"
    container.write("x.py", code)
    container.start("python x.py", mode="off")
    assert container.exit_code() == 0
    wait_until(lambda: container.lines != [])
    (line,) = container.lines
    left = [] if container.version < (3, 15) else ["_remora", "_remora.hook"]
    assert line.startswith(f"{left} ") and "/remora'" not in line
    assert not container.is_open()


# What cloudpickle does with the code of a function, and a program that sends one
CLOUDPICKLE = """
import types

def _rebuild(code, name):
    return code.replace(co_filename=name)

class Pickler:
    _dispatch_table = {types.CodeType: lambda code: (_rebuild, (code, "<dynamic-code>"))}
"""
SENDS = """
import types
from cloudpickle.cloudpickle import Pickler

def work(name):
    answer = name + "!"
    return answer  # here

rebuild, arguments = Pickler._dispatch_table[types.CodeType](work.__code__)
types.FunctionType(rebuild(*arguments), globals())("a")
"""


def test_function_that_is_sent_by_cloudpickle_stops(container: Container) -> None:
    container.write("cloudpickle/__init__.py", "")
    container.write("cloudpickle/cloudpickle.py", CLOUDPICKLE)
    path = container.write("p.py", SENDS)
    container.start("exec python p.py")
    stop = container.attach({path: [marked(path)]}).stopped()
    assert (stop.path, stop.locals["answer"]) == (path, "'a!'")


# A program that has a package called `remora`.
OWN_REMORA = """
import sys, time
import remora.models

def crash(number):
    raise ValueError(remora.__file__)

while "crash" not in sys.argv:
    found = remora.__file__
    time.sleep(0.01)  # here
crash(1)
"""


@pytest.mark.parametrize("is_installed", [False, True])
@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash", "dump", "off"])
def test_package_of_the_program_may_be_called_remora(
    container: Container, mode: str, is_installed: bool
) -> None:
    (site_packages,) = container.python.parents[1].glob("lib/python3*/site-packages")
    package = (site_packages if is_installed else container.folder) / "remora"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").touch()
    path = container.write("p.py", OWN_REMORA)
    runs = mode in ("wait", "listen", "demand")
    dumps = container.folder / "dumps"
    try:
        command = "exec python p.py" + ("" if runs else " crash")
        container.start(command, mode=mode, REMORA_DUMPS=str(dumps))
        if mode == "demand":
            wait_until(lambda: container.remora("attach").returncode == 0)
        if runs:
            stop = container.attach({path: [marked(path)]}).stopped()
            assert stop.locals["found"] == repr(str(package / "__init__.py"))
            return
        if mode == "crash":
            editor = container.attach({})
            stop = editor.stopped()
            assert stop.locals["number"] == "1"
            editor.resume(stop)
        assert container.exit_code() == 1
        container.says(f"ValueError: {package}/__init__.py")
        assert len(list(dumps.glob("*"))) == (mode == "dump")
    finally:
        container.stop()
        shutil.rmtree(package)


@pytest.mark.parametrize("mode", ["off", "listen"])
def test_program_may_read_the_start_up_files_again(container: Container, mode: str) -> None:
    code = "import site, sys, sysconfig\nsite.addsitedir(sysconfig.get_path('purelib'))\n"
    code += "print([folder for folder in sys.path if folder.endswith('/remora')])\n"
    container.write("p.py", code)
    container.start("exec python p.py", mode=mode)
    assert container.exit_code() == 0
    wait_until(lambda: "[]" in container.lines)


# ---- Programs whose modules have the same names as the engine's ----

OWN_NAMES = ["queue", "code", "platform", "token", "inspect", "bisect", "dis", "thread", "debugpy"]

IMPORTS = f"""
import sys, time
sys.path[:] = [folder for folder in sys.path if "site-packages" not in folder]
NAMES = {OWN_NAMES}
modules = [__import__(name) for name in NAMES]
while "wait" not in sys.argv:
    time.sleep(0.01)
    found = [module.OWN for module in modules]
    found = found  # here
print([module.OWN for module in modules] == NAMES, flush=True)
"""


@pytest.mark.parametrize("mode", ["wait", "listen", "demand"])
def test_own_modules_stay_the_programs(container: Container, mode: str) -> None:
    for name in OWN_NAMES:
        container.write(f"{name}.py", f"OWN = {name!r}\n")
    end = "sys.argv  # here\n" if mode == "wait" else ""
    path = container.write("p.py", IMPORTS + end)
    container.start(f"python p.py {mode}", mode=mode)
    if mode == "demand":
        wait_until(lambda: container.remora("attach").returncode == 0)
    line = [n for n, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text][-1]
    stop = container.attach({path: [line]}).stopped()
    assert stop.path == path
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    check = "[module.OWN for module in modules] == NAMES"
    assert stop.client.request("evaluate", expression=check, frameId=frame)["result"] == "True"


# ---- The output of the command `remora` ----


def test_status_tells_why_a_process_cannot_be_debugged(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start(
        "python loop.py & python -S loop.py & REMORA_TARGET=other python loop.py &"
        " REMORA_MODE=off python loop.py & wait",
        mode="listen",
    )
    wait_until(lambda: container.remora("status").stdout.count("loop.py") == 4)
    wait_until(container.is_open)
    wait_until(lambda: " runs " in container.remora("status").stdout)
    text = container.remora("status").stdout
    assert f"mode listen, port {container.port}" in text and "no client is attached" in text
    lines = [line.strip() for line in text.splitlines()]
    reasons = [
        "an option that keeps the hook out (-S)",
        "REMORA_TARGET is other",
        "REMORA_MODE is off",
    ]
    for reason in reasons:
        assert any(reason in line for line in lines), text
    assert text.count("no debugger") == 3
    editor = container.attach({path: [marked(path)]})
    editor.stopped()
    assert container.remora("status").stdout.count("is debugged") == 1


@pytest.mark.parametrize(
    ("command", "exit_code"), [("python loop.py 'no debugger'", 0), ("python -S loop.py", 1)]
)
def test_exit_code_of_status_tells_the_state(
    container: Container, command: str, exit_code: int
) -> None:
    """The exit code depends on the state, whatever the text says."""
    container.write("loop.py", LOOP)
    container.start(f"exec {command}", mode="listen")
    wait_until(lambda: "loop.py" in container.remora("status").stdout)
    wait_until(lambda: container.remora("status").returncode == exit_code)


@pytest.mark.parametrize("python", ["environment/bin/python", "python"])
def test_status_tells_of_an_environment_made_when_the_container_ran(
    container: Container, python: str
) -> None:
    container.write("loop.py", LOOP)
    environment = container.folder / "environment"
    activate = f"VIRTUAL_ENV={environment} PATH={environment}/bin:$PATH"
    make = f"python -m venv --without-pip {environment}"
    container.start(f"{make} && {activate} {python} loop.py", mode="listen")
    said = f"the virtual environment {environment} was made when the container ran"
    wait_until(lambda: said in container.remora("status").stdout)
    assert "make it in the image" in container.remora("status").stdout
    assert container.remora("attach").returncode == 1


SPAWNS = """
import multiprocessing, time

def work():
    time.sleep(1000)  # here

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    lock = multiprocessing.Lock()
    child = multiprocessing.Process(target=work)
    child.start()
    child.join()
"""


def test_helper_of_multiprocessing_is_left_alone(container: Container) -> None:
    path = container.write("p.py", SPAWNS)
    container.start("exec python p.py")
    editor = container.attach({path: [marked(path)]})
    editor.stopped()
    text = container.remora("status").stdout
    assert text.count("is debugged") == 2
    reason = "it is a helper of multiprocessing, and runs no code of the project"
    assert text.count(reason) == text.count("no debugger") == 1
    assert len(editor.clients) == 2


def test_attach_takes_the_processes_that_are_named(container: Container) -> None:
    path = container.write("loop.py", LOOP)
    container.start("python loop.py one & python loop.py two & sleep 1000", mode="demand")
    wait_until(lambda: container.remora("status").stdout.count(" runs ") == 2)
    (two,) = [
        line.split()[1]
        for line in container.remora("status").stdout.splitlines()
        if line.endswith("two")
    ]
    done = container.remora("attach", "1")
    assert done.returncode == 1 and "pid 1 is not a Python process of this container" in done.stdout
    done = container.remora("attach", two)
    assert (done.returncode, done.stdout.startswith(f"pid {two} is ready: ")) == (0, True)
    editor = container.attach({path: [marked(path)]})
    stop = editor.stopped()
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    expression = "__import__('sys').argv[1]"
    name = stop.client.request("evaluate", expression=expression, frameId=frame)["result"]
    assert name == "'two'"
    assert container.remora("status").stdout.count("is debugged") == 1


def test_port_that_is_taken_is_reported(container: Container) -> None:
    container.write("p.py", PROGRAM)
    with socket.create_server(("127.0.0.1", container.port)):
        container.start("python p.py a")
        assert container.exit_code() == 0
    taken, done = container.lines
    assert taken.startswith(f"remora: port {container.port} cannot be opened (")
    assert "REMORA_PORT names another port" in taken and done == "done a"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"REMORA_MODE": "bogus"}, "REMORA_MODE must be wait, listen, demand, crash, dump or off"),
        ({"REMORA_PORT": "0"}, "REMORA_PORT must be a port number from 1 to 65535, not '0'"),
        ({"REMORA_PORT": "9" * 5000}, "REMORA_PORT must be a port number from 1 to 65535"),
    ],
)
def test_bad_setting_ends_any_python_at_once(
    container: Container, settings: dict[str, str], message: str
) -> None:
    container.start("python -c 'print(1)'", **settings)
    assert container.exit_code() == 78
    (line,) = container.lines
    assert message in line


def test_names_of_the_first_release_work(container: Container) -> None:
    path = container.write("p.py", PROGRAM)
    command = f"env -u REMORA_MODE -u REMORA_PORT DEBUGPY_MODE=wait DEBUGPY_PORT={container.port}"
    container.start(f"exec {command} python p.py a", mode="")
    editor = container.attach({path: [marked(path)]})
    editor.resume(editor.stopped())
    assert container.exit_code() == 0
    for name in ("MODE", "PORT"):
        line = f"remora: DEBUGPY_{name} is called REMORA_{name} now"
        assert container.lines.count(line) == 1


@pytest.mark.parametrize("mode", ["off", "dump"])
def test_modes_that_change_no_output_do_not_report_old_names(
    container: Container, mode: str
) -> None:
    container.start("exec env -u REMORA_MODE python -c 'print(1)'", "", DEBUGPY_MODE=mode)
    assert container.exit_code() == 0
    wait_until(lambda: container.lines != [])
    assert container.lines == ["1"]


def test_old_names_that_compose_passes_on_are_reported(container: Container) -> None:
    container.write("loop.py", LOOP)
    container.start("python loop.py", mode="listen", REMORA_OLD_NAMES=" PORT TARGET")
    container.says("Listening")
    for name in ("PORT", "TARGET"):
        container.says(f"remora: DEBUGPY_{name} is called REMORA_{name} now")
    assert "DEBUGPY_MODE" not in container.log()


def test_debug_attach_is_another_name(container: Container) -> None:
    container.write("loop.py", LOOP)
    container.start("python loop.py", mode="demand")
    wait_until(lambda: "runs" in container.remora("status").stdout)
    old, now = container.remora("debug-attach", "--status"), container.remora("status")
    assert (old.returncode, old.stdout) == (now.returncode, now.stdout)
    assert old.stderr == "debug-attach is called `remora status` now\n"
    done = container.remora("debug-attach", "--all")
    assert done.returncode == 0 and "is ready: " in done.stdout
    assert done.stderr == "debug-attach is called `remora attach` now\n"


def test_health_check_starts_the_hub_of_a_container_without_python_yet(
    container: Container,
) -> None:
    path = container.write("p.py", PROGRAM)
    container.start("until [ -e go ]; do sleep 0.1; done; python p.py a", mode="listen")
    assert container.remora("ready", "--health").returncode == 0
    # The hub writes to the container's log, whoever has started it.
    container.says("Listening, a client can attach at any time")
    editor = container.attach({path: [marked(path)]})
    container.write("go", "")
    assert editor.stopped().locals["name"] == "'a'"
    # A second check finds the hub, and starts no other.
    (hub,) = container.hubs()
    assert container.remora("ready", "--health").returncode == 0
    assert container.hubs() == [hub]
