"""What a project promises, tested with its own files, real containers and a real DAP client."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support import dap
from support.project import Project, marked, remora, wait_until
from support.rendering import copy_without_questions, replace

pytestmark = pytest.mark.docker

# A line of the training program that runs for every batch, after the loss is known.
BATCH = "losses.append(loss)"


def test_f5_stops_at_the_local_line_and_the_run_goes_on(project: Project) -> None:
    client = project.debug(project.line(BATCH), EPOCHS="1")
    stop = client.stopped()
    assert (stop.reason, stop.path, stop.line, stop.function) == (
        "breakpoint",
        project.source,
        project.line(BATCH),
        "train_epoch",
    )
    assert stop.locals["start"] == "0"
    assert stop.locals["losses"] == "[]"
    assert stop.locals["learning_rate"] == "0.02"

    stop = client.step(stop)
    assert stop.line == project.line("for start in range")
    client.resume(stop)
    stop = client.stopped()
    assert (stop.line, stop.locals["start"]) == (project.line(BATCH), "100")

    client.set_breakpoints(project.source)
    client.resume(stop)
    client.ended()
    assert project.exit_code() == 0
    assert "loss " in project.log()
    project.task("train: stop")


def test_waiting_says_what_to_do(project: Project) -> None:
    project.compose("up", "--detach", "--wait")
    address = "127.0.0.1:{port}".format(**project.configuration("train: debug")["connect"])
    log = project.log()
    assert f"Waiting for client to attach... train at {address}" in log
    assert "REMORA_MODE=off" in log
    assert "epoch" not in log


def test_exit_code_is_kept(project: Project) -> None:
    project.edit("    history = train(", "    raise SystemExit(3)\n    history = train(")
    client = project.debug()
    client.ended()
    assert project.exit_code() == 3


def test_an_edit_needs_no_build(project: Project) -> None:
    project.edit("    rng = np.random", "    answer = 42\n    rng = np.random")
    project.compose("up", "--detach", "--wait")
    line = project.line("answer = 42") + 1
    client = project.attach(line)
    stop = client.stopped()
    assert (stop.path, stop.line) == (project.source, line)
    assert stop.locals["answer"] == "42"


def test_listen_runs_at_once_and_takes_a_debugger_at_any_time(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="100000")
    early = project.attach(project.line(BATCH))
    assert early.stopped().function == "train_epoch"
    early.detach()
    for _ in range(2):
        # The program continues without a client.
        lines = len(project.log().splitlines())
        wait_until(lambda before: len(project.log().splitlines()) > before, lines)
        late = project.attach(project.line(BATCH))
        assert late.stopped().path == project.source
        late.detach()


def test_off_runs_as_production_does(project: Project) -> None:
    project.edit("    history = train(", "    breakpoint()\n    history = train(")
    project.compose("up", "--detach", REMORA_MODE="off", EPOCHS="2")
    assert project.exit_code() == 0
    log = project.log()
    assert "remora" not in log
    production = project.run("docker", "compose", "run", "--rm", "train", EPOCHS="2").stdout
    assert result(log) == result(production)


def result(log: str) -> str:
    """The line that the training prints at its end. Its progress, on stderr, may come later."""
    (last,) = (line for line in log.splitlines() if line.startswith("loss "))
    return last


def test_off_is_healthy_at_once(project: Project) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE="off", EPOCHS="100000")
    with pytest.raises((ConnectionError, dap.DapError)):
        project.attach()


@pytest.mark.parametrize("attached", [True, False])
def test_breakpoint_in_the_code_stops_only_under_a_debugger(
    project: Project, attached: bool
) -> None:
    project.edit("    history = train(", "    breakpoint()\n    history = train(")
    if attached:
        client = project.debug(EPOCHS="1")
        stop = client.stopped()
        assert stop.path == project.source
        assert stop.line - project.line("    breakpoint()") in (0, 1)
        client.resume(stop)
        client.ended()
    else:
        project.compose("up", "--detach", REMORA_MODE="listen", EPOCHS="1")
    assert project.exit_code() == 0


@pytest.mark.parametrize("mode", ["wait", "listen", "off"])
def test_stop_needs_no_kill(project: Project, mode: str) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE=mode, EPOCHS="100000")
    # After two seconds Docker would send SIGKILL, and the exit code would be 137.
    project.compose("stop", "--timeout", "2")
    assert project.exit_code() == 128 + signal.SIGTERM


def test_port_in_the_container_can_be_changed(project: Project) -> None:
    client_port = project.configuration("train: attach")["connect"]["port"]
    project.compose("up", "--detach", "--wait", REMORA_PORT="6000")
    published = project.compose("port", "train", "6000", REMORA_PORT="6000").stdout
    assert published.strip() == f"127.0.0.1:{client_port}"
    assert project.attach(project.line(BATCH)).stopped().line == project.line(BATCH)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("REMORA_MODE", "bogus", "wait, listen, demand, crash, dump or off"),
        ("REMORA_MODE", "WAIT", "wait, listen, demand, crash, dump or off"),
        ("REMORA_PORT", "0", "1 to 65535"),
        ("REMORA_PORT", "65536", "1 to 65535"),
        ("REMORA_PORT", "99999999999999999999", "1 to 65535"),
        ("REMORA_PORT", "http", "1 to 65535"),
        ("REMORA_PORT", "-1", "1 to 65535"),
    ],
)
def test_bad_setting_stops_the_container(
    built: Project, variable: str, value: str, allowed: str
) -> None:
    image = f"{built.root.name}:debug"
    setting = f"{variable}={value}"
    done = built.run("docker", "run", "--rm", "--env", setting, image, check=False)
    assert done.returncode == 78
    (message,) = done.stdout.splitlines()
    assert all(part in message for part in (variable, f"'{value}'", allowed))


def test_bad_setting_makes_up_fail(project: Project) -> None:
    done = project.compose("up", "--wait", "--detach", REMORA_MODE="no", check=False)
    assert done.returncode != 0
    assert "exited (78)" in done.stdout
    assert "REMORA_MODE must be wait, listen, demand, crash, dump or off, not 'no'" in project.log()


def test_taken_port_starts_nothing(project: Project) -> None:
    port = project.configuration("train: attach")["connect"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        done = project.task("train: start", check=False)
    assert done.returncode != 0
    assert str(port) in done.stdout and "address already in use" in done.stdout
    assert project.compose("ps", "--quiet").stdout == ""
    # Once the port is free, the same command works.
    assert project.debug(project.line(BATCH)).stopped().line == project.line(BATCH)


def test_debug_image_works_without_compose(project: Project) -> None:
    port = project.configuration("train: attach")["connect"]["port"]
    # Docker forwards published ports to the container's own address, not to its loopback.
    publish = ("--publish", f"127.0.0.1:{port}:5678", "--env", "REMORA_HOST=0.0.0.0")
    with waiting_container(project, "--init", "--env", "EPOCHS=1", *publish) as container:
        log = project.run("docker", "logs", container).stdout
        assert f"container {container[:12]}, port 5678" in log
        stop = project.attach(project.line(BATCH)).stopped()
        assert (stop.path, stop.line) == (project.source, project.line(BATCH))
        status = project.run("docker", "exec", container, "remora", "status").stdout
        assert "mode wait, port 5678" in status
        assert "a client is attached" in status and "is debugged" in status
        done = project.run("docker", "exec", container, "remora", "attach")
        assert f"is ready: container {container[:12]}, port 5678" in done.stdout


@pytest.mark.parametrize(("name", "exit_code"), [("INT", 130), ("TERM", 143)])
def test_signal_ends_a_waiting_pid_1(project: Project, name: str, exit_code: int) -> None:
    """As in a pod, which has no init."""
    with waiting_container(project) as container:
        project.run("docker", "kill", "--signal", name, container)
        assert project.run("docker", "wait", container).stdout == f"{exit_code}\n"
        assert "epoch" not in project.run("docker", "logs", container).stdout


@contextmanager
def waiting_container(
    project: Project, *options: str, command: tuple[str, ...] = ()
) -> Iterator[str]:
    """Start the debug image as a user without Compose does. Give the container once it waits."""
    image = build(project, "--target", "debug")
    run = ("docker", "run", "--detach", *options, image, *command)
    container = project.run(*run).stdout.strip()
    try:
        log = ["docker", "logs", container]
        wait_until(lambda: "Waiting for client to attach..." in project.run(*log).stdout)
        yield container
    finally:
        project.run("docker", "rm", "--force", container)


def build(project: Project, *options: str) -> str:
    """Build an image with plain `docker build`. Its label lets the tests remove it."""
    name = json.loads(project.compose("config", "--format", "json").stdout)["name"]
    label = f"com.docker.compose.project={name}"
    return project.run("docker", "build", "--quiet", "--label", label, *options, ".").stdout.strip()


def test_umask_does_not_matter(project: Project) -> None:
    for path in project.root.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.suffix == ".sh" else 0o600)
    image = build(project, "--target", "debug")
    # The entry point, the hook and the program must be readable.
    run = ["docker", "run", "--rm", "--env", "EPOCHS=1", "--env", "REMORA_MODE=listen", image]
    log = project.run(*run).stdout
    assert "Listening" in log
    assert result(log)


def test_every_interpreter_of_the_image_has_the_hook(project: Project) -> None:
    dockerfile = project.root / "Dockerfile"
    dependencies, production, rest = dockerfile.read_text().partition("# ---- Production")
    venv = "RUN python3 -m venv --without-pip /srv/other\n"
    dockerfile.write_text(dependencies + venv + production + rest)
    # Only this interpreter can say that it waits.
    command = ("/srv/other/bin/python", "-c", "print(1)")
    with waiting_container(project, command=command) as container:
        lines = project.run("docker", "logs", container).stdout.splitlines()
        assert "1" not in lines


def test_plain_build_gives_production(project: Project, built: Project) -> None:
    parts = "{{json .RootFS.Layers}} {{json .Config.Cmd}} {{json .Config.Entrypoint}}"
    inspect = ["docker", "image", "inspect", "--format", parts]
    plain, production = (
        project.run(*inspect, image).stdout for image in (build(project), built.root.name)
    )
    assert plain == production


def test_settings_come_from_the_shell(project: Project) -> None:
    done = project.run("docker", "compose", "up", EPOCHS="2")
    assert "2/2" in done.stdout
    assert "exited with code 0" in done.stdout


def test_checkpoint_outlives_the_container(project: Project) -> None:
    for _ in range(2):
        project.run("docker", "compose", "run", "--rm", "train", EPOCHS="1")
    listing = ["docker", "compose", "run", "--rm", "train", "ls", "checkpoints"]
    assert {"last.npz", "loss.png"} <= set(project.run(*listing).stdout.split())


def test_training_that_is_killed_goes_on(project: Project) -> None:
    def log() -> str:
        return project.run("docker", "compose", "logs", "train").stdout

    project.run("docker", "compose", "up", "--detach", EPOCHS="100000")
    wait_until(lambda: "epoch 1/" in log())
    # Everything except the init
    kill = ["docker", "compose", "exec", "-T", "train", "sh", "-c", "kill -KILL -1"]
    project.run(*kill, check=False)
    wait_until(lambda: "resuming after epoch" in log())
    assert log().count("epoch 1/100000: loss") == 1


def test_production_writes_only_to_volumes_and_tmp(project: Project) -> None:
    for path, is_writable in {"/app/x": False, "/home/app/x": False, "/tmp/x": True}.items():
        touch = ["docker", "compose", "run", "--rm", "-T", "train", "touch", path]
        done = project.run(*touch, check=False)
        assert ("Read-only file system" not in done.stdout) == is_writable, done.stdout
        assert (done.returncode == 0) == is_writable


def test_workflow_passes_and_finds_a_debugger(project: Project, built: Project) -> None:
    name = built.root.name
    workflow = YAML(typ="safe").load(project.root / ".github/workflows/ci.yml")
    steps = {step.get("name"): step for step in workflow["jobs"]["test"]["steps"]}
    for step in ("Build production", "Check that production has no debugger"):
        project.run("bash", "-e", "-c", steps[step]["run"])
    tests = steps["Run the tests in the image"]
    assert " passed" in project.run("bash", "-e", "-c", tests["run"], **tests["env"]).stdout
    # The check fails for the debug image.
    check = steps["Check that production has no debugger"]["run"].replace(name, f"{name}:debug")
    done = project.run("bash", "-e", "-c", check, check=False)
    assert done.returncode == 1 and "/debugpy\n" in done.stdout


def test_image_has_the_versions_of_the_lock(project: Project, built: Project) -> None:
    cat = ["docker", "run", "--rm", built.root.name, "cat", "uv.lock"]
    (project.root / "uv.lock").write_text(project.run(*cat).stdout)
    build(project)
    path = project.root / "pyproject.toml"
    path.write_text(path.read_text().replace("tqdm>=4.67,<5", "tqdm>=4.67,<4.68"))
    done = project.run("docker", "build", ".", check=False)
    assert done.returncode != 0 and "`uv.lock` needs to be updated" in done.stdout


def test_packages_come_from_the_index_of_the_base_image(project: Project) -> None:
    stage = "AS dependencies\n"
    index = "ENV PIP_INDEX_URL=https://index.invalid/simple\n"
    replace(project.root / "Dockerfile", stage, stage + index)
    done = project.run("docker", "build", ".", check=False)
    assert done.returncode != 0 and "https://index.invalid/simple/" in done.stdout


def test_programs_one_after_the_other(project: Project) -> None:
    start = project.root / "scripts/train.sh"
    start.write_text(start.read_text().replace("exec python", "python -c 'print(1)'\npython"))
    module = project.source.parent.name
    with start.open("a") as script:
        script.write(f"python -m {module}.train --epochs 1 --learning-rate 0.5\n")
    # A line that each process runs once.
    editor = project.debug(project.line("history = load_checkpoint("), EPOCHS="1")
    first = editor.stopped()
    assert first.locals["learning_rate"] == "0.02"
    editor.resume(first)
    second = editor.stopped()
    assert second.locals["learning_rate"] == "0.5"
    assert second.client is first.client
    editor.resume(second)
    editor.ended()
    assert project.exit_code() == 0
    assert project.log().count("Waiting for client to attach...") == 1


def test_another_program_in_the_container_is_debugged_with_it(project: Project) -> None:
    project.compose("up", "--detach", "--wait")
    path = project.root / "src/other.py"
    path.write_text("import sys\nsys.exit(3 if 'pydevd' in sys.modules else 4)  # here\n")
    beside = ("exec", "-T", "train", "python", "src/other.py")
    # While the container's own program waits for a client, this program is not held.
    done = project.compose(*beside, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    editor = project.attach(project.line(BATCH))
    first = editor.stopped()
    assert first.line == project.line(BATCH)
    editor.set_breakpoints(path, marked(path))
    with ThreadPoolExecutor() as pool:
        running = pool.submit(project.compose, *beside, check=False)
        second = editor.stopped()
        assert (second.path, second.line) == (path, marked(path))
        assert second.client is not first.client
        editor.resume(second)
        done = running.result()
    assert (done.returncode, done.stdout) == (3, "")
    # When it ends, the session of the other program stays.
    stop = editor.step(first)
    assert (stop.client, stop.path) == (first.client, project.source)


@pytest.mark.parametrize("place", ["shell", ".env"])
def test_names_of_the_first_release_choose_the_mode(
    project: Project, template: Path, place: str
) -> None:
    done = copy_without_questions(template, project.root, "--overwrite", "--data", "old_names=true")
    assert done.returncode == 0, done.stderr
    environment: dict[str, Any] = {"DEBUGPY_MODE": "listen"} if place == "shell" else {}
    if place == ".env":
        with (project.root / ".env").open("a") as file:
            file.write("DEBUGPY_MODE=listen\n")
    project.compose("up", "--detach", "--wait", EPOCHS="100000", **environment)
    wait_until(lambda: "epoch" in project.log())
    assert remora(project, "status").stdout.startswith("mode listen, port 5678 ")
    assert project.messages().count("remora: DEBUGPY_MODE is called REMORA_MODE now") == 1
    assert project.attach(project.line(BATCH)).stopped().path == project.source
    # The new name takes precedence.
    project.compose("up", "--detach", "--wait", REMORA_MODE="off", EPOCHS="1", **environment)
    assert project.exit_code() == 0
    assert "remora: Listening" not in project.log()
