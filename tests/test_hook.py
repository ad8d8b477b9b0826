"""The hook picks the right process and leaves all others alone: in real interpreters, no Docker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hooked import free_port, hooked_python, imported

# What a program prints: whether a debugger listens in it, and what it knows of itself.
REPORT = "import sys; print('debugpy' in sys.modules, sys.argv, __name__)"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the hook as the debug image has it."""
    return hooked_python(tmp_path_factory.mktemp("hook"))


@pytest.fixture
def run(python: Path, tmp_path: Path):
    """Run a command line in a folder that holds programs, in mode listen unless told otherwise."""
    (tmp_path / "package").mkdir()
    for name in ["train.py", "dotenv.py", "uvicorn", "poetry", "pip3.13", "package/__main__.py"]:
        (tmp_path / name).write_text(REPORT)
    port = free_port()

    def run(*arguments: str, stdin: str = "", **settings: str):
        settings = {"DEBUGPY_MODE": "listen", "DEBUGPY_PORT": port, **settings}
        return subprocess.run(
            [python, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **settings},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    "command",
    [
        "train.py --epochs 3",
        "./train.py",
        "dotenv.py",
        "uvicorn app:app",
        "-m package x",
        "-mpackage",
        "-um package",
        "-W ignore -X dev -m package",
        "-Wignore -uBm package -m x",
    ],
)
def test_programs_are_debugged_and_notice_nothing(run, command: str) -> None:
    with_hook, without = run(*command.split()), run(*command.split(), DEBUGPY_MODE="off")
    assert with_hook.stdout.startswith("True ")
    assert with_hook.stdout == without.stdout.replace("False ", "True ", 1)
    assert with_hook.returncode == without.returncode == 0


@pytest.mark.parametrize(
    "arguments", [("-c", REPORT), ("-uc", REPORT), ("poetry", "run"), ("pip3.13",), ("-",), ()]
)
def test_others_are_passed_over(run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, stdin=REPORT)
    assert done.stdout.startswith("False ")
    assert done.stderr == ""


@pytest.mark.parametrize("target", ["train.py", "*/train.py", "tr*"])
def test_target_names_a_script(run, target: str) -> None:
    assert run("train.py", DEBUGPY_TARGET=target).stdout.startswith("True ")
    assert run("uvicorn", DEBUGPY_TARGET=target).stdout.startswith("False ")


def test_target_names_a_module_or_a_launcher(run) -> None:
    assert run("-m", "package", DEBUGPY_TARGET="pack*").stdout.startswith("True ")
    assert run("train.py", DEBUGPY_TARGET="pack*").stdout.startswith("False ")
    assert run("poetry", DEBUGPY_TARGET="poetry").stdout.startswith("True ")


@pytest.mark.parametrize("mode", ["off", ""])
def test_off_leaves_no_trace(run, mode: str) -> None:
    search = "import importlib.util as u; print(u.find_spec('debugpy'))"
    done = run("-c", search, DEBUGPY_MODE=mode)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_loser_of_the_port_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    with imported("debug_session") as session:
        monkeypatch.setattr(session, "PORT_TIMEOUT", 0)
        monkeypatch.setattr(session, "FOLDER", str(tmp_path))
        with socket.create_server(("0.0.0.0", 0)) as taken:
            port = taken.getsockname()[1]
            assert not session.claim(port)
        assert f"port {port} is taken by another process" in capsys.readouterr().err
        assert session.claim(port)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("DEBUGPY_MODE", "bogus", "wait, listen, demand, crash or off"),
        ("DEBUGPY_PORT", "0", "1 to 65535"),
        ("DEBUGPY_PORT", "65536", "1 to 65535"),
        ("DEBUGPY_PORT", "9" * 5000, "1 to 65535"),
        ("DEBUGPY_PORT", "http", "1 to 65535"),
    ],
)
def test_bad_setting_ends_any_python_at_once(run, variable: str, value: str, allowed: str) -> None:
    done = run("-c", "print('ran')", **{variable: value})
    assert (done.returncode, done.stdout) == (78, "")
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in (variable, repr(value), allowed))


@pytest.mark.parametrize("shell", [False, True])
def test_program_that_replaces_itself_is_debugged_anew(
    python: Path, run, tmp_path: Path, shell: bool
) -> None:
    command = ["sh", "-c", f"exec {python} train.py"] if shell else [str(python), "train.py"]
    (tmp_path / "start.py").write_text(f"import os; os.execvp({command[0]!r}, {command})")
    done = run("start.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True ")
    assert done.stderr.count("Listening") == 2


def test_broken_debugpy_does_not_stop_the_program(run, tmp_path: Path) -> None:
    (tmp_path / "debugpy.py").write_text("raise RuntimeError('broken')")
    done = run("train.py", PYTHONPATH=str(tmp_path))
    assert done.stdout.startswith("False ")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("debugpy: cannot start, pid ")
    assert "broken" in line


def test_interrupt_while_waiting_ends_the_program_as_usual(python: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(REPORT)
    settings = {"DEBUGPY_MODE": "wait", "DEBUGPY_PORT": free_port()}
    with subprocess.Popen(
        [python, "train.py"],
        cwd=tmp_path,
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            lines = iter(process.stderr.readline, "")
            assert any("Waiting for client to attach..." in line for line in lines)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == -signal.SIGINT
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_debugpy_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with imported("install") as install:
        monkeypatch.setattr(install, "CACHE", tmp_path)
        monkeypatch.setattr(install, "pip", lambda pythons: ["false"])
        with pytest.raises(SystemExit, match="pip could not fetch debugpy"):
            python = {"version": (3, 13), "tag": "cpython-313"}
            install.debugpy(sys.executable, python, {}, install.HOME)


def test_passing_over_a_process_loads_nothing_for_it(run) -> None:
    modules = set(run("-c", "import sys; print(*sys.modules)").stdout.split())
    assert "debug_hook" in modules
    assert not modules & {"debugpy", "fnmatch", "json", "re", "signal", "socket", "threading"}
    assert "debug_session" not in modules
