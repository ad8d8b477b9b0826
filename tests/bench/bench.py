"""What debugging costs, and how fast it is, compared with other ways: nox -s bench

Each test measures contenders side by side, and asserts only that what it measures really happens.
After the last test, docs/benchmarks.md is written again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import page
import pandas
import pytest
from alternatives import ALTERNATIVES, WITH_DEBUGGER, Alternative
from rounds import Samples, side_by_side, stopwatch
from support import dap
from support.container import Container, debug_python
from support.existing import ExistingProject
from support.ports import first_of_six_free_ports
from support.project import Project, marked, remove_images
from support.rendering import NEXT, commit, copy_without_questions, git, render, replace, update

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def measures():
    """The measured figures, by name. They are published, even if only some tests have run."""
    measures: dict[str, Samples] = {}
    yield measures
    page.publish(measures)


@pytest.fixture
def project_of(engine, template, tmp_path):
    """Make a project with a function that writes its files. Remove the project in the end."""
    projects = []

    def project_of(name: str, write: Callable[[Path, Path, int], object], **options: object):
        root = tmp_path / f"remora-bench-{name}-{os.getpid()}"
        write(root, template, first_of_six_free_ports(), **options)
        projects.append(Project(root))
        return projects[-1]

    yield project_of
    for project in projects:
        project.down()
        remove_images(project, project.root.name)


# ---- From an edit to the breakpoint, in seconds ----


def test_breakpoints(measures, project_of) -> None:
    """Measure from saving an edited file until the program has stopped in it."""
    projects = {}
    for way in ALTERNATIVES:
        project = projects[way] = project_of(way.name.replace(" ", "-").lower(), way.write)
        project.debug_file = way.debug_file
        project.compose("build")
    for service in ("train", "api"):
        ways = {
            way: way(project.seen_from(service))
            for way, project in projects.items()
            if service in way.services
        }
        started = {way.name: partial(from_the_start, one) for way, one in ways.items()}
        measures[f"edit to breakpoint, {service}"] = side_by_side(9, started)
        attached = {way.name: ways[way] for way in WITH_DEBUGGER}
        for one in attached.values():
            from_the_start(one, stop=False)
        if service == "train":
            steps = {name: partial(step, way) for name, way in attached.items()}
            measures["step"] = side_by_side(30, steps)
        else:
            edits = {name: partial(while_attached, way) for name, way in attached.items()}
            measures["edit to breakpoint, api, attached before"] = side_by_side(5, edits)
        for one in attached.values():
            one.stop()


def from_the_start(way: Alternative, *, stop: bool = True) -> float:
    """The container exists, but does not run."""
    with stopwatch() as watch:
        way.edit()
        way.start()
        way.attach()
        way.reach()
    if stop:
        way.stop()
    return watch.seconds


def while_attached(way: Alternative) -> float:
    """The program runs, and an editor is attached."""
    way.go_on()
    with stopwatch() as watch:
        way.edit()
        way.come_back()
        way.reach()
    return watch.seconds


def step(way: Alternative) -> float:
    """The milliseconds of a step over a line, until the editor has the variables."""
    with stopwatch() as watch:
        way.at = way.project.editors[-1].step(way.at)
    return watch.seconds * 1000


# ---- Until the program is ready, in seconds ----


def test_starts(measures, project_of) -> None:
    """Measure from the start of the container until the program prints its first line."""
    project = project_of("starts", Alternative.write)
    main = 'if __name__ == "__main__":\n'
    replace(project.root / "src/ml/train.py", main, f'{main}    print("Started", flush=True)\n')
    project.compose("build")
    for service, text in {"train": "Started", "api": "Application startup complete"}.items():
        view = project.seen_from(service)
        modes = {
            mode: partial(until_it_prints, view, text, mode)
            for mode in ("off", "demand", "crash", "listen")
        }
        measures[f"start, {service}"] = side_by_side(9, modes)
    measures["hub"] = side_by_side(5, {"memory": partial(memory_of_hub, project)})


def memory_of_hub(project: Project) -> float:
    """The hub's memory without a client, in MiB."""
    project.compose("up", "--detach", "--wait", "--force-recreate", "api", REMORA_MODE="listen")
    command = "grep -lzx '[h]ub' /proc/[0-9]*/cmdline | sed s/cmdline/status/"
    status = project.compose("exec", "-T", "api", "sh", "-c", f"cat $({command})").stdout
    project.compose("stop", "--timeout", "0")
    (kibibytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kibibytes) / 1024


def until_it_prints(project: Project, text: str, mode: str) -> float:
    """The time until the program prints, by Docker's own clock."""
    project.compose("up", "--detach", "--force-recreate", project.service, REMORA_MODE=mode)
    container = project.container()
    log = ["docker", "logs", "--follow", "--timestamps", container]
    with subprocess.Popen(
        log, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as lines:
        printed = next(line for line in lines.stdout if text in line)
        lines.terminate()
    started = project.run("docker", "inspect", "--format={{.State.StartedAt}}", container).stdout
    project.compose("stop", "--timeout", "0")
    return (moment(printed.split()[0]) - moment(started.strip())).total_seconds()


def moment(text: str) -> datetime:
    """A time from Docker, which has nanoseconds, sometimes with fewer digits."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction:0<6.6}")


# ---- A loop that keeps a core busy, in seconds ----


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_loop(measures, project_of, version: str) -> None:
    """Measure a program that only loops, without and with a debugger."""
    project = project_of(f"loop-{version.replace('.', '-')}", write_loop, python_version=version)
    project.run("docker", "compose", "build")
    project.compose("build")
    here = marked(project.root / "src/loop.py")
    production = project.root.name
    debug = f"{production}:debug"
    contenders = {
        "no debugger": partial(loop, project, production, "off"),
        "off": partial(loop, project, debug, "off"),
        "demand": partial(loop, project, debug, "demand"),
        "crash": partial(loop, project, debug, "crash"),
        "listen": partial(loop, project, debug, "listen"),
        "attached": partial(loop, project, debug, "wait"),
        "attached, breakpoint elsewhere": partial(loop, project, debug, "wait", here),
    }
    measures[f"loop, Python {version}"] = side_by_side(9, contenders)


def write_new(root: Path, template: Path, port: int, **answers: Any) -> None:
    render(template, root, debug_port=port, **answers)


def write_loop(root: Path, template: Path, port: int, **answers: Any) -> None:
    write_new(root, template, port, **answers)
    shutil.copy(PROGRAMS / "loop.py", root / "src")


def loop(project: Project, image: str, mode: str, *lines: int) -> float:
    """Run the loop in a container. In mode wait, attach with breakpoints at some of its lines."""
    port = project.configuration("train: attach")["connect"]["port"]
    source = project.root / "src/loop.py"
    run = ["docker", "run", "--rm", "--init", f"--publish=127.0.0.1:{port}:5678"]
    run += [f"--env=REMORA_MODE={mode}", "--env=REMORA_HOST=0.0.0.0"]
    run += [f"--volume={source}:/app/src/loop.py:ro", image]
    with subprocess.Popen(
        [*run, "python", "src/loop.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as container:
        for line in container.stdout:
            if "Waiting for client" in line:
                project.attach(*lines, source=source)
            last = line
    while project.editors:
        project.editors.pop().close()
    return float(last)


# ---- Until a client shows a value, in milliseconds ----


def test_values(measures, tmp_path: Path) -> None:
    """Measure big and small values of a stopped program, on this machine."""
    container = Container(debug_python(tmp_path), tmp_path)
    path = container.write("values.py", (PROGRAMS / "values.py").read_text())
    packages = str(Path(pandas.__file__).parents[1])
    container.start("python values.py", PYTHONPATH=packages)
    try:
        stop = container.attach({path: [marked(path)]}).stopped()
        names = [f"{size}_{kind}" for kind in page.VALUES for size in ("small", "big")]
        contenders = {name: partial(opened, stop, name) for name in names}
        measures["value"] = side_by_side(20, contenders)
    finally:
        container.stop()


def opened(stop: dap.Stop, name: str) -> float:
    """Let a client evaluate a variable, and open it."""
    frames = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"]
    with stopwatch() as watch:
        shown = stop.client.request(
            "evaluate", expression=name, frameId=frames[0]["id"], context="hover"
        )
        inside = stop.client.request("variables", variablesReference=shown["variablesReference"])
    assert len(inside["variables"]) > 1
    return watch.seconds * 1000


# ---- Before and after a crash ----


def test_crashes(measures, tmp_path: Path) -> None:
    """Measure the cost of waiting for a crash, and of the crash itself, on this machine."""
    python = debug_python(tmp_path)
    modes = {mode: partial(busy, python, mode) for mode in ("off", "crash", "dump")}
    measures["before a crash"] = side_by_side(15, modes)
    kinds = {kind: partial(crashed, python, tmp_path / "dumps", kind) for kind in page.HELD}
    measures["dump"] = side_by_side(3, kinds)
    without = {kind: partial(crashed, python, None, kind) for kind in page.HELD}
    measures["report"] = side_by_side(3, without)
    measures["dump, size"] = {
        kind: [size_of_dump(python, tmp_path / f"dumps-{kind}", kind)] for kind in page.HELD
    }


def busy(python: Path, mode: str) -> float:
    """Run a loop that keeps a core busy, and return how long it takes."""
    environment = {**os.environ, "REMORA_MODE": mode}
    command = [python, PROGRAMS / "loop.py"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def crashed(python: Path, dumps: Path | None, kind: str) -> float:
    """Crash a program, with a dump or without, and return how long the report takes."""
    environment = {**os.environ, "REMORA_MODE": "dump" if dumps else "off"}
    environment["REMORA_DUMPS"] = str(dumps)
    environment["PYTHONPATH"] = str(Path(pandas.__file__).parents[1])
    command = [str(python), str(PROGRAMS / "crash.py"), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "remora" not in done.stderr, done.stderr
    return float(done.stdout)


def size_of_dump(python: Path, dumps: Path, kind: str) -> float:
    """The size of the dump file, in kB."""
    crashed(python, dumps, kind)
    (path,) = dumps.iterdir()
    return path.stat().st_size / 1000


# ---- The start of a Python process, in milliseconds ----


def test_processes(measures, tmp_path: Path) -> None:
    """Measure an empty program, with and without the hook, on this machine."""
    empty = tmp_path / "empty.py"
    empty.touch()
    venv.create(tmp_path / "plain", symlinks=True)
    plain, hooked = tmp_path / "plain/bin/python", debug_python(tmp_path)
    contenders = {
        "without the hook": partial(process, plain, "off", "-c", ""),
        "off": partial(process, hooked, "off", "-c", ""),
        "passed over": partial(process, hooked, "wait", "-c", "", REMORA_TARGET="*another.py*"),
        "program without the hook": partial(process, plain, "off", empty),
        "demand": partial(process, hooked, "demand", empty),
        "crash": partial(process, hooked, "crash", empty),
    }
    measures["process"] = side_by_side(100, contenders)
    forks = {
        "without the hook": partial(fork, plain, "off"),
        **{mode: partial(fork, hooked, mode) for mode in ("off", "demand", "crash")},
    }
    measures["fork"] = side_by_side(20, forks)


def fork(python: Path, mode: str) -> float:
    command = [python, PROGRAMS / "fork.py"]
    environment = {**os.environ, "REMORA_MODE": mode}
    return float(
        subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    )


def process(python: Path, mode: str, *arguments: str | Path, **settings: str) -> float:
    # Compile the modules once, as in an image.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    settings["REMORA_MODE"] = mode
    with stopwatch() as watch:
        subprocess.run([python, *arguments], env={**inherited, **settings}, check=True)
    return watch.seconds * 1000


# ---- Images, in megabytes and layers ----


def test_images(measures, project_of, template: Path) -> None:
    """Measure what the template adds to images."""
    new = project_of("new", Alternative.write)
    write_dockerfile_without_template(new)
    images = {
        "new, without the template": image(new, "--file=Dockerfile.without"),
        "new, production": image(new),
        "new, debug": image(new, "--target=debug"),
    }
    adopted = project_of("adopted", write_mailer).seen_from("api")
    adopted.run("docker", "compose", "build")
    name = f"{adopted.root.name}-api"
    images["adopted, before"] = inspect(adopted, name)
    render(template, adopted.root, debug_port=first_of_six_free_ports())
    adopted.run("docker", "compose", "build")
    adopted.compose("build")
    images["adopted, production"] = inspect(adopted, name)
    images["adopted, debug"] = inspect(adopted, f"{name}:debug")
    measures["size"] = {name: [image["Size"] / 1e6] for name, image in images.items()}
    measures["layers"] = {name: [len(image["RootFS"]["Layers"])] for name, image in images.items()}


def write_mailer(root: Path, template: Path, port: int) -> None:
    ExistingProject("web-and-worker-redis").write(root)


def image(project: Project, *options: str) -> dict:
    """Build an image, and return what Docker says about it."""
    return inspect(project, build(project, "--quiet", *options).strip())


def inspect(project: Project, name: str) -> dict:
    return json.loads(project.run("docker", "image", "inspect", name).stdout)[0]


def write_dockerfile_without_template(project: Project) -> None:
    """Write the Dockerfile as it would be without a debugger and tests."""
    production, _, _ = (project.root / "Dockerfile").read_text().partition("# ---- Debugging")
    (project.root / "Dockerfile.without").write_text(production)


# ---- Builds, in seconds ----


@pytest.mark.parametrize("service", ["train", "api"])
def test_builds(measures, project_of, service: str) -> None:
    """Measure the debug image, and production with a Dockerfile without the debugger."""
    project = project_of(f"build-{service}", write_new, services=[service]).seen_from(service)
    write_dockerfile_without_template(project)
    # Use a separate cache, which is empty each time.
    for name in ("Dockerfile", "Dockerfile.without"):
        text = (project.root / name).read_text()
        (project.root / f"{name}.cold").write_text(text.replace("type=cache", "type=tmpfs"))
    measures[f"cold build, {service}"] = side_by_side(
        3,
        {
            "without the template": partial(cold, project, "--file=Dockerfile.without.cold"),
            "debug": partial(cold, project, "--file=Dockerfile.cold", "--target=debug"),
        },
    )
    build(project, "--file=Dockerfile.without")
    build(project, "--target=debug")
    measures[f"build after an edit, {service}"] = side_by_side(
        9,
        {
            "without the template": partial(warm, project, "--file=Dockerfile.without"),
            "debug": partial(warm, project, "--target=debug"),
        },
    )


def cold(project: Project, *options: str) -> float:
    """Build as on a machine that has only the base image."""
    with stopwatch() as watch:
        build(project, "--no-cache", *options)
    return watch.seconds


def warm(project: Project, *options: str) -> float:
    """Build after an edit of the code, which must not install anything again."""
    with project.source.open("a") as source:
        source.write("# edited\n")
    with stopwatch() as watch:
        log = build(project, "--progress=plain", *options)
    installs = re.findall(r"^#(\d+) \[.*(?:install\.py|install -|uv sync)", log, re.MULTILINE)
    assert installs and all(f"#{step} CACHED" in log for step in installs), log
    return watch.seconds


def build(project: Project, *options: str) -> str:
    """Run plain `docker build`, and return its output. The label marks the image for removal."""
    label = f"--label=com.docker.compose.project={project.root.name}"
    return project.run("docker", "build", label, *options, ".").stdout


# ---- Copier, in seconds ----


def test_copies(measures, template: Path, tmp_path: Path) -> None:
    """Measure `copier copy` and `copier update`, compared with an empty template."""
    empty = write_template(tmp_path / "empty", lambda folder: folder.mkdir())
    plain = write_template(tmp_path / "plain", partial(render, template))
    ours = tmp_path / "ours"
    git(tmp_path, "clone", "--quiet", str(template), str(ours))
    for repository in (empty, plain, ours):
        git(repository, "commit", "--quiet", "--allow-empty", "--message", "later")
        git(repository, "tag", "10000.0.0")
    projects = {
        "an empty template": (empty, 0),
        "the same files, no questions": (plain, 0),
        "new": (ours, 0),
        **{f"adopt {n}": (ours, n) for n in (1, 10, 50)},
    }
    copies, updates = {}, {}
    for name, (repository, services) in projects.items():
        copies[name] = partial(copied, tmp_path / "copy", repository, services)
        folder = write_services(tmp_path / name, services)
        done = copy_without_questions(repository, folder, f"--vcs-ref={NEXT}")
        assert done.returncode == 0, done.stderr
        commit(folder)
        updates[name] = partial(updated, folder)
    measures["copier copy"] = side_by_side(9, copies)
    measures["copier update"] = side_by_side(7, updates)


def write_template(folder: Path, write: Callable[[Path], object]) -> Path:
    """Make a template without questions, with files that need no rendering."""
    folder.mkdir()
    write(folder / "template")
    (folder / "copier.yml").write_text("_subdirectory: template\n")
    (folder / "template/.copier-answers.yml").unlink(missing_ok=True)
    answers = "{{ _copier_conf.answers_file }}.jinja"
    (folder / "template" / answers).write_text("{{ _copier_answers | to_nice_yaml }}")
    commit(folder, tag=NEXT)
    return folder


def write_services(folder: Path, number: int) -> Path:
    """Write a Compose project with some services, each with its own folder, or an empty one."""
    folder.mkdir()
    services = {}
    for name in (f"service-{n}" for n in range(number)):
        (folder / name).mkdir()
        (folder / name / "main.py").write_text("print(1)\n")
        (folder / name / "Dockerfile").write_text("FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\n")
        services[name] = {"build": name, "command": ["python", "main.py"]}
    if services:
        (folder / "compose.yaml").write_text(json.dumps({"services": services}))
    return folder


def copied(folder: Path, template: Path, services: int) -> float:
    write_services(folder, services)
    with stopwatch() as watch:
        done = copy_without_questions(template, folder)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder)
    return watch.seconds


def updated(folder: Path) -> float:
    with stopwatch() as watch:
        update(folder)
    git(folder, "reset", "--quiet", "--hard")
    return watch.seconds
