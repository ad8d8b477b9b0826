"""What a client is told: the sending half of a session. session.py is the receiving half."""

import asyncio

from . import protocol
from .breakpoints import BreakpointIds
from .debuggee import Gone, Memory

# How long a client may take to disconnect after its session has ended, and to read the last
# messages before its connection is cut, in seconds.
CLOSE_TIMEOUT = 5

# Keys of a configuration that are about its own session alone
OWN = {
    "host",
    "listen",
    "port",
    "postDebugTask",
    "preLaunchTask",
    "processId",
    "request",
    "restart",
}

# What the hub offers, which is what debugpy can do.
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
        {
            "filter": "raised",
            "label": "Raised Exceptions",
            "default": False,
            "description": "Stop wherever an exception is raised.",
        },
        {
            "filter": "uncaught",
            "label": "Uncaught Exceptions",
            "default": True,
            "description": "Stop at an exception that nothing catches, before the program ends.",
        },
        {
            "filter": "userUnhandled",
            "label": "User Uncaught Exceptions",
            "default": False,
            "description": "Stop at an exception that your code does not catch, but a library may.",
        },
    ],
}

# Requests that need no program, with the answer if there is none
WITHOUT_PROGRAM = {
    "threads": {"threads": []},
    "modules": {"modules": [], "totalModules": 0},
    "continue": {"allThreadsContinued": True},
    "setExceptionBreakpoints": {},
    "setDebuggerProperty": {},
    "debugpySystemInfo": {},
    "terminate": {},
}


class Client:
    """A connection to a client, over which messages go to it.

    program         the program that the client is shown; None if there is none at this moment
    ids             the ids of breakpoints that the client knows
    memory          what the client has asked for
    is_configured   whether the client has sent all its breakpoints and settings
    is_ended        whether the client has been told that the session has ended
    """

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.program, self.ids, self.memory = None, BreakpointIds(), Memory()
        self.is_configured = self.is_ended = False
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
        error = {"id": 1, "format": why.replace("{", "(").replace("}", ")")}
        self._send(dict(message, message=why, body={"error": error}))

    def say(self, text):
        """Show the user a line of text."""
        self.event("output", {"category": "important", "output": f"remora: {text}\n"})

    async def drain(self):
        """Wait until a client that reads slowly has read enough."""
        async with self._draining:  # before Python 3.11, only one may wait at a time
            try:
                await self.writer.drain()
            except OSError:
                pass

    def close(self):
        self.is_ended = True
        self.writer.close()
        transport = self.writer.transport
        if transport.get_write_buffer_size():  # a client that never reads would keep it open
            asyncio.get_event_loop().call_later(CLOSE_TIMEOUT, transport.abort)

    # ---- Its program ----

    def tell(self, name, body):
        """Send the client an event of its program, with the breakpoint ids that the client knows.

        name, body: the event and its body, as the engine has sent them.
        """
        if name == "breakpoint":
            body = self.ids.of_change(body)
        elif name == "stopped":
            body = self.ids.of_stop(body)
        if body is not None:
            self.event(name, body)

    def tell_state(self, program):
        """Tell the client what its program did before the session showed the program."""
        if program.process:
            self.event("process", program.process)
        for body in list(program.threads.values()):
            self.event("thread", body)
        while program.output:
            self.event("output", program.output.popleft())
        for body in list(program.stops.values()):
            self.tell("stopped", body)

    def lose(self, program):
        """Tell the client that its program has ended, while the session goes on."""
        self.program = None
        self.ids.forget_engine()
        for thread in program.threads:
            self.event("thread", {"reason": "exited", "threadId": thread})

    async def show_breakpoints(self, program, answer):
        """Send the client the state of its breakpoints, once the engine has answered.

        answer: the future of the engine's last response; None if the engine was configured before.
        """
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

    def forward(self, seq, command, arguments):
        """Let the program answer a request."""
        if self.program is None:
            if command in WITHOUT_PROGRAM:
                self.respond(seq, command, WITHOUT_PROGRAM[command])
            else:
                self.refuse(seq, command, "no program runs at this moment")
            return
        self.relay(seq, command, self.program.send(command, arguments))

    def relay(self, seq, command, future, translate=None):
        """Give the client the engine's answer when it comes.

        translate: a function that makes the client's body from the engine's, after a success.
        """

        def pass_on(done):
            if done.exception() is None:
                answer = dict(done.result(), type="response", request_seq=seq, command=command)
                if translate and answer["success"]:
                    answer["body"] = translate(answer["body"])
                self._send(answer)
            elif command in WITHOUT_PROGRAM:
                self.respond(seq, command, WITHOUT_PROGRAM[command])
            else:
                self.refuse(seq, command, "the program has ended")

        future.add_done_callback(pass_on)

    def offer(self, program, port):
        """Ask the client to open a session for a program that runs beside its own.

        port: the hub's, unless the client has connected to another one.
        """
        # The client gets its configuration back, with keys that only the client knows.
        configuration = {k: v for k, v in self.memory.configuration.items() if k not in OWN}
        attach = self.memory.attach
        connect = {"host": attach.get("host", "127.0.0.1"), "port": attach.get("port", port)}
        connect.update(attach.get("connect", {}))
        configuration.update(connect=connect, name=f"pid {program.pid}", subProcessId=program.pid)
        initialize = self.memory.initialize
        # By this event, VS Code ties the session to the root, so that Stop ends both.
        if initialize.get("supportsStartDebuggingRequest") and initialize.get("clientID") not in (
            "vscode",
            "code-server",
        ):
            self.request("startDebugging", {"request": "attach", "configuration": configuration})
        else:
            self.event("debugpyAttach", dict(configuration, request="attach"))

    def terminate(self):
        """Tell the client that the session has ended. The client then disconnects."""
        if not self.is_ended:
            self.is_ended = True
            self.event("terminated")
            asyncio.get_event_loop().call_later(CLOSE_TIMEOUT, self.close)
