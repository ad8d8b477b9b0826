"""For any answers, folder and Compose file, Copier refuses with a reason, or writes valid files.

The rules for right answers are written here a second time, independently of copier.yml.
"""

from __future__ import annotations

import ast
import json
import keyword
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from support.programs import tool
from support.rendering import NEW_PROJECT, contents
from support.validators import assert_tidy, strict_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Keep hypothesis's cache out of the work tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")

# Use the same examples every time, unless REMORA_EXAMPLES says how many others to try.
EXAMPLES = os.environ.get("REMORA_EXAMPLES")
settings.register_profile(
    "remora",
    database=None,
    deadline=None,
    derandomize=EXAMPLES is None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("remora")


def examples(number: int) -> settings:
    """The number of a test's examples, unless the environment sets one."""
    return settings(settings.get_profile("remora"), max_examples=int(EXAMPLES or number))


# ---- Answers ----

# Texts that YAML, Jinja, a shell, Compose, Docker, JSON or a terminal might misread
TRAPS = [
    *r"""' " $ $(id) `id` ${X} ${X:-y} ; & | < > ( ) * ? ! [ ] { } % %PATH% \ \n \u0041""".split(
        " "
    ),
    *": :: # ~ - -- --help -x / // ./x ../x a/../b /etc . .. ... --- @ = , &a *a !x !!str <<".split(
        " "
    ),
    *"yes no on off y null true 1e3 0x1F 0o17 010 1_000 12:30 .5 .inf .nan".split(" "),
    *"2024-01-01 2024-13-45 0 1 007 x class json numpy [a] {a} [a:b".split(" "),
    *["{{ 1 + 1 }}", "{% raw %}", "{# x #}", "{{ x", "a: b", "a #b", " x", "x ", "", "a\x00"],
    *"\t \n \r\n \r \0 \x07 \x1b[31m \x7f \x85 \x9f \xa0 \u200b \u2028 \ufeff \uffff".split(" "),
    *"größe 日本 😀 e\u0301 \u202eabc İ ß \ud800 \udcff".split(" "),
]
CHARACTERS = st.one_of(st.characters(exclude_categories=[]), st.sampled_from(string.printable))
TEXT = st.one_of(
    st.sampled_from(TRAPS),
    st.lists(st.one_of(st.sampled_from(TRAPS), CHARACTERS), max_size=6).map("".join),
    st.sampled_from("xé😀 ").map(lambda character: character * 5000),
)
# Values of other types than the question's
THINGS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda things: st.one_of(
        st.lists(things, max_size=3), st.dictionaries(TEXT, things, max_size=3)
    ),
    max_leaves=4,
)


def is_unicode(text: str) -> bool:
    """Whether a file can contain a text."""
    return not any(unicodedata.category(character) == "Cs" for character in text)


# Names of folders. On Linux, these are bytes.
FOLDERS = (
    TEXT.map(lambda text: text.replace("/", "").replace("\0", ""))
    .filter(lambda name: not re.search("[\ud800-\udc7f\udd00-\udfff]", name))
    .map(lambda name: os.fsdecode(os.fsencode(name)[:255]))
    .filter(lambda name: name not in ("", ".", ".."))
)

ALPHANUMERIC = string.ascii_letters + string.digits
SERVICES = ["train", "api", "worker"]
EDITORS = ["vscode", "zed", "devcontainer"]
ENGINES = ["compose", "kubernetes"]
MODES = ["wait", "listen", "demand", "crash", "off"]
VERSIONS = ["3.15", "3.14", "3.13", "3.12", "3.11", "3.10"]
FRAMEWORKS = ["fastapi", "flask", "django"]
DIGEST = f"sha256:{'0' * 64}"
IMAGES = [
    "python:3.13-slim",
    "python",
    "registry.example.org:5000/team/a_b:1.0",
    f"p@{DIGEST}",
]

RESERVED = NEW_PROJECT.reserved_names


def as_text(answer: Any) -> str:
    """An answer to a question for text. A number is one too; a list or mapping is not."""
    return str(answer) if isinstance(answer, (str, int, float)) else "\0"


def as_yaml(answer: Any) -> Any:
    """An answer to a question for other types, as from the command line."""
    try:
        return yaml.safe_load(answer) if isinstance(answer, str) else answer
    except (yaml.YAMLError, ValueError):
        return answer


def is_project_name(answer: Any) -> bool:
    text = as_text(answer)
    return (
        0 < len(text) <= 64
        and set(text) <= set(ALPHANUMERIC + " ._-")
        and {text[0], text[-1]} <= set(ALPHANUMERIC)
    )


def is_package_name(answer: Any) -> bool:
    text = as_text(answer)
    return (
        text.isascii()
        and text.isidentifier()
        and text == text.lower()
        and text[0] != "_"
        and len(text) <= 64
        and text not in {*keyword.kwlist, *sys.stdlib_module_names, *RESERVED}
    )


def is_image(answer: Any) -> bool | None:
    """Whether this is the name of an image; None if only Docker knows."""
    text = as_text(answer)
    if text in IMAGES:
        return True
    return None if text and set(text) <= set(ALPHANUMERIC + "._-/:@") else False


def is_choice(*choices: str) -> Callable[[Any], bool]:
    return lambda answer: as_text(answer) in choices


def is_digest(answer: Any) -> bool:
    return re.fullmatch("|sha256:[0-9a-f]{64}", as_text(answer)) is not None


def are_services(answer: Any) -> bool:
    value = as_yaml(answer)
    return isinstance(value, list) and bool(value) and all(name in SERVICES for name in value)


def are_editors(answer: Any) -> bool:
    value = as_yaml(answer)
    is_list = isinstance(value, list) and all(name in EDITORS for name in value)
    return is_list and ("devcontainer" not in value or "vscode" in value)


def are_engines(answer: Any) -> bool:
    value = as_yaml(answer)
    is_list = isinstance(value, list) and all(name in ENGINES for name in value)
    return is_list and "compose" in value


def is_number_of_ranks(answer: Any) -> bool:
    return type(as_yaml(answer)) is int and 1 <= as_yaml(answer) <= 1024


def is_port(answer: Any) -> bool:
    return type(as_yaml(answer)) is int and 1024 <= as_yaml(answer) <= 65535


# For each question of a new project, right answers, and a function that tells whether one is right
QUESTIONS_OF_NEW = {
    "project_name": (
        st.text(ALPHANUMERIC + " ._-", max_size=62).map("x{}1".format),
        is_project_name,
    ),
    "package_name": (
        st.text(string.ascii_lowercase + string.digits + "_", max_size=63).map("q{}".format),
        is_package_name,
    ),
    "python_version": (st.sampled_from(VERSIONS), is_choice(*VERSIONS)),
    "base_image": (st.sampled_from(IMAGES), is_image),
    "base_digest": (st.sampled_from(["", DIGEST]), is_digest),
    "services": (st.lists(st.sampled_from(SERVICES), min_size=1, unique=True), are_services),
    "api_framework": (st.sampled_from(FRAMEWORKS), is_choice(*FRAMEWORKS)),
    "gpu": (st.sampled_from([True, False, "true", "no"]), lambda a: type(as_yaml(a)) is bool),
    "debug_port": (
        st.integers(8001, 65531).flatmap(lambda n: st.sampled_from([n, str(n)])),
        is_port,
    ),
    "debug_mode": (st.sampled_from(MODES), is_choice(*MODES)),
    "editors": (
        st.sampled_from([[], ["zed"], ["vscode"], ["vscode", "devcontainer"], EDITORS]),
        are_editors,
    ),
    "engines": (st.sampled_from([["compose"], ENGINES, "[compose, kubernetes]"]), are_engines),
    "ranks": (st.integers(1, 1024), is_number_of_ranks),
    "mode": (st.just("new"), is_choice("new")),
}


def without_effect(answers: dict[str, Any]) -> list[str]:
    """The questions of a new project whose answers have no effect with the other answers."""
    services = as_yaml(answers.get("services", ["train"]))
    conditions = {
        "api_framework": "api" in services,
        "gpu": "train" in services,
        "ranks": "train" in services and "kubernetes" in as_yaml(answers.get("engines", [])),
    }
    return [name for name in answers if not conditions.get(name, True)]


@st.composite
def answers_to(draw: st.DrawFn, questions: dict[str, tuple], hostile: st.SearchStrategy) -> dict:
    """Right answers to some questions. In half of the examples, one or two are arbitrary."""
    right = {name: answer for name, (answer, _) in questions.items()}
    given = draw(st.fixed_dictionaries({}, optional=right))
    given = {name: answer for name, answer in given.items() if name not in without_effect(given)}
    anything = st.dictionaries(st.sampled_from(sorted(questions)), hostile, min_size=1, max_size=2)
    return {**given, **draw(st.one_of(st.just({}), anything))}


# ---- Results ----


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one example. (A fixture would be the same for all examples.)"""
    folder = tempfile.mkdtemp()
    try:
        yield Path(folder)
    finally:
        # As bytes, for names that are not valid text
        shutil.rmtree(os.fsencode(folder))


def refusal(template: Path, folder: Path, answers: dict[str, Any]) -> str:
    """Render a project with its messages. Return the reason if Copier refused to."""
    try:
        with redirect_stderr(StringIO()):
            copier.run_copy(str(template), folder, answers, defaults=True)
    except Exception as error:
        return str(error) or repr(error)
    return ""


class Reader(yaml.SafeLoader):
    """Reads YAML, and drops the tags of Compose."""


for tag in ("!reset", "!override"):
    Reader.add_constructor(
        tag,
        lambda reader, node: (
            reader.construct_sequence(node, deep=True)
            if isinstance(node, yaml.SequenceNode)
            else reader.construct_mapping(node, deep=True)
            if isinstance(node, yaml.MappingNode)
            else None
        ),
    )


def documents(path: Path) -> list[dict]:
    """The documents of a Compose file."""
    return list(yaml.load_all(path.read_bytes().decode(), Reader))


def assert_parses(path: Path) -> None:
    """A file parses as its name promises."""
    text = path.read_bytes().decode()
    if path.suffix in (".yml", ".yaml"):
        documents(path)
    elif path.suffix == ".json":
        strict_json(path)
    elif path.suffix == ".toml":
        tomllib.loads(text)
    elif path.suffix == ".py":
        ast.parse(text)
    elif path.suffix == ".sh":
        subprocess.run(["bash", "-n", path], check=True)
    elif path.name == "Dockerfile":
        # A base image without a tag is a valid answer.
        tool("hadolint", "--ignore=DL3006", path)


def recorded(folder: Path) -> dict[str, Any]:
    """The answers that a project has recorded, without Copier's own."""
    found = yaml.safe_load((folder / ".copier-answers.yml").read_bytes())
    return {name: answer for name, answer in found.items() if not name.startswith("_")}


# ---- A new project ----


def wrong_answers(answers: dict[str, Any]) -> list[str]:
    """The questions whose answers are surely wrong; None stands for answers that may be wrong."""
    wrong = []
    for name, answer in answers.items():
        verdict = QUESTIONS_OF_NEW[name][1](answer)
        if verdict is not True:
            wrong.append(name if verdict is False else None)
    services = as_yaml(answers.get("services", ["train"]))
    port = as_yaml(answers.get("debug_port", 5678))
    if "services" not in wrong and "debug_port" not in wrong:
        ports = range(port, port + len(set(services)) + 2)
        if ports[-1] > 65535 or ("api" in services and 8000 in ports):
            wrong.append("debug_port")
    if not {"services", "engines"} & set(wrong):
        wrong.extend(without_effect(answers))
    if answers.get("base_digest") and "@" in as_text(answers.get("base_image", "")):
        wrong.append("base_digest")
    return wrong


@examples(50)
@given(answers=answers_to(QUESTIONS_OF_NEW, THINGS), name=FOLDERS)
@example(answers={"services": 5}, name="app")
@example(answers={"services": "train"}, name="app")
@example(answers={"services": [["train"]]}, name="app")
@example(answers={"project_name": ["app"]}, name="app")
@example(answers={"gpu": "maybe"}, name="app")
@example(answers={"base_image": IMAGES[-1], "base_digest": DIGEST}, name="app")
@example(answers={"debug_port": "["}, name="app")
@example(answers={"debug_port": "2024-13-45"}, name="app")
def test_new_project_is_valid_or_refused(
    plain_template: Path, answers: dict[str, Any], name: str
) -> None:
    wrong = wrong_answers(answers)
    with scratch() as parent:
        folder = parent / name
        why = refusal(plain_template, folder, answers)
        if why:
            event("refused")
            assert wrong, why
            assert any(question is None or question in why for question in wrong), (why, wrong)
            assert not os.path.lexists(folder)
        else:
            event("rendered")
            assert set(wrong) <= {None}
            assert_new_project(folder, answers)


def docker_names(project_name: str) -> list[str]:
    """The names that images and containers of a project may have."""
    words = re.split("[^a-z0-9]", project_name.lower())
    slug = "-".join(word for word in words if word)
    return [slug, f"{slug}-app"]


def assert_new_project(folder: Path, answers: dict[str, Any]) -> None:
    """All files of a new project parse, and contain the exact answers."""
    for path in contents(folder):
        assert_tidy(folder / path)
        assert_parses(folder / path)
    found = recorded(folder)
    for name in answers.keys() & found.keys():
        is_text = isinstance(found[name], str)
        reads = as_text if is_text else as_yaml
        expected = reads(answers[name])
        if name in ("services", "editors", "engines"):
            choices = SERVICES + EDITORS + ENGINES
            expected = [choice for choice in choices if choice in expected]
        assert found[name] == expected
    assert is_project_name(found["project_name"]) and is_package_name(found["package_name"])
    services, package, port = found["services"], found["package_name"], found["debug_port"]

    (production,) = documents(folder / "docker-compose.yml")
    (debug,) = documents(folder / "docker-compose.debug.yml")
    assert production["name"] == debug["name"]
    assert debug["name"] in docker_names(found["project_name"])
    for number, service in enumerate([*services, "tests"]):
        made = debug["services"][service]
        kind = "tests" if service == "tests" else "debug"
        assert (made["image"], made["build"]["target"]) == (f"{debug['name']}:{kind}", kind)
        assert made["ports"] == [f"127.0.0.1:{port + number}:${{REMORA_PORT:-5678}}"]
        mode = found["debug_mode"] if service != "tests" else "wait"
        otherwise = f"${{REMORA_MODE:-{mode}}}"
        expected = f"${{REMORA_MODE_{service.upper()}:-{otherwise}}}"
        assert made["environment"]["REMORA_MODE"] == expected

    lines = (folder / "Dockerfile").read_text().splitlines()
    stages = [line.split()[1:] for line in lines if line.startswith("FROM")]
    pin = f"@{found['base_digest']}" if found["base_digest"] else ""
    assert stages[0] == [found["base_image"] + pin, "AS", "base"]
    named = [stage[-1] for stage in stages]
    assert all(stage[0] in named[:n] for n, stage in enumerate(stages[1:], start=1))

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == debug["name"]
    assert project["requires-python"] == f">={found['python_version']}"
    debugged = []
    if "vscode" in found["editors"]:
        debugged.append(strict_json(folder / ".vscode/launch.json")["configurations"])
    if "zed" in found["editors"]:
        debugged.append(strict_json(folder / ".zed/debug.json"))
    for launch in debugged:
        ports = {c["connect"]["port"] for c in launch if "Dev Container" not in c.get("name", "")}
        assert ports == set(range(port, port + len(services) + 2))
    assert (folder / "src" / package / "__init__.py").exists()
    if "train" in services:
        words = shlex.split((folder / "scripts/train.sh").read_text(), comments=True)
        assert words[words.index("exec") :][:4] == ["exec", "python", "-m", f"{package}.train"]
    readme = (folder / "README.md").read_text().splitlines()
    assert readme[0] == f"# {found['project_name']}"


# ---- An adopted project ----


def is_service_name(name: Any) -> bool:
    """Whether Compose accepts this name, and `docker compose up` does not read it as an option."""
    return (
        isinstance(name, str)
        and name != ""
        and set(name) <= set(ALPHANUMERIC + "._-")
        and name[0] != "-"
    )


def is_line(path: str) -> bool:
    """Whether a path is visible, and contains no variable of an editor."""
    return path.isprintable() and "$" not in path


def is_path(path: Any, *, remote: bool) -> bool:
    """Whether a path mapping accepts this path: an absolute one, one below its root, or `.`."""
    if not isinstance(path, str) or path == "" or not is_line(path):
        return False
    if remote:
        return path in (".", "/") or (path[0] == "/" and path[-1] != "/")
    return path == "." or not {"", ".", ".."} & set(path.split("/"))


def has(thing: Any, *keys: str) -> bool:
    return isinstance(thing, dict) and thing.keys() == set(keys)


def are_debug_services(answer: Any) -> bool:
    value = as_yaml(answer)
    return (
        isinstance(value, list)
        and all(has(service, "name") or has(service, "name", "path_mappings") for service in value)
        and all(is_service_name(service["name"]) for service in value)
        and all(isinstance(service.get("path_mappings", []), list) for service in value)
        and all(
            has(mapping, "local_root", "remote_root")
            and is_path(mapping["local_root"], remote=False)
            and is_path(mapping["remote_root"], remote=True)
            for service in value
            for mapping in service.get("path_mappings", [])
        )
        # Names of images have no capitals.
        and len({service["name"].lower() for service in value}) == len(value) > 0
    )


def are_compose_files(answer: Any) -> bool:
    return as_yaml(answer) == ["compose.yaml"]


SERVICE_NAMES = st.one_of(
    st.text(ALPHANUMERIC + "._-", min_size=1, max_size=12),
    st.sampled_from("web Web.App-1 yes null 7 1e3 0x1F .5 .inf .nan ... _base items -x".split()),
)
PATHS = st.lists(FOLDERS, min_size=1, max_size=3).map("/".join)
DEBUG_SERVICES = st.lists(
    st.fixed_dictionaries(
        {"name": SERVICE_NAMES.filter(is_service_name)},
        optional={
            "path_mappings": st.lists(
                st.fixed_dictionaries(
                    {
                        "local_root": PATHS.filter(lambda path: is_path(path, remote=False)),
                        "remote_root": PATHS.map("/{}".format).filter(
                            lambda path: is_path(path, remote=True)
                        ),
                    }
                ),
                max_size=2,
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda service: str(service["name"]).lower(),
)
# The volume for mode `dump`
DUMPS = "/var/lib/remora/dumps"

# Values that are almost answers to debug_services
NEARLY = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.one_of(SERVICE_NAMES, THINGS),
            "path_mappings": st.one_of(
                THINGS,
                st.lists(
                    st.dictionaries(st.sampled_from(["local_root", "remote_root", "x"]), TEXT),
                    max_size=2,
                ),
                st.fixed_dictionaries({"local_root": TEXT, "remote_root": TEXT}).map(
                    lambda mapping: [mapping]
                ),
            ),
        }
    ),
    max_size=2,
)
# The questions of an adopted project, like those of a new one
QUESTIONS_OF_ADOPTED = {
    "debug_services": (
        st.one_of(DEBUG_SERVICES, DEBUG_SERVICES.map(yaml.safe_dump)),
        are_debug_services,
    ),
    "compose_files": (st.sampled_from([["compose.yaml"], "[compose.yaml]"]), are_compose_files),
    "project_name": QUESTIONS_OF_NEW["project_name"],
    "debug_port": QUESTIONS_OF_NEW["debug_port"],
    "debug_mode": QUESTIONS_OF_NEW["debug_mode"],
    "mode": (st.just("adopt"), is_choice("adopt")),
}


@st.composite
def compose_projects(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The model of a Compose file, and the services in it that adoption finds."""
    model: dict[str, Any] = {"services": {}, "volumes": {}}
    expected = []
    # No path and no argument can contain NUL, though Compose reads it.
    text = TEXT.filter(is_unicode).map(lambda text: text.replace("\0", ""))
    for name in draw(st.lists(SERVICE_NAMES, min_size=1, max_size=3, unique=True)):
        local = draw(st.one_of(st.just("."), PATHS.filter(is_unicode)))
        service: dict[str, Any] = {"build": {"context": f"./{local}"}, "volumes": []}
        if draw(st.booleans()):
            remote = "/" + draw(st.one_of(st.just("app"), text)).strip("/")
            mount = {"type": "bind", "source": f"./{local}", "target": remote}
            service["volumes"].append(mount)
        if draw(st.booleans()):
            target = f"/venv{draw(text)}".rstrip("/")
            service["volumes"].append({"type": "volume", "source": "data", "target": target})
            model["volumes"]["data"] = {}
        if draw(st.booleans()):
            check = st.one_of(text, st.lists(text).map(lambda words: ["CMD", "ls", *words]))
            service["healthcheck"] = {"test": draw(check)}
        model["services"][name] = service
        # A path with a dollar is unknown, because Compose might replace the dollar.
        if "$" not in local:
            expected.append({"name": name})
    return model, expected


def write_compose_project(folder: Path, model: dict[str, Any]) -> None:
    """Write a Compose file, and Python in the folders that it builds."""
    for service in model["services"].values():
        code = folder / service["build"]["context"]
        code.mkdir(parents=True, exist_ok=True)
        (code / "main.py").write_text("print(1)\n")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(model).replace("$", "$$")  # which Compose reads as one dollar
    quoted = yaml.safe_dump(
        json.loads(text), default_style='"', sort_keys=False, allow_unicode=True
    )
    (folder / "compose.yaml").write_bytes(quoted.encode())


def wrong_adoption(answers: dict[str, Any], found: list[dict[str, Any]]) -> list[str]:
    """The questions whose answers, or the values found instead, are surely wrong."""
    wrong = [name for name in answers if not QUESTIONS_OF_ADOPTED[name][1](answers[name])]
    services = as_yaml(answers.get("debug_services", found))
    if "debug_services" not in wrong and not are_debug_services(services):
        wrong.append("services")
    port = as_yaml(answers.get("debug_port", 5678))
    if not wrong and port + len(services) > 65535:
        wrong.append("debug_port")
    return wrong


def project_of(name: str = "web", local: str = ".", **more: Any) -> tuple:
    """A project with one service, as compose_projects() draws it."""
    service = {"build": {"context": f"./{local}"}, "volumes": [], **more}
    model = {"services": {name: service}, "volumes": {"data": {}}}
    return model, [{"name": name}]


def debug(name: Any = "web", local: Any = "src") -> dict[str, Any]:
    """Answers that name one service."""
    mapping = {"local_root": local, "remote_root": "/app"}
    return {"debug_services": [{"name": name, "path_mappings": [mapping]}]}


@examples(50)
@given(
    answers=answers_to(QUESTIONS_OF_ADOPTED, st.one_of(THINGS, NEARLY)),
    project=compose_projects(),
    name=FOLDERS,
)
@example(answers={"debug_services": "["}, project=project_of(), name="app")
@example(answers={"debug_services": [{1: 2, "name": 3}]}, project=project_of(), name="app")
@example(answers=debug(name=["web"]), project=project_of(), name="app")
@example(answers=debug(local="\ud800"), project=project_of(), name="app")
@example(answers=debug(local="a\x85b"), project=project_of(), name="app")
@example(answers=debug(local="\ufffe\u2028"), project=project_of(), name="app")
@example(answers={}, project=project_of("-x"), name="app")
@example(answers={}, project=project_of(".5"), name="app")
@example(answers={}, project=project_of(local="\x84"), name="app")
@example(answers={}, project=project_of(local="\ufffe\u2028"), name="app")
@example(answers={}, project=project_of(healthcheck={"test": "a\x85b\r"}), name="app")
@example(
    answers={},
    project=project_of(volumes=[{"type": "volume", "source": "data", "target": "/venv:\n\x85"}]),
    name="app",
)
def test_adopted_project_is_valid_or_refused(
    plain_template: Path, answers: dict[str, Any], project: tuple, name: str
) -> None:
    model, found = project
    wrong = wrong_adoption(answers, found)
    if "debug_services" in answers and "debug_services" not in wrong:
        for service in as_yaml(answers["debug_services"]):  # which must exist
            model["services"].setdefault(
                service["name"], {"build": {"context": "."}, "volumes": []}
            )
    with scratch() as parent:
        folder = parent / name
        write_compose_project(folder, model)
        before = contents(folder)
        why = refusal(plain_template, folder, answers)
        if why:
            event("refused")
            assert wrong, why
            assert any(question in why for question in wrong), (why, wrong)
            assert contents(folder) == before
        else:
            event("rendered")
            assert not wrong
            assert contents(folder).items() >= before.items()
            assert_adopted_project(folder, answers, model, found)


def assert_adopted_project(
    folder: Path, answers: dict[str, Any], model: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """The debug layer parses, and contains the exact answers."""
    for path in [".vscode/launch.json", ".vscode/tasks.json", "docker-compose.debug.yml"]:
        assert_parses(folder / path)
    expected = {"compose_files": ["compose.yaml"], "debug_services": found, "mode": "adopt"}
    for question, answer in answers.items():
        expected[question] = answer if question == "project_name" else as_yaml(answer)
    if "debug_mode" in answers:
        expected["debug_mode"] = answers["debug_mode"]
    assert recorded(folder).items() >= expected.items()
    services, port = recorded(folder)["debug_services"], recorded(folder)["debug_port"]

    first, second = documents(folder / "docker-compose.debug.yml")
    assert first == {"*": None, "include": ["compose.yaml"]}
    names = [service["name"] for service in services]
    assert list(second["services"]) == [
        *names,
        "remora",
        *(f"{name}-without-debugger" for name in names),
    ]
    assert second["services"]["remora"]["ports"] == [f"127.0.0.1:{port + len(names)}:5678"]
    launch = {c["name"]: c for c in strict_json(folder / ".vscode/launch.json")["configurations"]}
    for number, service in enumerate(services):
        made = second["services"][service["name"]]
        own = model["services"].get(service["name"], {"volumes": []})
        assert made["ports"][0].startswith(f"127.0.0.1:{port + number}:")
        venvs = [volume["target"] for volume in own["volumes"] if volume["type"] == "volume"]
        mounted = [
            volume["target"] if isinstance(volume, dict) else volume.partition(":")[2]
            for volume in made.get("volumes", [])
        ]
        assert mounted == [DUMPS, *(venv.replace("$", "$$") for venv in venvs)]
        assert second["services"][f"{service['name']}-without-debugger"]["extends"] == {
            "file": "compose.yaml",
            "service": service["name"],
        }
        mappings = [
            {
                "localRoot": "/".join(["${workspaceFolder}", mapping["local_root"]]).removesuffix(
                    "/."
                ),
                "remoteRoot": mapping["remote_root"],
            }
            for mapping in service.get("path_mappings") or [{"local_root": ".", "remote_root": "."}]
        ]
        assert launch[f"{service['name']}: attach"]["pathMappings"] == mappings


def is_safe(path: str) -> bool:
    """Whether a path is visible, and a shell can read it between quotation marks."""
    return path.isprintable() and not set(path) & set('"$`\\')


@examples(20)
@given(where=PATHS)
@example(where="a:b #c")
@example(where="{{ 1 }}\u200b'%x")
def test_compose_file_in_any_folder_is_adopted(plain_template: Path, where: str) -> None:
    with scratch() as parent:
        folder = parent / "app"
        write_compose_project(folder / where, {"services": {"web": {"build": {"context": "."}}}})
        answers = {"mode": "adopt", "compose_files": [f"{where}/compose.yaml"]}
        before = contents(folder)
        why = refusal(plain_template, folder, answers)
        assert ("compose_files" in why) == bool(why) == (not is_safe(where)), why
        if why:
            assert contents(folder) == before
            return
        assert recorded(folder)["compose_files"] == answers["compose_files"]
        first, second = documents(folder / where / "docker-compose.debug.yml")
        assert first["include"] == ["compose.yaml"]
        assert second["services"]["web"]["build"]["context"] == os.path.relpath(
            folder, folder / where
        )
        for configuration in strict_json(folder / ".vscode/launch.json")["configurations"]:
            (mapping,) = configuration["pathMappings"]
            assert mapping == {"localRoot": "${workspaceFolder}", "remoteRoot": "."}
        start = strict_json(folder / ".vscode/tasks.json")["tasks"][0]["command"]
        assert shlex.split(start)[:4] == [
            *["docker", "compose", "-f"],
            f"{where}/docker-compose.debug.yml",
        ]
        text = (folder / where / "docker-compose.debug.yml").read_bytes().decode()
        alone, on_top = (shlex.split(line) for line in text.split("\n")[2:4])
        assert alone[3:] == ["-f", f"{where}/docker-compose.debug.yml", "up"]
        assert on_top[3:] == ["-f", f"{where}/compose.yaml", *alone[3:]]


# ---- What Compose reads ----


def resolved(folder: Path, *names: str) -> dict[str, Any] | None:
    """The model that Compose reads from files, with single dollars; None if it refuses them."""
    files = [part for name in names for part in ("-f", name)]
    command = ["docker", "compose", *files, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True)
    return json.loads(done.stdout.replace(b"$$", b"$")) if done.returncode == 0 else None


def assert_one_model(folder: Path) -> dict[str, Any]:
    """The debug file gives the same model alone and on top of the other file. Return the model."""
    alone = resolved(folder, "docker-compose.debug.yml")
    compose_file = next(
        path for path in ("docker-compose.yml", "compose.yaml") if (folder / path).exists()
    )
    assert alone is not None
    assert alone == resolved(folder, compose_file, "docker-compose.debug.yml")
    return alone


@pytest.mark.docker
@examples(15)
@given(answers=answers_to(QUESTIONS_OF_NEW, st.nothing()), name=FOLDERS.filter(is_unicode))
@example(answers={"project_name": "1e3"}, name="$(id)${X}:#")
def test_compose_reads_a_new_project(
    engine: None, plain_template: Path, answers: dict[str, Any], name: str
) -> None:
    with scratch() as parent:
        folder = parent / name
        # Compose cannot run in some folders, such as those with control characters.
        folder.mkdir()
        (folder / "any.json").write_text("{name: app, services: {web: {image: python}}}")
        assume(resolved(folder, "any.json"))
        why = refusal(plain_template, folder, answers)
        if why:
            assert wrong_answers(answers) == ["debug_port"]
            return
        model = assert_one_model(folder)
        found = recorded(folder)
        assert model["name"] in docker_names(found["project_name"])
        for service in found["services"]:
            made = model["services"][service]
            assert made["build"]["context"] == str(folder)
            sources = [v["source"] for v in made["volumes"] if v["type"] == "bind"]
            assert str(folder / "src") in sources
            assert made["environment"]["REMORA_MODE"] == found["debug_mode"]


@pytest.mark.docker
@examples(15)
@given(project=compose_projects(), name=FOLDERS.filter(is_unicode))
@example(
    project=project_of(volumes=[{"type": "volume", "source": "data", "target": "/venv:x"}]),
    name="app",
)
@example(
    project=project_of(volumes=[{"type": "volume", "source": "data", "target": "/venv${"}]),
    name="app",
)
def test_compose_reads_an_adopted_project(
    engine: None, plain_template: Path, project: tuple, name: str
) -> None:
    model, _ = project
    with scratch() as parent:
        folder = parent / name
        # Compose finds no project name in a folder's name without letters.
        write_compose_project(folder, {"name": "app", **model})
        own = resolved(folder, "compose.yaml")
        assume(own and not refusal(plain_template, folder, {}))
        debug = assert_one_model(folder)
        assert debug["name"] == "app"
        for service in recorded(folder)["debug_services"]:
            name = service["name"]
            before, after = own["services"][name], debug["services"][name]
            assert after["build"]["context"] == str(folder)
            built = debug["services"][f"{name}-without-debugger"]["build"]
            assert built["context"] == before["build"]["context"]
            targets = [volume["target"] for volume in after.get("volumes", [])]
            targets.remove(DUMPS)
            assert targets == [volume["target"] for volume in before.get("volumes", [])]
            check = before.get("healthcheck", {}).get("test")
            if check and check[0] == "CMD-SHELL":
                assert after["healthcheck"]["test"][1].endswith(check[1].strip())
