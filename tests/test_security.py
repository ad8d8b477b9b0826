"""What SECURITY.md claims about images and their layers, ports, privileges and questions."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML
from support import dap
from support.adopted import DEBUG_LAYER
from support.ports import listening, listening_here
from support.project import TIMEOUT, Project, copy, marked, remora, remove_images, wait_until
from support.rendering import REPOSITORY, render

# A test plants this wherever a secret may be, and must find it nowhere.
SECRET = f"secret-{uuid.uuid4().hex}"

# These words identify debugging in names and configurations.
TRACES = (
    *("debugpy", "debug_", "debug-", "docker/debug"),
    *("REMORA_", "opt/remora", "bin/remora", "remora.pth", "remora.start"),
)

BASE_IMAGE = "python:3.13-slim"

# A user of the container other than root and the program's user.
INTRUDER = "12345"


def section(heading: str) -> str:
    """A section of SECURITY.md."""
    text = (REPOSITORY / "SECURITY.md").read_text()
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_every_promise_names_its_test() -> None:
    promises = re.split(r"^- ", section("What is promised"), flags=re.MULTILINE)[1:]
    assert promises
    for promise in promises:
        assert re.search(r"`test_\w+`", promise), promise


# ---- The template ----


def test_template_runs_no_code_at_a_copy() -> None:
    settings = YAML(typ="safe").load(REPOSITORY / "copier.yml")
    assert not settings.keys() & {"_tasks", "_migrations", "_jinja_extensions"}


def test_actions_are_pinned_by_hash() -> None:
    workflows = [path.read_text() for path in (REPOSITORY / ".github/workflows").iterdir()]
    actions = re.findall(r"\buses: *(\S+)", "\n".join(workflows))
    assert actions
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in actions)


def test_no_secret_is_rendered(template: Path, tmp_path: Path) -> None:
    render(template, tmp_path, services=["train", "api", "worker"], api_framework="django")
    assert not list(tmp_path.rglob(".env"))
    settings = (tmp_path / ".env.example").read_text()
    assert re.findall(r"^#?(\w*(?:SECRET|KEY|TOKEN|PASSWORD)\w*)=(.*)", settings, re.MULTILINE) == [
        ("DJANGO_SECRET_KEY", "")
    ]


@pytest.mark.docker
def test_debug_file_adds_no_privilege(engine: None, template: Path, tmp_path: Path) -> None:
    render(template, tmp_path, services=["train", "api", "worker"])
    project = Project(tmp_path)
    config = ("--profile", "*", "config", "--format", "json")
    before, after = (
        json.loads(text.stdout)["services"]
        for text in (project.run("docker", "compose", *config), project.compose(*config))
    )
    # Production has no service `tests`: everything in that service belongs to the debugger.
    before["tests"] = {key: after["tests"][key] for key in ("profiles", "networks", "entrypoint")}
    # The service that shows dumps does not belong to the application: see test_crashes.py.
    showing = after.pop("remora")
    assert {"privileged", "cap_add", "devices", "pid", "ipc"}.isdisjoint(showing)
    assert [mount["source"] for mount in showing["volumes"]] == ["remora-dumps", str(tmp_path)]
    for name, service in after.items():
        changed = {key for key in service if service[key] != before[name].get(key)}
        assert before[name].keys() <= service.keys()
        assert changed <= {
            *("build", "image", "init", "restart", "command", "environment"),
            *("volumes", "ports", "tmpfs", "healthcheck"),
        }
        for mount in service.get("volumes", []):
            if mount not in before[name].get("volumes", []) and mount["type"] == "volume":
                assert (mount["source"], mount["target"]) == ("remora-dumps", f"/{DUMPS}")
            elif mount not in before[name].get("volumes", []):
                assert (mount["type"], mount["read_only"]) == ("bind", True)
                assert tmp_path in Path(mount["source"]).parents


# ---- Images ----


class Saved:
    """An image as it leaves the machine: its configuration with its history, and its layers."""

    def __init__(self, project: Project, image: str) -> None:
        def inspect(name: str) -> dict:
            return json.loads(project.run("docker", "image", "inspect", name).stdout)[0]

        self.base = len(inspect(BASE_IMAGE)["RootFS"]["Layers"])
        # By id: the name alone would also match the debug image, which has the same name and a tag.
        save = ["docker", "image", "save", inspect(image)["Id"]]
        file = tempfile.TemporaryFile()
        subprocess.run(save, check=True, stdout=file, timeout=TIMEOUT)
        file.seek(0)
        self.archive = tarfile.open(fileobj=file)
        (manifest,) = json.load(self.archive.extractfile("manifest.json"))
        self.blobs: list[str] = manifest["Layers"]
        self.text = self.archive.extractfile(manifest["Config"]).read().decode()
        self.config: dict = json.loads(self.text)["config"]
        self.layers: list[str] = json.loads(self.text)["rootfs"]["diff_ids"]

    def entries(self, first: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """The contents of the layers from a number on, with deleted files and deletion marks."""
        for blob in self.blobs[first:]:
            with tarfile.open(fileobj=self.archive.extractfile(blob)) as layer:
                for entry in layer:
                    yield entry, layer.extractfile(entry).read() if entry.isfile() else b""

    def names(self, first: int) -> set[str]:
        """The paths of the files in the layers from a number on."""
        return {entry.name for entry, _ in self.entries(first) if not entry.isdir()}


@pytest.fixture(scope="module")
def with_secrets(build) -> Project:
    """A project whose owner has secrets in files and in the environment."""
    index = f"https://owner:{SECRET}@packages.example.org/simple"

    def plant(root: Path) -> None:
        source = next(root.glob("src/*"))
        with (root / ".env").open("a") as settings:
            settings.write(f"TOKEN={SECRET}\n")
        for folder in (root, root / "src", source, root / "scripts", root / "docker/debug"):
            for name in (".env", ".env.production", ".git/config"):
                (folder / name).parent.mkdir(exist_ok=True)
                with (folder / name).open("a") as file:
                    file.write(f"TOKEN={SECRET}\n")
        for name in ("pip.conf", ".netrc", "id_ed25519", "tests/token.txt"):
            (root / name).write_text(SECRET)

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_INDEX_URL", index)
        environment.setenv("TOKEN", SECRET)
        project = build(plant)
        for compose in (["docker", "compose"], ["docker", "compose", "-f", project.debug_file]):
            project.run(*compose, "build", "--build-arg", f"PIP_INDEX_URL={index}")
    return project


@pytest.fixture(scope="module")
def production(with_secrets: Project) -> Saved:
    return Saved(with_secrets, with_secrets.root.name)


@pytest.fixture(scope="module")
def debug(with_secrets: Project) -> Saved:
    return Saved(with_secrets, f"{with_secrets.root.name}:debug")


@pytest.mark.docker
def test_no_layer_of_production_contains_debugging(production: Saved) -> None:
    assert not [trace for trace in TRACES if trace in production.text]
    names = production.names(production.base)
    assert any(name.endswith("/train.py") for name in names)
    assert not [name for name in names if any(trace in name for trace in TRACES)]
    assert production.config["User"] == "10001"
    assert not production.config.get("ExposedPorts")


@pytest.mark.docker
@pytest.mark.parametrize("image", ["production", "debug"])
def test_no_layer_has_a_secret(request: pytest.FixtureRequest, image: str) -> None:
    saved: Saved = request.getfixturevalue(image)
    assert SECRET not in saved.text
    for entry, content in saved.entries(saved.base):
        assert SECRET.encode() not in content, entry.name
        assert not re.search(r"(^|/)\.(env[^/]*|git)(/|$)", entry.name)


# The folder of the debug image to which mode `dump` writes
DUMPS = "var/lib/remora/dumps"


@pytest.mark.docker
def test_only_root_can_change_what_debugging_adds(production: Saved, debug: Saved) -> None:
    assert debug.layers[:-1] == production.layers
    for entry, _ in debug.entries(len(production.layers)):
        assert entry.uid == 0
        if entry.name == DUMPS:
            # Every user may write there, and nobody may remove another user's files.
            assert entry.isdir() and entry.mode & 0o7777 == 0o1777
        else:
            assert entry.issym() or not entry.mode & 0o022, entry.name


@pytest.mark.docker
def test_production_knows_nothing_about_debugging(built: Project) -> None:
    def inspect(image: str):
        return json.loads(built.run("docker", "image", "inspect", image).stdout)[0]

    def run(image: str, *command: str) -> str:
        return built.run("docker", "run", "--rm", "--entrypoint", "", image, *command).stdout

    # Other tests have built edited copies with these names.
    built.run("docker", "compose", "build")
    built.compose("build")
    production, debug = built.root.name, f"{built.root.name}:debug"
    search = "import importlib.util as u; print(u.find_spec('debugpy'), u.find_spec('remora'))"
    assert run(production, "python", "-c", search) == "None None\n"
    assert run(production, "id", "-u") != "0\n"

    # The debug image is the production image plus one layer, with only another entry point.
    below, above = (inspect(image) for image in (production, debug))
    assert above["RootFS"]["Layers"][:-1] == below["RootFS"]["Layers"]
    assert above["Config"].pop("Entrypoint") == ["debug-entrypoint.sh"]
    assert not below["Config"].pop("Entrypoint", None)
    for config in (below["Config"], above["Config"]):
        del config["Labels"]  # in which Compose names the image's service
    assert above["Config"] == below["Config"]

    # The layer adds files. It changes no files, and no owner or mode of a folder.
    # Leave out the files that Docker writes for each container.
    find = "find / -xdev -not -path '/etc/host*' -printf '%p %U %G %m %s %l\\n'"
    listing = ("docker", "run", "--rm", "--user", "root", "--entrypoint", "sh")
    files, more_files = (
        set(built.run(*listing, image, "-c", find).stdout.splitlines())
        for image in (production, debug)
    )
    assert files <= more_files
    added = {line.split()[0] for line in more_files - files}
    site = "import site; print(site.getsitepackages()[0], end='')"
    # The system has a Python, and the project has a virtual environment made with it.
    pythons = ("/usr/local/bin/python3", "/opt/venv/bin/python3")
    home = "/opt/remora/python3.13"
    assert {f"{home}/_remora/hook.pyc", f"{home}/debugpy/__init__.pyc", f"{home}/python"} <= added
    assert {path for path in added if not path.startswith(f"{home}/")} == {
        "/opt/remora",
        home,
        "/usr/local/bin/remora",
        "/usr/local/bin/debug-attach",
        "/usr/local/bin/debug-entrypoint.sh",
        *(f"{run(production, python, '-c', site)}/remora.pth" for python in pythons),
        f"/{Path(DUMPS).parent}",
        f"/{DUMPS}",
    }


# A project whose Dockerfile copies the whole folder.
COPIES_ALL = {
    "compose.yaml": "services: {app: {build: .}}",
    "Dockerfile": f"FROM {BASE_IMAGE}\nWORKDIR /srv\nCOPY . .\nUSER 10002\n"
    'CMD ["python", "main.py"]\n',
    "main.py": "import time\n\nwhile True:\n    time.sleep(0.1)  # here\n",
}


class Adopted(Project):
    """A project with this Dockerfile: built as it was `before`, and then adopted."""

    def __init__(self, root: Path, template: Path, port: int, **more_files: str) -> None:
        super().__init__(root, "app")
        for name, text in {**COPIES_ALL, **more_files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        self.before = self.production()
        render(template, root, debug_port=port)

    @property
    def source(self) -> Path:
        return self.root / "main.py"

    def production(self) -> Saved:
        """The image that the project's owner builds."""
        self.run("docker", "compose", "build")
        return Saved(self, f"{self.root.name}-app")


@pytest.fixture(scope="module")
def adopt(engine, template, free_port, tmp_path_factory):
    """Build and adopt a project with this Dockerfile, and perhaps with more files."""
    roots = []

    def adopt(**more_files: str) -> Adopted:
        roots.append(tmp_path_factory.mktemp("adopted") / f"remora-test-{uuid.uuid4().hex[:8]}")
        return Adopted(roots[-1], template, free_port, **more_files)

    yield adopt
    for root in roots:
        remove_images(Project(root), root.name)


def advised() -> list[str]:
    """The lines that docs/adopting.md adds to .dockerignore."""
    text = (REPOSITORY / "docs/adopting.md").read_text()
    pattern = r"copies the whole folder, add (.+?) to `\.dockerignore`"
    (advice,) = re.findall(pattern, text, re.DOTALL)
    return re.findall(r"`(.+?)`", advice)


@pytest.fixture(scope="module")
def adopted(adopt) -> Adopted:
    """A project whose owner has added these lines, and has no folder `docker`."""
    names = ["docker" if name == "docker/debug" else name for name in advised()]
    return adopt(**{".dockerignore": "\n".join(names)})


@pytest.fixture(scope="module")
def adopted_beside_a_folder(adopt) -> Adopted:
    """A project whose owner has added these lines, and has a folder `docker`."""
    return adopt(**{".dockerignore": "\n".join(advised()), "docker/notes": "mine"})


@pytest.mark.docker
@pytest.mark.parametrize("name", ["adopted", "adopted_beside_a_folder"])
def test_production_of_an_adopted_project_stays_the_same_image(
    request: pytest.FixtureRequest, name: str
) -> None:
    project: Adopted = request.getfixturevalue(name)
    # The image's id is the hash of this, which includes the hash of each layer.
    assert project.production().text == project.before.text
    project.compose("build")
    debug = Saved(project, f"{project.root.name}-app:debug")
    # The files that debugging adds, and the copy of the project's Python files
    assert debug.layers[:-2] == project.before.layers


@pytest.mark.docker
def test_without_a_dockerignore_the_files_lie_in_production_and_nothing_runs_them(adopt) -> None:
    project = adopt()
    after, base = project.production(), project.before.base
    added = after.names(base) - project.before.names(base)
    assert added == {f"srv/{path}" for path in {*DEBUG_LAYER, project.debug_file}}
    assert after.config == project.before.config


# ---- Ports ----


@pytest.fixture(params=["new", "adopted"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    """A project whose program runs in mode `listen`."""
    if request.param == "new":
        project = copy(request.getfixturevalue("built"), tmp_path)
        project.edit("losses.append(loss)", "losses.append(loss)  # here")
    else:
        project = request.getfixturevalue("adopted")
    project.compose("up", "--build", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="1000000")
    yield project
    project.down()


def stops(project: Project) -> bool:
    """Attach as an editor does, and tell whether the program stops."""
    here = marked(project.source)
    editor = project.attach(here)
    stop = editor.stopped()
    editor.detach()
    return (stop.path, stop.line) == (project.source, here)


def inspect(project: Project) -> dict:
    return json.loads(project.run("docker", "inspect", project.container()).stdout)[0]


def own_address(project: Project) -> tuple[str, str]:
    """The network of the container, and the container's address there."""
    ((network, facts),) = inspect(project)["NetworkSettings"]["Networks"].items()
    return network, facts["IPAddress"]


def addresses_of_machine(project: Project) -> set[str]:
    """This machine's addresses without loopback, and the project's network of Docker.

    Other networks are left out. Another test may remove its network at any time, and the address
    then belongs to whoever answers outside this machine.
    """
    (network,) = inspect(project)["NetworkSettings"]["Networks"].values()
    own_bridge = f"br-{network['NetworkID'][:12]}"
    return {
        address.address
        for interface, addresses in psutil.net_if_addrs().items()
        if interface == own_bridge or not interface.startswith(("lo", "br-"))
        for address in addresses
        if address.family == socket.AF_INET
    }


# Prints which addresses accept a connection.
PROBE = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        continue
    print(address)
"""


def in_network(project: Project, network: str, *command: str) -> str:
    """Run Python in a container beside the project's, and return what it prints."""
    # Use an image with the label that marks containers of the tests.
    image = inspect(project)["Config"]["Image"]
    module = f"{dap.__file__}:/beside/dap.py:ro"
    run = ["docker", "run", "--rm", "--network", network, "--entrypoint", "python"]
    run += ["--volume", module, "--workdir", "/beside", image, "-c"]
    return project.run(*run, *command).stdout


def reached(project: Project, network: str, *addresses: str) -> set[str]:
    """The addresses that a container in a network can reach."""
    return set(in_network(project, network, PROBE, *addresses).split())


@pytest.mark.docker
def test_port_is_published_on_loopback_only(running: Project) -> None:
    published = inspect(running)["NetworkSettings"]["Ports"]
    port = str(running.configuration(f"{running.service}: attach")["connect"]["port"])
    assert published == {"5678/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}


@pytest.mark.docker
def test_port_is_reached_from_loopback_only(running: Project) -> None:
    port = running.configuration(f"{running.service}: attach")["connect"]["port"]
    network, address = own_address(running)
    machine = addresses_of_machine(running)
    with socket.create_server(("0.0.0.0", 0)) as control:
        # The container can reach this port at the same addresses.
        open_port = control.getsockname()[1]
        targets = [f"{host}:{number}" for host in machine for number in (port, open_port)]
        expected = {target for target in targets if target.endswith(f":{open_port}")}
        probe = subprocess.run(
            [sys.executable, "-c", PROBE, *targets], check=True, stdout=subprocess.PIPE, text=True
        )
        assert set(probe.stdout.split()) == expected != set()
        assert reached(running, network, *targets) == expected
        assert reached(running, "bridge", *targets, f"{address}:5678") == expected
    assert stops(running)


@pytest.mark.docker
def test_container_on_the_same_network_can_run_any_code(running: Project) -> None:
    network, address = own_address(running)
    attack = (
        "import dap, sys; client = dap.Client(sys.argv[1], 5678);"
        "client.attach({'type': 'debugpy', 'request': 'attach'}, {});"
        "print(client.request('evaluate', expression='__import__(\"os\").getuid()')['result'])"
    )
    uid = in_network(running, network, attack, address).strip()
    assert uid == inspect(running)["Config"]["User"]


# Docker's name server, in every container on a project's network.
DNS_OF_DOCKER = "127.0.0.11"


def open_ports(project: Project) -> set[tuple[str, int]]:
    """The addresses and ports that listen in the container."""
    tables = ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
    found = listening(project.run("docker", "exec", project.container(), *tables).stdout)
    return {(host, port) for host, port in found if host != DNS_OF_DOCKER}


@pytest.mark.docker
@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "crash", "dump", "off"])
def test_debugging_opens_one_port_and_not_before_it_is_needed(project: Project, mode: str) -> None:
    project.compose("up", "--detach", "--wait", REMORA_MODE=mode, EPOCHS="1000000")
    port = {("0.0.0.0", 5678)}
    assert open_ports(project) == (port if mode in ("wait", "listen") else set())
    if mode in ("demand", "crash", "dump"):
        project.task("train: attach")
        assert open_ports(project) == port
        # A client and a program add no others.
        project.attach()
        assert open_ports(project) == port


@pytest.mark.docker
def test_port_on_the_network_of_the_machine_is_on_loopback_whatever_is_set(
    project: Project, free_port: int
) -> None:
    project.edit("losses.append(loss)", "losses.append(loss)  # here")
    # Write YAML as a text: JSON has no tags.
    (project.root / "host.yml").write_text(
        "services: {train: {network_mode: host, ports: !reset [],"
        f" environment: {{REMORA_HOST: 0.0.0.0, REMORA_PORT: {free_port}}}}}}}"
    )
    project.more_files.append("host.yml")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="1000000")
    assert [host for host, port in listening_here() if port == free_port] == ["127.0.0.1"]
    assert stops(project)


# ---- Other users of the container, and other containers on its network ----

HUB = r"""
import json, os, socket, sys
namespace = int(sys.argv[1]) or os.stat("/proc/self/ns/pid").st_ino
connection, name = socket.socket(socket.AF_UNIX), f"\0remora-{namespace}-hub"
"""

# Sends the hub a message, and prints the answer.
ASK = f"""
{HUB}
connection.connect(name)
try:
    connection.sendall(sys.argv[2].encode() + b"\\n")
    print(connection.makefile().readline())
except OSError:
    pass  # it does not listen
"""

# Takes the names of a hub, and lets everybody in. One of the names signals a client.
FORGE = f"""
{HUB}
attached = socket.socket(socket.AF_UNIX)
if "attached" in sys.argv:
    attached.bind(name[:-3] + "attached")
connection.bind(name)
connection.listen(9)
print("ready", flush=True)
taken = []
while True:
    taken.append(connection.accept()[0])
    taken[-1].sendall(json.dumps({{"engine": True, "say": ["forged"]}}).encode() + b"\\n")
"""

# A Python without the debugger
PLAIN_PYTHON = ["python", "-u", "-I", "-S", "-c"]

# A user other than the program's
OTHERS = ["another user", "another container"]


def as_user(project: Project, user: str, *command: str) -> str:
    """Run a command in the container, and return what it prints."""
    return project.run("docker", "exec", "--user", user, project.container(), *command).stdout


@pytest.fixture
def run_elsewhere(project: Project) -> Iterator[Callable[..., str]]:
    """Run Python as another user, or as root in another container that shares the network."""
    started = []

    def run_elsewhere(who: str, code: str, *arguments: str, wait: bool = True) -> str:
        """Return what the code prints, or, without waiting for its end, its first line."""
        if who == "another user":
            command = ["docker", "exec", "--user", INTRUDER, project.container(), *PLAIN_PYTHON]
        else:
            image = inspect(project)["Config"]["Image"]
            network = f"container:{project.container()}"
            command = ["docker", "run", "--rm", "--init", "--network", network, "--user", "root"]
            command += ["--entrypoint", PLAIN_PYTHON[0], image, *PLAIN_PYTHON[1:]]
        # Containers that share a network do not share a PID namespace.
        namespace = as_user(project, "root", "readlink", "/proc/self/ns/pid")
        command += [code, re.search(r"\d+", namespace)[0], *arguments]
        if wait:
            return project.run(*command).stdout
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.stdout.readline()

    yield run_elsewhere
    for process in started:
        process.terminate()
        process.wait(timeout=TIMEOUT)
        process.stdout.close()


@pytest.mark.docker
@pytest.mark.parametrize("user", ["0", "10001"])
@pytest.mark.parametrize("who", OTHERS)
@pytest.mark.parametrize("mode", ["wait", "demand", "crash"])
def test_hub_of_another_user_is_not_joined(
    project: Project, run_elsewhere: Callable[..., str], mode: str, who: str, user: str
) -> None:
    """A program says so in one line, and otherwise runs as without a debugger."""
    # The health check would start the hub of the program's user first.
    project.override("user.yml", user=user, healthcheck={"test": ["NONE"]})
    # A program that attaches to a forged hub could be made to run any code.
    code = "import threading\nprint(threading.active_count(), flush=True)\nraise ValueError\n"
    command = "until [ -e src/go ]; do sleep 0.1; done; exec python src/program.py"
    project.start(code, command, REMORA_MODE=mode)
    # In this mode, a program looks for the hub only if a client seems to be attached.
    names = ["attached"] if mode == "demand" else []
    assert run_elsewhere(who, FORGE, *names, wait=False) == "ready\n"
    (project.root / "src/go").touch()
    assert project.exit_code() == 1
    author = INTRUDER if who == "another user" else "0"
    printed = project.output()
    pattern = rf"remora: the debugger's hub is pid \d+ of user {author}, so pid \d+ of user {user}"
    (said,) = project.messages()
    assert re.fullmatch(f"{pattern} goes on without it", said)
    assert printed.count("1") == 1 and printed.count("ValueError") == 1
    assert "forged" not in project.log()


@pytest.mark.docker
@pytest.mark.parametrize("who", OTHERS)
def test_message_of_another_user_is_refused(
    project: Project, run_elsewhere: Callable[..., str], who: str
) -> None:
    project.edit("losses.append(loss)", "losses.append(loss)  # here")
    project.compose("up", "--detach", "--wait", REMORA_MODE="listen", EPOCHS="1000000")
    messages = [{"ask": "status"}, {"ask": "attach"}, {"command": ["x"], "held": True}]
    for text in map(json.dumps, messages):
        assert run_elsewhere(who, ASK, text) == ""
        for user in ("10001", "root"):
            answer = json.loads(as_user(project, user, *PLAIN_PYTHON, ASK, "0", text))
            assert answer.get("port") == 5678 or "engine" in answer
    assert stops(project)


# Blocks all signals, so that /proc shows those that have been sent. A signal that is delivered, and
# ignored by default, would leave no trace.
DEAF = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.docker
def test_signal_goes_only_to_who_expects_it(
    project: Project, run_elsewhere: Callable[..., str]
) -> None:
    """Another user cannot make root's hub, which may signal all processes, signal any of them."""
    project.edit("losses.append(loss)", "losses.append(loss)  # here")
    project.compose("up", "--detach", "--wait", REMORA_MODE="demand", EPOCHS="1000000")
    assert run_elsewhere("another user", DEAF, wait=False) == "ready\n"
    deaf = as_user(project, INTRUDER, "sh", "-c", "cd /proc; grep -l SIG_[B]LOCK [0-9]*/cmdline")
    deaf = deaf.split("/")[0]

    def sent() -> int:
        status = as_user(project, "root", "cat", f"/proc/{deaf}/status")
        return int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16)

    assert "is ready: train at 127.0.0.1:" in as_user(project, "root", "remora", "attach")
    everybody = as_user(project, "root", "sh", "-c", "cd /proc; echo [0-9]*").split()
    for pids in ([], [int(pid) for pid in everybody], [int(deaf)]):
        text = json.dumps({"ask": "attach", "pids": pids})
        assert json.loads(run_elsewhere("another user", ASK, text))["port"] == 5678
    assert sent() == 0
    as_user(project, "root", "sh", "-c", f"kill -URG {deaf}")
    assert sent() == 1 << (signal.SIGURG - 1)
    as_user(project, "root", "remora", "attach")
    assert stops(project)


@pytest.mark.docker
@pytest.mark.parametrize("mode", ["listen", "demand"])
def test_program_that_was_root_is_debugged(project: Project, mode: str) -> None:
    project.edit("    history = train(", "    __import__('os').setuid(10001)\n    history = train(")
    project.edit("losses.append(loss)", "losses.append(loss)  # here")
    project.override("root.yml", user="0")
    project.compose("up", "--detach", "--wait", REMORA_MODE=mode, EPOCHS="1000000")
    wait_until(lambda: "epoch" in project.log())
    if mode == "demand":
        remora(project, "attach")
    assert stops(project)


# ---- What a program tells the editor ----

# Sends messages in place of the engine. An editor may act on such messages on its own machine.
FORGED = """
import json, sys

def say(**message):
    body = json.dumps({"seq": 1, **message}).encode()
    debugger = sys.modules["pydevd"].get_global_debugger()
    debugger._client_socket.sendall(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))

evil = {"type": "debugpy", "request": "launch", "program": "/bin/evil", "args": ["evil"]}
say(type="event", event="debugpyAttach", body=evil)
say(type="event", event="ptvsd_attach", body=evil)
say(type="request", command="runInTerminal", arguments=evil)
say(type="request", command="startDebugging", arguments={"configuration": evil})
say(type="event", event="output", body={"category": "stdout", "output": "harmless"})
print()  # here
"""


@pytest.mark.docker
def test_program_cannot_have_the_editor_start_anything(project: Project) -> None:
    path = project.start(FORGED)
    project.compose("up", "--detach", "--wait")
    editor = project.attach(marked(path), source=path)
    editor.stopped()
    received = [json.loads(line[3:]) for line in editor.traffic if line.startswith("<- {")]
    told = [message for message in received if message["type"] != "response"]
    assert any(message["body"].get("output") == "harmless" for message in told)
    assert not [message for message in told if "evil" in json.dumps(message)]
