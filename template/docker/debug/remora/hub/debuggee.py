"""A program as the hub sees it: the connection to the engine of a process."""

import asyncio
from collections import deque

from . import protocol

# The events of an engine that a client gets. Other events could make an editor act, for example
# start programs.
EVENTS = {
    "breakpoint",
    "continued",
    "invalidated",
    "memory",
    "module",
    "output",
    "process",
    "stopped",
    "terminated",
    "thread",
}

# What stands for a path where breakpoints are on functions
FUNCTIONS = ""


class Gone(Exception):
    """The program has ended, or its engine has."""


class Memory:
    """The requests of a client, which the hub repeats for every program that comes."""

    def __init__(self):
        self.initialize, self.attach = {}, {}
        # The configuration with which the client opens a session for another program
        self.configuration = {}
        # Arguments of setBreakpoints by path (see FUNCTIONS), and of the other requests that set
        # something, by name
        self.breakpoints, self.others = {}, {}


class Debuggee:
    """The connection to an engine, and what the hub knows about its program.

    pid, started    the process, and when it was started (proc(5))
    command         its command line, a list
    kept            why the process waits for a client: "wait", "crash" (the modes), "recorded" (see
                     crashes/opening.py); "" if it does not wait
    session         the client's session that shows this program; None if there is none
    is_configured   whether the engine has the client's breakpoints, and the program runs
    is_interrupted  whether the client has sent the program Ctrl+C, to end it
    """

    def __init__(self, reader, writer, pid, started, command, kept):
        self.reader, self.writer = reader, writer
        self.pid, self.started, self.command, self.kept = pid, started, command, kept
        # Whether the process shows a state that is over, and cannot run on
        self.is_crash = kept in ("crash", "recorded")
        self.session = None
        self.is_configured = self.is_interrupted = False
        # A future of the response that comes when the program stops at breakpoints
        self.running = None
        # Whether the engine has said that the program ends
        self.is_ending = False
        # By path: what the engine was told about breakpoints, as (arguments of setBreakpoints,
        # future of the response); and the bodies of its answers
        self.told, self.breakpoints = {}, {}
        # What to tell a session that shows this program later
        self.threads, self.stops, self.process = {}, {}, None
        self.output = deque(maxlen=100)
        self._seq = 0
        self._requests = {}

    def send(self, command, arguments):
        """Send the engine a request. Returns a future of the response, which may raise Gone."""
        future = asyncio.get_event_loop().create_future()
        # Read the exception, or asyncio warns that nobody has done so.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self.writer.is_closing():
            future.set_exception(Gone())
            return future
        self._seq += 1
        self._requests[self._seq] = future
        message = {"type": "request", "seq": self._seq, "command": command}
        self.writer.write(protocol.frame(dict(message, arguments=arguments)))
        return future

    def attach(self, memory):
        """Tell the engine who attaches. Returns a future of the response."""
        self.send("initialize", memory.initialize)
        # The hook runs in every process, so pydevd need not follow new ones.
        return self.send("attach", dict(memory.attach, subProcess=False))

    def set_breakpoints(self, path, arguments):
        """Set the breakpoints of a path (see Memory), unless the engine has set or is setting them.

        If they were set again, they would be missing for a moment. Returns a future of the
        response.
        """
        told, answer = self.told.get(path, (None, None))
        if told == arguments:
            return answer
        command = "setFunctionBreakpoints" if path == FUNCTIONS else "setBreakpoints"
        answer = self.send(command, arguments)
        self.told[path] = (arguments, answer)

        def note(done):
            if not done.exception() and done.result()["success"]:
                self.breakpoints[path] = done.result()["body"]
            elif self.told.get(path) == (arguments, answer):
                del self.told[path]

        answer.add_done_callback(note)
        return answer

    def configure(self, memory):
        """Give the engine all that a client has asked for, and let the program run.

        All requests are sent at once. Returns a future of the last response.
        """
        self.prepare(memory)
        return self.run()

    def run(self):
        """Let the program run, with what the engine has been given.

        Returns a future of the response, which comes when the program stops at breakpoints.
        """
        self.is_configured = True
        self.running = self.send("configurationDone", {})
        return self.running

    def prepare(self, memory):
        """Give the engine what a client has asked for so far; the program does not run yet.

        Returns a future of the last response.
        """
        answer = self.attach(memory)
        for path, arguments in memory.breakpoints.items():
            answer = self.set_breakpoints(path, arguments)
        for command, arguments in memory.others.items():
            answer = self.send(command, arguments)
        return answer

    async def pump(self):
        """Handle the messages of the engine, until it leaves or the program ends.

        Raises ProtocolError if the engine sends something else.
        """
        while True:
            message = await protocol.read(self.reader, protocol.ENGINE_LIMIT)
            if message is None:
                return
            if message.get("type") == "response":
                future = self._requests.pop(message.get("request_seq"), None)
                if future and not future.done():
                    future.set_result(response_of(message))
                    # Let the client get the answer before the engine's next message.
                    await asyncio.sleep(0)
            elif message.get("type") == "event":
                body = message.get("body")
                self._on_event(str(message.get("event")), body if isinstance(body, dict) else {})
                if self.is_ending:
                    return
            # An engine's own requests do not reach a client.
            if self.session:
                await self.session.drain()

    def _on_event(self, name, body):
        if name not in EVENTS:
            return
        if name == "breakpoint" and not isinstance(body.get("breakpoint"), dict):
            return
        thread = body.get("threadId")
        if name == "thread" and body.get("reason") == "started":
            self.threads[thread] = body
        elif name == "thread":
            self.threads.pop(thread, None)
            self.stops.pop(thread, None)
        elif name == "stopped":
            self.stops[thread] = body
        elif name == "continued":
            self.stops.clear() if body.get("allThreadsContinued") else self.stops.pop(thread, None)
        elif name == "process":
            self.process = body
        elif name == "breakpoint":
            self._note_breakpoint(body["breakpoint"])
        elif name == "terminated":
            self.is_ending = True
            return
        if self.session and self.session.is_configured:
            self.session.tell(name, body)
        elif name == "output":
            self.output.append(body)

    def _note_breakpoint(self, changed):
        for answer in self.breakpoints.values():
            for breakpoint in answer.get("breakpoints", []):
                if breakpoint.get("id") == changed.get("id"):
                    breakpoint.update(changed)

    def continued(self):
        """Note that the client has let the program go on."""
        self.stops.clear()

    def reset(self):
        """Make the engine forget the client; a program that is kept goes on waiting."""
        self.send("disconnect", {"terminateDebuggee": False})
        self.told.clear()
        self.breakpoints.clear()
        self.is_configured, self.session, self.running = False, None, None

    def close(self):
        """Let the program run on without a debugger."""
        self.writer.close()

    def fail(self):
        """Raise Gone from all requests that wait for an answer."""
        requests, self._requests = self._requests, {}
        for future in requests.values():
            if not future.done():
                future.set_exception(Gone())


def response_of(message):
    """Return the parts of an engine's response that a client gets. pydevd adds other parts.

    The protocol has another body for failures than pydevd.
    """
    body = message.get("body")
    if message.get("success") is True:
        return {"success": True, "body": body if isinstance(body, dict) else {}}
    return {"success": False, "message": str(message.get("message"))}
