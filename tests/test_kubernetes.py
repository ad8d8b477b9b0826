"""The manifests for Kubernetes are valid, restricted, and keep paused pods. The script works.

The script runs against a stand-in for kubectl here, and by `nox -s cluster` in a real cluster.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.fake_cluster import STARTED, FakeCluster
from support.manifests import environment, kustomize
from support.project import wait_until
from support.rendering import contents, render, replace

BOTH = ["compose", "kubernetes"]
ANSWERS: dict[str, dict[str, Any]] = {
    "train": {},
    "ranks": {"ranks": 3, "gpu": True, "debug_mode": "crash"},
    "flask": {"services": ["api", "worker"], "api_framework": "flask"},
    "all": {"services": ["train", "api", "worker"], "api_framework": "django"},
    "long": {"project_name": "x" * 64},
}
VERSIONS = ["1.25", kubernetes_validate.latest_version()]


@pytest.fixture(scope="module", params=ANSWERS)
def rendered(request: pytest.FixtureRequest, template: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "my-app"
    return render(template, folder, engines=BOTH, **ANSWERS[request.param])


@pytest.fixture(scope="module")
def every_service(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("every") / "my-app"
    return render(template, folder, engines=BOTH, **ANSWERS["all"])


def with_dumps(project: Path) -> Path:
    """A copy of the overlay with the claim for mode `dump`, as the script makes it."""
    folder = project / "deploy/dump"
    if not folder.exists():
        shutil.copytree(project / "deploy/debug", folder)
        replace(folder / "kustomization.yaml", "resources:", "resources:\n  - dumps.yaml")
        for settings in folder.glob("workloads/*/settings.yaml"):
            claim = "persistentVolumeClaim: { claimName: remora-dumps }"
            replace(settings, "emptyDir: {}", claim)
    return folder


def pod_of(resource: dict[str, Any]) -> dict[str, Any] | None:
    """The specification of the pods of a workload."""
    return resource["spec"]["template"]["spec"] if "template" in resource.get("spec", {}) else None


def workloads(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in resources if pod_of(found)}


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(rendered: Path, version: str) -> None:
    for folder in ("deploy/base", "deploy/debug", with_dumps(rendered)):
        for resource in kustomize(rendered / folder):
            kubernetes_validate.validate(resource, version, strict=True)
    role = yaml.safe_load((rendered / "deploy/debug/role.yaml").read_text())
    kubernetes_validate.validate(role, version, strict=True)


# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
VOLUMES = {
    *["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"],
    *["projected", "secret"],
}


def why_not_restricted(pod: dict[str, Any]) -> list[str]:
    """The rules of the level `restricted` of Pod Security that a pod breaks."""
    wrong = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    for volume in pod.get("volumes", []):
        wrong += [f"volume {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    context = pod.get("securityContext", {})
    wrong += [name for name in ("sysctls", "seLinuxOptions", "windowsOptions") if name in context]
    for container in pod["containers"] + pod.get("initContainers", []):
        own = {**context, **container.get("securityContext", {})}
        capabilities = own.get("capabilities", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities dropped": "ALL" in capabilities.get("drop", []),
            "capabilities added": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "procMount": own.get("procMount", "Default") == "Default",
            "appArmorProfile": "appArmorProfile" not in own,
            "seccompProfile": own.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "lifecycle": "lifecycle" not in container,
        }
        wrong += [rule for rule, is_kept in rules.items() if not is_kept]
    return wrong


@pytest.mark.parametrize("layer", ["base", "debug", "dump"])
def test_pods_are_accepted_by_the_level_restricted(rendered: Path, layer: str) -> None:
    with_dumps(rendered)
    found = workloads(kustomize(rendered / "deploy" / layer))
    assert found
    (user,) = {
        line.split()[1]
        for line in (rendered / "Dockerfile").read_text().splitlines()
        if line.startswith("USER")
    }
    for name, workload in found.items():
        pod = pod_of(workload)
        assert why_not_restricted(pod) == []
        assert pod["automountServiceAccountToken"] is False
        assert name == "redis" or str(pod["securityContext"]["runAsUser"]) == user
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_what_is_not_restricted_is_found() -> None:
    assert why_not_restricted({"containers": [{"name": "x"}]}) == [
        "allowPrivilegeEscalation",
        "capabilities dropped",
        "seccompProfile",
        "runAsNonRoot",
    ]


def test_the_debugger_is_in_no_service_and_on_loopback(rendered: Path) -> None:
    resources = kustomize(rendered / "deploy/debug")
    for resource in resources:
        if resource["kind"] == "Service":
            assert 5678 not in [p["port"] for p in resource["spec"].get("ports", [])]
    for name, workload in workloads(resources).items():
        (container,) = pod_of(workload)["containers"]
        ports = [port["containerPort"] for port in container.get("ports", [])]
        assert 5678 not in ports
        if name != "redis":
            found = environment(container)
            assert (found["REMORA_HOST"], found["REMORA_PORT"]) == ("127.0.0.1", "5678")
            assert container["image"].endswith(":debug")


def test_production_knows_nothing_about_the_debugger(rendered: Path) -> None:
    text = yaml.safe_dump_all(kustomize(rendered / "deploy/base"))
    assert "remora" not in text.lower() and ":debug" not in text and "dumps" not in text


# Settings that an owner may add, and that would kill or replace a paused pod.
PROBES: dict[str, dict[str, Any]] = {
    "exec": {"exec": {"command": ["true"]}},
    "http": {"httpGet": {"path": "/", "port": 8000}},
    "tcp": {"tcpSocket": {"port": 8000}},
    "grpc": {"grpc": {"port": 8000}},
}
AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "mine"},
    "spec": {
        "maxReplicas": 9,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
    },
}
BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "mine"},
    "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": "api"}}},
}


@pytest.mark.parametrize("kind", PROBES)
def test_nothing_ends_a_paused_pod(every_service: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(every_service / "deploy", tmp_path / "deploy")
    base = tmp_path / "deploy/base"
    probe = PROBES[kind]
    before = {}
    for name in ("train", "api", "worker"):
        documents = list(yaml.safe_load_all((base / f"{name}.yaml").read_text()))
        workload = documents[0]
        (container,) = pod_of(workload)["containers"]
        for one in ("livenessProbe", "readinessProbe", "startupProbe"):
            container[one] = {**probe, "failureThreshold": 1}
        if name == "train":
            workload["spec"].update(activeDeadlineSeconds=60, ttlSecondsAfterFinished=0)
            pod_of(workload)["activeDeadlineSeconds"] = 60
        else:
            workload["spec"].update(replicas=9, strategy={"rollingUpdate": {"maxSurge": 1}})
        before[name] = container
        (base / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))
    (base / "more.yaml").write_text(yaml.safe_dump_all([AUTOSCALER, BUDGET]))
    text = (base / "kustomization.yaml").read_text()
    kustomization = yaml.safe_load(text)
    kustomization["resources"].append("more.yaml")
    (base / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    assert {"HorizontalPodAutoscaler", "PodDisruptionBudget"} < {r["kind"] for r in kustomize(base)}

    resources = kustomize(tmp_path / "deploy/debug")
    assert not {"HorizontalPodAutoscaler", "PodDisruptionBudget"} & {r["kind"] for r in resources}
    for resource in resources:
        kubernetes_validate.validate(resource, VERSIONS[-1], strict=True)
    for name, container in before.items():
        workload = workloads(resources)[name]
        spec, pod = workload["spec"], pod_of(workload)
        (debugged,) = pod["containers"]
        assert "livenessProbe" not in debugged
        assert debugged["readinessProbe"] == container["readinessProbe"]
        assert debugged["startupProbe"]["exec"] == {"command": ["remora", "ready", "--health"]}
        assert not debugged["startupProbe"].keys() & {"httpGet", "tcpSocket", "grpc"}
        assert pod["terminationGracePeriodSeconds"] <= 5
        limits = {"activeDeadlineSeconds", "ttlSecondsAfterFinished"}
        assert not (spec.keys() | pod.keys()) & limits
        if name == "train":
            assert spec["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
        else:
            assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}


def test_debugging_touches_no_volume_of_production(every_service: Path) -> None:
    claims = {
        layer: [r for r in kustomize(every_service / layer) if r["kind"] == "PersistentVolumeClaim"]
        for layer in ("deploy/base", "deploy/debug")
    }
    assert [c["metadata"]["name"] for c in claims["deploy/base"]] == ["checkpoints", "redis"]
    assert claims["deploy/debug"] == []
    assert "persistentVolumeClaim" not in json.dumps(kustomize(every_service / "deploy/debug"))


def test_mode_dump_has_a_claim(every_service: Path) -> None:
    for name, workload in workloads(kustomize(with_dumps(every_service))).items():
        pod = pod_of(workload)
        found = [volume for volume in pod["volumes"] if volume["name"] == "remora-dumps"]
        claim = {"name": "remora-dumps", "persistentVolumeClaim": {"claimName": "remora-dumps"}}
        assert found == ([] if name == "redis" else [claim])


def test_role_has_the_least_rights(every_service: Path) -> None:
    role = yaml.safe_load((every_service / "deploy/debug/role.yaml").read_text())
    assert {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    } == {
        *[("pods", "get"), ("pods", "list"), ("pods", "watch")],
        ("pods/portforward", "create"),
        ("pods/exec", "create"),
    }


def test_ranks_find_each_other(template: Path, tmp_path: Path) -> None:
    render(template, tmp_path, engines=BOTH, ranks=3)
    resources = kustomize(tmp_path / "deploy/debug")
    job = workloads(resources)["train"]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 3, 3)
    pod = job["template"]["spec"]
    found = environment(pod["containers"][0])
    assert found["WORLD_SIZE"] == "3"
    (service,) = (r for r in resources if r["kind"] == "Service")
    assert found["MASTER_ADDR"] == f"train-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    # A rank that is held is not ready, and other ranks must find it nevertheless.
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"].items() <= job["template"]["metadata"]["labels"].items()


def test_project_without_the_answer_has_no_manifests(template: Path, tmp_path: Path) -> None:
    services = ["train", "api", "worker"]
    plain = contents(render(template, tmp_path / "a" / "my-app", services=services))
    both = contents(render(template, tmp_path / "b" / "my-app", services=services, engines=BOTH))
    assert plain.keys() == {path for path in both if path.parts[0] != "deploy"}
    own = [Path(".copier-answers.yml"), Path("Dockerfile")]
    for path, content in plain.items():
        if path not in own and "remora" not in path.parts:
            assert b"kube" not in content.lower() and b"cluster" not in content.lower(), path


# ---- The script ----


@pytest.fixture
def cluster(every_service: Path, tmp_path: Path) -> Iterator[FakeCluster]:
    shutil.copytree(every_service, tmp_path / "my app")
    cluster = FakeCluster(tmp_path / "cluster", tmp_path / "my app")
    yield cluster
    cluster.be()
    cluster.run("down", "train")
    assert cluster.forwards() == []


def test_down_deletes_what_up_has_created(cluster: FakeCluster) -> None:
    done = cluster.run("up", "train")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == (
        "debug.sh: train can be debugged at 127.0.0.1:5678. It runs as the pod train-x"
        " in the namespace team of kind-dev, until you run deploy/debug.sh down train"
    )
    image = "my-app:debug-0123456789ab"
    assert f"kind load docker-image --name dev {image}" in (cluster.folder / "brought").read_text()
    manifest = yaml.safe_load_all(
        (cluster.root / "deploy/.session/train/manifest.yaml").read_text()
    )
    applied = {found["kind"]: found for found in manifest}
    # Nothing of the other services is applied.
    assert applied.keys() == {"ConfigMap", "Job"}
    (container,) = pod_of(applied["Job"])["containers"]
    assert environment(container)["REMORA_MODE"] == "wait" and container["image"] == image
    assert any("port-forward" in line for line in cluster.forwards())

    assert cluster.run("down", "train").returncode == 0
    (deleted,) = cluster.calls("delete")
    names = [word for word in deleted if not word.startswith("--")]
    assert names == [f"configmap/{applied['ConfigMap']['metadata']['name']}", "job/train"]
    assert "docker image rm --no-prune " + image in (cluster.folder / "brought").read_text()
    assert not (cluster.root / "deploy/.session/train").exists()
    assert cluster.forwards() == []


def test_worker_comes_with_its_queue(cluster: FakeCluster) -> None:
    cluster.be(pods=STARTED.replace("train", "worker"))
    cluster.said("up", "worker", "listen")
    text = (cluster.root / "deploy/.session/worker/manifest.yaml").read_text()
    names = {found["metadata"]["name"] for found in yaml.safe_load_all(text)}
    assert {"worker", "redis"} < names and not {"train", "api"} & names
    cluster.said("down", "worker")


# The message of a kubelet that has not read the pod's configuration yet
SYNC = "failed to sync configmap cache: timed out waiting for the condition"

FAILURES: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no context is named": (
        {},
        {"REMORA_KUBE_CONTEXT": ""},
        "no cluster is named: set REMORA_KUBE_CONTEXT, in the shell or in .env",
    ),
    "wrong context": (
        {},
        {"REMORA_KUBE_CONTEXT": "stage"},
        "kubectl has no context stage: set REMORA_KUBE_CONTEXT to one of these: kind-dev prod",
    ),
    "no answer": ({"answers": False}, {}, "the cluster of kind-dev does not answer"),
    "no namespace": (
        {"namespace": 'Error from server (NotFound): namespaces "team" not found'},
        {},
        "there is no namespace team in kind-dev: create it, or set REMORA_KUBE_NAMESPACE",
    ),
    "no right to start": (
        {"denied": ["create jobs"]},
        {},
        "you may not create jobs in the namespace team of kind-dev: ask",
    ),
    "no right to forward": (
        {"denied": ["create pods portforward"]},
        {},
        "you may not create pods/portforward in the namespace team",
    ),
    "no way for the image": (
        {},
        {"REMORA_KUBE_CONTEXT": "production"},
        "set REMORA_KUBE_REGISTRY to a registry that the cluster of production pulls from",
    ),
    "no such loader": (
        {},
        {"REMORA_KUBE_LOAD": "hoist --up"},
        "there is no hoist: install it",
    ),
    "loader fails": ({}, {"REMORA_KUBE_LOAD": "false"}, "the image cannot be brought into the"),
    "is there already": (
        {"there": ["job.batch/train"]},
        {},
        "job.batch/train exists in the namespace team of kind-dev already, and was not started from"
        " here: delete it",
    ),
    "half applied": (
        {"apply": "Error from server (Forbidden): jobs.batch is forbidden: exceeded quota"},
        {},
        "train cannot be started in the namespace team of kind-dev: Error from server",
    ),
    "image cannot be pulled": (
        {"pods": "train-x|Pending||||ImagePullBackOff|Back-off pulling image"},
        {},
        "the cluster cannot pull my-app:debug-0123456789ab: check REMORA_KUBE_REGISTRY",
    ),
    "no node takes it": (
        {"pods": "train-x|Pending|||||0/3 nodes are available: 3 Insufficient nvidia.com/gpu."},
        {},
        "train has not started within 2 s: its pod train-x is Pending, 0/3 nodes are available",
    ),
    "no pod is made": ({"pods": "\n"}, {}, "train has not started within 2 s: it has no pod"),
    "the program ends at once": (
        {"pods": "train-x|Failed||false|||"},
        {},
        "the program of train ended before an editor could attach: its last lines are above",
    ),
    "the pod is evicted before it has started": (
        {"pods": "train-x|Failed||false|||||Evicted|The node was low on resource: memory. "},
        {},
        "the pod train-x was ended by Kubernetes before an editor could attach (Evicted: The node"
        " was low on resource: memory): remove the cause, and start again with deploy/debug.sh up"
        " train",
    ),
    "the program ends and is started again": (
        {"pods": "train-x|Running||false|Error||"},
        {},
        "the program of train ended before an editor could attach: its last lines are above",
    ),
    "container cannot be created": (
        {"pods": 'train-x|Pending||||CreateContainerConfigError|secret "x" not found'},
        {},
        'the container of train cannot be created: secret "x" not found',
    ),
    "registry does not know the image": (
        {"pods": "train-x|Pending||||ErrImagePull|failed to pull my-app: not found"},
        {},
        "the cluster cannot pull my-app:debug-0123456789ab: check REMORA_KUBE_REGISTRY",
    ),
    "image has no such command": (
        {"pods": 'train-x|Pending||||RunContainerError|exec: "x": executable file not found'},
        {},
        'the container of train cannot be created: exec: "x": executable file not found',
    ),
    "image has no such command, at a later try": (
        {
            "pods": "train-x|Running||false|StartError|CrashLoopBackOff|back-off 10s|"
            'exec: "x": executable file not found'
        },
        {},
        'the container of train cannot be created: exec: "x": executable file not found',
    ),
    "what should pass does not": (
        {"pods": f"train-x|Pending||||CreateContainerConfigError|{SYNC}"},
        {},
        f"train has not started within 2 s: its pod train-x is Pending, {SYNC}",
    ),
    "volume is missing": (
        {
            "pods": "train-x|Pending||||ContainerCreating|",
            "events": ["api-x|not this", "train-x|older", 'train-x|secret "x" not found', "z|nor"],
        },
        {},
        'train has not started within 2 s: its pod train-x is Pending, secret "x" not found',
    ),
    "no pod may be made": (
        {"pods": "\n", "events": ["train|Error creating: exceeded quota"]},
        {},
        "train has not started within 2 s: it has no pod, Error creating: exceeded quota",
    ),
    "port taken meanwhile": (
        {"port": "taken later"},
        {},
        "the port 5678 of this machine is taken: end the",
    ),
    "port refused": ({"port": "refused"}, {}, "the port of the pod train-x cannot be forwarded"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_up_fails_with_one_sentence_and_leaves_nothing(cluster: FakeCluster, name: str) -> None:
    changes, environment, message = FAILURES[name]
    cluster.be(**changes)
    done = cluster.run("up", "train", **environment)
    said = [line for line in done.stdout.splitlines() if line.startswith("debug.sh: ")]
    assert done.returncode == 1
    assert len(said) == 1 and said[0].startswith(f"debug.sh: {message}"), done.stdout
    if "last lines are above" in message:
        assert "ZeroDivisionError: division by zero" in done.stdout
    # The script deletes what it has created, and nothing else.
    created = []
    if cluster.calls("apply"):
        created = ["configmap"] + ["job"] * ("apply" not in changes)
    deleted = [word for words in cluster.calls("delete") for word in words if "/" in word]
    assert [word.split("/")[0] for word in deleted] == created
    assert not (cluster.root / "deploy/.session/train").exists()
    assert cluster.forwards() == []


@pytest.mark.parametrize("mode", ["wait", "listen", "demand", "dump"])
def test_a_port_that_is_taken_is_reported_before_anything_is_built(
    cluster: FakeCluster, mode: str
) -> None:
    cluster.be(port="taken")
    done = cluster.run("up", "train", mode)
    brought = cluster.folder / "brought"
    if mode in ("wait", "listen"):
        assert done.stdout.count("\n") == 1, done.stdout
        said = done.stdout
        assert said.startswith("debug.sh: the port 5678 of this machine is taken: end the program")
        assert not brought.exists() and not cluster.calls("apply")
        assert not (cluster.root / "deploy/.session/train").exists()
    else:
        # Nothing is forwarded before somebody attaches.
        assert done.returncode == 0 and "docker build" in brought.read_text()
        assert not cluster.calls("proxy")
        cluster.said("down", "train")


def test_a_port_that_is_free_is_left_free(cluster: FakeCluster) -> None:
    done = cluster.run("up", "train")
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stdout
    (check,) = cluster.calls("proxy")
    assert {"--address=127.0.0.1", "--port=5678"} < set(check)
    assert not any("proxy" in command for command in cluster.forwards())
    cluster.said("down", "train")


@pytest.mark.parametrize(
    "waiting",
    [
        [f"CreateContainerConfigError|{SYNC}"],
        ["CreateContainerConfigError|services have not yet been read at least once"],
        [
            "CreateContainerError|context deadline exceeded",
            'CreateContainerError|the name "train" is reserved for "0123"',
        ],
        [
            "ErrImagePull|dial tcp 192.0.2.1:443: i/o timeout",
            # The kubelet no longer gives the reason.
            "ImagePullBackOff|Back-off pulling image",
        ],
    ],
)
def test_what_the_kubelet_tries_again_is_waited_for(
    cluster: FakeCluster, waiting: list[str]
) -> None:
    lines = [f"train-x|Pending||||{reason}" for reason in waiting]
    cluster.be(pods="\n".join([*lines, STARTED]))
    assert "train can be debugged at" in cluster.said("up", "train", REMORA_KUBE_TIMEOUT="60")


def test_a_container_that_starts_at_the_second_try_is_waited_for(cluster: FakeCluster) -> None:
    lines = [
        "train-x|Pending||||RunContainerError|context deadline exceeded",
        "train-x|Running||false|StartError||",
        "train-x|Running||false|StartError|CrashLoopBackOff|back-off|context deadline exceeded",
        "train-x|Running||true|StartError||",
    ]
    cluster.be(pods="\n".join(lines))
    assert "train can be debugged at" in cluster.said("up", "train", REMORA_KUBE_TIMEOUT="60")


@pytest.mark.parametrize("missing", ["kubectl", "docker"])
def test_missing_program_is_reported(cluster: FakeCluster, missing: str) -> None:
    tools = cluster.folder / "tools"
    tools.mkdir()
    for tool in "sh dirname sed tail tr cat rm mkdir grep head cut date ps sleep nohup".split():
        (tools / tool).symlink_to(shutil.which(tool))
    (cluster.folder / "bin" / missing).unlink()
    done = cluster.run("up", "train", PATH=f"{cluster.folder}/bin:{tools}")
    assert done.returncode == 1 and f"there is no {missing}: install it" in done.stdout


@pytest.mark.parametrize(
    "value", ["kind-dev", '"kind-dev"', "'kind-dev' # mine", "kind-dev # mine", "kind-dev \r"]
)
def test_settings_come_from_the_env_file(cluster: FakeCluster, value: str) -> None:
    """The value is read as Compose reads it."""
    (cluster.root / ".env").write_text(f"EPOCHS=3\nREMORA_KUBE_CONTEXT={value}\n")
    assert "in the namespace team of kind-dev" in cluster.said(
        "up", "train", REMORA_KUBE_CONTEXT=""
    )


def test_wrong_timeout_is_reported_before_anything_is_built(cluster: FakeCluster) -> None:
    done = cluster.run("up", "train", REMORA_KUBE_TIMEOUT="5m")
    assert done.returncode == 1
    assert done.stdout == "debug.sh: REMORA_KUBE_TIMEOUT must be a number of seconds, not 5m\n"


@pytest.mark.parametrize("name", ["on", "123", "null"])
def test_names_that_yaml_would_read_differently_are_quoted(
    template: Path, tmp_path: Path, name: str
) -> None:
    root = tmp_path / name
    render(template, root, engines=["compose", "kubernetes"], services=["train", "api", "worker"])
    for folder, image in {"deploy/base": f"{name}:1", "deploy/debug": f"{name}:debug"}.items():
        found = workloads(kustomize(root / folder)).items()
        pods = {key: workload["spec"]["template"]["spec"] for key, workload in found}
        images = {pod["containers"][0]["image"] for pod in pods.values()}
        assert images == {image, "redis:8-alpine"}


def test_an_image_goes_to_the_registry(cluster: FakeCluster) -> None:
    cluster.said("up", "train", REMORA_KUBE_REGISTRY="registry.example.org:5000/team")
    image = "registry.example.org:5000/team/my-app:debug-0123456789ab"
    assert f"docker push {image}" in (cluster.folder / "brought").read_text()
    assert image in (cluster.root / "deploy/.session/train/manifest.yaml").read_text()


def test_a_second_up_replaces_the_first(cluster: FakeCluster) -> None:
    cluster.said("up", "train")
    cluster.said("up", "train")
    assert len(cluster.calls("delete")) == 1
    assert sum("port-forward" in line for line in cluster.forwards()) == 1


def test_down_goes_where_up_was(cluster: FakeCluster) -> None:
    cluster.said("up", "train")
    cluster.said("down", "train", REMORA_KUBE_CONTEXT="production", REMORA_KUBE_NAMESPACE="x")
    assert all(word not in self for self in cluster.calls("delete") for word in ("x", "production"))
    lines = (cluster.folder / "calls").read_text()
    assert "production" not in lines


def test_what_cannot_be_undone_is_reported_and_stays_recorded(cluster: FakeCluster) -> None:
    cluster.said("up", "train")
    cluster.be(delete="Unable to connect to the server")
    done = cluster.run("down", "train")
    assert done.returncode == 1
    assert "train is still in the namespace team of kind-dev (Unable to connect" in done.stdout
    cluster.be()
    assert cluster.run("down", "train").returncode == 0


@pytest.mark.parametrize("mode", ["crash", "demand"])
def test_modes_without_a_port_are_attached_to_later(cluster: FakeCluster, mode: str) -> None:
    said = cluster.said("up", "train", mode)
    assert f"train was started in mode {mode}: deploy/debug.sh attach train opens its port" in said
    assert cluster.forwards() == []
    assert "train can be debugged at 127.0.0.1:5678" in cluster.said("attach", "train")
    ((pod, *command),) = cluster.calls("exec")
    assert pod == "train-x" and command[-2:] == ["remora", "attach"]
    cluster.said("detach", "train")
    assert cluster.forwards() == [] and cluster.calls("delete") == []
    cluster.said("down", "train")
    assert len(cluster.calls("delete")) == 1


@pytest.mark.parametrize("mode", ["dump", "off"])
def test_a_job_that_nobody_attaches_to_may_end(cluster: FakeCluster, mode: str) -> None:
    cluster.be(pods="train-x|Failed||false|||")
    assert f"train was started in mode {mode}. It runs as the pod train-x" in cluster.said(
        "up", "train", mode
    )
    manifest = cluster.root / "deploy/.session/train/manifest.yaml"
    kinds = {found["kind"] for found in yaml.safe_load_all(manifest.read_text())}
    assert ("PersistentVolumeClaim" in kinds) == (mode == "dump")
    cluster.said("down", "train")
    # The dumps stay.
    (deleted,) = cluster.calls("delete")
    assert not any("dumps" in word for word in deleted)


def test_a_rank_is_chosen(template: Path, tmp_path: Path) -> None:
    cluster = FakeCluster(tmp_path / "cluster", tmp_path / "my-app")
    render(template, cluster.root, engines=BOTH, ranks=3)
    for wrong in ("3", "-1", "x"):
        done = cluster.run("up", "train", REMORA_RANK=wrong)
        assert done.returncode == 1
        assert f"REMORA_RANK must be the number of a rank, from 0 to 2, not {wrong}" in done.stdout
    cluster.said("up", "train", REMORA_RANK="2")
    manifest = (cluster.root / "deploy/.session/train/manifest.yaml").read_text()
    (job,) = (r for r in yaml.safe_load_all(manifest) if r["kind"] == "Job")
    assert environment(pod_of(job)["containers"][0])["REMORA_RANK"] == "2"
    selectors = [word for words in cluster.calls("get") for word in words if "selector" in word]
    label = "batch.kubernetes.io/job-completion-index=2"
    assert selectors and all(word.endswith(f"=train,{label}") for word in selectors)
    cluster.said("down", "train")
    assert cluster.forwards() == []


def test_attach_needs_no_more_than_the_role(cluster: FakeCluster) -> None:
    # The Role does not include the rights to see namespaces, or to create anything else.
    denied = [f"create {kind}" for kind in ("jobs", "deployments", "configmaps")]
    cluster.be(namespace="Error from server (Forbidden): namespaces is forbidden", denied=denied)
    cluster.said("attach", "train")
    cluster.said("detach", "train")
    assert not cluster.calls("apply") and not cluster.calls("delete")
    assert not (cluster.root / "deploy/.session/train").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pods": "\n"}, "no pod of train runs in the namespace team of kind-dev: start one"),
        ({"exec": 'exec: "remora": executable file not found'}, "has no debugger: start the"),
        ({"exec": "REMORA_MODE is off, so nothing"}, "cannot be debugged: REMORA_MODE is off"),
        ({"port": "taken"}, "the port 5678 of this machine is taken"),
    ],
)
def test_attach_fails_with_the_reason(cluster: FakeCluster, changes: dict, message: str) -> None:
    cluster.be(**changes)
    done = cluster.run("attach", "train")
    assert done.returncode == 1
    assert message in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", [["attach", "train"], ["remora", "train", "status"]])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"denied": ["list pods"]},
            "you may not list pods in the namespace team of kind-dev: ask its administrator for"
            " that right",
        ),
        (
            {"answers": False},
            "the cluster of kind-dev does not answer (E1126 dial tcp: connection refused): start"
            " it, or log in to it",
        ),
    ],
)
def test_pods_that_cannot_be_listed_are_reported(
    cluster: FakeCluster, words: list[str], changes: dict[str, Any], message: str
) -> None:
    cluster.be(**changes)
    done = cluster.run(*words)
    assert (done.returncode, done.stdout) == (1, f"debug.sh: {message}\n")


def test_a_forward_that_is_cut_is_made_again(cluster: FakeCluster) -> None:
    (cluster.folder / "cuts").touch()
    cluster.said("up", "train")
    wait_until(lambda: len(cluster.calls("port-forward")) == 2)
    wait_until(lambda: any("port-forward" in line for line in cluster.forwards()))
    cluster.said("down", "train")


ENDS = {
    "": "the pod train-x is gone, evicted or replaced: start again with deploy/debug.sh up train",
    "Running|2026-11-26||": "the pod train-x is deleted: start again with deploy/debug.sh up train",
    # Since Kubernetes 1.27, a deleted pod fails before it is gone.
    "Failed|2026-11-26||": "the pod train-x is deleted: start again with deploy/debug.sh up train",
    "Succeeded|2026-11-26||": "the pod train-x has ended",
    "Succeeded|||": "the pod train-x has ended",
    "Failed|||": "the pod train-x has ended",
    'Failed||Evicted|Usage of EmptyDir volume "tmp" exceeds the limit "1Mi". ': (
        "the pod train-x was ended by Kubernetes (Evicted: Usage of EmptyDir volume"
        ' "tmp" exceeds the limit "1Mi"): start again with deploy/debug.sh up train'
    ),
    "Failed||Terminated|Pod was terminated in response to imminent node shutdown.": (
        "the pod train-x was ended by Kubernetes (Terminated: Pod was terminated in response to"
        " imminent node shutdown): start again with deploy/debug.sh up train"
    ),
}


@pytest.mark.parametrize("pod", ENDS)
def test_a_pod_that_is_gone_ends_the_forward(cluster: FakeCluster, pod: str) -> None:
    (cluster.folder / "cuts").touch()
    cluster.be(pod=pod)
    cluster.said("up", "train")
    wait_until(lambda: cluster.forwards() == [])
    assert cluster.run("down", "train").stdout == f"debug.sh: {ENDS[pod]}\n"


@pytest.mark.parametrize("command", ["down", "detach"])
@pytest.mark.parametrize("pod", ENDS)
def test_a_pod_that_is_gone_unnoticed_is_reported(
    cluster: FakeCluster, command: str, pod: str
) -> None:
    """kubectl goes on forwarding after the pod has gone."""
    cluster.said("up", "train")
    assert any("port-forward" in line for line in cluster.forwards())
    cluster.be(pod=pod)
    assert cluster.run(command, "train").stdout == f"debug.sh: {ENDS[pod]}\n"
    assert cluster.forwards() == []


def test_bad_command_lines_are_refused(cluster: FakeCluster) -> None:
    for words in ([], ["up"], ["up", "redis"], ["go", "train"]):
        done = cluster.run(*words)
        assert done.returncode == 1 and "debug.sh: usage: deploy/debug.sh up SERVICE" in done.stdout
    assert "the mode must be wait, listen" in cluster.run("up", "train", "fast").stdout
    assert "train was not started from here" in cluster.run("down", "train").stdout
    assert not (cluster.folder / "calls").exists()


def test_task_labels_are_commands_of_the_script(every_service: Path) -> None:
    tasks = json.loads((every_service / ".vscode/tasks.json").read_text())["tasks"]
    found = {task["command"] for task in tasks if task["command"].startswith("deploy/")}
    assert found == {
        f"deploy/debug.sh {command} {service}"
        for command in ("up", "down", "attach", "detach")
        for service in ("train", "api", "worker")
    }
    assert os.access(every_service / "deploy/debug.sh", os.X_OK)
