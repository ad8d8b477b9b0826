"""Debugging in a real Kubernetes cluster: a rendered project, and single pods. nox -s cluster"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import dap
from support.cluster import Cluster, code, pod
from support.project import COUNT, Project, copy, marked, remove_images
from support.rendering import commit, contents, render, replace

pytestmark = pytest.mark.cluster

# Three ranks that add up their numbers. Each waits for the others, as in an all-reduce.
RANKS = """
import os, socket

rank = int(os.environ.get("RANK") or os.uname().nodename.rpartition("-")[2])
print(f"rank {rank} began", flush=True)
number = rank + 1  # here
if rank == 0:
    with socket.create_server(("", 29500)) as server:
        others = [server.accept()[0] for _ in range(2)]
    total = number + sum(int(other.recv(1)) for other in others)
    for other in others:
        other.sendall(str(total).encode())
else:
    while True:
        try:
            other = socket.create_connection((os.environ["MASTER_ADDR"], 29500))
            break
        except OSError:
            pass
    other.sendall(str(number).encode())
    total = int(other.recv(1))
print(f"rank {rank} has the sum {total}", flush=True)
threading = __import__("threading")
threading.Event().wait()
"""

# Ranks that do not wait for each other.
RANK = """
import os

rank = int(os.environ["JOB_COMPLETION_INDEX"])
print(f"rank {rank} began", flush=True)  # here
"""


@pytest.fixture(scope="module")
def cluster(engine) -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def rendered(
    template: Path, free_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("cluster") / f"remora-test-{uuid.uuid4().hex[:8]}"
    services, engines = ["train", "api"], ["compose", "kubernetes"]
    render(template, root, debug_port=free_port, services=services, engines=engines)
    project = Project(root)
    yield project
    # The tag that deploy/debug.sh builds. `down` keeps the image, for the next build.
    project.run("docker", "image", "rm", "--force", f"{root.name}:debug")


@contextmanager
def used(cluster: Cluster, project: Project) -> Iterator[Project]:
    """A project with the settings of the cluster. Its sessions are over in the end."""
    settings = {**cluster.settings, "REMORA_KUBE_CONTEXT": cluster.context}
    settings["REMORA_KUBE_LOAD"] = cluster.load
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (project.root / ".env").write_text("".join(lines))
    yield project
    for editor in project.editors:
        editor.close()
    for session in (project.root / "deploy/.session").glob("[!.]*"):
        script(project, "down", session.name)


@pytest.fixture
def project(cluster: Cluster, rendered: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the rendered project, with the settings of the cluster."""
    with used(cluster, copy(rendered, tmp_path)) as project:
        yield project


@pytest.fixture(scope="module")
def image(cluster: Cluster, rendered: Project) -> Iterator[str]:
    """The rendered project's debug image, loaded into the cluster, for single pods."""
    # Another name than the project's, whose tag its Kustomization changes
    image = f"{rendered.root.name}-alone:debug"
    rendered.run("docker", "build", "--target=debug", f"--tag={image}", ".")
    rendered.run("sh", "-c", f'{cluster.load} "$1"', "sh", image)
    yield image
    rendered.run("docker", "image", "rm", "--force", image)


def script(project: Project, *words: str, check: bool = True, **settings: str) -> str:
    """Run deploy/debug.sh, and return what it has printed."""
    return project.run("deploy/debug.sh", *words, check=check, **settings).stdout


def left(cluster: Cluster, *services: str) -> list[dict[str, Any]]:
    """What the namespace has of services of a rendered project."""
    kinds = "jobs,pods,deployments,services,configmaps,persistentvolumeclaims"
    selected = f"--selector=app.kubernetes.io/name in ({', '.join(services)})"
    return cluster.get(kinds, selected)["items"]


def attach(port: int, path: Path, remote: str) -> dap.Editor:
    editor = dap.Editor()
    mappings = [{"localRoot": str(path.parent), "remoteRoot": remote}]
    connect = {"host": "127.0.0.1", "port": port}
    configuration = {"type": "debugpy", "connect": connect, "pathMappings": mappings}
    editor.attach(configuration, {path: [marked(path)]})
    return editor


def paused_for_a_minute(cluster: Cluster, pod: str) -> None:
    """Leave the pod paused for a minute, to see whether anything kills it."""
    restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    done = cluster.kubectl("wait", f"pod/{pod}", restarted, "--timeout=60s", check=False)
    assert "timed out" in done.stderr
    status = cluster.status(pod)
    assert status["restartCount"] == 0 and "running" in status["state"]


# ---- A rendered project ----


def test_f5_debugs_a_job(cluster: Cluster, project: Project) -> None:
    name = "{}: debug in the cluster"
    editor = project.debug(project.line("losses.append(loss)"), name=name)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (project.source, project.line("losses.append(loss)"))
    paused_for_a_minute(cluster, cluster.pod("train"))
    editor.detach()
    project.task(project.configuration("train: debug in the cluster")["postDebugTask"])
    assert left(cluster, "train", "api") == []


def test_f5_debugs_a_deployment(cluster: Cluster, project: Project) -> None:
    """A request waits for a minute, and is then answered."""
    api = project.seen_from("api")
    editor = api.debug(api.line("primes.append(number)"), name="{}: debug in the cluster")
    pod = cluster.pod("api")
    answers = []
    # kubectl stops forwarding if the first connection is refused.
    cluster.until(lambda: cluster.status(pod).get("ready"))
    with cluster.forwarded(pod, 8000) as port:

        def ask() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/primes/3", timeout=600) as answer:
                answers.append(json.load(answer))

        request = threading.Thread(target=ask)
        request.start()
        stop = editor.stopped()
        assert (stop.path, stop.locals["limit"]) == (api.source, "3")
        paused_for_a_minute(cluster, pod)
        editor.resume(stop)
        request.join(dap.TIMEOUT)
    assert answers == [{"limit": 3, "count": 1, "largest": 2}]
    # The connection is cut, and the script forwards again.
    editor.close()
    (forwarding,) = (project.root / "deploy/.session/api").glob("forward.pid")
    children = Path(f"/proc/{forwarding.read_text().strip()}/task").glob("*/children")
    cut = [child for path in children for child in path.read_text().split()]
    assert len(cut) == 1
    os.kill(int(cut[0]), 9)
    log = project.root / "deploy/.session/api/forward.log"
    cluster.until(lambda: log.read_text().count("Forwarding from") == 2)
    editor = api.attach(api.line("primes.append(number)"), name="api: debug in the cluster")
    assert editor.clients[0].request("threads")["threads"]


def test_crash_is_kept_and_then_the_job_has_failed(cluster: Cluster, project: Project) -> None:
    project.edit("losses.append(loss)", "raise ValueError(loss)  # here")
    script(project, "up", "train", "crash")
    pod = cluster.pod("train")
    cluster.says(pod, "kept as it is")
    assert cluster.status(pod)["state"].keys() == {"running"}
    script(project, "attach", "train")
    editor = project.attach(name="train: attach in the cluster")
    stop = editor.stopped()
    assert (stop.path, stop.line) == (project.source, project.line("# here"))
    editor.resume(stop)
    assert cluster.exit_code(pod) == 1
    job = cluster.until(lambda: cluster.get("job", "train")["status"].get("failed") and "failed")
    assert job == "failed"


@pytest.fixture
def volume(cluster: Cluster, image: str) -> Iterator[None]:
    """A volume for a claim, if the cluster has no storage class that creates one."""
    if cluster.get("storageclasses")["items"]:
        yield
        return
    folder = {"path": f"/tmp/{cluster.namespace}", "type": "DirectoryOrCreate"}
    # Kubernetes gives a volume to the pod's group, but not a folder of the node.
    run = {
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["chmod", "1777", "/dumps"],
                "securityContext": {"runAsUser": 0},
                "volumeMounts": [{"name": "dumps", "mountPath": "/dumps"}],
            }
        ],
        "volumes": [{"name": "dumps", "hostPath": folder}],
        "restartPolicy": "Never",
    }
    metadata = {"name": "volume"}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": run})
    assert cluster.exit_code("volume") == 0
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": cluster.namespace},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": folder,
            },
        }
    )
    yield
    cluster.kubectl("delete", "persistentvolumeclaim", "remora-dumps", "--ignore-not-found")
    cluster.kubectl("delete", "persistentvolume", cluster.namespace)


def test_crash_is_dumped_and_the_job_has_failed(
    cluster: Cluster, volume: None, project: Project
) -> None:
    project.edit("losses.append(loss)", "raise ValueError(loss)  # here")
    script(project, "up", "train", "dump", check=False)  # it may end before the test sees it
    pod = cluster.pod("train")
    assert cluster.exit_code(pod) == 1
    cluster.until(lambda: cluster.get("job", "train")["status"].get("failed"))
    # The claim outlives the pod, so the next pod shows the crash.
    script(project, "up", "train", "wait")
    assert "ValueError" in script(project, "remora", "train", "crashes")


# ---- A rendered project, in newer clusters ----


@pytest.fixture
def ranked(cluster: Cluster, template: Path, free_port: int, tmp_path: Path) -> Iterator[Project]:
    """A rendered project whose job has three ranks."""
    root = tmp_path / f"remora-test-{uuid.uuid4().hex[:8]}"
    engines = ["compose", "kubernetes"]
    render(template, root, debug_port=free_port, services=["train"], engines=engines, ranks=3)
    with used(cluster, Project(root)) as project:
        yield project
    project.run("docker", "image", "rm", "--force", f"{root.name}:debug")


def test_chosen_rank_of_a_new_project_is_held(cluster: Cluster, ranked: Project) -> None:
    cluster.requires(28, "the index of a pod as its label")
    ranked.source.write_text(RANKS)
    script(ranked, "up", "train", REMORA_RANK="2")
    first, second, held = (cluster.pod_of_rank("train", rank) for rank in range(3))
    cluster.says(first, "rank 0 began")
    cluster.says(second, "rank 1 began")
    cluster.says(held, "Other ranks wait for rank 2 in collectives")
    editor = ranked.attach(marked(ranked.source), name="train: attach in the cluster")
    stop = editor.stopped()
    assert stop.locals["rank"] == "2"
    # The others wait for this rank.
    assert not any("has the sum" in cluster.log(pod) for pod in (first, second, held))
    editor.resume(stop)
    for rank, name in enumerate((first, second, held)):
        cluster.says(name, f"rank {rank} has the sum 6")
    editor.detach()
    # Later, attach to a rank that was not held.
    said = script(ranked, "attach", "train", REMORA_RANK="1")
    assert f"It runs as the pod {second} " in said
    editor = ranked.attach(name="train: attach in the cluster")
    assert editor.clients[0].request("threads")["threads"]
    editor.detach()
    script(ranked, "down", "train")
    assert left(cluster, "train") == []


@pytest.fixture
def restricted(cluster: Cluster) -> Iterator[None]:
    """The namespace admits only pods of the level `restricted`."""
    cluster.requires(25, "Pod Security")
    label = "pod-security.kubernetes.io/enforce"
    cluster.kubectl("label", "namespace", cluster.namespace, f"{label}=restricted")
    refused = cluster.kubectl("run", "any", "--image=any", check=False)
    assert "violates PodSecurity" in refused.stderr
    yield
    cluster.kubectl("label", "namespace", cluster.namespace, f"{label}-")


@pytest.mark.parametrize("overlay", ["base", "debug"])
def test_all_pods_are_admitted_by_the_level_restricted(
    cluster: Cluster, restricted: None, template: Path, tmp_path: Path, overlay: str
) -> None:
    """Whether an image can be pulled, or a claim gets a volume, comes after that."""
    services, engines = ["train", "api", "worker"], ["compose", "kubernetes"]
    render(template, tmp_path / "shop", services=services, engines=engines, ranks=2)
    manifests = f"--kustomize={tmp_path}/shop/deploy/{overlay}"
    cluster.kubectl("apply", manifests)
    expected = {*services, "redis"}

    def all_have_pods() -> bool:
        pods = cluster.get("pods", "--selector=app.kubernetes.io/name")["items"]
        return expected == {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods}

    try:
        cluster.until(all_have_pods)
    finally:
        cluster.kubectl("delete", manifests, "--cascade=foreground")


def test_up_works_at_the_level_restricted(
    cluster: Cluster, restricted: None, project: Project
) -> None:
    script(project, "up", "api")
    editor = project.seen_from("api").attach(name="api: debug in the cluster")
    assert editor.clients[0].request("threads")["threads"]
    editor.detach()
    script(project, "down", "api")
    assert left(cluster, "api") == []


# The kubelet evicts a pod that writes more than its volume may have.
WRITE = "open('/tmp/big', 'wb').write(bytes(9_000_000))"
EVICTED = 'Evicted: Usage of EmptyDir volume "tmp" exceeds the limit "1Mi"'


FILLS = f"""\
      initContainers:
        - name: fill
          image: <image>
          command: [python, -c, "{WRITE}; __import__('threading').Event().wait()"]
          volumeMounts:
            - name: tmp
              mountPath: /tmp
"""


def limit_tmp(cluster: Cluster, project: Project, begin: str = "") -> None:
    """Limit the volume /tmp of `train`. begin: what its pod has before its containers."""
    cluster.requires(25, "a limit of an emptyDir")
    manifest = project.root / "deploy/base/train.yaml"
    replace(
        manifest,
        "- name: tmp\n          emptyDir: {}",
        "- name: tmp\n          emptyDir: {sizeLimit: 1Mi}",
    )
    replace(manifest, "      containers:\n", f"{begin}      containers:\n")


def test_evicted_pod_ends_its_session(cluster: Cluster, project: Project) -> None:
    limit_tmp(cluster, project)
    line = project.line("losses.append(loss)")
    editor = project.debug(line, name="train: debug in the cluster")
    stop = editor.stopped()
    pod = cluster.pod("train")
    frame = stop.client.request("stackTrace", threadId=stop.thread)["stackFrames"][0]["id"]
    stop.client.request("evaluate", expression=WRITE, frameId=frame, context="repl")
    cluster.until(lambda: cluster.get("pod", pod)["status"].get("reason") == "Evicted")
    editor.ended()
    said = project.task(project.configuration("train: debug in the cluster")["postDebugTask"])
    assert said.stdout == (
        f"debug.sh: the pod {pod} was ended by Kubernetes ({EVICTED}):"
        " start again with deploy/debug.sh up train\n"
    )
    assert left(cluster, "train") == []


def test_pod_that_is_evicted_before_it_has_started_is_reported(
    cluster: Cluster, project: Project, image: str
) -> None:
    limit_tmp(cluster, project, FILLS.replace("<image>", image))
    said = script(project, "up", "train", check=False)
    reason = f"was ended by Kubernetes before an editor could attach ({EVICTED}): remove the cause"
    assert reason in said.splitlines()[-1]
    assert left(cluster, "train") == []


@pytest.mark.parametrize("service", ["train", "api"])
def test_pod_of_a_drained_node_ends_its_session(
    cluster: Cluster, project: Project, service: str
) -> None:
    """`kubectl drain` evicts pods by the API. A Deployment makes another pod."""
    cluster.requires(22, "an Eviction of policy/v1")
    view = project.seen_from(service)
    editor = view.debug(name="{}: debug in the cluster")
    pod = cluster.pod(service)
    assert editor.clients[0].request("threads")["threads"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/eviction"
    cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
    editor.ended()
    # The editor runs this at once, when the pod may still be there.
    task = view.configuration(f"{service}: debug in the cluster")["postDebugTask"]
    said = project.task(task).stdout
    again = f"start again with deploy/debug.sh up {service}\n"
    assert said in (
        f"debug.sh: the pod {pod} is deleted: {again}",
        f"debug.sh: the pod {pod} is gone, evicted or replaced: {again}",
    )
    assert left(cluster, service) == []


# ---- Single pods ----


@pytest.fixture
def counting(cluster: Cluster, image: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A pod that counts in mode `listen`, and the path of its program here."""
    config_map, paths = code(tmp_path, count=COUNT)
    run = pod(image, "exec python /code/count.py", {"REMORA_MODE": "listen"})
    metadata = {"name": "counting"}
    cluster.apply(
        config_map, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": run}
    )
    cluster.started("counting")
    yield "counting", paths["count"]
    cluster.kubectl("delete", "pod", "counting", "--grace-period=0", "--force")


def test_another_pod_is_refused(cluster: Cluster, image: str, counting: tuple[str, Path]) -> None:
    name, path = counting
    address = cluster.get("pod", name)["status"]["podIP"]
    connect = f"import socket; socket.create_connection(({address!r}, 5678), timeout=20)"
    run = pod(image, f'exec python -c "{connect}"', {"REMORA_MODE": "off"}, restartPolicy="Never")
    metadata = {"name": "stranger"}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": run})
    assert cluster.exit_code("stranger") == 1
    assert "ConnectionRefusedError" in cluster.log("stranger")
    cluster.kubectl("delete", "pod", "stranger")
    with cluster.forwarded(name) as port:
        editor = attach(port, path, "/code")
        assert editor.stopped().path == path
        editor.detach()


def test_relay_works_by_exec(cluster: Cluster, counting: tuple[str, Path]) -> None:
    name, path = counting
    with cluster.relayed(name) as relayed:
        editor = attach(relayed.port, path, "/code")
        stop = editor.stopped()
        assert (stop.path, stop.line) == (path, marked(path))
        editor.detach()
        assert relayed.exit_codes() == [0]


def test_values_at_a_line_are_printed_by_exec(cluster: Cluster, counting: tuple[str, Path]) -> None:
    name, path = counting
    at = ["remora", "at", f"/code/count.py:{marked(path)}", "--json", "--eval", "number * 0"]
    done = cluster.kubectl("exec", name, "--", *at)
    assert json.loads(done.stdout)["values"] == {"number * 0": "0"}


def test_a_waiting_pod_ends_at_once(cluster: Cluster, image: str, tmp_path: Path) -> None:
    """The program is PID 1, and the pod must not use up the grace period."""
    config_map, _ = code(tmp_path, count=COUNT)
    run = pod(image, "exec python /code/count.py", {"REMORA_MODE": "wait"}, restartPolicy="Never")
    run["terminationGracePeriodSeconds"] = 600
    metadata = {"name": "waiting"}
    cluster.apply(
        config_map, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": run}
    )
    cluster.started("waiting")
    cluster.kubectl("delete", "pod", "waiting", "--timeout=60s")


def test_container_that_restarts_is_ready_again(
    cluster: Cluster, image: str, tmp_path: Path
) -> None:
    """An emptyDir outlives a container, but contains no sign that an editor can attach."""
    config_map, paths = code(tmp_path, count=COUNT)
    # In the second container, no Python runs until the test lets it.
    command = (
        "if mkdir /keep/first; then exec python /code/count.py; fi;"
        " until [ -e /keep/go ]; do sleep 0.1; done; exec python /code/count.py"
    )
    run = pod(image, command, {"REMORA_MODE": "wait"})
    (main,) = run["containers"]
    for name in ("keep", "dumps", "run"):
        run["volumes"].append({"name": name, "emptyDir": {}})
    for name, path in {"keep": "/keep", "dumps": "/var/lib/remora/dumps", "run": "/run"}.items():
        main["volumeMounts"].append({"name": name, "mountPath": path})
    # Look for a program that waits. `remora ready` might see only a hub that it starts itself.
    main["startupProbe"]["exec"]["command"] = ["sh", "-c", "remora status | grep -q ' waits '"]
    metadata = {"name": "restarting"}
    cluster.apply(
        config_map, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": run}
    )
    cluster.started("restarting")
    # This command may end with the container.
    cluster.kubectl("exec", "restarting", "--", "sh", "-c", "kill -TERM 1", check=False)
    cluster.until(lambda: cluster.status("restarting").get("restartCount") == 1)
    cluster.until(lambda: "running" in cluster.status("restarting")["state"])
    started = "--for=jsonpath={.status.containerStatuses[0].started}=true"
    done = cluster.kubectl("wait", "pod/restarting", started, "--timeout=5s", check=False)
    assert "timed out" in done.stderr
    cluster.kubectl("exec", "restarting", "--", "touch", "/keep/go")
    cluster.started("restarting")
    with cluster.forwarded("restarting") as port:
        editor = attach(port, paths["count"], "/code")
        assert editor.stopped().locals["number"] == "1"
        editor.detach()
    cluster.kubectl("delete", "pod", "restarting", "--grace-period=0", "--force")


def test_one_rank_of_three_is_held(cluster: Cluster, image: str, tmp_path: Path) -> None:
    config_map, paths = code(tmp_path, ranks=RANKS)
    settings = {"REMORA_MODE": "wait", "REMORA_RANK": "1", "MASTER_ADDR": "$(RANKS_SERVICE_HOST)"}
    run = pod(image, "exec python /code/ranks.py", settings)
    labels = {"app": "ranks"}
    first = {"statefulset.kubernetes.io/pod-name": "ranks-0"}
    cluster.apply(
        config_map,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "ranks"},
            "spec": {"selector": first, "ports": [{"port": 29500}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "ranks"},
            "spec": {
                "serviceName": "ranks",
                "replicas": 3,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": run},
            },
        },
    )
    for rank in (0, 2):
        cluster.says(f"ranks-{rank}", f"rank {rank} began")
    cluster.says("ranks-1", "Waiting for client to attach")
    cluster.says("ranks-1", "Other ranks wait for rank 1 in collectives")
    (held,) = cluster.get("pods", "--selector=statefulset.kubernetes.io/pod-name=ranks-1")["items"]
    with cluster.forwarded(held["metadata"]["name"]) as port:
        editor = attach(port, paths["ranks"], "/code")
        stop = editor.stopped()
        assert stop.locals["rank"] == "1"
        # The others wait for this rank.
        assert not any("has the sum" in cluster.log(f"ranks-{rank}") for rank in range(3))
        editor.resume(stop)
        for rank in range(3):
            cluster.says(f"ranks-{rank}", f"rank {rank} has the sum 6")
        editor.detach()
    # Later, attach to a rank that was not held.
    with cluster.forwarded("ranks-2") as port:
        editor = attach(port, paths["ranks"], "/code")
        assert editor.clients[0].request("threads")["threads"]
        editor.detach()
    cluster.kubectl("delete", "statefulset,service", "ranks")


# ---- Rights ----


def test_rights_of_the_rendered_role_suffice_and_give_no_more(
    cluster: Cluster, project: Project, counting: tuple[str, Path]
) -> None:
    name, path = counting
    cluster.kubectl("apply", f"--filename={project.root}/deploy/debug/role.yaml")
    cluster.kubectl("create", "serviceaccount", "developer")
    account = f"--serviceaccount={cluster.namespace}:developer"
    cluster.kubectl("create", "rolebinding", "developer", "--role=remora", account)
    cluster.as_user = [f"--as=system:serviceaccount:{cluster.namespace}:developer"]
    try:
        with cluster.forwarded(name) as port:
            editor = attach(port, path, "/code")
            assert editor.stopped().path == path
            editor.detach()
        assert cluster.kubectl("exec", name, "--", "remora", "status").returncode == 0
        for command in (
            ["get", "secrets"],
            ["get", "configmaps"],
            ["delete", "pod", name],
            ["create", "deployment", "more", "--image=more"],
            ["get", "pods", "--all-namespaces"],
        ):
            done = cluster.kubectl(*command, check=False)
            assert done.returncode == 1 and "forbidden" in done.stderr.lower(), command
    finally:
        cluster.as_user = []


# ---- An existing application ----

# The service answers no requests: it counts, and stops at its line.
DOCKERFILE = "FROM python:3.13-slim\nWORKDIR /srv\nCOPY . .\nUSER 12345\nCMD [python, app.py]\n"
OWN_COMPOSE = "services:\n  web:\n    build: .\n"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: main
          image: registry.example.org/team/web:1
          command: [sh, -c, exec python src/app.py]
          livenessProbe:
            exec:
              command: ["false"]
            periodSeconds: 5
"""
# The owner's container has probes that fail while the program is paused, or always.
SIDECAR = """
      initContainers:
        - name: proxy
          image: <image>
          command: [python, -m, http.server, "8080"]
          restartPolicy: Always
          startupProbe:
            httpGet: {path: /, port: 8080}
            periodSeconds: 1
          livenessProbe:
            httpGet: {path: /, port: 8080}
            periodSeconds: 1
      containers:
        - name: main
          startupProbe:
            grpc: {port: 9000}
            failureThreshold: 1
          readinessProbe:
            grpc: {port: 9000}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata:
  name: web
spec:
  completionMode: Indexed
  completions: 2
  parallelism: 2
  backoffLimitPerIndex: 2
  maxFailedIndexes: 1
  podFailurePolicy:
    rules:
      - action: FailIndex
        onExitCodes: {operator: In, values: [42]}
  successPolicy:
    rules:
      - succeededIndexes: "0"
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: main
          image: registry.example.org/team/web:1
          command: [sh, -c, exec python src/app.py]
"""
JOBSET = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: web
spec:
  failurePolicy:
    maxRestarts: 3
  successPolicy:
    operator: Any
    targetReplicatedJobs: [driver]
  replicatedJobs:
    - name: driver
      template:
        spec:
          template:
            spec:
              restartPolicy: Never
              containers:
                - name: main
                  image: <image>
                  command: ["true"]
    - name: nodes
      template:
        spec:
          completions: 3
          parallelism: 3
          template:
            spec:
              restartPolicy: Never
              containers:
                - name: main
                  image: registry.example.org/team/web:1
                  command: [sh, -c, exec python src/app.py]
                  env:
                    - name: MASTER_ADDR
                      value: web-nodes-0-0.web
"""
KUSTOMIZATION = "namePrefix: dev-\nnamespace: production\nresources: [../../base]\n"
OWNERS: dict[str, dict[str, str | None]] = {
    "kustomization": {
        "k8s/base/kustomization.yaml": "resources: [web.yaml]\n",
        "k8s/base/web.yaml": DEPLOYMENT,
        "k8s/overlays/dev/kustomization.yaml": KUSTOMIZATION,
    },
    "manifests": {"k8s/web.yaml": DEPLOYMENT},
    # What Helm renders: several documents, which the post-renderer changes.
    "rendered chart": {"charts/web/Chart.yaml": "name: web\n"},
    "no Compose file": {"compose.yaml": None, "k8s/web.yaml": DEPLOYMENT},
    "sidecar": {
        "k8s/web.yaml": DEPLOYMENT.replace(
            "\n      containers:\n        - name: main\n", SIDECAR.rstrip() + "\n"
        )
    },
    "job in ranks": {"src/app.py": RANK, "k8s/web.yaml": JOB},
    "JobSet": {"src/app.py": RANKS, "k8s/web.yaml": JOBSET},
}


@pytest.fixture
def adopted(
    cluster: Cluster,
    template: Path,
    image: str,
    free_port: int,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Project]:
    """An adopted repository, and the manifests that its owner has."""
    root = tmp_path / f"remora-test-{uuid.uuid4().hex[:8]}"
    own: dict[str, str | None] = {
        "Dockerfile": DOCKERFILE,
        "compose.yaml": OWN_COMPOSE,
        "src/app.py": COUNT,
    }
    for path, text in {**own, **OWNERS[request.param]}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (root / path).write_text(text.replace("<image>", image))
    commit(root)
    before = contents(root)
    data: dict[str, Any] = {"debug_port": free_port}
    if request.param == "rendered chart":
        data["workloads"] = [{"name": "web", "workload": "green-web", "container": "main"}]
    render(template, root, **data)
    assert before.items() <= contents(root).items()
    with used(cluster, Project(root, service="web")) as project:
        yield project
    remove_images(project, root.name)
    if request.param == "no Compose file":
        project.run("docker", "image", "rm", "--force", f"{root.name}:debug")


@pytest.mark.parametrize(
    "adopted", ["kustomization", "manifests", "no Compose file"], indirect=True
)
def test_f5_debugs_an_application_that_exists(cluster: Cluster, adopted: Project) -> None:
    source = adopted.root / "src/app.py"
    editor = adopted.debug(marked(source), name="web: debug in the cluster", source=source)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (source, marked(source))
    (pod,) = cluster.get("pods", "--selector=remora=web")["items"]
    paused_for_a_minute(cluster, pod["metadata"]["name"])
    editor.detach()
    adopted.task(adopted.configuration("web: debug in the cluster")["postDebugTask"])
    assert cluster.get("deployments,pods", "--selector=app=web")["items"] == []


@pytest.mark.parametrize("adopted", ["sidecar"], indirect=True)
def test_sidecar_runs_beside_a_paused_program(cluster: Cluster, adopted: Project) -> None:
    cluster.requires(29, "a sidecar")
    source = adopted.root / "src/app.py"
    editor = adopted.debug(marked(source), name="web: debug in the cluster", source=source)
    assert editor.stopped().path == source
    (pod,) = cluster.get("pods", "--selector=remora=web")["items"]
    name = pod["metadata"]["name"]
    paused_for_a_minute(cluster, name)
    (sidecar,) = cluster.get("pod", name)["status"]["initContainerStatuses"]
    assert sidecar["started"] and sidecar["restartCount"] == 0
    editor.detach()
    script(adopted, "down", "web")
    assert cluster.get("deployments,pods", "--selector=app=web")["items"] == []


@pytest.mark.parametrize("adopted", ["job in ranks"], indirect=True)
def test_policies_of_a_job_do_not_end_a_held_rank(cluster: Cluster, adopted: Project) -> None:
    cluster.requires(31, "the successPolicy of a Job")
    # The owner's Job is valid.
    cluster.kubectl("apply", "--dry-run=server", f"--filename={adopted.root}/k8s/web.yaml")
    script(adopted, "up", "web", REMORA_RANK="1")
    job = cluster.get("job", "web")["spec"]
    policies = {"backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy", "successPolicy"}
    assert not policies & job.keys() and job["backoffLimit"] == 0
    # With its policy, the Job would have succeeded, and its other pod would be gone.
    cluster.until(lambda: cluster.get("job", "web")["status"].get("completedIndexes") == "0")
    source = adopted.root / "src/app.py"
    editor = adopted.attach(marked(source), name="web: debug in the cluster", source=source)
    stop = editor.stopped()
    assert stop.locals["rank"] == "1"
    editor.resume(stop)
    editor.ended()
    cluster.kubectl("wait", "job/web", "--for=condition=Complete", "--timeout=60s")
    assert cluster.get("job", "web")["status"]["completedIndexes"] == "0,1"


@pytest.mark.parametrize("adopted", ["JobSet"], indirect=True)
def test_rank_of_a_jobset_is_held(cluster: Cluster, adopted: Project) -> None:
    """With JobSet's own controller."""
    if cluster.kubectl("get", "jobsets", check=False).returncode != 0:
        pytest.skip("the cluster has no JobSet: see https://jobset.sigs.k8s.io")
    script(adopted, "up", "web-nodes", REMORA_RANK="2")
    first, second, held = (cluster.pod_of_rank("web-nodes", rank) for rank in range(3))
    cluster.says(first, "rank 0 began")
    cluster.says(second, "rank 1 began")
    # With its policy, the JobSet would have succeeded, and its other pods would be gone.
    cluster.kubectl("wait", "job/web-driver-0", "--for=condition=Complete", "--timeout=60s")
    source = adopted.root / "src/app.py"
    editor = adopted.attach(marked(source), name="web-nodes: debug in the cluster", source=source)
    stop = editor.stopped()
    assert stop.locals["rank"] == "2"
    assert not any("has the sum" in cluster.log(pod) for pod in (first, second, held))
    editor.resume(stop)
    cluster.says(second, "rank 1 has the sum 6")
    editor.detach()
    said = script(adopted, "attach", "web-nodes", REMORA_RANK="1")
    assert f"It runs as the pod {second} " in said
    editor = adopted.attach(name="web-nodes: attach in the cluster", source=source)
    assert editor.clients[0].request("threads")["threads"]
    editor.detach()
    script(adopted, "down", "web-nodes")
    assert cluster.get("jobsets")["items"] == []
    assert cluster.get("pods", "--selector=remora=web-nodes")["items"] == []


def install(cluster: Cluster, adopted: Project, mode: str) -> Path:
    """Apply what Helm would render, after its post-renderer. Return the file with all of it."""
    rendered = DEPLOYMENT.replace("name: web", "name: green-web", 1)
    rendered += "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: green\n"
    changed = adopted.root / "changed.yaml"
    (adopted.root / "rendered.yaml").write_text(rendered)
    render = f"deploy/debug.sh render web {mode} <rendered.yaml >changed.yaml"
    adopted.run("sh", "-c", render)
    cluster.kubectl("apply", f"--filename={changed}")
    return changed


@pytest.mark.parametrize("adopted", ["rendered chart"], indirect=True)
def test_what_helm_installs_can_be_attached_to(cluster: Cluster, adopted: Project) -> None:
    changed = install(cluster, adopted, "listen")
    (pod,) = cluster.until(lambda: cluster.get("pods", "--selector=remora=web")["items"])
    cluster.started(pod["metadata"]["name"])
    script(adopted, "attach", "web")
    source = adopted.root / "src/app.py"
    editor = adopted.attach(marked(source), name="web: attach in the cluster", source=source)
    stop = editor.stopped()
    assert (stop.path, stop.line) == (source, marked(source))
    editor.detach()
    cluster.kubectl("delete", f"--filename={changed}")


@pytest.mark.parametrize("adopted", ["rendered chart"], indirect=True)
def test_dumps_of_what_helm_installs_are_kept(
    cluster: Cluster, volume: None, adopted: Project
) -> None:
    source = adopted.root / "src/app.py"
    counts = source.read_text()
    source.write_text("raise FileExistsError\n")
    install(cluster, adopted, "dump")
    (pod,) = cluster.until(lambda: cluster.get("pods", "--selector=remora=web")["items"])
    cluster.until(lambda: cluster.status(pod["metadata"]["name"]).get("restartCount"))
    # The next release has other pods, and no claim of its own.
    cluster.kubectl("delete", "deployment", "green-web", "--cascade=foreground")
    source.write_text(counts)
    changed = install(cluster, adopted, "listen")
    (pod,) = cluster.until(lambda: cluster.get("pods", "--selector=remora=web")["items"])
    cluster.started(pod["metadata"]["name"])
    assert "FileExistsError" in script(adopted, "remora", "web", "crashes")
    cluster.kubectl("delete", f"--filename={changed}")
