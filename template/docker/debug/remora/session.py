"""A client's session: the requests of the client. client.py sends what the client is told.

The first session of a client is the *root*: it shows one program after another, as long as the
container lives. Programs that run at the same time have *child* sessions, one each.
"""

import asyncio

from . import protocol
from .client import CAPABILITIES, Client
from .debuggee import Gone, Memory

# How long a client may take from its connection to its attach, in seconds.
PATIENCE = 60

# Requests that need no program, with the answer if there is none
WITHOUT_PROGRAM = {
    "threads": {"threads": []},
    "modules": {"modules": [], "totalModules": 0},
    "continue": {"allThreadsContinued": True},
    "setExceptionBreakpoints": {},
    "setDebuggerProperty": {},
    "debugpySystemInfo": {},
}


class Session(Client):
    """One connection of a client. hub: the Hub. reader, writer: of asyncio, to the client."""

    def __init__(self, hub, reader, writer):
        super().__init__(reader, writer)
        self.hub = hub
        self.memory = Memory()
        # The pid of the program, if this is a child session
        self.pid = None
        self.is_attached = False
        # The number of the request attach, answered when the client has configured its session
        self._attach = None
        # Whether the hub has not accepted the session yet
        self.is_stranger = True

    # ---- Messages of the client ----

    async def serve(self):
        """Answer the client until it leaves."""
        deadline = asyncio.get_event_loop().call_later(PATIENCE, self._give_up)
        try:
            while not self.is_closed:
                # A stranger must not fill the memory.
                limit = protocol.LIMIT if self.is_attached else protocol.STRANGERS_LIMIT
                message = await protocol.read(self.reader, limit)
                if message is None:
                    return
                if message.get("type") == "request":
                    self._answer(message)
                await self.drain()
        except (protocol.ProtocolError, ValueError, OSError, EOFError):
            pass  # not a client, or one that was cut off
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
        """Let the program answer a request."""
        if self.program is None:
            if command in WITHOUT_PROGRAM:
                self.respond(seq, command, WITHOUT_PROGRAM[command])
            else:
                self.refuse(seq, command, "no program runs at this moment")
            return
        self._relay(seq, command, self.program.send(command, arguments))

    def _relay(self, seq, command, future, translate=None):
        """Give the client the engine's answer when it comes.

        translate: a function that makes the client's body from the engine's, after a success.
        """

        def relay(done):
            if done.exception() is None:
                answer = {**done.result(), "request_seq": seq}
                if translate and answer["success"]:
                    answer["body"] = translate(answer["body"])
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
        """Find the program for this session, and ask the client to configure the session."""
        try:
            program = await self.hub.program_for(self)
        except Gone as error:
            if self.pid is None:
                self._attach = None
                self.refuse(seq, "attach", str(error))
            else:
                # The program has just ended. The client has done nothing wrong, so refuse nothing.
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
        ids = self.ids.give(path, len(wanted))
        program = self.program
        if program is None:
            pending = "Waiting for a program that has this file."
            found = [
                {"id": number, "verified": False, "line": b["line"], "message": pending}
                for number, b in zip(ids, wanted)  # noqa: B905 - Python 3.8
            ]
            self.respond(seq, "setBreakpoints", {"breakpoints": found})
            return
        future = program.set_breakpoints(path, arguments)
        self._relay(seq, "setBreakpoints", future, lambda body: self.ids.known(path, body))

    def _set(self, seq, command, arguments):
        """Remember a request for programs that come later, and let the present one answer."""
        self.memory.others[command] = arguments
        self._forward(seq, command, arguments)

    def _on_setExceptionBreakpoints(self, seq, arguments):
        self._set(seq, "setExceptionBreakpoints", arguments)

    def _on_setDebuggerProperty(self, seq, arguments):
        self._set(seq, "setDebuggerProperty", arguments)

    def _on_setFunctionBreakpoints(self, seq, arguments):
        if self.program:
            self._set(seq, "setFunctionBreakpoints", arguments)
            return
        self.memory.others["setFunctionBreakpoints"] = arguments
        found = [{"verified": False} for _ in arguments["breakpoints"]]
        self.respond(seq, "setFunctionBreakpoints", {"breakpoints": found})

    def _on_configurationDone(self, seq, arguments):
        if self.is_configured or not self.is_attached:
            self.refuse(seq, "configurationDone", "it is not expected now")
            return
        self.is_configured = True
        self.respond(seq, "configurationDone", {})
        program = self.program
        if program and not program.is_configured:
            program.run()
        if self.pid is None:
            self.hub.start(self._answer_attach())
        else:
            self.respond(self._attach, "attach", {})
        if program:
            self.tell_state(program)
        self.hub.configured(self)

    async def _answer_attach(self):
        # The client's next action may lead to its breakpoints, in any of the programs.
        await self.hub.calls.all_run()
        self.respond(self._attach, "attach", {})

    def _on_pause(self, seq, arguments):
        self._forward(seq, "pause", {"threadId": "*"})

    def _on_continue(self, seq, arguments):
        if self.program:
            self.program.continued()
        self._forward(seq, "continue", {"threadId": "*"})

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

    def take(self, program):
        """Show a program to the client: the first one, or the next one when another has ended."""
        # Do this before anything is awaited: another session or program could come between.
        self.program, program.session = program, self
        self.ids.forget_engine()
        answer = None
        if not program.is_configured:
            prepare = program.configure if self.is_configured else program.prepare
            answer = prepare(self.memory)
        elif self.is_configured:
            self.tell_state(program)
        self.hub.start(self.show_breakpoints(program, answer))
