"""A container without Docker: a PID namespace of its own, and a Python with the debug layer.

To the debug layer, it looks like a container. Any Linux starts one in a tenth of a second. If the
kernel denies this user a namespace, a test is skipped; in CI it fails.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import debugpy
import pytest

from support import dap
from support.ports import free_port
from support.project import marked, wait_until

DEBUG = Path(__file__).parents[2] / "template/docker/debug"

NAMESPACES = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
if os.geteuid() != 0:
    NAMESPACES += ["--user", "--map-root-user"]

# A program that stops at its marked line, and prints its argument.
PROGRAM = """
import sys

def work(name):
    answer = name + "!"
    return answer  # here

work(sys.argv[1])
print("done", sys.argv[1], flush=True)
"""

# The end of a program that runs its function `work` in a child. %s is the start method.
IN_MULTIPROCESSING = """
import multiprocessing
if __name__ == "__main__":
    process = multiprocessing.get_context("%s").Process(target=work, args=[1])
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""

# The beginning of a program that tells whether the handler of a signal imports anything while the
# program imports the module `slow`. %d is the signal's number.
IMPORTS_AT_SIGNAL = """
import _signal, sys

number = %d
state, answer = "imports", _signal.getsignal(number)

def on_signal(*arguments):
    global state
    state = "is asked" if state == "imports" else state
    answer(*arguments)
    state = "has answered" if state == "is asked" else state

def on_event(event, arguments):
    if event == "import" and state == "is asked":
        print("the handler imports", arguments[0], flush=True)

_signal.signal(number, on_signal)
sys.addaudithook(on_event)
import slow
"""

# The module `slow`
IMPORTED_AT_SIGNAL = """
import time

print("imports", flush=True)
while __import__("__main__").state != "has answered":
    time.sleep(0.01)
"""

# Sends Ctrl+C while the engine is imported, to code that swallows the exception.
SWALLOWED = """
import os, signal, sys

def on_import(event, arguments):
    if event == "import" and arguments[0] == "debugpy.server.api":
        try:
            os.kill(os.getpid(), signal.SIGINT)
            os.stat("/")  # Python handles a signal between two steps
        except KeyboardInterrupt:
            pass

sys.addaudithook(on_import)
"""


def debug_python(root: Path) -> Path:
    """Make a virtual environment with the debug layer below a folder, and return its Python.

    The environment uses the Python and debugpy of the tests, or others:
    DEBUGGED_PYTHON=/usr/bin/python3.9 DEBUGPY=1.8.20 pytest.
    """
    base, version = os.environ.get("DEBUGGED_PYTHON"), os.environ.get("DEBUGPY")
    home, environment = root / "remora", root / "venv"
    home.mkdir()
    shutil.copytree(DEBUG / "remora", home / "_remora", ignore=shutil.ignore_patterns("*.pyc"))
    if base or version:
        subprocess.run([base or sys.executable, "-m", "venv", environment], check=True)
        wanted = f"debugpy=={version}" if version else "debugpy"
        pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--target", str(root / "wheel"), wanted], check=True)
        (root / "wheel/debugpy").rename(home / "debugpy")
    else:
        venv.create(environment, symlinks=True)
        (home / "debugpy").symlink_to(Path(debugpy.__file__).parent)
    (home / "python").symlink_to(environment / "bin/python")
    (site_packages,) = environment.glob("lib/python3*/site-packages")
    with imported("install") as install:
        (site_packages / "remora.pth").write_text(install.START_UP.format(home=home))
        if "python3.15" in str(site_packages):
            (site_packages / "remora.start").write_text(install.ENTRY_POINT)
    return environment / "bin/python"


@contextmanager
def imported(name: str) -> Iterator[ModuleType]:
    """Import a module of template/docker/debug, to call its functions here."""
    # Write no compiled modules into the template's folder.
    writes_nothing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(DEBUG))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(DEBUG))
        sys.dont_write_bytecode = writes_nothing


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a command to end, and return its result."""
    with process:
        try:
            output, errors = process.communicate(timeout=dap.TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


class Container:
    """A container whose command is a line of sh, in a folder for its programs."""

    def __init__(self, python: Path, folder: Path) -> None:
        try:
            subprocess.run([*NAMESPACES, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            reason = "this user may not have PID namespaces (unshare of util-linux)"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        self.python, self.folder = python, folder
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self.reader = threading.Thread()
        self.editors: list[dap.Editor] = []
        self._environment: dict[str, str] = {}

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the debugged Python, such as (3, 8)."""
        (library,) = self.python.parents[1].glob("lib/python3*")
        return tuple(map(int, library.name.removeprefix("python").split(".")))

    def write(self, name: str, code: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return path

    def start(self, command: str, mode: str = "wait", **environment: str) -> None:
        """Start the container. `python` in the command is the Python with the debug layer."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        self._environment = {
            **inherited,
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "HOSTNAME": "bare",  # as each engine sets it
            "REMORA_MODE": mode,
            "REMORA_PORT": str(self.port),
            "REMORA_LOG": str(self.folder / "hub.log"),
            **environment,
        }
        self.process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell's background processes ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def log(self) -> str:
        """What the container and its hub have printed by now."""
        hub = self.folder / "hub.log"
        return "\n".join([*self.lines, hub.read_text() if hub.exists() else ""])

    def traffic(self) -> str:
        return "\n\n".join("\n".join(editor.traffic) for editor in self.editors)

    def says(self, text: str) -> None:
        """Wait until the container has printed a text."""
        wait_until(lambda: text in self.log())

    def pid_1(self) -> str:
        """The pid of the container's first process on this machine."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        wait_until(lambda: Path(children).read_text().strip() != "")
        return Path(children).read_text().split()[0]

    def entering(self, *command: str) -> list[str]:
        """A command of this machine that runs a command in the container, like `docker exec`."""
        enter = ["nsenter", "--target", self.pid_1(), "--pid", "--mount"]
        enter += [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        # nsenter itself would open the folder outside, where getcwd of musl finds no name. A shell
        # makes tests in the background ignore SIGINT.
        return [*enter, "env", f"--chdir={self.folder}", "--default-signal=INT", *command]

    def begin(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in the container, as `docker exec` does."""
        return subprocess.Popen(
            self.entering(*command),
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def execute(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return ended(self.begin(*command, **environment))

    def remora(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command `remora` in the container."""
        return ended(self.begin_remora(*arguments))

    def begin_remora(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command `remora` in the container."""
        return self.begin(*self.command(*arguments), **environment)

    def command(self, *arguments: str) -> list[str]:
        """The command `remora` of the container."""
        main = self.python.parents[2] / "remora/_remora/__main__.py"
        return [str(self.python), "-I", "-S", str(main), *arguments]

    def shows_crash(self, path: Path) -> None:
        """Attach to a program that is kept at its marked line, where b is 2. Let it continue."""
        editor = self.attach({})
        stop = editor.stopped()
        assert (stop.path, stop.line, stop.locals["b"]) == (path, marked(path), "2")
        editor.resume(stop)

    def hubs(self) -> list[str]:
        """The pids of the container's hubs, inside the container."""
        return self.pids_of_remora("hub")

    def pids_of_remora(self, command: str) -> list[str]:
        """The pids of the debug layer's processes that run a command, or a hub."""
        is_one = f"tr '\\0' ' ' <$p/cmdline | grep -q '[m]ain__.py {command}'"
        script = f"for p in /proc/[0-9]*; do {is_one} && echo $p; done"
        return [path.split("/")[2] for path in self.execute("sh", "-c", script).stdout.split()]

    def is_open(self) -> bool:
        """Tell whether the hub listens on the port, without connecting to it."""
        wanted = f":{self.port:04X} 00000000:0000 0A"
        return wanted in Path("/proc/net/tcp").read_text()

    def configuration(self, **options: Any) -> dict[str, Any]:
        connect = {"host": "127.0.0.1", "port": self.port}
        return {"type": "debugpy", "connect": connect, **options}

    def attach(self, breakpoints: dict[Path, list[int]], **options: Any) -> dap.Editor:
        """Attach as an editor does, once the port is open."""
        wait_until(self.is_open)
        editor = dap.Editor()
        self.editors.append(editor)
        editor.attach(self.configuration(**options), breakpoints)
        return editor

    def exit_code(self) -> int:
        """Wait for the container to end, and return its exit code. All that it printed is read."""
        code = self.process.wait(timeout=dap.TIMEOUT)
        self.reader.join(dap.TIMEOUT)
        return code

    def stop(self) -> None:
        """End everything. The kernel ends whatever is left in the namespace."""
        for editor in self.editors:
            editor.close()
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
