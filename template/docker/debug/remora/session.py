"""A client's session: what the client asks, and what it is told.

The first session of a client is the *root*: it shows one program after the other, for as long as
the container lives. Programs that run beside that one have *child* sessions, one each.
"""

import asyncio

from remora import protocol
from remora.debuggee import Gone

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

# How long a client may take from its connection to its attach, in seconds.
PATIENCE = 60

# Requests that need no program, with the answer if there is none.
WITHOUT_PROGRAM = {
    "threads": {"threads": []},
    "modules": {"modules": [], "totalModules": 0},
    "continue": {"allThreadsContinued": True},
    "setExceptionBreakpoints": {},
    "setDebuggerProperty": {},
    "debugpySystemInfo": {},
}


class Memory:
    """What a client has asked for, to be given to every program that comes."""

    def __init__(self):
        self.initialize, self.attach = {}, {}
        # Arguments of setBreakpoints by path, and of the other commands that set something
        self.breakpoints, self.others = {}, {}


class Session:
    """One connection of a client."""

    def __init__(self, hub, reader, writer):
        self.hub, self.reader, self.writer = hub, reader, writer
        self.memory = Memory()
        self.program = None
        # Of a child session: the process that it is for.
        self.pid = None
        self.is_attached = self.is_configured = self.is_closed = False
        # The request attach, which is answered when the client has configured its session.
        self._attach = None
        # Whether the hub has not taken in the session yet
        self.is_stranger = True
        self._seq = 0
        self._draining = asyncio.Lock()
        # The ids that the client knows, by path and position; those of the present engine lead to
        # them.
        self._ids, self._client_ids, self._last_id = {}, {}, 0

    # ---- Messages to the client ----

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

    # ---- Messages of the client ----

    async def serve(self):
        """Answer the client until it leaves."""
        deadline = asyncio.get_event_loop().call_later(PATIENCE, self._give_up)
        try:
            while not self.is_closed:
                # A stranger is not to fill the memory.
                limit = protocol.LIMIT if self.is_attached else protocol.STRANGERS_LIMIT
                message = await protocol.read(self.reader, limit)
                if message is None:
                    return
                if message.get("type") == "request":
                    self._answer(message)
                await self.drain()
        except (protocol.ProtocolError, ValueError, OSError, EOFError):
            pass  # no client, or one that was cut off
        finally:
            deadline.cancel()
            self.hub.left(self)
            self.close()

    def _give_up(self):
        if not self.is_attached:
            self.close()

    def _answer(self, message):
        try:
            command, arguments = protocol.checked(message)
        except protocol.ProtocolError as error:
            if type(message.get("seq")) is int:
                self.refuse(message["seq"], str(message.get("command"))[:50], str(error))
            return
        seq = message["seq"]
        handler = getattr(self, f"_on_{command}", None)
        if command not in ("initialize", "attach", "disconnect") and not self._attach:
            self.refuse(seq, command, "attach comes first")
        elif handler:
            handler(seq, arguments)
        else:
            self._forward(seq, command, arguments)

    def _forward(self, seq, command, arguments):
        """Have the program answer a request."""
        if self.program is None:
            if command in WITHOUT_PROGRAM:
                self.respond(seq, command, WITHOUT_PROGRAM[command])
            else:
                self.refuse(seq, command, "no program runs at this moment")
            return
        self._relay(seq, command, self.program.send(command, arguments))

    def _relay(self, seq, command, future):
        """Give the client the engine's answer when it comes."""

        def relay(done):
            if done.exception() is None:
                answer = {**done.result(), "request_seq": seq}
                self._send(answer)
            elif command in WITHOUT_PROGRAM:
                self.respond(seq, command, WITHOUT_PROGRAM[command])
            else:
                self.refuse(seq, command, "the program has ended")

        future.add_done_callback(relay)

    def _on_initialize(self, seq, arguments):
        if self.memory.initialize:
            self.refuse(seq, "initialize", "the session is initialized already")
            return
        self.memory.initialize = {"adapterID": "debugpy", **arguments}
        self.respond(seq, "initialize", CAPABILITIES)

    def _on_attach(self, seq, arguments):
        if not self.memory.initialize:
            self.refuse(seq, "attach", "initialize comes first")
        elif self._attach:
            self.refuse(seq, "attach", "the session is attached already")
        else:
            self._attach = seq
            self.memory.attach = arguments
            self.pid = arguments.get("subProcessId")
            self.hub.start(self._start(seq))

    async def _start(self, seq):
        """Find the program for this session, and have the client configure it."""
        try:
            program = await self.hub.program_for(self)
        except Gone as error:
            if self.pid is None:
                self._attach = None
                self.refuse(seq, "attach", str(error))
            else:
                # It has ended by now, which is no mistake of the client's.
                self.respond(seq, "attach", {})
                self.terminate()
            return
        self.is_attached = True
        if program:
            self.take(program)
        self.event("initialized")

    def _on_setBreakpoints(self, seq, arguments):
        path = arguments["source"].get("path")
        if not path:
            self.refuse(seq, "setBreakpoints", "arguments.source.path is missing")
            return
        wanted = arguments.setdefault("breakpoints", [])
        self.memory.breakpoints[path] = arguments
        ids = self._ids[path] = [self._new_id() for _ in wanted]
        program = self.program
        if program is None:
            pending = "Waiting for a program that has this file."
            found = [
                {"id": number, "verified": False, "line": b["line"], "message": pending}
                for number, b in zip(ids, wanted)  # noqa: B905 - Python 3.8
            ]
            self.respond(seq, "setBreakpoints", {"breakpoints": found})
            return
        known, answer = program.breakpoints.get(path, (None, None))
        if known == arguments:
            # Set again, they would be gone for a moment.
            self.respond(seq, "setBreakpoints", self._with_ids(path, answer))
            return
        future = program.set_breakpoints(path, arguments)

        def relay(done):
            if done.exception() is None and done.result()["success"]:
                self.respond(seq, "setBreakpoints", self._with_ids(path, done.result()["body"]))
            elif done.exception() is None:
                self._send({**done.result(), "request_seq": seq})
            else:
                self.refuse(seq, "setBreakpoints", "the program has ended")

        future.add_done_callback(relay)

    def _new_id(self):
        self._last_id += 1
        return self._last_id

    def _with_ids(self, path, answer):
        """Return an engine's answer to setBreakpoints, with the ids that the client knows."""
        found = []
        for number, breakpoint in zip(  # noqa: B905 - Python 3.8
            self._ids.get(path, []), answer.get("breakpoints", [])
        ):
            self._client_ids[breakpoint.get("id")] = number
            found.append({**breakpoint, "id": number})
        return {"breakpoints": found}

    def _set(self, seq, command, arguments, empty):
        self.memory.others[command] = arguments
        if self.program:
            self._relay(seq, command, self.program.send(command, arguments))
        else:
            self.respond(seq, command, empty)

    def _on_setExceptionBreakpoints(self, seq, arguments):
        self._set(seq, "setExceptionBreakpoints", arguments, {})

    def _on_setFunctionBreakpoints(self, seq, arguments):
        found = [{"verified": False} for _ in arguments["breakpoints"]]
        self._set(seq, "setFunctionBreakpoints", arguments, {"breakpoints": found})

    def _on_setDebuggerProperty(self, seq, arguments):
        self._set(seq, "setDebuggerProperty", arguments, {})

    def _on_configurationDone(self, seq, arguments):
        if self.is_configured or not self.is_attached:
            self.refuse(seq, "configurationDone", "it is not expected now")
            return
        self.is_configured = True
        self.respond(seq, "configurationDone", {})
        self.respond(self._attach, "attach", {})
        program = self.program
        if program and not program.is_configured:
            program.is_configured = True
            program.send("configurationDone", {})
        if program:
            self._tell_state(program)
        self.hub.configured(self)

    def _on_pause(self, seq, arguments):
        self._forward(seq, "pause", {"threadId": "*"})

    def _on_continue(self, seq, arguments):
        if self.program:
            self.program.continued()
        self._forward(seq, "continue", {"threadId": "*"})

    def _on_pydevdSystemInfo(self, seq, arguments):
        self._forward(seq, "pydevdSystemInfo", arguments)

    def _on_debugpySystemInfo(self, seq, arguments):
        if self.program:
            future = self.program.send("pydevdSystemInfo", {})
            self._relay(seq, "debugpySystemInfo", future)
        else:
            self._forward(seq, "debugpySystemInfo", {})

    def _on_terminate(self, seq, arguments):
        self._leave(seq, "terminate", True)

    def _on_disconnect(self, seq, arguments):
        self._leave(seq, "disconnect", arguments.get("terminateDebuggee", False))

    def _leave(self, seq, command, terminate):
        self.hub.left(self, terminate)
        self.respond(seq, command, {})
        self.terminate()

    # ---- What happens to programs ----

    def tell(self, name, body):
        """Tell the client of an event of its program."""
        if name == "breakpoint":
            breakpoint = dict(body.get("breakpoint") or {})
            number = self._client_ids.get(breakpoint.get("id"))
            if number is None:
                return
            body = {**body, "breakpoint": {**breakpoint, "id": number}}
        elif name == "stopped" and "hitBreakpointIds" in body:
            ids = [self._client_ids[n] for n in body["hitBreakpointIds"] if n in self._client_ids]
            body = {**body, "hitBreakpointIds": ids}
        self.event(name, body)

    def _tell_state(self, program):
        """Tell the client what the program has done before the session had it."""
        if program.process:
            self.event("process", program.process)
        for body in list(program.threads.values()):
            self.event("thread", body)
        while program.output:
            self.event("output", program.output.popleft())
        for body in list(program.stops.values()):
            self.tell("stopped", body)

    def take(self, program):
        """Show a program: the first one, or another as the one before has ended."""
        # At once, so that no other session or program comes between.
        self.program, program.session = program, self
        self._client_ids.clear()
        answer = None
        if not program.is_configured:
            prepare = program.configure if self.is_configured else program.prepare
            answer = prepare(self.memory)
        elif self.is_configured:
            self._tell_state(program)
        self.hub.start(self._show_breakpoints(program, answer))

    async def _show_breakpoints(self, program, answer):
        """Tell the client what has become of its breakpoints, once the engine has answered."""
        try:
            if answer:
                await answer
        except Gone:
            return
        if self.program is not program:
            return
        for path, (_, answer) in list(program.breakpoints.items()):
            for breakpoint in self._with_ids(path, answer)["breakpoints"]:
                self.event("breakpoint", {"reason": "changed", "breakpoint": breakpoint})

    def lose(self, program):
        """Show that a program has ended; the session has not."""
        self.program = None
        self._client_ids.clear()
        for thread in program.threads:
            self.event("thread", {"reason": "exited", "threadId": thread})

    def terminate(self):
        """End the session, which the client is told."""
        if not self.is_closed:
            self.event("terminated")
            self.close()

    def close(self):
        self.is_closed = True
        self.writer.close()
