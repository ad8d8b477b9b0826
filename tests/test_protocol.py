"""What a client of the Debug Adapter Protocol gets, as from debugpy's own adapter. No Docker."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import dap
from support.container import PROGRAM, Container
from support.project import line, marked, wait_until


@pytest.fixture
def path(container: Container) -> Path:
    return container.write("p.py", PROGRAM)


def client_of(container: Container) -> dap.Client:
    wait_until(container.is_open)
    editor = dap.Editor()
    container.editors.append(editor)
    editor.clients.append(dap.Client("127.0.0.1", container.port))
    return editor.clients[0]


# The number of the request `attach` below. Its response says that the program is traced.
ATTACH = 2


def attach(container: Container, **options: object) -> dap.Client:
    """Return a client that has attached, with an option that only the client knows."""
    client = client_of(container)
    client.request("initialize", clientID="test")
    assert client.send("attach", **options) == ATTACH
    client.event("initialized")
    return client


def refusal(client: dap.Client, command: str, **arguments: object) -> dict:
    """Return the whole response to a request that is refused."""
    seq = client.send(command, **arguments)
    response = client._take(command, lambda m: m.get("request_seq") == seq)
    assert response["success"] is False
    return response


def test_client_sends_all_requests_at_once(container: Container, path: Path) -> None:
    """A client need not wait for the event `initialized`, or for any answer."""
    container.start("python p.py a")
    client = client_of(container)
    breakpoints = {"source": {"path": str(path)}, "breakpoints": [{"line": marked(path)}]}
    sent = [
        client.send("initialize", clientID="test"),
        client.send("attach", type="debugpy"),
        client.send("setBreakpoints", **breakpoints),
        client.send("setExceptionBreakpoints", filters=[]),
        client.send("configurationDone"),
    ]
    for seq in sent:
        client.response(seq)
    stop = client.where(client.event("stopped"))
    assert (stop.line, stop.locals["name"]) == (marked(path), "'a'")


def test_breakpoints_on_functions_stop(container: Container, path: Path) -> None:
    """They have ids of their own, wait for a program, and are set in each program."""
    wait = "python -c 1; until [ -e go ]; do sleep 0.1; done"
    container.start(f"{wait}; python p.py a && python p.py b", "listen")
    client = attach(container)
    (on_line,) = client.set_breakpoints(path, marked(path))
    wanted = [{"name": "work"}]
    (waits,) = client.request("setFunctionBreakpoints", breakpoints=wanted)["breakpoints"]
    assert waits["message"] == "Waiting for a program that has this function."
    assert not waits["verified"] and waits["id"] != on_line["id"]
    client.send("configurationDone")
    container.write("go", "")
    for name in ("'a'", "'b'"):
        stop = client.where(client.event("stopped"))
        assert (stop.reason, stop.line) == ("function breakpoint", line(path, "def work"))
        assert stop.locals["name"] == name
        assert client.breakpoints[waits["id"]]["verified"]
        client.request("continue", threadId=stop.thread)
        stopped = client.event("stopped")
        assert stopped["hitBreakpointIds"] == [on_line["id"]]
        (again,) = client.request("setFunctionBreakpoints", breakpoints=wanted)["breakpoints"]
        assert again["verified"] and again["id"] > waits["id"]
        waits = again
        client.request("continue", threadId=stop.thread)
    assert container.exit_code() == 0


def test_what_the_debugger_cannot_handle_is_refused(container: Container, path: Path) -> None:
    """pydevd alone would end the session at the first of these requests."""
    container.start("python p.py a")
    client = attach(container, clientOS="linux")
    client.set_breakpoints(path, marked(path))
    client.request("configurationDone")
    stopped = client.event("stopped")
    answer = refusal(client, "setDebuggerProperty", ideOS="BeOS")
    assert answer["message"] == "pydevd cannot do this: AssertionError"
    frame = client.request("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]["id"]
    answer = refusal(client, "evaluate", expression="nothing", frameId=frame, context="watch")
    assert answer["message"] == "NameError: name 'nothing' is not defined"
    answer = refusal(client, "evaluate", expression="sys.exit('x')", frameId=frame, context="repl")
    assert answer["message"] == "pydevd cannot do this: SystemExit x"
    assert "Error processing" not in container.log()
    # The protocol has another body for a failure than pydevd, and clients check messages.
    assert "body" not in answer
    assert not any("pydevd_cmd_id" in message for message in client.traffic)
    client.request("continue", threadId=stopped["threadId"])
    assert container.exit_code() == 0


CLEANS_UP = """
import time

try:
    while True:
        time.sleep(0.01)  # here
except KeyboardInterrupt:
    print("cleaned", flush=True)  # cleans
"""


def interrupted(container: Container, path: Path, wanted: int) -> tuple[dap.Client, dap.Stop]:
    """Interrupt a program at its marked line, and wait until it stops at the line `wanted`."""
    container.start("python p.py")
    client = attach(container, onTerminate="KeyboardInterrupt")
    client.set_breakpoints(path, marked(path))
    client.request("configurationDone")
    thread = client.event("stopped")["threadId"]
    client.set_breakpoints(path, wanted)
    client.request("continue", threadId=thread)
    client.request("terminate")
    return client, client.where(client.event("stopped"))


def test_interrupt_ends_a_program(container: Container) -> None:
    """With this option, the session goes on while the program cleans up."""
    path = container.write("p.py", CLEANS_UP)
    client, stop = interrupted(container, path, line(path, "# cleans"))
    assert stop.line == line(path, "# cleans")
    client.request("continue", threadId=stop.thread)
    client.event("terminated")
    assert container.exit_code() == 0
    assert "cleaned" in container.lines


def test_second_request_ends_a_program_that_goes_on(container: Container) -> None:
    path = container.write("p.py", CLEANS_UP + "while True:\n    time.sleep(0.01)  # on\n")
    client, stop = interrupted(container, path, line(path, "# on"))
    assert stop.line == line(path, "# on")
    client.request("terminate")
    client.event("terminated")
    assert container.exit_code() == 0


def test_session_lasts_until_its_client_disconnects(container: Container, path: Path) -> None:
    """Meanwhile, another client may attach."""
    container.start("python p.py a; sleep 100")
    client = attach(container)
    client.set_breakpoints(path, marked(path))
    client.request("configurationDone")
    client.event("stopped")
    client.request("terminate")
    client.event("terminated")
    following = attach(container)
    assert refusal(client, "threads")["message"] == "the session has ended"
    assert client.request("disconnect") == {}
    wait_until(lambda: client.closed)
    following.request("configurationDone")


def test_child_that_the_client_does_not_want_runs_on(container: Container, path: Path) -> None:
    container.write(
        "parent.py",
        "import subprocess, sys\nsubprocess.run([sys.executable, 'p.py', 'child'])\n",
    )
    container.start("python parent.py; python p.py next")
    editor = container.attach({path: [marked(path)]}, subProcess=False)
    stop = editor.stopped()
    assert stop.locals["name"] == "'next'"
    assert "done child" in container.lines
    assert not any("runs on without a debugger" in line for line in editor.traffic)
    editor.resume(stop)
    assert container.exit_code() == 0


def test_child_has_the_clients_own_options(container: Container, path: Path) -> None:
    """The client gets them back with the child's configuration; its own tasks do not run again."""
    code = "import subprocess, sys\nsubprocess.run([sys.executable, 'p.py', 'child'])\n"
    parent = container.write("parent.py", code)
    container.start("python parent.py")
    options = {"host": "localhost", "preLaunchTask": "up", "internalConsoleOptions": "neverOpen"}
    client = attach(container, port=container.port, **options)
    client.set_breakpoints(parent, 2)
    client.request("configurationDone")
    client.request("continue", threadId=client.event("stopped")["threadId"])
    offered = client.event("debugpyAttach")
    assert offered.pop("subProcessId") and offered.pop("name").startswith("pid ")
    connect = {"host": "localhost", "port": container.port}
    expected = {"request": "attach", "connect": connect, "internalConsoleOptions": "neverOpen"}
    assert offered == expected
    client.request("disconnect")
    assert container.exit_code() == 0


def test_requests_that_cannot_be_met_are_refused(container: Container) -> None:
    container.start("python -c 1; sleep 100", "listen")
    client = client_of(container)
    assert "'path'" in refusal(client, "initialize", pathFormat="uri")["message"]
    assert client.request("terminate") == {}
    client = client_of(container)
    client.request("initialize", pathFormat="path")
    assert "attach instead" in refusal(client, "launch", program="p.py")["message"]
    client.send("attach")
    client.event("initialized")
    answer = refusal(client, "evaluate", expression="1")
    assert answer["message"] == "no program runs at this moment"


CRASHES = """
import os, time

def work(name):
    raise ValueError(name)  # here

def main():
    try:
        work("caught")
    except ValueError:
        pass
    while not os.path.exists("go"):
        time.sleep(0.01)
    work("uncaught")

main()
"""


@pytest.mark.parametrize("mode", ["wait", "listen"])
def test_uncaught_exception_stops_the_program(container: Container, mode: str) -> None:
    path = container.write("p.py", CRASHES)
    container.start("python p.py", mode)
    client = attach(container)
    client.request("setExceptionBreakpoints", filters=["uncaught"])
    client.request("configurationDone")
    assert client.event("thread")["reason"] == "started"
    client.response(ATTACH)
    container.write("go", "")
    stopped = client.event("stopped")
    assert (stopped["reason"], stopped["description"]) == ("exception", "uncaught")
    stop = client.where(stopped)
    assert (stop.line, stop.locals["name"]) == (marked(path), "'uncaught'")
    details = client.request("exceptionInfo", threadId=stop.thread)
    assert details["breakMode"] == "unhandled"
    client.request("continue", threadId=stop.thread)
    assert container.exit_code() == 1
