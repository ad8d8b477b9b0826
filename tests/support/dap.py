"""A client of the Debug Adapter Protocol for tests, which does what an editor does.

A Client is one connection, for one process. An Editor has a client for the program, and one for
each child that the debugger announces. It attaches with a configuration of launch.json, as VS Code
does.

https://microsoft.github.io/debug-adapter-protocol/specification
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How long anything may take, in seconds. This is generous, because a slow machine is not a failure.
TIMEOUT = 60


class DapError(AssertionError):
    """The other side refused a request, left, or did not send the expected message in time."""


@dataclass(frozen=True)
class Stop:
    """Where a program has stopped: a thread, and a line of a file of this machine."""

    client: Client
    reason: str
    thread: int
    path: Path
    line: int
    function: str
    locals: dict[str, str]


class Client:
    """One connection to a debug adapter. `traffic` has a line for each message."""

    def __init__(
        self,
        host: str,
        port: int,
        on_event: Callable[[Client, dict[str, Any]], None] = lambda client, event: None,
    ) -> None:
        self.traffic: list[str] = []
        self._on_event = on_event
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT)
        self._socket.settimeout(None)
        self._seq = 0
        self._received: list[dict[str, Any]] = []
        # What the editor shows for each breakpoint, by id.
        self.breakpoints: dict[int, dict[str, Any]] = {}
        self.closed = False
        self._arrival = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    # ---- Messages ----

    def _read(self) -> None:
        stream = self._socket.makefile("rb")
        try:
            while header := stream.readline():
                length = int(header.removeprefix(b"Content-Length: "))
                stream.readline()
                message = json.loads(stream.read(length))
                with self._arrival:
                    self.traffic.append(f"<- {json.dumps(message)}")
                    self._received.append(message)
                    self._note_breakpoints(message)
                    self._arrival.notify_all()
                if message["type"] == "event":
                    self._on_event(self, message)
        except (OSError, ValueError) as error:  # ValueError: cut off within a message
            self.traffic.append(f"<- ({error})")
        self._socket.close()
        with self._arrival:
            self.traffic.append("<- (closed)")
            self.closed = True
            self._arrival.notify_all()

    def _note_breakpoints(self, message: dict[str, Any]) -> None:
        body = message.get("body") or {}
        for shown in [*body.get("breakpoints", []), *filter(None, [body.get("breakpoint")])]:
            self.breakpoints[shown["id"]] = {**self.breakpoints.get(shown["id"], {}), **shown}

    def _take(self, what: str, matches: Callable[[dict], bool]) -> dict[str, Any]:
        """Wait for the first message that matches. Remove and return it."""

        def find() -> dict[str, Any] | None:
            return next(filter(matches, self._received), None)

        with self._arrival:
            self._arrival.wait_for(lambda: find() or self.closed, TIMEOUT)
            message = find()
            if message is None:
                why = "the adapter has closed" if self.closed else "it did not come"
                raise DapError(f"waiting for {what}: {why}")
            self._received.remove(message)
            return message

    def send(self, command: str, **arguments: Any) -> int:
        """Send a request without waiting, and return its number."""
        self._seq += 1
        message = {"seq": self._seq, "type": "request", "command": command}
        body = json.dumps({**message, "arguments": arguments}).encode()
        with self._arrival:
            self.traffic.append(f"-> {body.decode()}")
        try:
            self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        except OSError as error:
            raise DapError(f"{command}: the adapter has closed ({error})") from error
        return self._seq

    def response(self, seq: int) -> dict[str, Any]:
        """Wait for the response to a request, and return its body."""
        message = self._take(
            f"the response to request {seq}",
            lambda m: m["type"] == "response" and m["request_seq"] == seq,
        )
        if not message["success"]:
            raise DapError(f"{message['command']}: {message.get('message')}")
        return message.get("body", {})

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.response(self.send(command, **arguments))

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event, and return its body."""
        return self._take(
            f"event {name}", lambda m: m["type"] == "event" and m["event"] == name
        ).get("body", {})

    # ---- Requests of an editor ----

    def attach(self, configuration: dict[str, Any], breakpoints: dict[Path, list[int]]) -> None:
        """Attach as a configuration of launch.json says, whose variables have been replaced."""
        self.request(
            "initialize",
            clientID="vscode",
            adapterID=configuration["type"],
            pathFormat="path",
            linesStartAt1=True,
            columnsStartAt1=True,
        )
        # The adapter answers only after the configuration is done, unless it refuses.
        attached = self.send("attach", **configuration)
        first = self._take(
            "event initialized",
            lambda m: m.get("event") == "initialized" or m.get("request_seq") == attached,
        )
        if first["type"] == "response":
            raise DapError(f"attach: {first.get('message')}")
        for path, lines in breakpoints.items():
            self.set_breakpoints(path, *lines)
        self.request("configurationDone")
        self.response(attached)

    def set_breakpoints(self, path: Path, *lines: int) -> list[dict[str, Any]]:
        """Set the breakpoints of a file of this machine: those that it had before are gone."""
        return self.request(
            "setBreakpoints",
            source={"path": str(path)},
            breakpoints=[{"line": line} for line in lines],
        )["breakpoints"]

    def where(self, stopped: dict[str, Any]) -> Stop:
        """Tell where the program has stopped, given the body of the event."""
        thread = stopped["threadId"]
        frame = self.request("stackTrace", threadId=thread)["stackFrames"][0]
        scopes = self.request("scopes", frameId=frame["id"])["scopes"]
        reference = next(s["variablesReference"] for s in scopes if s["name"] == "Locals")
        variables = self.request("variables", variablesReference=reference)["variables"]
        return Stop(
            client=self,
            reason=stopped["reason"],
            thread=thread,
            path=Path(frame["source"]["path"]),
            line=frame["line"],
            function=frame["name"],
            locals={v["name"]: v["value"] for v in variables},
        )

    def close(self) -> None:
        """Close the connection without telling the other side."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class Editor:
    """What a user does in an editor, with one program and its children."""

    def __init__(self) -> None:
        self.breakpoints: dict[Path, list[int]] = {}
        self.clients: list[Client] = []
        # The content of the Debug Console, by category: stdout, stderr, important and others.
        self.output: dict[str, str] = {}
        self._stops: queue.Queue[tuple[Client, dict[str, Any]]] = queue.Queue()
        self._has_ended = threading.Event()

    def attach(self, configuration: dict[str, Any], breakpoints: dict[Path, list[int]]) -> None:
        """Attach as a configuration of launch.json says, whose variables have been replaced."""
        self.breakpoints = breakpoints
        self._attach(configuration)

    def _attach(self, configuration: dict[str, Any]) -> None:
        client = Client(**configuration["connect"], on_event=self._on_event)
        self.clients.append(client)
        client.attach(configuration, self.breakpoints)

    def _follow(self, configuration: dict[str, Any]) -> None:
        """Open a session for a child, unless the child has ended by now."""
        try:
            self._attach(configuration)
        except (DapError, OSError) as error:
            self.clients[0].traffic.append(f"   (child not attached: {error})")

    def _on_event(self, client: Client, event: dict[str, Any]) -> None:
        # The reader of the connection calls this, so nothing here may wait for a response.
        if event["event"] == "stopped":
            self._stops.put((client, event["body"]))
        elif event["event"] == "terminated" and client in self.clients[:1]:
            self._has_ended.set()
        elif event["event"] == "terminated":
            # A child's session ends with the child. The user ends the program's session.
            with suppress(DapError):
                client.send("disconnect", terminateDebuggee=False)
        elif event["event"] == "output":
            category = event["body"].get("category", "console")
            self.output[category] = self.output.get(category, "") + event["body"]["output"]
        elif event["event"] == "debugpyAttach":
            threading.Thread(target=self._follow, args=[event["body"]], daemon=True).start()

    def set_breakpoints(self, path: Path, *lines: int) -> None:
        """Set the breakpoints of a file of this machine: those that it had before are gone."""
        self.breakpoints[path] = list(lines)
        for client in list(self.clients):
            if not client.closed:
                client.set_breakpoints(path, *lines)

    def stopped(self) -> Stop:
        """Wait until the program or a child of it stops, and say where."""
        try:
            client, body = self._stops.get(timeout=TIMEOUT)
        except queue.Empty:
            raise DapError("nothing has stopped") from None
        return client.where(body)

    def stopped_or_ended(self) -> Stop | None:
        """Wait until the program or a child of it stops, and say where; None if it ends first."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            # Check this first: whatever has stopped before the end is in the queue by then.
            ended = self._has_ended.is_set() or self.clients[0].closed
            try:
                client, body = self._stops.get(timeout=0.1)
            except queue.Empty:
                if ended:
                    return None
            else:
                return client.where(body)
        raise DapError("nothing has stopped")

    def resume(self, stop: Stop) -> None:
        """Let the program continue. If it ends at once, its response may be lost."""
        try:
            stop.client.request("continue", threadId=stop.thread)
        except DapError:
            if not stop.client.closed:
                raise

    def step(self, stop: Stop) -> Stop:
        """Step over the line, and return the next place."""
        stop.client.request("next", threadId=stop.thread)
        return self.stopped()

    def detach(self) -> None:
        """Leave as an editor does. The program runs on, or the container ends meanwhile."""
        for client in reversed(self.clients):
            try:
                if not client.closed:
                    client.request("disconnect", terminateDebuggee=False)
            except DapError:
                if not client.closed:
                    raise
        self.close()

    def ended(self) -> None:
        """Wait for the session to end, and leave as an editor then does.

        The last messages may be lost with the container.
        """
        stop = self.stopped_or_ended()
        assert stop is None, f"it has stopped instead: {stop}"
        self.detach()

    def close(self) -> None:
        """Close all connections without telling the other side."""
        for client in self.clients:
            client.close()

    @property
    def traffic(self) -> list[str]:
        """The messages of all connections, one connection after the other."""
        return [line for client in self.clients for line in client.traffic]
