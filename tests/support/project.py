"""A rendered project as its owner uses it: its commands, its containers, its configurations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import dap

# A program that counts and prints.
COUNT = """
import time
number = 0
while True:
    number += 1
    print(f"number {number}", flush=True)  # here
    time.sleep(0.05)
"""

# How long any command may take, in seconds. Some build images.
TIMEOUT = 600


def wait_until(condition: Callable[..., bool], *arguments: Any) -> None:
    """Ask until a condition is true. arguments: for the condition."""
    deadline = time.monotonic() + dap.TIMEOUT
    while not condition(*arguments):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def line(path: Path, text: str) -> int:
    """The number of the only line of a file that contains `text`."""
    lines = path.read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, start=1) if text in line)
    return number


def marked(path: Path) -> int:
    """The number of the only line of a file that is marked `# here`."""
    return line(path, "# here")


def remora(
    project: Project, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command `remora` in the container of the service."""
    command = ("exec", "-T", project.service, "remora")
    return project.compose(*command, *arguments, check=check)


def values_at(project: Project, text: str, *options: str) -> list[dict[str, Any]]:
    """What `remora at` prints for each stop at the program's only line with a text."""
    place = f"{project.source.relative_to(project.root)}:{project.line(text)}"
    done = remora(project, "at", place, "--json", *options)
    # Compose may print warnings first.
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Project:
    """The project in `root`, seen from one of its services.

    It remembers whatever it starts and attaches, to show and end it later.
    """

    def __init__(self, root: Path, service: str = "train") -> None:
        self.root = root
        self.service = service
        self.debug_file = "docker-compose.debug.yml"
        self.editors: list[dap.Editor] = []
        # Compose files that the test has written, to use with the debug file.
        self.more_files: list[str] = []

    def start(self, code: str, command: str = "python src/program.py", **environment: Any) -> Path:
        """Run a program as the service's command, a line of bash, and return its path."""
        path = self.root / "src/program.py"
        path.write_text(code)
        self.override("command.yml", command=["bash", "-c", command])
        self.compose("up", "--detach", **environment)
        return path

    def override(self, name: str, **settings: object) -> None:
        """Add a Compose file with settings for the service."""
        (self.root / name).write_text(json.dumps({"services": {self.service: settings}}))
        self.more_files.append(name)

    def seen_from(self, service: str) -> Project:
        """The same project, seen from another service."""
        view = Project(self.root, service)
        view.debug_file = self.debug_file
        view.editors, view.more_files = self.editors, self.more_files
        return view

    @property
    def source(self) -> Path:
        """The program of the service."""
        (path,) = self.root.glob(f"src/*/{self.service}.py")
        return path

    def line(self, text: str) -> int:
        """The number of the only line of the program that contains `text`."""
        return line(self.source, text)

    def edit(self, old: str, new: str) -> None:
        """Replace the only occurrence of `old` in the program."""
        text = self.source.read_text()
        assert text.count(old) == 1, old
        self.source.write_text(text.replace(old, new))

    # ---- Commands ----

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder. If the command fails, show its output."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        if check:
            assert done.returncode == 0, f"{command} -> {done.returncode}\n{done.stdout}"
        return done

    def compose(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with the debug file and the test's own Compose files."""
        files = [part for name in self.more_files for part in ("-f", name)]
        command = ("docker", "compose", "-f", self.debug_file, *files, *arguments)
        return self.run(*command, check=check, **environment)

    # ---- The editor ----

    def task(
        self, label: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a task of tasks.json as the editor does: in a shell, in the project's folder."""
        tasks = json.loads((self.root / ".vscode/tasks.json").read_text())["tasks"]
        (task,) = (task for task in tasks if task["label"] == label)
        options = task.get("options", {})
        shell = options.get("shell", {"executable": "sh", "args": ["-c"]})
        command = (shell["executable"], *shell["args"], task["command"])
        return self.run(*command, check=check, **environment, **options.get("env", {}))

    def configuration(self, name: str) -> dict[str, Any]:
        """A configuration of launch.json, with the editor's variables replaced."""
        text = (self.root / ".vscode/launch.json").read_text()
        text = text.replace("${workspaceFolder}", str(self.root))
        (found,) = (c for c in json.loads(text)["configurations"] if c["name"] == name)
        return found

    def attach(
        self, *lines: int, name: str = "{}: attach", source: Path | None = None
    ) -> dap.Editor:
        """Attach with a configuration of launch.json, and breakpoints in the program's file."""
        configuration = self.configuration(name.format(self.service))
        editor = dap.Editor()
        self.editors.append(editor)
        editor.attach(configuration, {source or self.source: list(lines)})
        return editor

    def debug(
        self,
        *lines: int,
        name: str = "{}: debug",
        source: Path | None = None,
        **environment: Any,
    ) -> dap.Editor:
        """Press F5: run the task of the configuration, then attach."""
        configuration = self.configuration(name.format(self.service))
        self.task(configuration["preLaunchTask"], **environment)
        return self.attach(*lines, name=name, source=source)

    # ---- The container ----

    def container(self) -> str:
        """The id of the service's container, running or not."""
        # Compose may print warnings first.
        return self.compose("ps", "--all", "--quiet", self.service).stdout.split()[-1]

    def exit_code(self) -> int:
        """Wait for the program to end, and return its exit code."""
        return int(self.run("docker", "wait", self.container()).stdout)

    def health_checks(self) -> list[dict[str, Any]]:
        """Docker's records of the health checks of the service's container."""
        (facts,) = json.loads(self.run("docker", "inspect", self.container()).stdout)
        return facts["State"]["Health"]["Log"]

    def log(self) -> str:
        return self.compose("--profile", "*", "logs", "--no-log-prefix", check=False).stdout

    def messages(self) -> list[str]:
        """The debugger's lines in the log."""
        return [line for line in self.log().splitlines() if line.startswith("remora: ")]

    def output(self) -> list[str]:
        """All other lines, sorted, because Docker may mix standard output and standard error."""
        return sorted(x for x in self.log().splitlines() if not x.startswith("remora: "))

    def traffic(self) -> str:
        return "\n\n".join("\n".join(editor.traffic) for editor in self.editors)

    def down(self) -> None:
        """End sessions, and remove containers, networks and volumes."""
        for editor in self.editors:
            editor.close()
        # To Compose, containers of `docker compose run` are orphans.
        down = ("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "0")
        self.compose(*down, REMORA_PORT="5678")


def copy(built: Project, folder: Path) -> Project:
    """Copy a built project. Compose identifies it by its name, wherever it is."""
    shutil.copytree(built.root, folder / "my project")
    return Project(folder / "my project")


def remove_images(project: Project, name: str) -> None:
    """Remove the images with a project's label, including those that a later build has replaced."""
    images = ["docker", "image", "ls", "--all", "--quiet", "--filter"]
    found = project.run(*images, f"label=com.docker.compose.project={name}").stdout.split()
    if found:
        project.run("docker", "image", "rm", "--force", *set(found))
