"""What VS Code does with launch.json and tasks.json, and what it shows when something is wrong.

If a task fails, VS Code shows a dialog, and the task's output in the terminal.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from support.project import Project, marked, wait_until

pytestmark = pytest.mark.docker

PROGRAM = """
print("hello")
print("bye")  # here
"""


@pytest.mark.parametrize("mode", ["listen", "demand", "off"])
def test_f5_holds_whatever_the_mode_is(project: Project, mode: str) -> None:
    (project.root / ".env").write_text(f"REMORA_MODE={mode}\n")
    editor = project.debug(project.line("history = load_checkpoint("), EPOCHS="1")
    stop = editor.stopped()
    assert (stop.path, stop.line) == (project.source, project.line("history = load_checkpoint("))
    # Other services run in the mode of the file.
    project.compose("run", "--rm", "-T", "train", "sh", "-c", f"[ $REMORA_MODE = {mode} ]")


def test_output_is_in_the_debug_console_once(project: Project) -> None:
    (project.root / "src/program.py").write_text(PROGRAM)
    project.override("command.yml", command=["python", "src/program.py"])
    project.compose("up", "--detach", "--wait", REMORA_MODE="wait")
    path = project.root / "src/program.py"
    editor = project.attach(marked(path), source=path, name="{}: debug")
    stop = editor.stopped()
    wait_until(lambda: editor.output.get("stdout") == "hello\n")
    editor.resume(stop)
    editor.ended()
    assert editor.output["stdout"] == "hello\nbye\n"
    assert project.output() == ["bye", "hello"]


def test_what_f5_starts_is_stopped_after_it(project: Project) -> None:
    editor = project.debug(project.line("history = load_checkpoint("))
    editor.stopped()
    editor.detach()
    project.task(project.configuration("train: debug")["postDebugTask"])
    assert project.compose("ps", "--quiet", "--status=running").stdout == ""


# ---- Failures ----

# What is wrong with a project, as a shell command, and what the task then says.
F5_FAILS = {
    "the build fails": (
        "sed -i 's/^USER .*/RUN exit 9/' Dockerfile",
        "did not complete successfully: exit code: 9",
    ),
    "the program ends at once": (
        "echo 'echo no data in /data >&2; exit 3' > scripts/train.sh",
        "no data in /data\n",
    ),
    "a setting is bad": ("echo REMORA_PORT=99999 > .env", "Invalid containerPort"),
}


@pytest.mark.parametrize("fault", F5_FAILS)
def test_f5_fails_with_a_message(project: Project, fault: str) -> None:
    command, message = F5_FAILS[fault]
    project.run("sh", "-c", command)
    done = project.task("train: start", check=False)
    assert done.returncode != 0 and message in done.stdout


@pytest.mark.parametrize("task", ["train: start", "train: attach"])
def test_missing_engine_is_reported(project: Project, task: str) -> None:
    done = project.task(task, check=False, DOCKER_HOST="unix:///nowhere.sock")
    assert done.returncode != 0
    assert "daemon" in done.stdout and "unix:///nowhere.sock" in done.stdout


# What runs in the service's container, in which mode, and what the task then says.
ATTACH_FAILS = {
    "off": ("python -c 'input()'", "off", "REMORA_MODE is off"),
    "the hook is kept out": ("python -S -c 'input()'", "listen", "the hook out (-S)"),
    "another program is meant": ("python -c 'input()'", "demand", "REMORA_TARGET is other.py"),
}


@pytest.mark.parametrize("fault", ATTACH_FAILS)
def test_attach_fails_with_the_reason(project: Project, fault: str) -> None:
    command, mode, message = ATTACH_FAILS[fault]
    settings: dict[str, Any] = {"REMORA_MODE": mode}
    if "REMORA_TARGET" in message:
        settings["REMORA_TARGET"] = "other.py"
    project.override("command.yml", command=["sh", "-c", f"{command}; :"], stdin_open=True)
    project.compose("up", "--detach", **settings)
    wait_until(lambda: "python" in project.compose("top").stdout)
    done = project.task("train: attach", check=False)
    assert done.returncode == 1 and message in done.stdout


def test_attach_to_a_container_that_does_not_run_fails(project: Project) -> None:
    done = project.task("train: attach", check=False)
    assert done.returncode != 0 and 'service "train" is not running' in done.stdout
    with pytest.raises(ConnectionRefusedError) as refused:
        project.attach()
    assert errno.errorcode[refused.value.errno] == "ECONNREFUSED"


def test_status_names_a_program_of_another_user(project: Project) -> None:
    project.start("input()", "sleep 1000 | python -S src/program.py", REMORA_MODE="demand")
    status = ("exec", "-T", "--user", "65534", "train", "remora", "status")
    wait_until(lambda: "program.py" in project.compose(*status, check=False).stdout)
    assert "it belongs to another user" in project.compose(*status, check=False).stdout


def test_unreadable_code_is_reported(project: Project) -> None:
    (project.root / "scripts").chmod(0o700)
    project.compose("up", "--detach", EPOCHS="1", REMORA_MODE="off")
    assert project.exit_code() != 0
    assert "Permission denied" in project.log()


def test_attach_to_an_image_without_a_debugger_fails(project: Project) -> None:
    project.override("production.yml", build={"target": "production"}, command=["sleep", "1000"])
    project.compose("up", "--build", "--detach")
    done = project.task("train: attach", check=False)
    assert done.returncode != 0 and '"remora": executable file not found' in done.stdout
    project.more_files.clear()
    project.compose("build")  # other tests need the image


@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_attach_works_before_any_python_runs(project: Project, mode: str) -> None:
    path = project.start(PROGRAM, "sleep 1000; python src/program.py", REMORA_MODE=mode)
    done = project.task("train: attach")
    assert "no Python process runs yet; those that start are debugged" in done.stdout
    editor = project.attach(marked(path), source=path)
    wait_until(lambda: "no Python program is here yet" in editor.output.get("important", ""))
