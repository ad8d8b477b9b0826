"""What debugging costs with 1,000 pods and 512 ranks, in a simulation: see docs/scale.md.

The cluster's answers are synthetic. The code that reads and decides is real: JSON, the rule of
REMORA_RANK, and the command of the probe. To print the figures:

    PYTHONPATH=tests python tests/bench/scale.py
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from support.container import Container, debug_python

# The label that the Job controller gives to the pods of an Indexed Job.
INDEX = "batch.kubernetes.io/job-completion-index"


def pod(number: int) -> dict[str, Any]:
    """A pod as the API returns it, with the usual content for a training job."""
    name = f"train-{number}-{random.Random(number).randrange(16**5):05x}"
    mounts = [{"name": f"volume-{n}", "mountPath": f"/mnt/{n}"} for n in range(6)]
    env = [{"name": f"SETTING_{n}", "value": "x" * 24} for n in range(30)]
    parts = ("metadata", "spec", "status", "containers", "volumes")
    fields: dict[str, dict] = {f"f:{key}": {} for key in parts}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "training",
            "uid": f"{number:032x}",
            "labels": {"app.kubernetes.io/name": "train", INDEX: str(number)},
            "annotations": {INDEX: str(number)},
            "managedFields": [{"manager": "kubelet", "fieldsV1": fields} for _ in range(3)],
        },
        "spec": {
            "hostname": f"train-{number}",
            "nodeName": f"gpu-{number % 64}",
            "containers": [{"name": "train", "image": "train", "env": env, "volumeMounts": mounts}],
            "volumes": [{"name": mount["name"], "emptyDir": {}} for mount in mounts],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
            "containerStatuses": [{"name": "train", "started": True, "ready": True}],
        },
    }


def listing(pods: list[dict[str, Any]]) -> bytes:
    return json.dumps({"kind": "PodList", "items": pods}).encode()


def by_search(answer: bytes, rank: int) -> str:
    """The pod of a rank, found in a list of all pods."""
    (name,) = (
        pod["metadata"]["name"]
        for pod in json.loads(answer)["items"]
        if pod["metadata"]["labels"].get(INDEX) == str(rank)
    )
    return name


def by_label(answer: bytes) -> str:
    """The pod of a rank, found by the API server with a label selector."""
    (pod,) = json.loads(answer)["items"]
    return pod["metadata"]["name"]


def median(work: Callable[[], object], rounds: int = 9) -> float:
    """The median CPU time of a function, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def kept_in_a_crash(
    ranks: int, mode: str, chosen: str, a_container: int, keep: int, is_held: Callable[..., bool]
) -> tuple[int, int]:
    """How many processes, and pods, stay when all ranks crash at once.

    a_container: the ranks in each pod. keep: how many crashes a container keeps at most.
    is_held: the rule of the debug layer for a rank.
    """
    if mode != "crash":
        return 0, 0  # mode `dump` writes a file, and other modes keep nothing
    kept: dict[int, int] = {}
    for rank in range(ranks):
        pod = rank // a_container
        if is_held(chosen, rank) and kept.get(pod, 0) < keep:
            kept[pod] = kept.get(pod, 0) + 1
    return sum(kept.values()), len(kept)


def probes(pods: int, period: float, seconds: float, spread: float, seed: int) -> Iterator[int]:
    """How many probes all kubelets start in each second, in a simulation of events.

    The pods start within `spread` seconds, at random. period: the period of a pod's probe.
    """
    chance = random.Random(seed)
    counts = [0] * int(seconds)
    for _ in range(pods):
        moment = chance.uniform(0, spread)
        while moment < seconds:
            counts[int(moment)] += 1
            moment += period
    yield from counts


def cost_of_a_command(command: list[str], rounds: int = 20) -> float:
    """The CPU time of a command, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(rounds):
        subprocess.run(command, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / rounds


def main() -> None:
    """Print the figures of docs/scale.md."""
    for count in (512, 1000, 5000):
        pods = [pod(number) for number in range(count)]
        everything, one = listing(pods), listing(pods[count // 2 : count // 2 + 1])
        search = median(partial(by_search, everything, count // 2))
        label = median(partial(by_label, one))
        print(
            f"{count} pods: {len(everything) / 1e6:.1f} MB, {search * 1e3:.0f} ms by search;"
            f" {len(one) / 1e3:.1f} kB, {label * 1e3:.2f} ms by label"
        )
    with tempfile.TemporaryDirectory() as folder:
        (image := Path(folder, "image")).mkdir()
        container = Container(debug_python(image), Path(folder))
        container.start("sleep 600", mode="listen")
        probe = container.entering(*container.command("ready", "--health"))
        subprocess.run(probe, check=True)  # which starts the hub
        print(f"a probe takes {cost_of_a_command(probe) * 1e3:.0f} ms of a processor")
        container.stop()
    for period in (1, 10):
        counts = list(probes(1000, period, 60, 30, 1))
        print(f"1000 pods, a probe every {period} s: {max(counts)} a second at most")


if __name__ == "__main__":
    main()
