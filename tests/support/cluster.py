"""A separate namespace in a given Kubernetes cluster, through kubectl.

REMORA_KUBE_CONTEXT names kubectl's context, and REMORA_KUBE_LOAD a command that loads an image, its
argument, into the cluster. deploy/debug.sh of a rendered project reads the same settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port
from support.relayed import Relayed

# How long a pod may take to be scheduled, to start and to end, in seconds.
TIMEOUT = 180

# The settings that the level `restricted` of Pod Security demands of a pod.
POD = {
    "automountServiceAccountToken": False,
    "terminationGracePeriodSeconds": 30,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1234567,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def given(name: str) -> str:
    """A setting of the tests. Without the setting, they are skipped; in CI they fail."""
    value = os.environ.get(name)
    if not value:
        reason = f"{name} is not set: nox -s cluster says what it takes"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return value


class Cluster:
    """The namespace. Its contents are removed with it in the end."""

    def __init__(self) -> None:
        self.context, self.load = given("REMORA_KUBE_CONTEXT"), given("REMORA_KUBE_LOAD")
        self.namespace = f"remora-test-{uuid.uuid4().hex[:8]}"
        # Options of kubectl, for another user
        self.as_user: list[str] = []
        self.kubectl("create", "namespace", self.namespace)
        # The settings of deploy/debug.sh
        self.settings = {"REMORA_KUBE_NAMESPACE": self.namespace}

    @cached_property
    def minor(self) -> int:
        """The version of the server: 36 if it is Kubernetes 1.36. Some write 36+."""
        return int(json.loads(self.kubectl("get", "--raw=/version").stdout)["minor"].rstrip("+"))

    def requires(self, minor: int, what: str) -> None:
        """Skip the test if the cluster is older than the first Kubernetes that has something."""
        if self.minor < minor:
            pytest.skip(f"{what} requires Kubernetes 1.{minor}, and the cluster has 1.{self.minor}")

    def command(self, *arguments: str) -> list[str]:
        where = [f"--context={self.context}", f"--namespace={self.namespace}"]
        return ["kubectl", *where, *self.as_user, *arguments]

    def kubectl(
        self, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0 or not check, f"{arguments}\n{done.stdout}{done.stderr}"
        return done

    def apply(self, *objects: dict[str, Any]) -> None:
        everything = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(everything))

    def get(self, *what: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", *what, "--output=json").stdout)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Ask until a function returns something, and return it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > deadline:
                shown = self.kubectl("get", "pods,events", "--output=wide", check=False).stdout
                pytest.fail(f"it did not happen in time:\n{shown}")
            time.sleep(0.5)

    def status(self, pod: str) -> dict[str, Any]:
        """The status of the only container of a pod, as the cluster reports it."""
        return (self.get("pod", pod)["status"].get("containerStatuses") or [{}])[0]

    def started(self, pod: str) -> None:
        """Wait until the startup probe says that an editor can attach."""

        def has_started() -> bool:
            status = self.status(pod)
            assert "CrashLoopBackOff" not in str(status), self.log(pod)
            return status.get("started") is True

        self.until(has_started)

    def exit_code(self, pod: str) -> int:
        """Wait for the container of a pod to end, and return its exit code."""
        ended = self.until(lambda: self.status(pod).get("state", {}).get("terminated"))
        return ended["exitCode"]

    def pod(self, service: str) -> str:
        """The only pod of a service of a rendered project."""
        label = f"--selector=app.kubernetes.io/name={service}"
        (pod,) = self.get("pods", label)["items"]
        return pod["metadata"]["name"]

    def pod_of_rank(self, service: str, rank: int) -> str:
        """The pod of a rank of an Indexed Job that is debugged, with a rank in each pod."""
        label = f"--selector=remora={service},batch.kubernetes.io/job-completion-index={rank}"
        (pod,) = self.until(lambda: self.get("pods", label)["items"])
        return pod["metadata"]["name"]

    def log(self, pod: str) -> str:
        """The output of a pod; an empty text before the pod has a container."""
        return self.kubectl("logs", pod, check=False).stdout

    def says(self, pod: str, text: str) -> None:
        """Wait until a pod has printed a text."""
        self.until(lambda: text in self.log(pod))

    def relayed(self, pod: str) -> Relayed:
        """A port that starts `remora relay` in a pod for each connection."""
        return Relayed(*self.command("exec", "--stdin", pod, "--", "remora", "relay"))

    @contextmanager
    def forwarded(self, pod: str, port: int = 5678) -> Iterator[int]:
        """A port of this machine that is forwarded to a pod's port."""
        here = free_port()
        command = self.command("port-forward", f"pod/{pod}", f"{here}:{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline().startswith("Forwarding from 127.0.0.1")
            yield here
            process.kill()

    def close(self) -> None:
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")


def pod(
    image: str, command: str, env: dict[str, str] | None = None, **spec: object
) -> dict[str, Any]:
    """The specification of a pod that runs a shell command in a debug image."""
    settings = {"REMORA_HOST": "127.0.0.1", **(env or {})}
    return {
        **POD,
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["debug-entrypoint.sh", "sh", "-c", command],
                "env": [{"name": name, "value": value} for name, value in settings.items()],
                "startupProbe": {
                    "exec": {"command": ["remora", "ready", "--health"]},
                    "periodSeconds": 1,
                    "timeoutSeconds": 30,
                    "failureThreshold": 600,
                },
                "securityContext": CONTAINER,
                "volumeMounts": [{"name": "code", "mountPath": "/code"}],
            }
        ],
        "volumes": [{"name": "code", "configMap": {"name": "code"}}],
        **spec,
    }


def code(folder: Path, **programs: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """A ConfigMap with programs, and the paths of these programs on this machine."""
    paths = {}
    for name, text in programs.items():
        paths[name] = folder / f"{name}.py"
        paths[name].write_text(text)
    data = {f"{name}.py": text for name, text in programs.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": data,
    }, paths
