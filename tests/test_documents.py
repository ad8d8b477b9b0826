"""The pages are true: their commands work, their names and links exist, their words are plain."""

from __future__ import annotations

import ast
import graphlib
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support import manifests
from support.existing import ExistingProject
from support.fake_cluster import FakeCluster
from support.project import TIMEOUT, Project, remove_images, wait_until
from support.rendering import NEXT, REPOSITORY, commit, git, render

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob("docs/**/*.md")),
]
DOCUMENTS = [*PAGES, "SECURITY.md", "CHANGELOG.md"]


def text(page: str) -> str:
    return (REPOSITORY / page).read_text()


def commands() -> dict[tuple[str, str], list[str]]:
    """The commands of each section, in blocks, by page and heading."""
    found = {}
    for page in PAGES:
        for section in re.split(r"^#+ ", text(page), flags=re.MULTILINE)[1:]:
            heading, body = section.split("\n", 1)
            blocks = re.findall(r"```(?:sh|bash|shell|console)\n(.+?)\n *```", body, re.DOTALL)
            if blocks:
                found[page, heading] = blocks
    return found


NOT_READABLE = "Files that the user of the container may not read"
# These commands run nox, and with it these tests.
(DEMO,) = commands()["README.md", "Try it"]
(ALL_TESTS,) = commands()["CONTRIBUTING.md", "Set up and test"]


# ---- Commands ----


@dataclass
class Section:
    """Where the commands of a section run, and what they or their containers print."""

    prepare: Callable[[pytest.FixtureRequest, Path], Path]
    prints: list[str]


def no_project(request: pytest.FixtureRequest, root: Path) -> Path:
    return root.parent


def existing(name: str) -> Callable[[pytest.FixtureRequest, Path], Path]:
    """A project of tests/projects."""

    def prepare(request: pytest.FixtureRequest, root: Path) -> Path:
        ExistingProject(name).write(root)
        commit(root)
        return root

    return prepare


def adopted(name: str) -> Callable[[pytest.FixtureRequest, Path], Path]:
    """An adopted project of tests/projects."""

    def prepare(request: pytest.FixtureRequest, root: Path) -> Path:
        existing(name)(request, root)
        port = request.getfixturevalue("free_port")
        render(request.getfixturevalue("template"), root, debug_port=port)
        commit(root)
        return root

    return prepare


def new(request: pytest.FixtureRequest, root: Path) -> Path:
    """A new project, rendered from the release before the newest."""
    render(request.getfixturevalue("later"), root, NEXT)
    commit(root)
    return root


def ignoring_vscode(request: pytest.FixtureRequest, root: Path) -> Path:
    render(request.getfixturevalue("later"), root, NEXT)
    with (root / ".gitignore").open("a") as file:
        file.write(".vscode/\n")
    commit(root)
    return root


def built(request: pytest.FixtureRequest, root: Path) -> Path:
    """A new project whose images are built."""
    shutil.copytree(request.getfixturevalue("built").root, root)
    return root


def running(request: pytest.FixtureRequest, root: Path) -> Path:
    """A new project that runs."""
    Project(built(request, root)).compose("up", "--detach", "--wait")
    return root


def crashed(request: pytest.FixtureRequest, root: Path) -> Path:
    """A new project with a crash in mode `dump`. Its newest dump has the name in the pages."""
    project = Project(built(request, root))
    project.start("raise ValueError(1)\n", REMORA_MODE="dump")
    project.exit_code()
    copy = f"cp /var/lib/remora/dumps/*.gz /var/lib/remora/dumps/{DUMP}"
    project.compose("run", "--rm", "-T", "--entrypoint", "sh", "remora", "-c", copy)
    project.compose("up", "--no-start", "remora")
    project.compose("cp", "remora:/var/lib/remora/dumps", ".")
    project.compose("down")
    return root


DUMP = "train-20261126T030000Z-7-ValueError.json.gz"


def beside_a_cluster(request: pytest.FixtureRequest, root: Path) -> Path:
    """No project, but stand-ins for a cluster's programs."""
    FakeCluster(root.parent / "pipx", root)
    return root.parent


def with_manifests(request: pytest.FixtureRequest, root: Path) -> Path:
    """An existing project with all manifests in one file."""
    manifests.write(root, manifests.REPOSITORIES["rendered chart"][0])
    commit(root)
    return root


def with_a_dockerfile_elsewhere(request: pytest.FixtureRequest, root: Path) -> Path:
    """A repository without a Compose file, and a Dockerfile whose name says nothing."""
    own = {**manifests.ALONE, "Dockerfile": None, "docker/web.txt": "FROM python\n"}
    return manifests.write(root, {**own, **manifests.folder("k8s", manifests.WEB)})


LISTENING = "Listening, a client can attach at any time: {} at 127.0.0.1:"
WAITING = "Waiting for client to attach... {} at 127.0.0.1:"
SECTIONS = {
    ("README.md", "Add it to a project that you have"): Section(
        existing("web-and-worker-redis"), [*map(LISTENING.format, ["api", "worker"])]
    ),
    ("README.md", "Start a new project"): Section(no_project, [WAITING.format("train")]),
    ("docs/adopting.md", "Give the answers yourself"): Section(
        existing("tags-in-override"), ["Added debugging to", "for search."]
    ),
    ("docs/adopting.md", "After adding or renaming a service"): Section(
        adopted("web-and-worker-redis"), ["is up to date"]
    ),
    ("docs/crashes.md", "In the evening"): Section(built, []),
    ("docs/crashes.md", "In the morning"): Section(
        crashed, ["  train  ValueError  /app/src/program.py:1\n", "\nValueError: 1\n"]
    ),
    ("docs/crashes.md", "On another machine"): Section(crashed, []),
    ("docs/crashes.md", "Without Compose"): Section(crashed, []),
    ("docs/crashes.md", "Remove them"): Section(crashed, [f"removed {DUMP}"]),
    ("docs/editors.md", "Which files are written"): Section(new, ["is up to date"]),
    ("docs/kubernetes.md", "Start"): Section(
        beside_a_cluster, ["train can be debugged at 127.0.0.1:"]
    ),
    ("docs/kubernetes.md", "An application that exists"): Section(
        with_manifests, ["In a cluster, deploy/debug.sh debugs web, report"]
    ),
    ("docs/kubernetes.md", "Without a Compose file"): Section(
        with_a_dockerfile_elsewhere, ["Added debugging to", "for web."]
    ),
    ("docs/modes.md", "Choose a mode"): Section(
        built, ["Listening, a client can attach at any time: train at 127.0.0.1:"]
    ),
    ("docs/modes.md", "Hours into a run"): Section(
        built,
        ["mode demand, the port is closed", " runs ", " is ready: train at 127.0.0.1:"],
    ),
    ("docs/modes.md", "Values without an editor"): Section(
        running, ["/train.py:137 in train_epoch (pid ", "  loss = "]
    ),
    ("docs/modes.md", "One of several programs"): Section(built, [WAITING.format("train")]),
    ("docs/modes.md", "Ranks"): Section(built, [LISTENING.format("train")]),
    ("docs/modes.md", "Another port in the container"): Section(built, [WAITING.format("train")]),
    ("docs/modes.md", "Jobs that others wait for"): Section(
        adopted("etl-one-shot-then-report"), [WAITING.format("extract")]
    ),
    ("docs/troubleshooting.md", "Start here"): Section(
        running, ["mode wait, port 5678 (train at 127.0.0.1:", " waits ", WAITING.format("train")]
    ),
    ("docs/troubleshooting.md", "The debugger cannot attach"): Section(built, []),
    ("docs/troubleshooting.md", NOT_READABLE): Section(new, []),
    ("docs/updating.md", "Updating"): Section(new, ["Your edits are kept", "is up to date"]),
    ("docs/updating.md", "If Git ignores `.vscode`"): Section(ignoring_vscode, ["is up to date"]),
    ("docs/updating.md", "Another port"): Section(new, ["is up to date"]),
    ("docs/updating.md", "Another name for the package"): Section(new, ["is up to date"]),
}


# Commands that need what test machines lack: socat, Helm, a login node, a Swarm, many pods.
# docs/clusters.md and docs/kubernetes.md say which of them were tried by hand.
NOT_HERE = {
    ("docs/modes.md", "Where nothing forwards a port"),
    ("docs/clusters.md", "A port for an editor"),
    ("docs/clusters.md", "Docker Swarm"),
    ("docs/clusters.md", "Slurm"),
    ("docs/kubernetes.md", "Helm"),
    ("docs/scale.md", "The pod of a rank"),
}


def typed(block: str, template: Path, name: str, port: int) -> str:
    """A block of commands for a test, which has no terminal and shares its machine with others."""
    for pattern, replacement in [
        ("my-app", name),
        ("my_app", name.replace("-", "_")),
        (r"copier (copy|update)(?! --defaults)", r"copier \1 --defaults"),
        ("copier copy", f"copier copy --data debug_port={port}"),
        ("<template>", str(template)),
        (r"(docker compose .*) up\b", r"\1 up --detach --wait"),
        # A list ends by itself. Removing the container (`--rm`) may get in the way of `down`.
        (r"(docker compose .*) run (?!--rm (?:remora cr|--ent))(?:--rm )?", r"\1 run --detach "),
        ("docker run", f"docker run --detach --name {name}-run"),
        ("127.0.0.1:5678:", f"127.0.0.1:{port}:"),
    ]:
        block = re.sub(pattern, replacement, block)
    return block


def shell(root: Path, script: str, folder: Path) -> str:
    """Run a script in a folder as a user does who has pipx, and return what it prints."""
    user = {
        f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    tools = root.parent / "pipx"
    path = f"{tools}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            **user,
            "PIPX_HOME": f"{tools}/home",
            "PIPX_BIN_DIR": f"{tools}/bin",
            "PATH": path,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(
            key, id=key[1], marks=[pytest.mark.docker] if "docker " in "".join(blocks) else []
        )
        for key, blocks in commands().items()
        if blocks not in ([DEMO], [ALL_TESTS]) and key not in NOT_HERE
    ],
)
def test_commands_do_what_the_page_says(
    request: pytest.FixtureRequest,
    template: Path,
    tmp_path: Path,
    free_port: int,
    key: tuple[str, str],
) -> None:
    section = SECTIONS[key]
    uses_docker = request.node.get_closest_marker("docker") is not None
    if uses_docker:
        request.getfixturevalue("engine")
    # Compose identifies projects by their name, and Docker images too.
    is_built = section.prepare in (built, running, crashed)
    unique = f"remora-test-{uuid.uuid4().hex[:8]}"
    name = request.getfixturevalue("built").root.name if is_built else unique
    root = tmp_path / name
    project = Project(root)
    try:
        folder = section.prepare(request, root)
        script = "\n".join(typed(block, template, name, free_port) for block in commands()[key])
        printed = shell(root, script, folder)
        if uses_docker:
            # A container is healthy as soon as a client can attach. Its program may still start.
            wait_until(lambda: all(line in printed + project.log() for line in section.prints))
        else:
            assert all(line in printed for line in section.prints), printed
    finally:
        if uses_docker and root.exists():
            project.run("docker", "rm", "--force", f"{name}-run", check=False)
            project.down()
            if not is_built:
                remove_images(project, name)


def test_windows_can_check_out_all_files() -> None:
    for path in git(REPOSITORY, "ls-files", "-z").split("\0"):
        assert not set(path) & set('<>:"|?*\\') and not re.search(r"[. ](/|$)", path), path


def test_no_section_is_prepared_in_vain() -> None:
    assert SECTIONS.keys() | NOT_HERE < commands().keys()


@pytest.fixture
def demo(engine: None, template: Path, tmp_path: Path, free_port: int):
    """A project that the README's first command has rendered and started from a fresh clone."""
    git(tmp_path, "clone", "--quiet", str(template), "remora")
    name = f"remora-test-{uuid.uuid4().hex[:8]}"
    command = f"{DEMO} -- ../{name} --data debug_port={free_port}"
    project = Project(tmp_path / name)
    try:
        subprocess.run(
            ["bash", "-c", command], cwd=tmp_path / "remora", check=True, timeout=TIMEOUT
        )
        yield project
    finally:
        project.down()
        remove_images(project, name)


@pytest.mark.docker
def test_first_command_starts_a_project_that_stops_at_a_breakpoint(demo: Project) -> None:
    line = demo.line("losses.append(loss)")
    stop = demo.attach(line).stopped()
    assert (stop.path, stop.line) == (demo.source, line)


def test_ci_runs_the_test_command_of_contributing() -> None:
    assert ALL_TESTS in text(".ci/run").splitlines()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_session_of_nox_that_is_named_exists(document: str) -> None:
    for name in re.findall(r"\bnox -s (\w+)", text(document)):
        assert f"def {name}(session" in text("noxfile.py")


# ---- Trees ----


def test_trees_of_an_adopted_project_are_real(template: Path, tmp_path: Path) -> None:
    before, after = re.findall(r"```\nmailer/\n(.+?)```", text("docs/adopting.md"), re.DOTALL)
    root = ExistingProject("web-and-worker-redis").write(tmp_path / "mailer")
    assert set(re.findall(r"── (\S+?)/?(?:\s|$)", before)) == names(root)
    render(template, root)
    # The tree does not go into these two folders.
    closed = [root / ".vscode", root / "docker/debug/remora"]
    shown = set(re.findall(r"── (?:docker/)?(\S+?)/?(?:\s|$)", after))
    assert shown == names(root, closed) - {"docker"}


def names(root: Path, closed: Sequence[Path] = ()) -> set[str]:
    """The names of all files and folders below a folder, except in folders that the tree closes."""
    return {path.name for path in root.rglob("*") if path.parent not in closed}


def test_tree_of_a_new_project_is_real(template: Path, tmp_path: Path) -> None:
    rendered = render(template, tmp_path / "my-app")
    tree = text("docs/how-it-works.md").split("my-app/\n")[1].split("```")[0]
    for path in re.findall(r"── (\S+)", tree):
        assert any(rendered.rglob(path.rstrip("/"))), path
    for path in rendered.iterdir():
        assert path.name in tree


# ---- Names and links ----


def test_every_module_and_every_file_of_rules_is_listed() -> None:
    layer = REPOSITORY / "template/docker/debug/remora"
    listed = set(re.findall(r"^(\w+) +\S", (layer / "__init__.py").read_text(), re.MULTILINE))
    assert {path.stem for path in layer.glob("*.py")} - listed == {"__init__"}
    page = text("docs/architecture.md")
    for path in (REPOSITORY / "template").glob("_*.jinja"):
        assert f"`{path.name.split('.')[0]}`" in page, path


def test_imports_of_the_debug_layer_have_no_circle() -> None:
    imported: dict[str, set[str]] = {}
    for path in (REPOSITORY / "template/docker/debug/remora").glob("*.py"):
        nodes = [
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom) and node.level == 1
        ]
        names = {name.name for node in nodes if node.module is None for name in node.names}
        imported[path.stem] = names | {node.module for node in nodes if node.module}
    assert imported["engine"] >= {"hook", "changes"}
    # Raises CycleError, which names the modules.
    graphlib.TopologicalSorter(imported).prepare()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str) -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    named = re.findall(r"`(test_\w+)`", text(document))
    assert named or document not in ("docs/tested.md", "SECURITY.md")
    for name in named:
        assert f"def {name}(" in tests


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in re.findall(r"\]\((?!https?://)(.+?)\)", text(document)):
        path, _, anchor = link.partition("#")
        page = (REPOSITORY / document).parent / path if path else REPOSITORY / document
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


# ---- Words ----

# Constructions that a reader has to untangle, and what to write instead
PLAIN = {
    r"(?<![Tt]here )\b(?:is|are|was|were|be) no (?!longer\b|more\b)": "is not a",
    r"\b(?:of|for) (?:which|whom)\b": "a sentence of its own",
    r"\b(?:have|has|had|having) (?:it|them|those|these) [a-z]": "the verb itself",
    r"\b(?:that|this|its) one\b": "the name of the thing",
    r"\b(?:It|This) takes (?!place)": "Requires",
    r"^(?:Of|Nor|Not) [a-z]": "the subject first",
    r"\b(?:is|are|was|were) to [a-z]{2}": "must, should, or the verb itself",
    r"\b(?:says?|said|told|knows?|knew) of\b": "about",
    r"\b(?:is|are|be) said\b": "reported, named, or the subject first",
    r"\b(?:taken|takes?) (?:it |them )?for (?:an?|the) ": "mistake for, or believe that",
    r"\b(?:anew|hence|thereby|whereby|likewise|for ever|as ever)\b": "a word of everyday speech",
    r"\b(?:all|everything|nothing|none|any|no \w+) but\b": "except",
    r"\bbut for\b": "except for",
    r"^Have [a-z]|\bas (?:it|they) (?:is|are) to\b": "Make, Let, or the verb itself",
    r"\bso as to\b|\bin order to\b": "to",
}
LONGEST = 32  # words of a sentence


def prose_of_page(source: str) -> str:
    """A page without code, commands and addresses."""
    prose = re.sub(r"^ *```.*?^ *```", "", source, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]+`", "CODE", prose)
    return re.sub(r"\]\([^)]*\)", "]", prose)


def prose_of_script(source: str) -> str:
    """The comments of a file in which they begin with #, a paragraph for each."""
    lines = map(str.lstrip, source.splitlines())
    return "\n".join(line[1:] if line.startswith("#") else "" for line in lines)


def prose_of_module(source: str) -> str:
    """The docstrings, comments and names of tests of a Python file, a paragraph for each."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    docstrings = [ast.get_docstring(node) or "" for node in nodes]
    tests = [name.replace("_", " ").capitalize() for name in re.findall(r"def test_(\w+)", source)]
    comments = [""] * len(source.splitlines())
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            words, before = token.string.lstrip("# "), token.line[: token.start[1]]
            comments[token.start[0] - 1] = f"\n{words}\n" if before.strip() else words
    return "\n\n".join([*docstrings, *tests, "\n".join(comments)])


def messages(source: str) -> list[str]:
    """The texts of a Python file that a program may print."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [each for each in texts if isinstance(each, str) and " " in each and "\n" not in each]


def prose(path: str) -> str:
    """The words of a file for its readers, with Jinja's comments, questions and messages."""
    source, notes = text(path), []
    if path == "copier.yml":
        questions = yaml.safe_load(source).values()
        notes = [each["help"] for each in questions if isinstance(each, dict) and "help" in each]
    if path.startswith("template/") and path.endswith(".py"):
        notes = messages(source)
    if path.endswith(".jinja"):
        notes = re.findall(r"\{#-?(.*?)-?#\}", source, re.DOTALL)
        source = re.sub(r"\{([#%]).*?\1\}\n?", "", source, flags=re.DOTALL)
        source = re.sub(r"\{\{.*?\}\}", "CODE", source, flags=re.DOTALL)
    name = path.removesuffix(".jinja")
    if name.endswith((".md", "_notes", "_editors")):
        return "\n\n".join([*notes, prose_of_page(source)])
    found = prose_of_module(source) if name.endswith(".py") else prose_of_script(source)
    found = re.sub(r"`[^`]+`", "CODE", "\n\n".join([*notes, found]))
    # A row of a table is a paragraph of its own.
    return re.sub(r"^ *\S.*? {2,}", "\n\n", found, flags=re.MULTILINE)


def sentences(prose: str) -> list[str]:
    blocks = re.split(r"\n\n|\n *[-*] |\n *\d\. |\||\n#", prose)
    found = [re.split(r"(?<=[.!?:;]) ", " ".join(block.split())) for block in blocks]
    return [sentence for block in found for sentence in block]


WRITTEN = ["copier.yml", "template", "*.py", "tests/projects", "tests/engine.sh", ".ci"]
PROSE = [*DOCUMENTS, *git(REPOSITORY, "ls-files", *WRITTEN).splitlines()]


@pytest.mark.parametrize("path", PROSE)
def test_words_are_plain(path: str) -> None:
    for sentence in sentences(prose(path)):
        assert len(sentence.split()) <= LONGEST, sentence
        for construction, instead in PLAIN.items():
            found = re.search(construction, sentence)
            assert not found, f"{sentence!r}: instead of {found[0]!r} write {instead}"
