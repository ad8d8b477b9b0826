"""Every way to start Python: a breakpoint hits, and the program does not notice the debugger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.project import COUNT, Project, copy, marked, remora, wait_until

pytestmark = pytest.mark.docker

# What the tests add to the image's stage of dependencies.
EXTRAS = r"""
RUN apt-get -qq update && \
    apt-get -qq install --yes --no-install-recommends cron sudo && \
    rm -r /var/lib/apt/lists/*
RUN pip --python /opt/venv install --root-user-action=ignore \
      "python-dotenv[cli]" opentelemetry-distro uv gunicorn uvicorn flask && \
    python3 -m venv --system-site-packages /srv/elsewhere && \
    mkdir /srv/own && \
    echo "import os; os.environ['SITECUSTOMIZE'] = 'ran'" >/srv/own/sitecustomize.py && \
    echo "NAME = 'own module'" >/srv/own/own_module.py && \
    touch /app/.env && \
    printf '[project]\nname="console"\nversion="1"\n[project.scripts]\nreport="report:main"\n' \
      >/tmp/pyproject.toml && \
    printf '[tool.setuptools]\npy-modules=[]\n' >>/tmp/pyproject.toml && \
    pip --python /opt/venv install --root-user-action=ignore /tmp
"""

# What a program knows about itself and passes to a child, except the debugger's settings.
REPORT = """#!/usr/bin/env python
import json
import os
import subprocess
import sys


def work(number):
    answer = number + 41
    return answer  # here


def main():
    work(int(os.environ.get("RANK", "1")))
    if "again" in sys.argv:
        os.environ["RANK"] = "2"
        arguments = [argument for argument in sys.argv if argument != "again"]
        os.execv(sys.executable, [sys.executable, *arguments])
    if "import" in sys.argv:
        import own_module
        print(own_module.NAME)
    settings = ("REMORA_", "DEBUGPY_", "PYDEVD_", "PYTHON_FROZEN_MODULES", "HOSTNAME")
    child = subprocess.check_output(["env"], text=True).splitlines()
    environment = sorted(line for line in child if not line.startswith(settings))
    print(json.dumps([sys.argv, __name__, os.getcwd(), sys.path[0], environment]))
    sys.exit(3)


if __name__ == "__main__":
    main()
"""

CHILDREN = """
import asyncio
import concurrent.futures
import multiprocessing
import os
import subprocess
import sys


def work(number):
    answer = number + 41
    return answer  # here


if __name__ == "__main__":
    how = sys.argv[1]
    if how in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(how)
        child = context.Process(target=work, args=[1])
        child.start()
        child.join()
        print("child", child.exitcode)
    elif how == "futures":
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            print(pool.submit(work, 1).result())
    elif how == "subprocess":
        print(subprocess.run([sys.executable, __file__, "child"]).returncode)
    elif how == "shell":
        print(subprocess.run(f"python {__file__} child; exit 3", shell=True).returncode)
    elif how == "asyncio":
        async def main():
            child = await asyncio.create_subprocess_exec(sys.executable, __file__, "child")
            print(await child.wait())

        asyncio.run(main())
    elif how == "ranks":
        # As torchrun does: a launcher, and a child for each rank
        ranks = [
            subprocess.Popen(
                [sys.executable, "-u", __file__, "child"],
                env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(3)
        ]
        print([rank.wait() for rank in ranks])
    else:
        # In one piece: ranks print at the same time
        sys.stdout.write(f"{work(int(os.environ.get('RANK', '1')))}\\n")
"""

STARTS = {
    "a script": "python src/report.py a 'b c'",
    "a module": "cd src && python -m report a",
    "a console script": "PYTHONPATH=src report a",
    "bash": "bash src/start.sh",
    "sh -c": "cd src && python report.py",
    "env": "env A=1 python src/report.py",
    "dotenv run": "dotenv -f /app/.env run -- python src/report.py",
    "opentelemetry-instrument": (
        "opentelemetry-instrument --traces_exporter none --metrics_exporter none"
        " --logs_exporter none python src/report.py"
    ),
    "uv run": "uv run --no-cache --no-project --python /usr/bin/python3 src/report.py",
    "a virtual environment elsewhere": "/srv/elsewhere/bin/python src/report.py",
    "own PYTHONPATH and sitecustomize": "PYTHONPATH=/srv/own python src/report.py import",
    "options of Python": "python -u -W ignore -X utf8 src/report.py",
    "a script with #!": "src/report.py a",
    "a cleared environment": 'env -i "$(command -v python)" src/report.py',
    # The one-liner is held itself, so the client is attached when the next program starts.
    "sh -c, a one-liner first": "python -c 'print(1)'; python src/report.py",
}

# Programs that replace each other, with the value of `answer` in each.
IN_TURN = {
    "one after another": (
        "python src/children.py child && RANK=2 python src/children.py child",
        ["42", "43"],
    ),
    "an exec of itself": ("python src/report.py again a", ["42", "43"]),
}

# How root starts a program as another user
WITH_ENVIRONMENT = {"sudo -E": "sudo -E -u app {}", "su": "su app -c '{}'"}
WITHOUT_ENVIRONMENT = {"sudo": "sudo -u app {}", "su -": "su - app -c '{}'"}

# Programs that run at the same time.
AT_ONCE = {
    "ranks of a launcher": "python -u src/children.py ranks",
    "three beside each other": (
        "for RANK in 0 1 2; do RANK=$RANK python src/children.py child & done; wait"
    ),
}

PARENTS = ["fork", "spawn", "forkserver", "futures", "subprocess", "asyncio", "shell"]


@pytest.fixture(scope="module")
def image(build) -> Project:
    """A project whose image contains launchers, servers and interpreters."""

    def prepare(root: Path) -> None:
        dockerfile = root / "Dockerfile"
        dependencies, heading, rest = dockerfile.read_text().partition("# ---- Production:")
        dockerfile.write_text(dependencies + EXTRAS + "\n" + heading + rest)
        for name, text in [("report.py", REPORT), ("children.py", CHILDREN)]:
            (root / "src" / name).write_text(text)
        (root / "src/report.py").chmod(0o755)
        (root / "src/start.sh").write_text(
            "set -e\npython -c 'print(1)'\nexec python src/report.py x\n"
        )

    return build(prepare)


@pytest.fixture
def project(image, tmp_path):
    project = copy(image, tmp_path)
    yield project
    project.down()


def start(project: Project, command: str, **options: Any) -> None:
    """Start a command as a user would: as the service's command in the Compose file."""
    wait = options.pop("wait", True)
    mode = {"REMORA_MODE": options.pop("mode")} if "mode" in options else {}
    project.more_files.clear()
    project.override("command.yml", command=["sh", "-c", command.replace("$", "$$")], **options)
    project.compose("up", "--detach", *(["--wait"] if wait else []), **mode)


def runs_as_without_debugger(project: Project, command: str, **options: Any) -> None:
    """Check that a command does the same with REMORA_MODE=off as under the debugger."""
    code, printed = project.exit_code(), project.output()
    start(project, command, wait=False, mode="off", **options)
    assert (code, printed) == (project.exit_code(), project.output())


def check(
    project: Project, command: str, name="report.py", answers=("42",), **options: Any
) -> None:
    """Check that a command stops at a breakpoint, and does the same without a debugger.

    answers: the value of `answer` at each stop. All stops are in one session.
    """
    path = project.root / "src" / name
    start(project, command, **options)
    editor = project.attach(marked(path), source=path)
    stops = []
    for _ in answers:
        stops.append(editor.stopped())
        editor.resume(stops[-1])
    expected = [(path, marked(path), "work", answer) for answer in answers]
    assert [(x.path, x.line, x.function, x.locals["answer"]) for x in stops] == expected
    if len(answers) > 1:
        assert {x.client for x in stops} == {editor.clients[0]}
    assert editor.stopped_or_ended() is None
    # The container waits once: an attached client debugs all later programs.
    assert project.log().count("Waiting for client to attach...") <= 1
    runs_as_without_debugger(project, command, **options)


@pytest.mark.parametrize("name", STARTS)
def test_program_starts_as_without_a_debugger(project: Project, name: str) -> None:
    check(project, STARTS[name])


@pytest.mark.parametrize("name", IN_TURN)
def test_programs_in_turn(project: Project, name: str) -> None:
    command, answers = IN_TURN[name]
    check(project, command, "report.py" if "report" in command else "children.py", answers)


@pytest.mark.parametrize("how", WITH_ENVIRONMENT)
def test_root_starts_a_program_as_another_user(project: Project, how: str) -> None:
    program = "/opt/venv/bin/python /app/src/report.py"
    check(project, WITH_ENVIRONMENT[how].format(program), user="0:0")


@pytest.mark.parametrize("how", WITHOUT_ENVIRONMENT)
def test_program_of_another_user_after_roots(project: Project, how: str) -> None:
    second = WITHOUT_ENVIRONMENT[how].format("/opt/venv/bin/python /app/src/children.py child")
    command = f"RANK=2 python src/children.py child && {second}"
    check(project, command, "children.py", ["43", "42"], user="0:0")


def test_first_program_is_of_another_user_without_an_environment(project: Project) -> None:
    """Only root's health check has the settings, and it may run after the program has begun."""
    path = project.root / "src/count.py"
    path.write_text(COUNT)
    command = WITHOUT_ENVIRONMENT["sudo"].format(f"/opt/venv/bin/python src/{path.name}")
    start(project, command, user="0:0")
    editor = project.attach(marked(path), source=path)
    assert editor.stopped().path == path


def test_jobs_of_cron_are_held(project: Project) -> None:
    """Jobs are held like the container's command. Only the hub can tell them the settings."""
    path = project.root / "src/report.py"
    # cron begins once the container is healthy, and therefore has a hub.
    command = """
        for user in root app; do
          echo "@reboot $user /opt/venv/bin/python /app/src/report.py" >>/etc/cron.d/jobs
        done
        until [ -e /tmp/healthy ]; do sleep 0.1; done
        exec cron -f
    """
    start(project, command, user="0:0", read_only=False)
    project.compose("exec", "-T", "train", "touch", "/tmp/healthy")
    wait_until(lambda: remora(project, "status", check=False).stdout.count(" waits ") == 2)
    editor = project.attach(marked(path), source=path)
    stops = [editor.stopped() for _ in range(2)]
    assert [(x.path, x.line, x.locals["answer"]) for x in stops] == 2 * [(path, marked(path), "42")]


@pytest.mark.parametrize("name", AT_ONCE)
def test_programs_at_once(project: Project, name: str) -> None:
    path = project.root / "src/children.py"
    start(project, AT_ONCE[name])
    editor = project.attach(marked(path), source=path)
    # None of them continues before all have stopped.
    stops = [editor.stopped() for _ in range(3)]
    assert {(stop.path, stop.line) for stop in stops} == {(path, marked(path))}
    assert sorted(stop.locals["answer"] for stop in stops) == ["41", "42", "43"]
    assert len({stop.client for stop in stops}) == 3
    for stop in stops:
        editor.resume(stop)
    assert editor.stopped_or_ended() is None
    runs_as_without_debugger(project, AT_ONCE[name])


@pytest.mark.parametrize("how", PARENTS)
def test_child_starts_as_without_a_debugger(project: Project, how: str) -> None:
    check(project, f"python -u src/children.py {how}", "children.py")


def test_installer_is_not_held(project: Project) -> None:
    path = project.root / "src/report.py"
    start(project, "pip --version && python src/report.py")
    wait_until(lambda: "Waiting for client to attach..." in project.log())
    # No client has attached yet.
    assert any(line.startswith("pip ") for line in project.output())
    editor = project.attach(marked(path), source=path)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (path, marked(path))
    editor.resume(stop)
    assert project.exit_code() == 3


def test_program_of_any_user_is_debugged(project: Project) -> None:
    check(project, "python src/report.py", user="12345:12345")


def test_program_of_root_is_debugged(project: Project) -> None:
    check(project, "python src/report.py", user="0:0")


def test_program_on_a_read_only_file_system_is_debugged(project: Project) -> None:
    check(project, "python src/report.py", read_only=True)


def test_restricted_program_is_debugged(project: Project) -> None:
    """Kubernetes's level `restricted`, with an arbitrary user and a read-only file system."""
    options = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "read_only": True}
    check(project, "python src/report.py", user="1234567:1234567", **options)


@pytest.mark.parametrize("target", ["report.py", "*report.py a", "src/r*.py"])
def test_target_picks_one_of_two_programs(project: Project, target: str) -> None:
    path = project.root / "src/children.py"
    environment = {"REMORA_TARGET": target}
    start(project, "python src/children.py child; python src/report.py a", environment=environment)
    # The first program runs by itself, past a line at which it would stop.
    wait_until(lambda: "Waiting for client to attach..." in project.log())
    assert project.output() == ["42"]
    report = path.with_name("report.py")
    editor = project.attach(marked(report), source=report)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (report, marked(report))


SERVER = """
import flask

app = flask.Flask(__name__)


@app.get("/")
def index():
    answer = 42
    return str(answer)  # here


async def asgi(scope, receive, send):
    answer = 42
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(answer).encode()})  # asgi
"""


# Runs a server that prints a line each time that it has checked its workers.
LOOKING = """
import runpy, sys

from gunicorn.arbiter import Arbiter
from uvicorn.supervisors.multiprocess import Multiprocess


def print_after(owner, name):
    look = getattr(owner, name)

    def wrapper(self):
        look(self)
        print("looked", flush=True)

    setattr(owner, name, wrapper)


print_after(Arbiter, "murder_workers")
print_after(Multiprocess, "keep_subprocess_alive")
if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("command", "mark"),
    [
        ("gunicorn --chdir src --workers 3 --timeout 1 --bind 127.0.0.1:8000 server:app", "here"),
        (
            "uvicorn --app-dir src --lifespan off --workers 2 --timeout-worker-healthcheck 1"
            " --port 8000 server:asgi",
            "asgi",
        ),
    ],
)
def test_workers_of_a_server_are_debugged(project: Project, command: str, mark: str) -> None:
    path = project.root / "src/server.py"
    path.write_text(SERVER)
    path.with_name("looking.py").write_text(LOOKING)
    number = next(n for n, x in enumerate(SERVER.splitlines(), 1) if f"# {mark}" in x)
    start(project, f"python src/looking.py {command}")
    editor = project.attach(number, source=path)
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode())"
    ask = ["exec", "-T", "-e", "REMORA_MODE=off", "train", "python", "-c"]
    probe = "import socket; socket.create_connection(('127.0.0.1', 8000))"
    wait_until(lambda: project.compose(*ask, probe, check=False).returncode == 0)
    project.compose("exec", "-d", "-e", "REMORA_MODE=off", "train", "python", "-c", fetch)
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.locals["answer"]) == (path, number, "42")

    # The server does not end a worker that is paused for longer than its timeout.
    looked = project.log().count("looked")
    wait_until(lambda: project.log().count("looked") > looked + 5)
    editor.set_breakpoints(path)
    editor.resume(stop)
    assert project.compose(*ask, fetch).stdout.endswith("42\n")
    log = project.log()
    assert "WORKER TIMEOUT" not in log and "died" not in log


@pytest.fixture(scope="module", params=["3.11", "3.15"])
def other_version(request, build) -> Project:
    """A project with another version of Python than the others."""

    def prepare(root: Path) -> None:
        (root / "src/report.py").write_text(REPORT)
        (root / "src/children.py").write_text(CHILDREN)

    return build(prepare, python_version=request.param)


def test_other_versions_of_python_are_debugged(other_version: Project, tmp_path: Path) -> None:
    project = copy(other_version, tmp_path)
    try:
        check(project, "python src/report.py a")
        for how in ("fork", "spawn", "subprocess"):
            check(project, f"python -u src/children.py {how}", "children.py")
        start(project, "python src/report.py import", mode="crash", wait=False)
        wait_until(lambda: "Waiting for client to attach..." in project.log())
        editor = project.attach()
        stop = editor.stopped()
        assert (stop.reason, stop.path.name, stop.function) == ("exception", "report.py", "main")
        editor.resume(stop)
        assert project.exit_code() == 1
        project.more_files.clear()
        project.compose("up", "--detach", "--wait", REMORA_MODE="demand", EPOCHS="100000")
        wait_until(lambda: "epoch" in project.log())
        project.task("train: attach")
        number = project.line("losses.append(loss)")
        assert project.attach(number).stopped().line == number
    finally:
        project.down()
