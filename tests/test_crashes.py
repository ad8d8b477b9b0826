"""A crash is found and opened after its container is gone, in real containers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import dap
from support.project import Project, marked, wait_until
from support.rendering import render

pytestmark = pytest.mark.docker

PROGRAM = """
def crash(number):
    secret = 42
    raise ValueError(number)  # here

crash(1)
"""
SHOW = ("run", "--rm", "-T", "remora")


def crashed(project: Project, **environment: str) -> Path:
    """Crash the service's program in mode `dump`, and return its path."""
    path = project.start(PROGRAM, REMORA_MODE="dump", **environment)
    assert project.exit_code() == 1
    return path


def assert_shown(project: Project, editor: dap.Editor, path: Path) -> None:
    """An editor shows the line that raised, with its variables."""
    stop = editor.stopped()
    assert (stop.reason, stop.path, stop.line) == ("exception", path, marked(path))
    assert (stop.function, stop.locals["secret"]) == ("crash", "42")


def containers(project: Project) -> list[str]:
    """The services that have a container, running or not."""
    listed = project.compose("--profile", "*", "ps", "--all", "--format", "{{.Service}}")
    # Compose may print warnings first.
    return [line for line in listed.stdout.splitlines() if not line.startswith("time=")]


# ---- In an editor ----


@pytest.mark.parametrize("container", ["gone", "ended", "runs again", "held"])
def test_last_crash_is_shown_whatever_the_container_does(project: Project, container: str) -> None:
    path = crashed(project)
    if container == "gone":
        project.compose("down")
    elif container != "ended":
        project.override("command.yml", command=["python", "-c", "input()"], stdin_open=True)
        mode = "wait" if container == "held" else "listen"
        project.compose("up", "--detach", "--wait", "--force-recreate", REMORA_MODE=mode)
    others = containers(project)
    project.more_files.clear()  # an editor uses only the debug file
    editor = project.debug(name="{}: last crash", source=path)
    assert_shown(project, editor, path)
    said = project.compose("exec", "-T", "remora", "remora", "status").stdout
    assert re.search(r"pid \d+ +is debugged remora open train-\w+Z-\d+-ValueError\.json\.gz", said)
    # One press of Stop
    editor.detach()
    wait_until(lambda: not project.compose("ps", "--quiet", "remora").stdout)
    project.task(project.configuration("train: last crash")["postDebugTask"])
    assert containers(project) == others


def test_task_that_is_run_again_shows_the_crash_again(project: Project) -> None:
    path = crashed(project)
    project.debug(name="{}: last crash", source=path).stopped()
    project.editors.pop().close()
    # Another dump has been written meanwhile.
    path.write_text(PROGRAM.replace("crash(1)", "crash('again')"))
    project.compose("up", "--detach", REMORA_MODE="dump")
    assert project.exit_code() == 1
    stop = project.debug(name="{}: last crash", source=path).stopped()
    assert stop.locals["number"] == "'again'"
    editor = project.editors[-1]
    editor.resume(stop)
    editor.ended()


def test_file_that_was_edited_is_shown_as_it_was(project: Project) -> None:
    path = crashed(project)
    path.write_text(f"# edited\n{PROGRAM}")
    editor = project.debug(name="{}: last crash", source=path)
    stop = editor.stopped()
    assert (str(stop.path), stop.locals["secret"]) == ("/app/src/program.py", "42")
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]
    shown = stop.client.request("source", sourceReference=frame["source"]["sourceReference"])
    assert shown["content"] == PROGRAM
    said = "shown as it was, since the file is not the same here: /app/src/program.py"
    wait_until(lambda: said in editor.output.get("important", ""))


def test_missing_crash_is_reported(project: Project) -> None:
    done = project.task("train: open last crash", check=False)
    said = "there is no dump called train in /var/lib/remora/dumps"
    said += ": REMORA_MODE=dump writes one when a program crashes"
    assert done.returncode == 1 and f"\n{said}\n" in done.stdout
    assert containers(project) == []


def test_last_crash_of_an_adopted_service_is_shown(started) -> None:
    project = started("python-39-report")
    with project.raising() as source:
        project.compose("up", "--build", "--detach", REMORA_MODE="dump")
        assert project.exit_code() != 0
        project.compose("down")
        editor = project.debug(name="{}: last crash", source=source)
        stop = editor.stopped()
        assert (stop.reason, stop.path, stop.line) == ("exception", source, marked(source))
        assert stop.locals["answer"] == "42"
        editor.detach()
        project.task(project.configuration(f"{project.service}: last crash")["postDebugTask"])
        assert containers(project) == []


# ---- What outlives a container ----


@pytest.mark.parametrize("user", ["10001", "12345:12345", "0"])
def test_crash_outlives_its_container(project: Project, user: str) -> None:
    project.override("user.yml", user=user)
    path = crashed(project)
    up = ("up", "--detach", "--force-recreate")
    project.compose(*up, REMORA_MODE="dump")
    assert project.exit_code() == 1
    command = ("run", "--rm", "-T", "train", "python", "src/program.py")
    assert project.compose(*command, check=False, REMORA_MODE="dump").returncode == 1
    project.compose("down")
    listed = project.compose(*SHOW, "crashes").stdout
    assert listed.count(f"  train  ValueError  /app/src/program.py:{marked(path)}\n") == 3
    project.compose("down", "--volumes")
    assert "there is no dump in" in project.compose(*SHOW, "crashes").stdout


def test_service_that_shows_dumps_is_apart_from_the_application(project: Project) -> None:
    """It is not on the application's network, and cannot write to the application's files."""
    write = "touch /opt/remora/project/x || touch /app/x; id -u; ls /sys/class/net"
    done = project.compose(
        "run", "--rm", "-T", "--entrypoint", "sh", "remora", "-c", write, check=False
    )
    assert "Read-only file system" in done.stdout
    project.compose("--profile", "remora", "up", "--no-start", "remora")
    (network,) = project.run(
        *[
            "docker",
            "inspect",
            "--format",
            "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}",
        ],
        project.seen_from("remora").container(),
    ).stdout.split()
    assert network == "bridge"
    # `up` does not start it.
    assert "remora" not in project.compose("config", "--services").stdout.split()


STOPPED = """
import multiprocessing, time

def wait(name):
    secret = 42
    print("waits:", name, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=wait, args=["child"]).start()
    wait("program")
"""


def test_stopped_container_leaves_a_dump_of_each_program(project: Project) -> None:
    """Docker's init passes SIGTERM on to the program, and ends its children."""
    project.override("settings.yml", environment={"REMORA_DUMP_ON": "term"})
    project.start(STOPPED, REMORA_MODE="dump")
    wait_until(lambda: project.log().count("waits:") == 2)
    project.compose("stop")
    assert project.exit_code() == 143
    project.compose("down")
    shown = project.compose(*SHOW, "crashes", "--show").stdout
    assert "      secret = 42\n" in shown and "      name = 'program'\n" in shown
    assert project.compose(*SHOW, "crashes", "--json").stdout.count('{"name": ') == 1


# ---- Elsewhere ----


def brought_home(project: Project) -> Path:
    """Copy the only dump into the project's folder, remove everything else, and return its path."""
    project.compose("up", "--no-start", "remora")
    project.compose("cp", "remora:/var/lib/remora/dumps", ".")
    project.compose("down", "--volumes")
    (dump,) = (project.root / "dumps").iterdir()
    return dump


def test_file_is_opened_in_another_clone(project: Project) -> None:
    """As docs/crashes.md says, the file is copied here, and opened by its path in the project."""
    path = crashed(project)
    dump = brought_home(project)
    name = f"dumps/{dump.name}"
    run = ("run", "--detach", "--service-ports", "remora")
    project.compose(*run, "open", name)
    editor = attach_when_open(project)
    assert_shown(project, editor, path)
    editor.detach()


def test_file_is_opened_without_compose(project: Project) -> None:
    path = crashed(project)
    dump = brought_home(project)
    port = project.configuration("train: last crash")["connect"]["port"]
    page = (Path(__file__).parents[1] / "docs/crashes.md").read_text()
    (command,) = re.findall(r"^docker run (?:.*\\\n)*.*", page, re.MULTILINE)
    example = re.search(r"train-\S+\.json\.gz", command)[0]
    for old, new in [
        (example, dump.name),
        ("my-app", json.loads(project.compose("config", "--format", "json").stdout)["name"]),
        ("127.0.0.1:5678", f"127.0.0.1:{port}"),
        ("docker run", "docker run --detach"),
    ]:
        assert command.count(old) == 1
        command = command.replace(old, new)
    container = project.run("sh", "-c", command).stdout.split()[-1]
    try:
        editor = attach_when_open(project)
        assert_shown(project, editor, path)
        editor.detach()
        project.run("docker", "wait", container, check=False)
    finally:
        project.run("docker", "rm", "--force", container, check=False)


def attach_when_open(project: Project) -> dap.Editor:
    """Attach as to the last crash, which is shown soon."""

    def is_open() -> bool:
        try:
            project.attach(name="{}: last crash")
        except (dap.DapError, OSError):
            project.editors.pop().close()
            return False
        return True

    wait_until(is_open)
    return project.editors[-1]


OPEN_FAILS = {
    "src/program.py": "is not a dump, or only a part of one",
    "nothing/x.json.gz": "cannot be read: No such file or directory",
    "nothing": "there is no dump called nothing in /var/lib/remora/dumps",
}


def test_dump_that_cannot_be_opened_is_reported(project: Project) -> None:
    (project.root / "src/program.py").write_text(PROGRAM)
    for name, said in OPEN_FAILS.items():
        done = project.compose(*SHOW, "open", name, check=False)
        assert done.returncode == 1 and said in done.stdout
        assert "Traceback" not in done.stdout
    # Only root and the program's user can read a dump.
    path = crashed(project)
    user = ("--user", "65534", "remora", "crashes", "--show")
    done = project.compose("run", "--rm", "-T", *user, check=False)
    assert done.returncode == 1 and "cannot be read: Permission denied" in done.stdout
    assert path.name not in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LIMIT", "50MB", "REMORA_DUMP_LIMIT must be a whole number above 0, not '50MB'"),
        ("ON", "kill", "REMORA_DUMP_ON must be term or nothing, not 'kill'"),
    ],
)
def test_bad_setting_is_reported_in_one_line(
    project: Project, name: str, value: str, said: str
) -> None:
    (project.root / ".env").open("a").write(f"REMORA_DUMP_{name}={value}\nREMORA_MODE=dump\n")
    project.compose("up", "--detach")
    assert project.exit_code() == 78
    assert project.messages() == [f"remora: {said}"]


def test_settings_come_from_the_environment(project: Project) -> None:
    crashed(project, REMORA_DUMP_KEEP="1")
    project.compose("up", "--detach", "--force-recreate", REMORA_MODE="dump", REMORA_DUMP_KEEP="1")
    project.exit_code()
    listed = project.compose(*SHOW, "crashes", "--json").stdout
    assert listed.count('{"name": ') == 1


def test_name_that_is_taken_is_left_to_its_owner(
    engine: None, template: Path, tmp_path: Path
) -> None:
    """The owner's service and volume stay as they are."""
    (tmp_path / "main.py").touch()
    compose = "services:\n  web: {build: ., volumes: ['remora-dumps:/data']}\n  remora-debug: {}\n"
    (tmp_path / "compose.yaml").write_text(f"{compose}volumes:\n  remora-dumps:\n")
    render(template, tmp_path, debug_services=[{"name": "web"}])
    model = (tmp_path / "docker-compose.debug.yml").read_text()
    assert "remora-debugger-dumps:/var/lib/remora/dumps" in model
    assert "\n  remora-debugger:\n" in model and "\n  remora:\n" not in model
