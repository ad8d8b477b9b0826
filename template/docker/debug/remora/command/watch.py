"""A client of the hub that reads programs at a line, and lets each go on immediately.

It connects to the hub's Unix socket, so the port may be closed. When this process ends, its
connections end, and with them its breakpoints.
"""

import asyncio
import os
from contextlib import suppress

from .. import container, link
from ..crashes.texts import cut
from ..hub import protocol
from .place import ROOT, name_of

# How many characters of a value are read, and how many frames of a stack, from the innermost.
LENGTH, FRAMES = 200, 50


class Refused(Exception):
    """The hub or a program has refused a request. The text says why."""


class Ended(Refused):
    """There is no session, or it has ended."""


class NoCode(Refused):
    """A program that has read the file finds no code at the line. The text says so."""


class Session:
    """A session of the hub: the root, or the child session of a program. See hub/session.py.

    watch: the Watch. pid: the program of a child session.
    """

    def __init__(self, watch, pid=None):
        self.watch, self.pid, self.breakpoint = watch, pid, {}
        self._writer, self._sent, self._answers = None, 0, {}

    async def open(self):
        """Attach, with the breakpoint. Raises Refused if the hub has no such session."""
        connection = link.connect(is_program=False)
        if connection is None:
            raise Ended("the debugger's hub does not answer")
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        self._writer.write(b'{"ask": "session"}\n')
        self._initialized = asyncio.get_event_loop().create_future()
        self.watch.start(self._read())
        await self.request("initialize", clientID="remora", clientName="remora at")
        mappings = [{"localRoot": ROOT, "remoteRoot": "."}]
        shown = {"all": "inline", "special": "hide"}
        attach = {"pathMappings": mappings, "justMyCode": False, "variablePresentation": shown}
        attached = self.request("attach", subProcessId=self.pid, **attach)
        await asyncio.wait([attached, self._initialized], return_when=asyncio.FIRST_COMPLETED)
        if attached.done():
            return attached.result()  # it was refused, or the program has ended
        # Report a condition that raises, whatever it raises.
        await self.request("setDebuggerProperty", skipPrintBreakpointException=[])
        source = {"path": self.watch.place.path}
        wanted = {"line": self.watch.place.line, "condition": self.watch.when}
        answer = await self.request("setBreakpoints", source=source, breakpoints=[wanted])
        self.watch.note(self, "breakpoint", {"breakpoint": answer["breakpoints"][0]})
        await self.request("configurationDone")
        with suppress(Ended):  # run() notices that, too
            await attached

    def request(self, name, **arguments):
        """Send a request. Returns a future of the answer's body, which may raise Refused."""
        answer = asyncio.get_event_loop().create_future()
        # Read the exception, or asyncio warns that nobody has done so.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._writer is None or self._writer.is_closing():
            answer.set_exception(Ended("there is no session"))
            return answer
        self._sent += 1
        self._answers[self._sent] = answer
        message = {"type": "request", "seq": self._sent, "command": name, "arguments": arguments}
        self._writer.write(protocol.frame(message))
        return answer

    async def _read(self):
        """Handle the hub's messages, until the session ends."""
        with suppress(OSError, EOFError, protocol.ProtocolError):
            while True:
                message = await protocol.read(self._reader)
                if message is None:
                    break
                body = message.get("body") or {}
                answer = self._answers.pop(message.get("request_seq"), None)
                if message["type"] == "event" and message["event"] == "initialized":
                    self._initialized.set_result(None)
                elif message["type"] == "event":
                    self.watch.note(self, message["event"], body)
                elif not answer or answer.done():
                    pass  # nobody waits for the answer
                elif message["success"]:
                    answer.set_result(body)
                else:
                    answer.set_exception(Refused(message.get("message", "")))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Ended("the session has ended"))
        self.watch.note(self, "closed", {})
        self._writer.close()


class Watch:
    """Reads all programs of the container that reach a line.

    place, when   the Place, and the condition (an expression) for a stop there; None without one
    expressions   the expressions to evaluate there
    count         how often the line was read
    said          what the hub and the engines have told the user
    """

    def __init__(self, place, when, expressions):
        self.place, self.when, self.expressions = place, when, expressions
        self.count, self.said = 0, []
        # What has stopped, as (session, thread); None when the root session has ended; a NoCode
        self._stops = asyncio.Queue()
        self._first, self._sessions, self._tasks = Session(self), set(), set()

    def start(self, coroutine):
        """Run a coroutine in the background."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, count, show):
        """Read the line `count` times, unless the session ends before.

        show: a function that takes what was read. Raises Refused if the hub has another client,
        NoCode if the line has no code.
        """
        await self._open(self._first)
        while self.count < count:
            stop = await self._stops.get()
            if stop is None:
                return
            if isinstance(stop, NoCode):
                raise stop
            session, thread = stop
            facts = None
            with suppress(Refused):  # the program has gone on, or ended
                facts = await self._facts(session, thread)
            with suppress(Refused):
                await session.request("continue", threadId=thread)
            if facts:
                self.count += 1
                show(facts)

    async def leave(self):
        """End the session. The hub then lets all programs go on."""
        with suppress(Refused, asyncio.TimeoutError):
            await asyncio.wait_for(self._first.request("disconnect"), link.TIMEOUT)

    def breakpoints(self):
        """Return the state of the breakpoint, by the pid of the program."""
        return {session.pid: session.breakpoint for session in self._sessions}

    async def _open(self, session):
        self._sessions.add(session)
        await session.open()

    async def _follow(self, pid):
        with suppress(Refused):  # the program has ended
            await self._open(Session(self, pid))

    def note(self, session, event, body):
        """Note an event of a session."""
        if event == "stopped":
            self._stops.put_nowait((session, body["threadId"]))
        elif event == "process":
            session.pid = body.get("systemProcessId")
        elif event == "breakpoint":
            self._note_state(session, body["breakpoint"])
        elif event == "debugpyAttach":
            self.start(self._follow(body["subProcessId"]))
        elif event == "output" and body.get("category") == "important":
            lines = body["output"].strip().splitlines()
            text = ": ".join(dict.fromkeys([lines[0], lines[-1]]))
            if text not in self.said and len(self.said) < 10:
                self.said.append(text)
        elif event in ("terminated", "closed") and session is self._first:
            self._stops.put_nowait(None)
        elif event in ("terminated", "closed"):
            self._sessions.discard(session)

    def _note_state(self, session, breakpoint):
        """Note the state of a session's breakpoint. Only a program knows the lines of a template.

        pydevd moves a breakpoint in a template to the line before that has code.
        """
        session.breakpoint = breakpoint
        line = breakpoint.get("line", self.place.line)
        text = f"line {self.place.line} of {self.place.name} has no code"
        if line != self.place.line:
            self._stops.put_nowait(NoCode(f"{text}: the nearest line with code is {line}"))
        elif breakpoint.get("message", "").endswith("has no code"):
            self._stops.put_nowait(NoCode(text))

    async def _facts(self, session, thread):
        """Return what a stopped thread has at the line; None if it has stopped elsewhere."""
        request = session.request
        frames = (await request("stackTrace", threadId=thread, levels=FRAMES))["stackFrames"]
        stack = [(name_of(f["source"]["path"]), f["line"], f["name"]) for f in frames]
        file, line, function = stack[0] if stack else ("", 0, "")
        if os.path.basename(file) != os.path.basename(self.place.path) or line != self.place.line:
            return None
        frame = frames[0]["id"]
        scopes = (await request("scopes", frameId=frame))["scopes"]
        (reference,) = (s["variablesReference"] for s in scopes if s["name"] == "Locals")
        variables = (await request("variables", variablesReference=reference))["variables"]
        values, errors = {}, {}
        for expression in self.expressions:
            arguments = {"expression": expression, "frameId": frame, "context": "watch"}
            try:
                values[expression] = cut((await request("evaluate", **arguments))["result"], LENGTH)
            except Refused as error:
                errors[expression] = cut(str(error), LENGTH)
        threads = {one["id"]: one["name"] for one in (await request("threads"))["threads"]}
        return {
            "file": self.place.name,
            "line": line,
            "function": function,
            "pid": session.pid,
            "command": " ".join(container.command_of(session.pid)),
            "thread": threads.get(thread, ""),
            "stack": [dict(zip(("file", "line", "function"), entry)) for entry in stack],  # noqa: B905
            "locals": {one["name"]: cut(one["value"], LENGTH) for one in variables},
            "values": values,
            "errors": errors,
        }
