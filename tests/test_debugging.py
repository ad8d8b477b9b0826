"""What a project promises, shown on its own files in real containers with a real DAP client."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import dap
import pytest
from project import Project, wait_until

pytestmark = pytest.mark.docker

# A line of the training program that runs for every batch, after its loss is known.
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
    project.task("stop train")


def test_waiting_says_what_to_do(project: Project) -> None:
    project.compose("up", "--detach", "--wait")
    address = "127.0.0.1:{port}".format(**project.configuration("Debug train")["connect"])
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
        # Without anybody attached, the program goes on.
        lines = len(project.log().splitlines())
        wait_until(lambda before=lines: len(project.log().splitlines()) > before)
        late = project.attach(project.line(BATCH))
        assert late.stopped().path == project.source
        late.detach()


def test_off_runs_as_production_does(project: Project) -> None:
    project.edit("    history = train(", "    breakpoint()\n    history = train(")
    project.compose("up", "--detach", REMORA_MODE="off", EPOCHS="2")
    assert project.exit_code() == 0
    log = project.log()
    assert "debugpy" not in log
    last_line = log.splitlines()[-1]
    production = project.run("docker", "compose", "run", "--rm", "train", EPOCHS="2").stdout
    assert last_line.startswith("loss ")
    assert last_line == production.splitlines()[-1]


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


def test_port_inside_can_be_moved(project: Project) -> None:
    client_port = project.configuration("Attach to train")["connect"]["port"]
    project.compose("up", "--detach", "--wait", REMORA_PORT="6000")
    published = project.compose("port", "train", "6000", REMORA_PORT="6000").stdout
    assert published.strip() == f"127.0.0.1:{client_port}"
    assert project.attach(project.line(BATCH)).stopped().line == project.line(BATCH)


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("REMORA_MODE", "bogus", "wait, listen, demand, crash or off"),
        ("REMORA_MODE", "WAIT", "wait, listen, demand, crash or off"),
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


def test_bad_setting_fails_up(project: Project) -> None:
    done = project.compose("up", "--wait", "--detach", REMORA_MODE="no", check=False)
    assert done.returncode != 0
    assert "exited (78)" in done.stdout
    assert "REMORA_MODE must be wait, listen, demand, crash or off, not 'no'" in project.log()


def test_taken_port_starts_nothing(project: Project) -> None:
    port = project.configuration("Attach to train")["connect"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        done = project.task("start train", check=False)
    assert done.returncode != 0
    assert str(port) in done.stdout and "address already in use" in done.stdout
    assert project.compose("ps", "--quiet").stdout == ""
    # Once the port is free, the same command works.
    assert project.debug(project.line(BATCH)).stopped().line == project.line(BATCH)


def test_debug_image_works_without_compose(project: Project) -> None:
    port = project.configuration("Attach to train")["connect"]["port"]
    publish = ("--publish", f"127.0.0.1:{port}:5678")
    with waiting_container(project, "--init", "--env", "EPOCHS=1", *publish) as container:
        log = project.run("docker", "logs", container).stdout
        assert f"container {container[:12]}, port 5678" in log
        stop = project.attach(project.line(BATCH)).stopped()
        assert (stop.path, stop.line) == (project.source, project.line(BATCH))
        status = project.run("docker", "exec", container, "debug-attach", "--status").stdout
        assert "mode wait, port 5678" in status
        assert "a client is attached" in status


def test_interrupt_ends_a_waiting_pid_1(project: Project) -> None:
    with waiting_container(project) as container:
        project.run("docker", "kill", "--signal", "INT", container)
        assert project.run("docker", "wait", container).stdout == "130\n"
        assert "epoch" not in project.run("docker", "logs", container).stdout


@contextmanager
def waiting_container(project: Project, *options: str) -> Iterator[str]:
    """Start the debug image as a user does who has no Compose; give the container once it waits."""
    image = build(project, "--target", "debug")
    container = project.run("docker", "run", "--detach", *options, image).stdout.strip()
    try:
        log = ["docker", "logs", container]
        wait_until(lambda: "Waiting for client to attach..." in project.run(*log).stdout)
        yield container
    finally:
        project.run("docker", "rm", "--force", container)


def build(project: Project, *options: str) -> str:
    """Build an image with plain `docker build`; its label lets it be removed."""
    name = json.loads(project.compose("config", "--format", "json").stdout)["name"]
    label = f"com.docker.compose.project={name}"
    return project.run("docker", "build", "--quiet", "--label", label, *options, ".").stdout.strip()


def test_umask_does_not_matter(project: Project) -> None:
    for path in project.root.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.suffix == ".sh" else 0o600)
    image = build(project, "--target", "debug")
    # Neither the entry point nor the hook nor the program may be unreadable.
    run = ["docker", "run", "--rm", "--env", "EPOCHS=1", "--env", "REMORA_MODE=listen", image]
    log = project.run(*run).stdout
    assert "Listening" in log
    assert log.splitlines()[-1].startswith("loss ")


def test_every_interpreter_of_the_image_has_the_hook(project: Project) -> None:
    dockerfile = project.root / "Dockerfile"
    dependencies, production, rest = dockerfile.read_text().partition("# ---- Production")
    venv = "RUN python3 -m venv --without-pip /srv/other\n"
    dockerfile.write_text(dependencies + venv + production + rest)
    image = build(project, "--target", "debug")
    script = "printf 'print(1)' >/tmp/x.py; /srv/other/bin/python /tmp/x.py"
    run = ["docker", "run", "--rm", "--env", "REMORA_MODE=listen", image, "sh", "-c", script]
    assert "debugpy: Listening" in project.run(*run).stdout


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
    assert "last.npz" in project.run(*listing).stdout


def test_programs_one_after_the_other(project: Project) -> None:
    start = project.root / "scripts/train.sh"
    start.write_text(start.read_text().replace("exec python", "python -c 'print(1)'\npython"))
    module = project.source.parent.name
    with start.open("a") as script:
        script.write(f"python -m {module}.train --epochs 1 --learning-rate 0.5\n")
    client = project.debug(project.line(BATCH), EPOCHS="1")
    stop = client.stopped()
    assert stop.locals["learning_rate"] == "0.02"
    client.set_breakpoints(project.source)
    client.resume(stop)
    client.ended()
    wait_until(lambda: project.log().count("Waiting for client to attach...") == 2)
    second = project.attach(project.line(BATCH)).stopped()
    assert second.locals["learning_rate"] == "0.5"


def test_another_program_in_the_container_runs_on_undisturbed(project: Project) -> None:
    project.compose("up", "--detach", "--wait")
    script = "import sys; sys.exit(3 if 'debugpy' in sys.modules else 4)"
    (project.root / "src/other.py").write_text(script)
    done = project.compose("exec", "-T", "train", "python", "src/other.py", check=False)
    assert done.returncode == 4
    (line,) = done.stdout.splitlines()
    assert "port 5678 is taken by pid" in line and "goes on without a debugger" in line
    assert project.attach(project.line(BATCH)).stopped().line == project.line(BATCH)
