"""A client of the Debug Adapter Protocol, for tests: what an editor does, and nothing more.

It attaches with a configuration of a rendered launch.json, as VS Code would.
https://microsoft.github.io/debug-adapter-protocol/specification
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How long anything may take, in seconds. Generous: a slow machine is not a failure.
TIMEOUT = 60


class DapError(AssertionError):
    """The other side refused a request, left, or did not say in time what was expected."""


@dataclass(frozen=True)
class Stop:
    """Where a program has stopped: in a thread, at a line of a file of this machine."""

    reason: str
    thread: int
    path: Path
    line: int
    function: str
    locals: dict[str, str]


class Client:
    """One connection to a debug adapter. `traffic` is what went over it, a line each message."""

    def __init__(self, host: str, port: int) -> None:
        self.traffic: list[str] = []
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT)
        self._socket.settimeout(None)
        self._seq = 0
        self._received: list[dict[str, Any]] = []
        self._closed = False
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
                    self._arrival.notify_all()
        except (OSError, ValueError) as error:  # ValueError: cut off within a message
            self.traffic.append(f"<- ({error})")
        with self._arrival:
            self.traffic.append("<- (closed)")
            self._closed = True
            self._arrival.notify_all()

    def _take(self, what: str, matches: Callable[[dict], bool]) -> dict[str, Any]:
        """Remove and return the first message that matches, which may have yet to come."""

        def find() -> dict[str, Any] | None:
            return next(filter(matches, self._received), None)

        with self._arrival:
            self._arrival.wait_for(lambda: find() or self._closed, TIMEOUT)
            message = find()
            if message is None:
                why = "the adapter has closed" if self._closed else "it did not come"
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
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
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

    # ---- What a user does ----

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
        # The adapter answers only when the configuration is done.
        attached = self.send("attach", **configuration)
        self.event("initialized")
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

    def stopped(self) -> Stop:
        """Wait until the program stops, and say where."""
        body = self.event("stopped")
        thread = body["threadId"]
        frame = self.request("stackTrace", threadId=thread)["stackFrames"][0]
        scopes = self.request("scopes", frameId=frame["id"])["scopes"]
        reference = next(s["variablesReference"] for s in scopes if s["name"] == "Locals")
        variables = self.request("variables", variablesReference=reference)["variables"]
        return Stop(
            reason=body["reason"],
            thread=thread,
            path=Path(frame["source"]["path"]),
            line=frame["line"],
            function=frame["name"],
            locals={v["name"]: v["value"] for v in variables},
        )

    def resume(self, stop: Stop) -> None:
        self.request("continue", threadId=stop.thread)

    def step(self, stop: Stop) -> Stop:
        """Step over the line, and return where that leads."""
        self.request("next", threadId=stop.thread)
        return self.stopped()

    def detach(self) -> None:
        """Leave as an editor does; the program runs on."""
        self.request("disconnect", terminateDebuggee=False)
        self.close()

    def ended(self) -> None:
        """Wait for the program to end, and leave as an editor does then."""
        self.event("terminated")
        self.detach()

    def close(self) -> None:
        """Let go of the connection; the other side is told nothing."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
