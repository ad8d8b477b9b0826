"""Ways to see an edited line run in its container: with Remora, and with other tools.

Each has a folder with the same two programs, and some hundred MB of packages, like projects of
machine learning. `peers/` has the files of the other tools.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from support import dap
from support.project import Project
from support.rendering import render, replace

PEERS = Path(__file__).parent / "peers"

# In addition to the packages of the template's own programs
ML_PACKAGES = [
    "matplotlib>=3.10,<4",
    "pandas>=2.3,<4",
    "pyarrow>=21",
    "scikit-learn>=1.7,<2",
    "scipy>=1.16,<2",
]

# The line with the breakpoint in each program. The edited line is the line above it.
HERE = {"train": "        losses.append(loss)\n", "api": "    primes = primes_below(limit)\n"}

# The time between two attempts to connect, in seconds.
PAUSE = 0.02


class Alternative:
    """A way to see an edited line of a service run; here, with Remora.

    name        the name in the results
    debug_file  the Compose file to start
    services    the services to measure
    project     the project, seen from the service
    edition     how often the line has been edited
    at          where the program has stopped last
    output      a command that prints the container's log
    """

    name = "Remora"
    debug_file = "docker-compose.debug.yml"
    services: tuple[str, ...] = ("train", "api")

    def __init__(self, project: Project) -> None:
        self.project = project
        self.edition = 0
        self.at: dap.Stop | None = None
        self.output: subprocess.Popen[str] | None = None

    @classmethod
    def write(cls, root: Path, template: Path, port: int) -> None:
        """Write the project's files. The project may use six ports, from a given one on."""
        services = ["train", "api"]
        render(template, root, debug_port=port, services=services, package_name="ml")
        (root / ".env").write_text(f"HTTP_PORT={port + 5}\n")
        packages = "".join(f'  "{package}",\n' for package in ML_PACKAGES)
        replace(root / "pyproject.toml", "dependencies = [\n", f"dependencies = [\n{packages}")
        for service, here in HERE.items():
            indent = here.removesuffix(here.lstrip())
            replace(root / f"src/ml/{service}.py", here, f"{indent}edition = 0\n{here}")

    # ---- What a user does ----

    def edit(self) -> None:
        """Edit the line, and save the file."""
        self.edition += 1
        source = self.project.source
        text = re.sub(r"edition = \d+", f"edition = {self.edition}", source.read_text())
        source.write_text(text)

    def start(self) -> None:
        """Start the container with the edited line."""
        self.project.task(f"{self.project.service}: start")

    def attach(self) -> None:
        """Attach with the breakpoint, as soon as the debugger lets an editor in."""
        line = self.project.line(HERE[self.project.service].strip())
        deadline = time.monotonic() + dap.TIMEOUT
        while True:
            try:
                self.project.attach(line)
                return
            except (OSError, dap.DapError):
                self.leave()
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE)

    def reach(self) -> None:
        """Wait until the edited line has run."""
        with self.requests():
            self.at = self.project.editors[-1].stopped()
        assert self.at.locals["edition"] == str(self.edition), self.at

    def go_on(self) -> None:
        """Let the web service run on. Its server restarts after each edit."""
        self.project.editors[-1].resume(self.at)
        log = "docker compose -f docker-compose.debug.yml logs --follow --since 0s"
        self.follow(*log.split(), self.project.service)

    def come_back(self) -> None:
        """Wait until the service runs again with the edited line."""
        self.printed("Application startup complete")

    @contextmanager
    def requests(self) -> Iterator[None]:
        """Meanwhile, send requests to a web service until it has answered one."""
        done = threading.Event()
        settings = (self.project.root / ".env").read_text()
        url = f"http://127.0.0.1:{re.findall('HTTP_PORT=(.+)', settings)[0]}/primes/10"

        def ask() -> None:
            while not done.wait(PAUSE):
                try:
                    urllib.request.urlopen(url).read()
                    return
                except (OSError, HTTPException):
                    pass

        if self.project.service == "api":
            threading.Thread(target=ask, daemon=True).start()
        yield
        done.set()

    def leave(self) -> None:
        """End the session."""
        while self.project.editors:
            self.project.editors.pop().close()

    def stop(self) -> None:
        """End the session and stop the container, but keep the container."""
        self.leave()
        self.project.compose("stop", "--timeout", "0")
        self.unfollow()

    # ---- What the container prints ----

    def follow(self, *command: str) -> None:
        """Run a command that prints the container's log."""
        self.unfollow()
        self.output = subprocess.Popen(
            command,
            cwd=self.project.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def unfollow(self) -> None:
        if self.output:
            self.output.terminate()
            self.output.communicate()
            self.output = None

    def printed(self, text: str) -> None:
        """Wait until the container prints a line with a text."""
        assert any(text in line for line in self.output.stdout), text


class WithoutReload(Alternative):
    """Remora, with a web service that does not restart after an edit."""

    name = "Remora, no reloader"
    services = ("api",)

    @classmethod
    def write(cls, root: Path, template: Path, port: int) -> None:
        super().write(root, template, port)
        reload = ', "--reload", "--reload-dir", "src"'
        replace(root / "docker-compose.debug.yml", reload, "")


class NoDebugger(Alternative):
    """The lower limit: the project as in production, which prints the edited line."""

    name = "no debugger"
    debug_file = "docker-compose.yml"

    @classmethod
    def write(cls, root: Path, template: Path, port: int) -> None:
        super().write(root, template, port)
        for service, here in HERE.items():
            indent = here.removesuffix(here.lstrip())
            report = f'{indent}print(f"edition {{edition}}", flush=True)\n'
            replace(root / f"src/ml/{service}.py", here, f"{report}{here}")

    def start(self) -> None:
        command = "docker compose up --build --no-log-prefix"
        self.follow(*command.split(), self.project.service)

    def attach(self) -> None:
        pass

    def reach(self) -> None:
        with self.requests():
            self.printed(f"edition {self.edition}")


class Peer(Alternative):
    """Another tool, in a folder of `peers/`, with the same programs and packages."""

    folder: str
    packages: tuple[str, ...] = ()
    # The beginning of each program
    preamble = ""

    @classmethod
    def write(cls, root: Path, template: Path, port: int) -> None:
        rendered = root.with_name(f"{root.name}-rendered")
        Alternative.write(rendered, template, port)
        shutil.copytree(PEERS / cls.folder, root)
        shutil.copytree(rendered / "src", root / "src")
        needed, _, _ = (rendered / "pyproject.toml").read_text().partition("[dependency-groups]")
        dependencies = re.findall(r'^  "(.+)",$', needed, re.MULTILINE)
        (root / "requirements.txt").write_text("\n".join([*dependencies, *cls.packages, ""]))
        (root / ".env").write_text(f"DEBUG_PORT={port}\nHTTP_PORT={port + 5}\n")
        for service in HERE:
            source = root / f"src/ml/{service}.py"
            docstring, _, code = source.read_text().partition("\n\n")
            source.write_text(f"{docstring}\n\n{cls.preamble}{code}")
        mapping = {"localRoot": "${workspaceFolder}", "remoteRoot": "/app"}
        configurations = [
            {
                "name": f"{service}: attach",
                "type": "debugpy",
                "request": "attach",
                "connect": {"host": "127.0.0.1", "port": port},
                "pathMappings": [mapping],
            }
            for service in HERE
        ]
        (root / ".vscode").mkdir()
        (root / ".vscode/launch.json").write_text(json.dumps({"configurations": configurations}))

    def start(self) -> None:
        self.project.compose("up", "--build", "--detach", self.project.service)

    def go_on(self) -> None:
        self.project.editors[-1].resume(self.at)

    def come_back(self) -> None:
        self.leave()
        self.start()
        self.attach()


class ContainerExtension(Peer):
    name = "container extension"
    folder = "container-extension"


class DebugpyInCode(Peer):
    name = "debugpy in the code"
    folder = "debugpy-in-code"
    debug_file = "docker-compose.yml"
    packages = ("debugpy>=1.8.22,<2",)
    preamble = 'import debugpy\n\ndebugpy.listen(("0.0.0.0", 5678))\ndebugpy.wait_for_client()\n\n'


WITH_DEBUGGER = [Alternative, ContainerExtension, DebugpyInCode]
ALTERNATIVES = [*WITH_DEBUGGER, WithoutReload, NoDebugger]
