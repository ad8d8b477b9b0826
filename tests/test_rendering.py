"""Rendered files are well formed, whatever the answers, and read as if written by hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from copier.errors import UserMessageError
from ruamel.yaml import YAML
from support.existing import ExistingProject
from support.programs import program, tool
from support.rendering import (
    REPOSITORY,
    answers,
    contents,
    copy_without_questions,
    git,
    known_files,
    render,
    replace,
)
from support.validators import assert_tidy, strict_json

# Answers that differ from the defaults, each in a way that changes a file.
ANSWERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "listen": {"debug_mode": "listen", "debug_port": 65533},
    "dump": {"debug_mode": "dump", "services": ["api"]},
    "off": {"debug_mode": "off", "debug_port": 1024},
    "demand": {"debug_mode": "demand", "services": ["worker"]},
    "crash": {"debug_mode": "crash", "gpu": True},
    "fastapi": {"services": ["api", "train"]},
    "flask": {"services": ["api"], "api_framework": "flask", "editors": ["vscode", "zed"]},
    "all": {"services": ["train", "api", "worker"], "api_framework": "django", "gpu": True},
    "oldest": {"python_version": "3.11", "project_name": "A very old Project v1.0"},
    "newest": {"python_version": "3.15", "package_name": "x"},
    "image": {"base_image": "registry.example.org:5000/team/python_base:3.13.5-slim"},
    "cluster": {
        "engines": ["compose", "kubernetes"],
        "services": ["train", "api", "worker"],
        "gpu": True,
        "editors": ["vscode", "zed"],
    },
    "ranks": {"engines": ["compose", "kubernetes"], "ranks": 3, "gpu": True},
    "cluster without a job": {
        "engines": ["compose", "kubernetes"],
        "services": ["api"],
        "api_framework": "django",
    },
    # Names that YAML or a shell could misread
    "yes": {"project_name": "yes"},
    "taken": {"project_name": "NumPy"},
    "number": {"project_name": "1e3"},
    "digest": {"base_image": "python@sha256:" + "0" * 64},
    "pinned": {"base_digest": "sha256:" + "0" * 64},
    "long": {"project_name": "x" * 64, "package_name": "y" * 64},
}


@pytest.fixture(scope="module", params=ANSWERS)
def rendered(request, template, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "my-app"
    return render(template, folder, **ANSWERS[request.param])


@pytest.fixture
def engines(rendered: Path) -> list[str]:
    return YAML(typ="safe").load(rendered / ".copier-answers.yml")["engines"]


@pytest.fixture
def services(rendered: Path) -> list[str]:
    """The services of the answers. Each has a port."""
    return YAML(typ="safe").load(rendered / ".copier-answers.yml")["services"]


@pytest.fixture(scope="module")
def defaults(template, tmp_path_factory) -> Path:
    return render(template, tmp_path_factory.mktemp("defaults") / "my-app")


@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash", "dump", "off"])
@pytest.mark.parametrize("kind", ["new", "adopt"])
def test_commands_start_what_an_editor_can_attach_to(
    template: Path, tmp_path: Path, kind: str, mode: str
) -> None:
    if kind == "adopt":
        (tmp_path / "compose.yaml").write_text("services: {web: {build: .}}\n")
        (tmp_path / "main.py").touch()
    done = copy_without_questions(template, tmp_path, f"--data=debug_mode={mode}")
    pages = ["docker/debug/README.md"] + ["README.md"] * (kind == "new")
    text = "\n".join([done.stderr, *((tmp_path / page).read_text() for page in pages)])
    example = "REMORA_MODE=crash docker compose -f docker-compose.debug.yml up\n"
    assert text.count(example) == 1
    command = (
        r"(?:REMORA_MODE=(\w+) )?docker compose -f docker-compose\.debug\.yml up(?: --build)?[`\n]"
    )
    modes = re.findall(command, text.replace(example, ""))
    open_mode = "wait" if kind == "new" else "listen"
    named = "" if mode in ("wait", "listen") else open_mode
    assert modes == [named] * (4 if kind == "new" else 3)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_files_are_those_that_the_questions_know(plain_template: Path, rendered: Path) -> None:
    found = [path for pattern in known_files(plain_template) for path in rendered.glob(pattern)]
    assert sorted([*found, rendered / ".copier-answers.yml"]) == sorted(files(rendered))


@pytest.mark.parametrize("mode", ["new", "adopt"])
def test_files_are_left_out_by_their_paths(plain_template: Path, tmp_path: Path, mode: str) -> None:
    """Paths decide, not names, so that a new file of the template may have any name."""
    template = shutil.copytree(plain_template, tmp_path / "template")
    added = {f"tools/{name}" for name in ("train.py", "api.py", "settings.py", "train/scripts/x")}
    for name in added:
        (template / "template" / name).parent.mkdir(parents=True, exist_ok=True)
        (template / "template" / name).touch()
    (tmp_path / "my-app").mkdir()
    (tmp_path / "my-app/compose.yaml").write_text("services: {web: {build: .}}\n")
    given: dict[str, Any] = {"mode": mode, "debug_services": [{"name": "web"}]}
    if mode == "new":
        (tmp_path / "my-app/compose.yaml").unlink()
        given = {"mode": mode, "services": ["worker"]}
    rendered = render(template, tmp_path / "my-app", **given)
    # Everything in an adopted project except the debug layer belongs to its owner.
    expected = added if mode == "new" else set()
    assert {str(path.relative_to(rendered)) for path in files(rendered / "tools")} == expected


# The edits that docs/architecture.md names for each
PLACES = {
    "services": {
        "copier.yml": ("a web service: api", "a report: report\n      a web service: api"),
        "template/_kinds.jinja": (
            '"worker": dict(',
            '"report": dict(plain, program="report", about="reports", requires=["tabulate"],'
            ' files=["templates"], copied=["templates"], command=["report"], look="x:1"),'
            '\n      "worker": dict(',
        ),
        "template/src/{{ package_name }}/report.py": None,
        "template/tests/test_report.py": None,
        "template/templates/report.html": None,
    },
    "editors": {
        "copier.yml": ("Zed: zed", "Helix: helix\n      Zed: zed"),
        "template/_editors.jinja": (
            '{% elif editor == "zed" %}',
            '{% elif editor == "helix" %}\n**In Helix**, wait.\n{% elif editor == "zed" %}',
        ),
        "template/.helix/languages.toml": None,
    },
}


@pytest.mark.parametrize(("question", "choice"), [("services", "report"), ("editors", "helix")])
def test_another_choice_takes_three_places(
    plain_template: Path, defaults: Path, tmp_path: Path, question: str, choice: str
) -> None:
    template = shutil.copytree(plain_template, tmp_path / "template")
    for name, change in PLACES[question].items():
        if change:
            replace(template / name, *change)
        else:
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            (template / name).touch()
    without = render(template, tmp_path / "without" / "my-app")
    assert contents(without).keys() == contents(defaults).keys()
    given: dict[str, Any] = {question: [*answers(without)[question], choice]}
    added = render(template, tmp_path / "with" / "my-app", **given)
    new = [
        Path(name).relative_to("template")
        for name, change in PLACES[question].items()
        if not change
    ]
    expected = {Path(str(path).replace("{{ package_name }}", "my_app")) for path in new}
    assert contents(added).keys() - contents(without).keys() == expected
    with pytest.raises(UserMessageError, match=f"must be .*{choice}"):
        given = {question: ["other"]}
        render(template, tmp_path / "my-app", **given)
    page = (added / "docker/debug/README.md").read_text()
    assert choice in page.lower()


def test_text_is_tidy(rendered: Path) -> None:
    for path in files(rendered):
        assert_tidy(path)


def test_programs_are_executable(rendered: Path) -> None:
    programs = {path for path in files(rendered) if os.access(path, os.X_OK)}
    assert programs == {*rendered.rglob("*.sh"), *rendered.glob("manage.py")}


def test_each_service_has_its_program_and_its_tests(rendered: Path, services: list[str]) -> None:
    for folder, name in [("src/*", "{}.py"), ("tests", "test_{}.py")]:
        for service in ("train", "api", "worker"):
            found = list(rendered.glob(f"{folder}/{name.format(service)}"))
            assert len(found) == (service in services)


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.debug.yml"])
def test_compose_files_are_valid(
    rendered: Path, services: list[str], name: str, tmp_path: Path
) -> None:
    # A tag of Compose, which other readers of YAML do not know.
    text = (rendered / name).read_text().replace("!override", "")
    (tmp_path / name).write_text(text)
    model = YAML(typ="safe").load(text)
    assert isinstance(model["name"], str)
    expected = {*services}
    if "worker" in services:
        expected.add("redis")
    if name == "docker-compose.debug.yml":
        expected |= {"tests", "remora"}
    assert model["services"].keys() == expected
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / name)


def test_names_have_quotes_only_where_yaml_needs_them(defaults: Path) -> None:
    for name in ("docker-compose.yml", "docker-compose.debug.yml"):
        text = (defaults / name).read_text()
        assert "\nname: my-app\n" in text and '"my-app' not in text


def test_debug_file_extends_the_service_on_loopback(defaults: Path) -> None:
    model = YAML(typ="safe").load(defaults / "docker-compose.debug.yml")
    train = model["services"]["train"]
    assert train["extends"] == {"file": "docker-compose.yml", "service": "train"}
    assert train["ports"] == ["127.0.0.1:5678:${REMORA_PORT:-5678}"]
    assert train["environment"]["REMORA_MODE"] == ("${REMORA_MODE_TRAIN:-${REMORA_MODE:-wait}}")
    assert model["services"]["tests"]["ports"] == ["127.0.0.1:5679:${REMORA_PORT:-5678}"]


@pytest.mark.docker
def test_both_forms_are_one_model(engine: None, rendered: Path, services: list[str]) -> None:
    def model(*names: str) -> dict:
        files = [option for name in names for option in ("-f", name)]
        options = ["--profile", "*", "config", "--format", "json"]
        command = ["docker", "compose", *files, *options]
        return json.loads(subprocess.check_output(command, cwd=rendered))

    alone = model("docker-compose.debug.yml")
    assert alone == model("docker-compose.yml", "docker-compose.debug.yml")
    production = model("docker-compose.yml")
    for name in services:
        service = alone["services"][name]
        assert service["init"] is True
        assert service["build"]["target"] == "debug"
        assert service["healthcheck"]["test"] == ["CMD-SHELL", "remora ready --health"]
        assert service["environment"]["REMORA_HOST"] == "0.0.0.0"
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
        published = [port["target"] for port in production["services"][name].get("ports", [])]
        assert published == ([8000] if name == "api" else [])
        assert service["image"] != production["services"][name]["image"]


@pytest.mark.docker
def test_gpu_is_reserved_once(engine: None, template: Path, tmp_path: Path) -> None:
    render(template, tmp_path, gpu=True)
    for names in (["docker-compose.debug.yml"], ["docker-compose.yml", "docker-compose.debug.yml"]):
        files = [option for name in names for option in ("-f", name)]
        command = ["docker", "compose", *files, "config", "--format", "json"]
        train = json.loads(subprocess.check_output(command, cwd=tmp_path))["services"]["train"]
        (device,) = train["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}
        assert int(train["shm_size"]) == 8 * 2**30


def test_launch_json_matches_tasks_and_ports(
    rendered: Path, services: list[str], engines: list[str]
) -> None:
    launch = strict_json(rendered / ".vscode/launch.json")
    labels = {task["label"] for task in strict_json(rendered / ".vscode/tasks.json")["tasks"]}
    compose = YAML(typ="safe").load(
        (rendered / "docker-compose.debug.yml").read_text().replace("!override", "")
    )
    expected: dict[str, tuple[Any, dict[str, Any]]] = {}
    used: set[str] = set()
    for service in [*services, "tests"]:
        published = compose["services"][service]["ports"][0]
        start, stop, attach = (f"{service}: {what}" for what in ("start", "stop", "attach"))
        held = {"redirectOutput": True, "postDebugTask": stop}
        expected[f"{service}: debug"] = (published, {**held, "preLaunchTask": start})
        if service != "tests":
            expected[attach] = (published, {"preLaunchTask": attach})
            crash = {
                "preLaunchTask": f"{service}: open last crash",
                "postDebugTask": "remora: stop",
            }
            expected[f"{service}: last crash"] = (compose["services"]["remora"]["ports"][0], crash)
        if service != "tests" and "kubernetes" in engines:
            there = " in the cluster"
            own = {**held, "preLaunchTask": start + there, "postDebugTask": stop + there}
            expected[f"{service}: debug{there}"] = (published, own)
            own = {
                "preLaunchTask": attach + there,
                "postDebugTask": f"{service}: detach{there}",
            }
            expected[attach + there] = (published, own)
        if service != "tests" and len(services) > 1:
            hidden = {"presentation": {"hidden": True}}
            expected[f"{service}: debug with all"] = (published, {**held, **hidden})
    for configuration in launch["configurations"]:
        published, more = expected.pop(configuration.pop("name"))
        assert published.startswith("127.0.0.1:{port}:".format(**configuration["connect"]))
        mapping = {"localRoot": "${workspaceFolder}", "remoteRoot": "/app"}
        assert configuration == {
            "type": "debugpy",
            "request": "attach",
            "connect": {"host": "127.0.0.1", "port": configuration["connect"]["port"]},
            "pathMappings": [mapping],
            **more,
        }
        used |= {value for key, value in more.items() if key.endswith("Task")}
    assert expected == {}
    if len(services) > 1:
        (compound,) = launch["compounds"]
        # Stop in one of the sessions ends all of them.
        assert compound == {
            "name": "all: debug",
            "configurations": [f"{service}: debug with all" for service in services],
            "preLaunchTask": "all: start",
            "stopAll": True,
        }
        used.add("all: start")
    assert used == labels


@pytest.mark.parametrize("services", [["train"], ["train", "api", "worker"]])
@pytest.mark.parametrize("engines", [["compose"], ["compose", "kubernetes"]])
def test_debug_json_of_zed_matches_launch_json(
    template: Path, tmp_path: Path, engines: list[str], services: list[str]
) -> None:
    """Each scenario is a configuration of launch.json, and its task is a single command."""
    render(template, tmp_path, engines=engines, services=services, editors=["vscode", "zed"])
    launch = strict_json(tmp_path / ".vscode/launch.json")["configurations"]
    tasks = {t["label"]: t for t in strict_json(tmp_path / ".vscode/tasks.json")["tasks"]}
    expected = []
    for configuration in launch:
        if "preLaunchTask" in configuration:
            task = tasks[configuration["preLaunchTask"]]
            build = {"command": task["command"]}
            if "REMORA_OPEN" in task.get("options", {}).get("env", {}):
                build["env"] = task["options"]["env"]
                build["command"] = build["command"].partition(" || ")[0]
            elif "options" in task:
                build["env"] = task["options"]["env"]
                started = re.match("(.* up --build --detach)( [a-z]+) &&", build["command"])
                build["command"] = f"{started[1]} --wait{started[2]}"
            expected.append(
                {
                    "label": configuration["name"],
                    "adapter": "Debugpy",
                    "request": "attach",
                    "connect": configuration["connect"],
                    "pathMappings": [{"localRoot": "$ZED_WORKTREE_ROOT", "remoteRoot": "/app"}],
                    **({"redirectOutput": True} if "redirectOutput" in configuration else {}),
                    "build": build,
                }
            )
    found = strict_json(tmp_path / ".zed/debug.json")
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert len(expected) == (2 * len(engines) + 1) * len(services) + 1


@pytest.mark.parametrize("existing", [None, "deploy-folder", "own-port-5678", "host-network"])
def test_dev_container_matches_the_debug_file(
    template: Path, tmp_path: Path, existing: str | None
) -> None:
    if existing:
        ExistingProject(existing).write(tmp_path)
    render(template, tmp_path, debug_port=7000, editors=["vscode", "devcontainer"])
    folder = tmp_path / ".devcontainer"
    container = strict_json(folder / "devcontainer.json")
    files = [(folder / name).resolve() for name in container["dockerComposeFile"]]
    debug_file, changes = files
    name = container["service"]
    assert debug_file == tmp_path / container["initializeCommand"][3]
    assert [name] == container["runServices"]
    # The debugger's port is the container's own, and the Dev Container opens the mounted folder.
    text = debug_file.read_text().replace("!override", "").replace("!reset", "")
    debugged = [*YAML(typ="safe").load_all(text)][-1]["services"][name]
    port = re.search(r"(\d+)\}*$", str(debugged["environment"]["REMORA_PORT"]))[1]
    launch = strict_json(tmp_path / ".vscode/launch.json")["configurations"]
    (configuration,) = (c for c in launch if c["name"] == f"{name}: attach in the Dev Container")
    assert configuration["connect"] == {"host": "127.0.0.1", "port": int(port)}
    assert not any(key.endswith("Task") for key in configuration)
    changed = YAML(typ="safe").load(changes.read_text().replace("!reset", ""))["services"][name]
    mounts = dict(volume.split(":")[1::-1] for volume in changed["volumes"])
    assert (debug_file.parent / mounts[container["workspaceFolder"]]).resolve() == tmp_path
    for path in (*folder.iterdir(), tmp_path / ".vscode/launch.json"):
        assert_tidy(path)


def test_dev_container_needs_the_files_of_vs_code(template: Path, tmp_path: Path) -> None:
    with pytest.raises(UserMessageError, match="must contain vscode for a devcontainer"):
        render(template, tmp_path / "my-app", editors=["zed", "devcontainer"])
    assert not (tmp_path / "my-app").exists()


@pytest.mark.parametrize("editors", [[], ["vscode"], ["zed"], ["vscode", "devcontainer"]])
def test_only_the_files_of_the_editors_that_were_answered(
    template: Path, tmp_path: Path, editors: list[str]
) -> None:
    render(template, tmp_path, editors=editors)
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] == "."}
    assert folders == {".github", *(f".{editor}" for editor in editors)}
    for path in tmp_path.rglob("README.md"):
        assert_tidy(path)
        assert ("In VS Code" in path.read_text()) == ("vscode" in editors)


def test_agents_are_shown_a_line_of_each_service(rendered: Path, services: list[str]) -> None:
    text = (rendered / "AGENTS.md").read_text()
    shown = re.findall(r"exec -T (\w+) remora at (\S+):(\d+)", text)
    assert [service for service, _, _ in shown] == services
    for service, path, number in shown:
        line = (rendered / path).read_text().splitlines()[int(number) - 1].strip()
        assert line == {
            "train": "losses.append(loss)",
            "api": "primes.append(number)",
            "worker": "inside += 1",
        }.get(service)


def test_tasks_run_anywhere(rendered: Path) -> None:
    # Emacs and others run only the command of a task, with its variables.
    for task in strict_json(rendered / ".vscode/tasks.json")["tasks"]:
        holds = task["label"].endswith((": start", ": open last crash"))
        options = task.pop("options", {})
        assert (options.get("env", {}) != {}) == holds
        # Some shells, such as fish and PowerShell 5, cannot join commands in this way.
        if re.search("[&|()]", task["command"]):
            assert options["shell"] == {"executable": "/bin/sh", "args": ["-c"]}
            windows = task.pop("windows")["options"]["shell"]
            assert windows == {"executable": "cmd.exe", "args": ["/d", "/c"]}
            subprocess.run(["sh", "-n", "-c", task["command"]], check=True)
        assert task.keys() == {"label", "type", "command", "problemMatcher"}
        assert "${" not in task["command"]
    strict_json(rendered / ".vscode/extensions.json")


def test_dockerfile_is_clean(rendered: Path) -> None:
    tool("hadolint", rendered / "Dockerfile")
    assert "# syntax" not in (rendered / "Dockerfile").read_text()


def test_scripts_are_clean(rendered: Path) -> None:
    scripts = sorted(rendered.rglob("*.sh"))
    tool("shellcheck", *scripts)
    tool("shfmt", "--diff", "--case-indent", "--indent", "2", *scripts)


def test_python_is_clean(rendered: Path) -> None:
    tool("ruff", "check", "--no-cache", cwd=rendered)
    tool("ruff", "format", "--no-cache", "--diff", cwd=rendered)
    # The debug layer follows the rules of this repository, not those of the owner.
    config = f"--config={REPOSITORY / 'pyproject.toml'}"
    tool("ruff", "check", "--no-cache", config, rendered / "docker")


def test_type_hints_are_right(defaults: Path) -> None:
    # tqdm has no types.
    options = ["--strict", "--ignore-missing-imports", f"--cache-dir={os.devnull}"]
    tool("mypy", *options, "src", "tests", cwd=defaults)


def test_readmes_are_short(rendered: Path) -> None:
    assert_short(rendered / "README.md", rendered / "docker/debug/README.md")


def test_readmes_are_short_whatever_a_project_has(template: Path, tmp_path: Path) -> None:
    answers = {**ANSWERS["cluster"], "api_framework": "django", "ranks": 3}
    render(template, tmp_path, **{**answers, "editors": ["vscode", "zed", "devcontainer"]})
    assert_short(tmp_path / "README.md", tmp_path / "docker/debug/README.md")


def assert_short(*pages: Path) -> None:
    for page in pages:
        assert len(page.read_text().splitlines()) < 60, page


def test_page_of_an_adopted_project_is_short(template: Path, tmp_path: Path) -> None:
    ExistingProject("web-and-worker-redis").write(tmp_path)
    render(template, tmp_path, editors=["vscode", "zed", "devcontainer"])
    assert_short(tmp_path / "docker/debug/README.md")


def test_its_own_tests_pass(defaults: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(defaults / "src")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(defaults)]
    done = subprocess.run(command, cwd=defaults, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_env_file_stays_out_of_git(template: Path, tmp_path: Path) -> None:
    git(render(template, tmp_path), "init", "--quiet")
    assert git(tmp_path, "check-ignore", ".env") == ".env\n"


def test_enter_to_every_question_gives_the_defaults(
    template: Path, defaults: Path, tmp_path: Path
) -> None:
    command = pexpect.spawn(
        program("copier"),
        ["copy", str(template), "my-app"],
        cwd=tmp_path,
        # The test's terminal does not report the position of its cursor.
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1"},
        timeout=60,
    )
    questions = YAML(typ="safe").load(REPOSITORY / "copier.yml")
    for name, question in questions.items():
        # By default, there is no web service, no cluster, and nothing to adopt.
        not_asked = ("api_framework", "ranks", "debug_services", "workloads")
        asked = "help" in question and name not in not_asked
        if asked:
            command.expect(re.escape(question["help"].split("(")[0]))
            command.send("\r")
    command.expect(pexpect.EOF)
    command.close()
    assert command.exitstatus == 0
    assert contents(tmp_path / "my-app") == contents(defaults)


def test_every_setting_of_the_debugger_has_an_example(template: Path, tmp_path: Path) -> None:
    render(template, tmp_path, engines=["compose", "kubernetes"], ranks=3)
    compose = (tmp_path / "docker-compose.debug.yml").read_text()
    script = (tmp_path / "deploy/debug.sh").read_text()
    read = {
        *re.findall(r"\$\{(REMORA_\w+):?-", compose),
        *re.findall(r"^    (REMORA_\w+):$", compose, re.MULTILINE),
        *re.findall(r"\$\(setting (\w+)\)", script),
    }
    # Editors set these themselves: the mode of one service, and the dump that is shown.
    read -= {"REMORA_MODE_TRAIN", "REMORA_MODE_TESTS", "REMORA_OPEN"}
    example = (tmp_path / ".env.example").read_text()
    assert set(re.findall(r"^#(REMORA_\w+)=", example, re.MULTILINE)) == read
