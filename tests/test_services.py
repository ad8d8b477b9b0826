"""The services of a project, each debugged with its own configuration, in real containers."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from pathlib import Path

import pytest
from support.project import Project, copy, wait_until

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def all_services(build) -> Project:
    return build(services=["train", "api", "worker"])


@pytest.fixture(params=["fastapi", "flask", "django"])
def api(request, build, tmp_path):
    """A project with a web service, for each framework."""
    key = f"api_{request.param}"
    if not hasattr(build, key):
        if request.param == "fastapi":
            setattr(build, key, request.getfixturevalue("all_services"))
        else:
            setattr(build, key, build(services=["api"], api_framework=request.param))
    project = copy(getattr(build, key), tmp_path).seen_from("api")
    yield project
    project.down()


@pytest.fixture
def whole(all_services, tmp_path):
    project = copy(all_services, tmp_path)
    yield project
    project.down()


class Request(threading.Thread):
    """A request to the web service, which may stop at a breakpoint before it answers."""

    def __init__(self, project: Project, path: str) -> None:
        super().__init__(daemon=True)
        port = (project.root / ".env").read_text().strip().removeprefix("HTTP_PORT=")
        self.url = f"http://127.0.0.1:{port}{path}"
        self.answer = None
        self.start()

    def run(self) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=60) as response:
                self.answer = json.load(response)
        except OSError:
            pass


def serves(project: Project, **expected: object) -> bool:
    request = Request(project, "/")
    request.join()
    return request.answer is not None and expected.items() <= request.answer.items()


class Reloaded:
    """Whether the service runs again, with a given version of its code.

    Django's reloader misses an edit before its first look at the files, so this saves again.
    """

    def __init__(self, project: Project, version: str) -> None:
        self.project, self.version = project, version
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked % 60 == 0:
            self.project.source.touch()
        return serves(self.project, reload=self.version)


def stop_at_request(project: Project, editor, number: int) -> None:
    request = Request(project, "/primes/10")
    stop = editor.stopped()
    assert (stop.path, stop.line) == (project.source, number)
    assert stop.locals["limit"] == "10"
    editor.resume(stop)
    for _ in range(3):
        editor.resume(editor.stopped())
    request.join()
    assert request.answer == {"limit": 10, "count": 4, "largest": 7}


def test_breakpoints_in_a_route_hit_after_two_reloads(api: Project) -> None:
    editor = api.debug(api.line("primes.append(number)"))
    wait_until(lambda: serves(api))
    stop_at_request(api, editor, api.line("primes.append(number)"))
    for version in ("1", "2"):
        old = '{"service": "' if version == "1" else '{"reload": "1", "service": "'
        # Code below the breakpoint moves, and code above stays.
        api.edit(old, f'{{"reload": "{version}", "service": "')
        wait_until(Reloaded(api, version))
        stop_at_request(api, editor, api.line("primes.append(number)"))
    api.task("api: stop")


def test_its_tests_pass_in_the_container(api: Project) -> None:
    api.compose("build", "tests")  # leave out the output of pip
    done = api.compose("run", "--rm", "-T", "tests", REMORA_MODE="off")
    assert " passed" in done.stdout and "warning" not in done.stdout


def test_production_serves(api: Project) -> None:
    # The service is healthy once it answers.
    api.run("docker", "compose", "up", "--detach", "--wait", "api")
    assert serves(api)
    log = api.run("docker", "compose", "logs", "api").stdout
    assert "ERROR" not in log and "Read-only" not in log, log
    api.run("docker", "compose", "down", "--timeout", "0")


def test_breakpoint_in_a_task_of_the_worker_stops(whole: Project) -> None:
    worker = whole.seen_from("worker")
    editor = worker.debug(worker.line("inside += 1"))
    queue_task(worker, "[1000]")
    stop = editor.stopped()
    assert (stop.path, stop.function) == (worker.source, "estimate_pi")
    assert stop.locals["samples"] == "1000"
    editor.set_breakpoints(worker.source)
    editor.resume(stop)
    wait_until(lambda: "succeeded in" in worker.log())


def queue_task(worker: Project, arguments: str) -> None:
    (module,) = worker.root.glob("src/*/worker.py")
    name = f"{module.parent.name}.worker"
    call = ["celery", "--app", name, "call", f"{name}.estimate_pi", "--args", arguments]
    # As a client elsewhere would: not in a debugged container.
    worker.compose("run", "--rm", "-T", "--no-deps", "worker", *call, REMORA_MODE="off")


def test_all_services_are_debugged_at_once(whole: Project) -> None:
    launch = json.loads((whole.root / ".vscode/launch.json").read_text())
    (compound,) = launch["compounds"]
    whole.task(compound["preLaunchTask"])
    lines = {"train": "losses.append(loss)", "api": "primes.append(number)"}
    lines["worker"] = "inside += 1"
    editors = {}
    for name in compound["configurations"]:
        view = whole.seen_from(name.partition(":")[0])
        editors[view.service] = view.attach(view.line(lines[view.service]), name=name)
    assert editors["train"].stopped().path.name == "train.py"
    api = whole.seen_from("api")
    wait_until(lambda: serves(api))
    Request(api, "/primes/10")
    assert editors["api"].stopped().path.name == "api.py"
    queue_task(whole.seen_from("worker"), "[1000]")
    assert editors["worker"].stopped().path.name == "worker.py"
    # Stop in one session ends all sessions (`stopAll`), and each stops its own service.
    for name in compound["configurations"]:
        view = whole.seen_from(name.partition(":")[0])
        editors[view.service].detach()
        whole.task(view.configuration(name)["postDebugTask"])
    running = whole.compose("ps", "--status=running", "--services").stdout.split()
    assert running == ["redis"]


# A bug for each service, and the values that show it at the line in AGENTS.md
BUGS = {
    "train": ("range(0, len(order), BATCH_SIZE)", "range(7, len(order), BATCH_SIZE)", "start = 7"),
    "api": ("range(2, limit)", "range(1, limit)", "number = 1\n"),
    "worker": ("x * x + y * y < 1", "x * x + y * y > 1", "x * x + y * y < 1 = False"),
}


@pytest.mark.parametrize("service", BUGS)
def test_a_bug_is_found_by_what_agents_are_told(whole: Project, service: str) -> None:
    """The test runs the commands of AGENTS.md exactly."""
    view = whole.seen_from(service)
    view.edit(*BUGS[service][:2])
    text = (whole.root / "AGENTS.md").read_text()
    (commands,) = re.findall(rf"### {service}\n\n```sh\n(.*?)```", text, re.DOTALL)
    port = (whole.root / ".env").read_text().strip().removeprefix("HTTP_PORT=")
    done = whole.run("bash", "-e", "-c", commands, HTTP_PORT=port)
    assert BUGS[service][2] in done.stdout
    assert service not in whole.compose("ps", "--status=running", "--services").stdout.split()


def test_breakpoint_in_the_tests_stops(whole: Project) -> None:
    path: Path = whole.root / "tests/test_train.py"
    lines = path.read_text().splitlines()
    number = lines.index("    assert history[-1] < history[0]") + 1
    tests = whole.seen_from("tests")
    editor = tests.debug(number, source=path)
    stop = editor.stopped()
    assert (stop.path, stop.line, stop.function) == (path, number, "test_loss_falls")
    assert "history" in stop.locals
    editor.resume(stop)
    editor.ended()
    assert tests.exit_code() == 0
