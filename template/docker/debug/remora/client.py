"""What a client is told: the sending half of a session."""

import asyncio

from remora import protocol

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
    """A connection to a client, over which messages go to it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.is_closed = False
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
