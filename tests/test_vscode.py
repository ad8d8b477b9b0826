"""The real VS Code debugs containers, with its tasks, sessions and windows.

code-server is VS Code in a browser. `nox -s vscode` installs it from npm, and Chromium from Debian.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.dap import TIMEOUT
from support.ports import first_of_six_free_ports, listening_here
from support.programs import needed
from support.project import Project, marked, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.vscode

HERE = Path(__file__).parent / "vscode"
NODE = HERE / "node_modules/.bin/node"
SERVER = HERE / "node_modules/code-server/out/node/entry.js"


class VSCode:
    """VS Code with an open folder."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(2 * TIMEOUT)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rw")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def run(self, code: str) -> Any:
        """Return the value of an expression in JavaScript, in which `vscode` is VS Code's API."""
        print(json.dumps(f"async (vscode) => {code}"), file=self._stream, flush=True)
        answer = json.loads(self._stream.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def open(self, path: Path, *breakpoints: int) -> None:
        """Show a file, and set breakpoints in it."""
        file = f"vscode.Uri.file({json.dumps(str(path))})"
        self.run(f"{{ await vscode.window.showTextDocument({file}) }}")
        for number in breakpoints:
            place = f"new vscode.Location({file}, new vscode.Position({number - 1}, 0))"
            self.run(f"vscode.debug.addBreakpoints([new vscode.SourceBreakpoint({place})])")

    def command(self, name: str) -> None:
        """Run a command of VS Code's palette."""
        self.run(f"{{ await vscode.commands.executeCommand({json.dumps(name)}) }}")

    def press(self, keys: str) -> None:
        self.page.keyboard.press(keys)

    def stopped(self) -> tuple[Path, int]:
        """Wait until VS Code shows a stopped line, and return the place of the line."""
        self.shows(".debug-top-stack-frame-line")
        path, number = self.run("""{
            const { document, selection } = vscode.window.activeTextEditor;
            return [document.fileName, selection.active.line + 1];
        }""")
        return Path(path), number

    def stops_at(self, place: tuple[Path, int]) -> None:
        """Wait until VS Code shows that a program has stopped at a place."""
        # VS Code marks the line before it moves the cursor there.
        wait_until(lambda: self.stopped() == place)

    def debugs(self) -> bool:
        """Say whether a debug session is open."""
        # The API still calls a parent active after it has ended with its children.
        return self.page.locator(".debug-toolbar").is_visible()

    def shows(self, selector: str, text: str | re.Pattern[str] = "") -> Locator:
        """Wait until an element of the page shows a text, and return the element."""
        found = self.page.locator(selector, has_text=text).first
        found.wait_for(timeout=1000 * 2 * TIMEOUT)
        return found


@contextmanager
def vscode(folder: Path, scratch: Path) -> Iterator[VSCode]:
    """Open a folder in VS Code."""
    from playwright.sync_api import sync_playwright  # which only nox -s vscode installs

    extensions, data, path = scratch / "extensions", scratch / "data", scratch / "socket"
    shutil.copytree(HERE / "extension", extensions / "remora.debugpy-1.0.0")
    (data / "User").mkdir(parents=True)
    shutil.copy(HERE / "settings.json", data / "User")
    port = first_of_six_free_ports()
    command = [needed(NODE), needed(SERVER), "--auth=none", f"--bind-addr=127.0.0.1:{port}"]
    options = [f"--user-data-dir={data}", f"--extensions-dir={extensions}", "--disable-telemetry"]
    options.append("--disable-update-check")
    environment = {**os.environ, "VSCODE_TEST_SOCKET": str(path)}
    # A home of its own, because a test must not use the settings of the user's code-server.
    environment["XDG_CONFIG_HOME"] = str(scratch)
    browser = needed(shutil.which("chromium"))
    with (
        subprocess.Popen([*command, *options], env=environment, start_new_session=True) as server,
        sync_playwright() as play,
    ):
        try:
            wait_until(lambda: reached(port))
            # A sandbox needs more rights than root has in a container.
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = play.chromium.launch(executable_path=browser, args=arguments)
            page = chromium.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=2)
            page.goto(f"http://127.0.0.1:{port}/?folder={folder}")
            wait_until(path.exists)
            editor = VSCode(page, path)
            yield editor
            page.screenshot(path=scratch / "last.png")
            print(f"what VS Code showed last: {scratch / 'last.png'}")
            editor.close()
            chromium.close()
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def reached(port: int) -> bool:
    """Say whether something listens on a port of this machine."""
    return ("127.0.0.1", port) in listening_here()


@pytest.fixture
def editor(project: Project, tmp_path: Path) -> Iterator[VSCode]:
    """VS Code with the project open."""
    with vscode(project.root, tmp_path / "vscode") as editor:
        yield editor


def running(project: Project) -> list[str]:
    """The services that run."""
    services = ("ps", "--status=running", "--format={{.Service}}")
    return project.compose(*services).stdout.split()


def test_f5_starts_and_stops_the_service(project: Project, editor: VSCode) -> None:
    editor.open(project.source, project.line("history = load_checkpoint("))
    editor.press("F5")
    editor.stops_at((project.source, project.line("history = load_checkpoint(")))
    assert editor.debugs()
    value = editor.run("""vscode.debug.activeDebugSession.customRequest("evaluate",
        { expression: "inputs.shape", frameId: vscode.debug.activeStackItem.frameId })""")
    assert value["result"] == "(250000, 2)"
    editor.press("F10")
    editor.stops_at((project.source, project.line("if history:")))
    # One press stops the session, and everything that F5 has started.
    editor.press("Shift+F5")
    wait_until(lambda: not running(project) and not editor.debugs())


def test_picture_of_the_readme(build: Callable[..., Project], tmp_path: Path) -> None:
    """VS Code shows everything that the picture shows. PICTURE names the file to write."""
    from PIL import Image  # which only nox -s vscode installs

    root = shutil.copytree(build(package_name="my_app").root, tmp_path / "my-app")
    project = Project(root)
    place = project.source, project.line("losses.append(loss)")
    rows = {view: f".debug-{view} .monaco-list-row" for view in ("variables", "call-stack")}
    try:
        with vscode(root, tmp_path / "vscode") as editor:
            editor.page.set_viewport_size({"width": 1120, "height": 720})
            editor.open(*place)
            editor.press("F5")
            editor.stops_at(place)
            # Watch is empty: collapse it, to make room for the variables.
            watch = editor.shows(".pane-header", "Watch")
            watch.click()
            edge = watch.bounding_box()
            editor.page.mouse.move(edge["x"] + 100, edge["y"])
            editor.page.mouse.down()
            editor.page.mouse.move(edge["x"] + 100, edge["y"] + 134)
            editor.page.mouse.up()
            editor.page.mouse.move(0, 0)
            editor.shows(rows["variables"], "Locals")
            editor.command("workbench.debug.action.focusVariablesView")
            editor.press("Home")
            editor.press("ArrowRight")
            editor.shows(rows["variables"], "start")
            editor.shows(rows["call-stack"], "MainThread")
            editor.command("workbench.debug.action.focusCallStackView")
            editor.press("Home")
            editor.press("ArrowRight")
            editor.shows(rows["call-stack"], "train_epoch")
            editor.press("ArrowDown")
            editor.command("workbench.panel.repl.view.focus")
            editor.page.keyboard.type("__file__")
            editor.press("Enter")
            editor.shows(".repl .monaco-list-row", "/app/src/my_app/train.py")
            # 256 colours are enough, and need a third of the space.
            with Image.open(io.BytesIO(editor.page.screenshot())) as picture:
                few = picture.convert("RGB").quantize(kmeans=1)
            few.save(os.environ.get("PICTURE", tmp_path / "picture.png"), optimize=True)
    finally:
        project.down()


def started(project: Project) -> str:
    """The time of the last start of the service's container."""
    return project.run(
        "docker", "inspect", "--format={{.State.StartedAt}}", project.container()
    ).stdout


PARENT = """
import subprocess
import sys

def work(name):
    print(name)  # here

if len(sys.argv) == 1:
    children = [subprocess.Popen([sys.executable, __file__, f"child {n}"]) for n in (1, 2)]
    work("parent")
    sys.exit(max(child.wait() for child in children))
work(sys.argv[1])
"""


def test_children_are_sessions_and_one_press_stops_all(project: Project, editor: VSCode) -> None:
    path = project.root / "src/program.py"
    path.write_text(PARENT)
    (project.root / "scripts/train.sh").write_text("exec python src/program.py\n")
    editor.open(path, marked(path))
    editor.press("F5")
    wait_until(lambda: editor.page.locator(".debug-call-stack .session").count() == 3)
    editor.press("Shift+F5")
    wait_until(lambda: not running(project) and not editor.debugs())


def test_restart_starts_the_container_again(project: Project, editor: VSCode) -> None:
    editor.open(project.source, project.line("history = load_checkpoint("))
    editor.press("F5")
    editor.stopped()
    first = started(project)
    editor.press("Control+Shift+F5")
    wait_until(lambda: started(project) != first)
    editor.stops_at((project.source, project.line("history = load_checkpoint(")))


def test_last_crash_is_shown(project: Project, editor: VSCode) -> None:
    project.edit(
        "history = load_checkpoint(", "history = 1 / (epochs - epochs) or load_checkpoint("
    )
    project.compose("up", "--detach", REMORA_MODE="dump")
    project.exit_code()
    project.compose("down")
    start(editor, "train: last crash")
    editor.stops_at((project.source, project.line("history = 1 / (")))
    editor.press("Shift+F5")
    services = ("ps", "--all", "--format={{.Service}}")
    wait_until(lambda: not project.compose(*services).stdout and not editor.debugs())


def start(editor: VSCode, name: str) -> None:
    """Start a configuration. Do not wait for its end, which comes when its dialog closes."""
    folder = "vscode.workspace.workspaceFolders[0]"
    editor.run(f"{{ vscode.debug.startDebugging({folder}, {json.dumps(name)}) }}")


def fails(editor: VSCode, task: str, why: str) -> None:
    """Wait for the dialog that says that a task has failed, and for the reason in its terminal."""
    editor.shows(".monaco-dialog-box", f"The preLaunchTask '{task}' terminated with exit code 1.")
    editor.shows(".xterm-rows", why)


# What is wrong with a project, as a shell command, and what the terminal then says.
STARTS_THAT_FAIL = {
    "the program ends": (
        "echo 'echo no data in /data >&2; exit 3' > scripts/train.sh",
        "no data in /data",
    ),
    "the build fails": ("sed -i 's/^USER .*/RUN exit 9/' Dockerfile", "exit code: 9"),
}


@pytest.mark.parametrize("fault", STARTS_THAT_FAIL)
def test_start_that_fails_is_a_dialog_and_its_output_is_shown(
    project: Project, editor: VSCode, fault: str
) -> None:
    command, why = STARTS_THAT_FAIL[fault]
    project.run("sh", "-c", command)
    editor.press("F5")
    fails(editor, "train: start", why)


def test_port_of_another_program_is_a_dialog_and_says_why(
    project: Project, editor: VSCode, free_port: int
) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        editor.press("F5")
        fails(editor, "train: start", "address already in use")


def test_attach_that_cannot_work_is_a_dialog_and_says_why(project: Project, editor: VSCode) -> None:
    project.compose("up", "--detach", REMORA_MODE="off")
    start(editor, "train: attach")
    fails(editor, "train: attach", "REMORA_MODE is off")


def test_program_that_starts_no_python_is_reported(project: Project, editor: VSCode) -> None:
    (project.root / "scripts/train.sh").write_text("exec sleep 1000\n")
    editor.press("F5")
    editor.shows(".notification-toast", "no Python program is here yet")
    editor.press("Shift+F5")
    wait_until(lambda: not running(project) and not editor.debugs())


def test_second_session_is_refused_and_the_first_goes_on(project: Project, editor: VSCode) -> None:
    place = project.source, project.line("history = load_checkpoint(")
    editor.open(*place)
    editor.press("F5")
    editor.stops_at(place)
    start(editor, "train: debug")
    dialog = editor.shows(".monaco-dialog-box", "is already being debugged by another client")
    dialog.locator(".monaco-button", has_text="Cancel").click()
    editor.press("F10")
    editor.stops_at((project.source, project.line("if history:")))


def test_stop_ends_a_build(project: Project, editor: VSCode) -> None:
    project.run("sh", "-c", "sed -i 's/^USER .*/RUN sleep 1000/' Dockerfile")
    editor.press("F5")
    editor.shows(".xterm-rows", "RUN sleep 1000")
    tasks = "vscode.tasks.taskExecutions.length"
    assert editor.run(tasks) == 1
    editor.press("Shift+F5")
    wait_until(lambda: editor.run(tasks) == 0)
    assert not running(project) and not editor.debugs()
