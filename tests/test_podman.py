"""A rendered project's manifests without a cluster: docs/clusters.md on `podman kube play`.

Podman runs in a privileged container with a network of its own, and changes nothing outside.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support import dap
from support.programs import program
from support.project import TIMEOUT, Project
from support.relayed import Relayed
from support.rendering import REPOSITORY

pytestmark = pytest.mark.docker

PODMAN = """
FROM python:3.13-slim
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends \
    podman catatonit crun netavark aardvark-dns iptables nftables
# The machine may have version 1 of cgroups, and the container has no systemd.
RUN printf '[engine]\\ncgroup_manager = "cgroupfs"\\nevents_logger = "file"\\n' \
    >/etc/containers/containers.conf
# Podman cannot put its own layers on those of a container.
VOLUME /var/lib/containers
"""

# Connects standard input and output to the debugger's port.
CONNECT = "exec 3<>/dev/tcp/127.0.0.1/5678; cat <&3 & exec cat >&3"


class Podman:
    """Podman in a container. `project` is what it runs."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.name = f"{project.root.name}-podman"
        # Docker's label marks the image and the container for removal.
        self.label = f"--label=com.docker.compose.project={project.root.name}"
        build = ["docker", "build", "--quiet", self.label, f"--tag={self.name}", "-"]
        subprocess.run(build, input=PODMAN, text=True, check=True, timeout=TIMEOUT)
        run = ["docker", "run", "--detach", "--rm", "--privileged", self.label]
        project.run(*run, f"--name={self.name}", self.name, "sleep", "infinity")

    def command(self, *words: str) -> list[str]:
        """A command for Podman's container, as one for this machine."""
        return ["docker", "exec", "--interactive", self.name, *words]

    def load(self, image: str) -> None:
        """Bring an image from Docker to Podman."""
        save = subprocess.Popen(["docker", "image", "save", image], stdout=subprocess.PIPE)
        load = self.command("podman", "load", "--quiet")
        subprocess.run(load, stdin=save.stdout, check=True, timeout=TIMEOUT)
        assert save.wait() == 0

    def play(self, manifests: list[dict[str, Any]]) -> None:
        """Start what manifests describe."""
        play = self.command("podman", "kube", "play", "-")
        done = subprocess.run(
            play, input=yaml.dump_all(manifests), capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def inside(self, service: str, *words: str) -> list[str]:
        """A command for the container of a service, as one for this machine."""
        container = f"{service}-pod-{service}"
        return self.command("podman", "exec", "--interactive", container, *words)

    def close(self) -> None:
        self.project.run("docker", "rm", "--force", "--volumes", self.name)


@pytest.fixture(scope="module")
def podman(build) -> Iterator[Podman]:
    podman = Podman(build(services=["train", "api"], engines=["compose", "kubernetes"]))
    try:
        podman.load(f"{podman.project.root.name}:debug")
        yield podman
    finally:
        podman.close()


def manifests(project: Project, service: str) -> list[dict[str, Any]]:
    """The manifests of a service with a debugger."""
    built = project.run(program("kubectl"), "kustomize", "deploy/debug").stdout
    found = list(yaml.safe_load_all(built))
    return [
        each for each in found if each["metadata"]["labels"]["app.kubernetes.io/name"] == service
    ]


def published_by_the_page() -> dict[str, Any]:
    """What the page adds to a container, so that its port is published."""
    page = (REPOSITORY / "docs/clusters.md").read_text().split("## Podman")[1]
    (block,) = re.findall(r"```yaml\n(.+?)```", page, re.DOTALL)
    return yaml.safe_load(block)


def attach(service: Project, port: int, line: int) -> dap.Editor:
    """Attach with the configuration of the cluster, but at another port."""
    configuration = service.configuration(f"{service.service}: attach in the cluster")
    configuration["connect"]["port"] = port
    editor = dap.Editor()
    service.editors.append(editor)
    editor.attach(configuration, {service.source: [line]})
    return editor


def test_a_job_stops_by_its_published_port(podman: Podman) -> None:
    train = podman.project
    found = manifests(train, "train")
    (job,) = (each for each in found if each["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    added = published_by_the_page()
    settings = {each["name"]: each for each in [*container["env"], *added["env"]]}
    container.update({**added, "env": list(settings.values())})
    podman.play(found)
    train.run(*podman.inside("train", "remora", "ready"))
    here = train.line("losses.append(loss)")
    with Relayed(*podman.command("bash", "-c", CONNECT)) as relayed:
        stop = attach(train, relayed.port, here).stopped()
        assert (stop.path, stop.line) == (train.source, here)


def test_a_deployment_stops_by_the_relay(podman: Podman) -> None:
    api = podman.project.seen_from("api")
    podman.play(manifests(api, "api"))
    api.run(*podman.inside("api", "remora", "ready"))
    here = api.line("app = FastAPI(")
    with Relayed(*podman.inside("api", "remora", "relay")) as relayed:
        stop = attach(api, relayed.port, here).stopped()
        assert (stop.path, stop.line) == (api.source, here)
