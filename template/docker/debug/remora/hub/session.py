"""A client's session: the requests of the client. client.py sends what the client is told.

The first session of a client is the *root*: it shows one program after another, as long as the
container lives. Programs that run at the same time have *child* sessions, one each.
"""

import asyncio

from . import protocol
from .client import CAPABILITIES, Client
from .debuggee import FUNCTIONS, Gone

# How long a client may take from its connection to its attach, in seconds.
PATIENCE = 60

# Requests that a client may send before its attach
WITHOUT_ATTACH = ("initialize", "attach", "launch", "terminate", "disconnect")


class Session(Client):
    """One connection of a client. hub: the Hub. reader, writer: of asyncio, to the client."""

    def __init__(self, hub, reader, writer):
        super().__init__(reader, writer)
        self.hub = hub
        # The pid of the program, if this is a child session
        self.pid = None
        self.is_attached = False
        # The numbers of two requests: attach, which is answered when the client has configured its
        # session; and configurationDone, if it has come before the hub has found a program
        self._attach = self._early = None
        # Whether the hub has not accepted the session yet
        self.is_stranger = True

    # ---- Messages of the client ----

    async def serve(self):
        """Answer the client until it leaves."""
        deadline = asyncio.get_event_loop().call_later(PATIENCE, self._give_up)
        try:
            while not self.writer.is_closing():
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
        if self.is_ended and command not in ("terminate", "disconnect"):
            self.refuse(seq, command, "the session has ended")
        elif command not in WITHOUT_ATTACH and self._attach is None:
            self.refuse(seq, command, "attach comes first")
        elif command == "attach":
            self._on_attach(seq, arguments, message.get("arguments") or {})
        elif handler:
            handler(seq, arguments)
        else:
            self.forward(seq, command, arguments)

    def _on_initialize(self, seq, arguments):
        if self.memory.initialize:
            self.refuse(seq, "initialize", "the session is initialized already")
            return
        if arguments.get("pathFormat", "path") != "path":
            self.refuse(seq, "initialize", "pathFormat must be 'path'")
            return
        self.memory.initialize = {"adapterID": "debugpy", **arguments}
        self.respond(seq, "initialize", CAPABILITIES)

    def _on_launch(self, seq, arguments):
        self.refuse(seq, "launch", "the container starts its programs itself: attach instead")

    def _on_attach(self, seq, arguments, configuration):
        if not self.memory.initialize:
            self.refuse(seq, "attach", "initialize comes first")
        elif self._attach is not None:
            self.refuse(seq, "attach", "the session is attached already")
        else:
            self._attach = seq
            self.memory.attach, self.memory.configuration = arguments, configuration
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
                if self._early is not None:
                    self.refuse(self._early, "configurationDone", str(error))
                    self._early = None
            else:
                # The program has just ended. The client has done nothing wrong, so refuse nothing.
                self.respond(seq, "attach", {})
                self.terminate()
            return
        self.is_attached = True
        if program:
            self.take(program)
        self.event("initialized")
        if self._early is not None:
            self._on_configurationDone(self._early, {})

    def _on_setBreakpoints(self, seq, arguments):
        path = arguments["source"].get("path")
        if not path:
            self.refuse(seq, "setBreakpoints", "arguments.source.path is missing")
            return
        self._set_breakpoints(seq, "setBreakpoints", path, arguments)

    def _on_setFunctionBreakpoints(self, seq, arguments):
        self._set_breakpoints(seq, "setFunctionBreakpoints", FUNCTIONS, arguments)

    def _set_breakpoints(self, seq, command, path, arguments):
        wanted = arguments.setdefault("breakpoints", [])
        self.memory.breakpoints[path] = arguments
        pending = self.ids.give(path, wanted)
        if self.program is None:
            self.respond(seq, command, pending)
        else:
            future = self.program.set_breakpoints(path, arguments)
            self.relay(seq, command, future, lambda body: self.ids.known(path, body))

    def _set(self, seq, command, arguments):
        """Remember a request for programs that come later, and let the present one answer."""
        self.memory.others[command] = arguments
        self.forward(seq, command, arguments)

    def _on_setExceptionBreakpoints(self, seq, arguments):
        self._set(seq, "setExceptionBreakpoints", arguments)

    def _on_setDebuggerProperty(self, seq, arguments):
        self._set(seq, "setDebuggerProperty", arguments)

    def _on_configurationDone(self, seq, arguments):
        if not self.is_attached and self._early is None:
            self._early = seq  # a client need not wait for the event `initialized`
            return
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
        self.forward(seq, "pause", {"threadId": "*"})

    def _on_continue(self, seq, arguments):
        if self.program:
            self.program.continued()
        self.forward(seq, "continue", {"threadId": "*"})

    def _on_debugpySystemInfo(self, seq, arguments):
        if self.program:
            future = self.program.send("pydevdSystemInfo", {})
            self.relay(seq, "debugpySystemInfo", future)
        else:
            self.forward(seq, "debugpySystemInfo", {})

    def _on_terminate(self, seq, arguments):
        program = self.program
        by_interrupt = self.memory.attach.get("onTerminate") == "KeyboardInterrupt"
        if program and by_interrupt and not program.is_interrupted:
            # The session lasts until the program has ended itself, or the client asks again.
            program.is_interrupted = True
            self.forward(seq, "terminate", {})
            return
        self.hub.left(self, terminate=True)
        self.respond(seq, "terminate", {})
        self.terminate()

    def _on_disconnect(self, seq, arguments):
        self.hub.left(self, arguments.get("terminateDebuggee", False))
        self.respond(seq, "disconnect", {})
        self.terminate()
        self.close()

    def terminate(self):
        """End the session: another client may come, while this client still disconnects."""
        super().terminate()
        self.hub.left(self)

    def expire(self):
        """End the session if no program has come in the place of the one that has ended."""
        if self.program is None:
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
