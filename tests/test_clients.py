"""DAP clients of other projects debug a container. These tests need no Docker.

The clients are npm packages, driven by the scripts in clients/. `nox -s clients` installs and runs
them.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import dap
from support.container import Container
from support.project import marked, wait_until

pytestmark = pytest.mark.npm

CLIENTS = Path(__file__).parent / "clients"

# DebugClient, with which VS Code tests debug adapters, and an MCP server, with which agents debug
SCRIPTS = ["testsupport.js", "mcp.js"]

PROGRAM = """
import sys

def work(name):
    answer = name + "!"
    return answer  # here

if __name__ == "__main__":
    work(sys.argv[1])
    print("done", sys.argv[1], flush=True)
"""

PARENT = """
import subprocess, sys
import p

p.work("parent")
child = subprocess.run([sys.executable, "p.py", "child"])
print("child ended with", child.returncode, flush=True)
p.work("parent again")
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def clients() -> None:
    """The npm packages. Without them, a test is skipped; in CI it fails."""
    if not (CLIENTS / "node_modules").exists():
        reason = "the clients are not installed: nox -s clients does it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def debug(script: str, container: Container, path: Path) -> list[dict[str, Any]]:
    """Let a client debug the container with a breakpoint, and return where it has stopped."""
    wait_until(container.is_open)
    done = subprocess.run(
        ["node", script, str(container.port), str(path), str(marked(path))],
        cwd=CLIENTS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * dap.TIMEOUT,
    )
    assert done.returncode == 0, f"{done.stderr}\n{container.log()}"
    return json.loads(done.stdout)["stops"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_programs_in_turn(container: Container, script: str) -> None:
    path = container.write("p.py", PROGRAM)
    container.start("python p.py a && python p.py b")
    stops = debug(script, container, path)
    assert [(stop["path"], stop["line"]) for stop in stops] == [(str(path), marked(path))] * 2
    assert [stop["locals"] for stop in stops] == [
        {"name": "'a'", "answer": "'a!'"},
        {"name": "'b'", "answer": "'b!'"},
    ]
    assert container.exit_code() == 0
    wait_until(lambda: container.lines[-2:] == ["done a", "done b"])
    assert container.log().count("Waiting for client to attach...") <= 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_file_is_found_that_the_client_has_elsewhere(
    container: Container, script: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither client gets path mappings."""
    container.write("src/shop/p.py", PROGRAM)
    path = tmp_path_factory.mktemp("my-app") / "src/shop/p.py"
    path.parent.mkdir(parents=True)
    path.write_text(PROGRAM)
    container.start("cd src && python -m shop.p a && python -m shop.p b")
    stops = debug(script, container, path)
    assert [(stop["path"], stop["line"]) for stop in stops] == [(str(path), marked(path))] * 2
    assert container.exit_code() == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_child_without_a_session_runs_on(container: Container, script: str) -> None:
    """A child that no session shows runs on without a debugger, and all programs end."""
    path = container.write("p.py", PROGRAM)
    container.write("parent.py", PARENT)
    container.start("python parent.py")
    stops = debug(script, container, path)
    assert [stop["locals"]["name"] for stop in stops] == ["'parent'", "'parent again'"]
    assert container.exit_code() == 7
    container.says("done child")
    container.says("runs on without a debugger: the client opened no session for it")
    container.says("child ended with 0")
