"""What a client is told: the sending half of a session."""

import asyncio

from remora import protocol
from remora.breakpoints import BreakpointIds
from remora.debuggee import Gone

# How long a client may take to read what it was told last, in seconds.
CLOSE_TIMEOUT = 5

# What debugpy can do, and so what the hub offers.
CAPABILITIES = {
    "supportsClipboardContext": True,
    "supportsCompletionsRequest": True,
    "supportsConditionalBreakpoints": True,
    "supportsConfigurationDoneRequest": True,
    "supportsDebuggerProperties": True,
    "supportsDelayedStackTraceLoading": True,
    "supportsEvaluateForHovers": True,
    "supportsExceptionInfoRequest": True,
    "supportsExceptionOptions": True,
    "supportsFunctionBreakpoints": True,
    "supportsGotoTargetsRequest": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsLogPoints": True,
    "supportsModulesRequest": True,
    "supportsSetExpression": True,
    "supportsSetVariable": True,
    "supportsStepInTargetsRequest": True,
    "supportsTerminateRequest": True,
    "supportsValueFormattingOptions": True,
    "supportTerminateDebuggee": True,
    "exceptionBreakpointFilters": [
        {"filter": "raised", "label": "Raised Exceptions", "default": False},
        {"filter": "uncaught", "label": "Uncaught Exceptions", "default": True},
        {"filter": "userUnhandled", "label": "User Uncaught Exceptions", "default": False},
    ],
}


class Client:
    """A connection to a client, over which messages go to it.

    program         what the client is shown; None if nothing is at this moment
    ids             the ids of breakpoints that the client knows
    is_configured   whether the client has said all that it asks for
    """

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.program, self.ids = None, BreakpointIds()
        self.is_closed = self.is_configured = False
        self._seq = 0
        self._draining = asyncio.Lock()

    def _send(self, message):
        self._seq += 1
        if not self.writer.is_closing():
            self.writer.write(protocol.frame(dict(message, seq=self._seq)))

    def event(self, name, body=None):
        self._send({"type": "event", "event": name, "body": body or {}})

    def request(self, command, arguments):
        self._send({"type": "request", "command": command, "arguments": arguments})

    def respond(self, seq, command, body):
        message = {"type": "response", "request_seq": seq, "command": command, "success": True}
        self._send(dict(message, body=body))

    def refuse(self, seq, command, why):
        message = {"type": "response", "request_seq": seq, "command": command, "success": False}
        error = {"id": 1, "format": why.replace("{", "(").replace("}", ")"), "showUser": True}
        self._send(dict(message, message=why, body={"error": error}))

    def say(self, text):
        """Show the user a line."""
        self.event("output", {"category": "important", "output": f"remora: {text}\n"})

    async def drain(self):
        """Wait until a client that is slow to read has read enough."""
        async with self._draining:  # before Python 3.11, one at a time may wait
            try:
                await self.writer.drain()
            except OSError:
                pass

    def close(self):
        self.is_closed = True
        self.writer.close()
        transport = self.writer.transport
        if transport.get_write_buffer_size():  # which one that never reads would keep
            asyncio.get_event_loop().call_later(CLOSE_TIMEOUT, transport.abort)

    # ---- Its program ----

    def tell(self, name, body):
        """Tell the client of an event of its program."""
        if name == "breakpoint":
            body = self.ids.of_change(body)
        elif name == "stopped":
            body = self.ids.of_stop(body)
        if body is not None:
            self.event(name, body)

    def tell_state(self, program):
        """Tell the client what the program has done before the session had it."""
        if program.process:
            self.event("process", program.process)
        for body in list(program.threads.values()):
            self.event("thread", body)
        while program.output:
            self.event("output", program.output.popleft())
        for body in list(program.stops.values()):
            self.tell("stopped", body)

    def lose(self, program):
        """Show that a program has ended; the session has not."""
        self.program = None
        self.ids.forget_engine()
        for thread in program.threads:
            self.event("thread", {"reason": "exited", "threadId": thread})

    async def show_breakpoints(self, program, answer):
        """Tell the client what has become of its breakpoints, once the engine has answered."""
        try:
            if answer:
                await answer
        except Gone:
            return
        if self.program is not program:
            return
        for path, answer in list(program.breakpoints.items()):
            for breakpoint in self.ids.known(path, answer)["breakpoints"]:
                self.event("breakpoint", {"reason": "changed", "breakpoint": breakpoint})

    def terminate(self):
        """End the session, which the client is told."""
        if not self.is_closed:
            self.event("terminated")
            self.close()
