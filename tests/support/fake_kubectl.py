"""A stand-in for kubectl, which gives the answers of a test, and records its calls.

The answers are in a JSON file: see USUAL in fake_cluster.py. The real kubectl builds and reads
manifests.
"""

import json
import os
import signal
import sys
from pathlib import Path

import yaml

HERE = Path(os.environ["FAKE_WORLD"])


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


def forward(world):
    """Forward a port until this process ends, or until a test cuts the connection."""
    if world["port"] in ("taken", "taken later"):
        fail("error: unable to listen on any of the requested ports: [{5678 5678}]")
    if world["port"] == "refused":
        fail('error: pods "train-x" is forbidden')
    print("Forwarding from 127.0.0.1:5678 -> 5678", flush=True)
    cuts = HERE / "cuts"
    if cuts.exists():
        cuts.unlink()
        fail("error: lost connection to pod")
    signal.pause()


def listen(world):
    """Listen at a port until this process ends."""
    if world["port"] == "taken":
        fail("error: listen tcp 127.0.0.1:5678: bind: address already in use")
    print("Starting to serve on 127.0.0.1:5678", flush=True)
    signal.pause()


def main(words):
    world = json.loads((HERE / "world.json").read_text())
    with (HERE / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    if words[0] == "kustomize" or "--local" in words:
        os.execv(os.environ["REAL_KUBECTL"], ["kubectl", *words])
    if words[:2] == ["config", "get-contexts"]:
        return print("\n".join(world["contexts"]))
    if words[:2] == ["config", "view"]:
        return print("team", end="")
    options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    assert options["--context"] in world["contexts"], words
    verb, *rest = [word for word in words if not word.startswith("--")]
    if verb == "proxy":
        listen(world)
    assert options["--namespace"], words
    if not world["answers"]:
        fail("E1126 dial tcp: connection refused")
    if verb == "auth":
        wanted = " ".join([*rest[1:], options.get("--subresource", "")]).strip()
        sys.exit(wanted in world["denied"])
    if verb == "get" and rest[0:1] == ["namespace"]:
        return None if world["namespace"] is True else fail(world["namespace"])
    if verb == "get" and "--filename" in options:
        if world["unknown"]:
            fail(world["unknown"])
        return print("\n".join(world["there"]))
    if verb == "get" and rest[0] == "persistentvolumeclaim":
        return print(f"persistentvolumeclaim/{rest[1]}" if world["dumps"] else "")
    if verb == "get" and rest[0] == "pods" and "list pods" in world["denied"]:
        fail("Error from server (Forbidden): pods is forbidden")
    if verb == "get" and rest[0] == "pods":
        lines = (HERE / "pods").read_text().splitlines()
        (HERE / "pods").write_text("\n".join(lines[1:] or lines))
        return print(lines[0])
    if verb == "get" and rest[0] == "events":
        return print("\n".join(world["events"]))
    if verb == "get" and rest[0] == "pod":
        return print(world["pod"], end="") if world["pod"] else fail("Error (NotFound): no pod")
    if verb == "apply":
        documents = yaml.safe_load_all(Path(options["--filename"]).read_text())
        for number, found in enumerate(documents):
            if number == 1 and world["apply"]:
                fail(world["apply"])
            print(f"{found['kind'].lower()}/{found['metadata']['name']} created")
    if verb == "delete" and world["delete"]:
        fail(world["delete"])
    if verb == "logs" and "--previous" in words:
        fail("Error: no previous container")
    if verb == "logs":
        print("ZeroDivisionError: division by zero")
    if verb == "exec" and world["exec"]:
        fail(world["exec"])
    if verb == "port-forward":
        forward(world)


main(sys.argv[1:])
