"""A client of the hub that reads programs at a line, and lets each go on as soon as it is read.

It connects by the hub's own socket, so no port has to be open. When it ends, for whatever reason,
its connections end, and its breakpoints with them.
"""

import asyncio
import os
from contextlib import suppress

from remora import container, link, protocol
from remora.place import ROOT, name_of
from remora.texts import cut

# How many characters of a value are read, and how many frames of a stack, from the innermost.
LENGTH, FRAMES = 200, 50


class Refused(Exception):
    """A request was refused."""


class Ended(Refused):
    """There is no session, or it has ended."""


class Session:
    """A session of the hub: the first, or one for a program that runs beside that one's."""

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
            return attached.result()  # it is refused, or the program has ended
        # A condition that raises is told, whatever it raises.
        await self.request("setDebuggerProperty", skipPrintBreakpointException=[])
        source = {"path": self.watch.place.path}
        wanted = {"line": self.watch.place.line, "condition": self.watch.when}
        answer = await self.request("setBreakpoints", source=source, breakpoints=[wanted])
        (self.breakpoint,) = answer["breakpoints"]
        await self.request("configurationDone")
        with suppress(Ended):  # run() notices that, too
            await attached

    def request(self, name, **arguments):
        """Send a request. Returns a future of the answer's body; it may raise Refused."""
        answer = asyncio.get_event_loop().create_future()
        # Nobody may want to know that there was no answer.
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
        """Take in what the hub says, until it ends the session."""
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
                    pass  # nobody waits for it any more
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

    place, when   the line, and the condition under which to stop there; None for none
    expressions   what to evaluate there
    count         how often the line was read
    said          what the hub and the engines have said to the user
    """

    def __init__(self, place, when, expressions):
        self.place, self.when, self.expressions = place, when, expressions
        self.count, self.said = 0, []
        # What has stopped, as a session and a thread; None when the first session has ended
        self._stops = asyncio.Queue()
        self._first, self._sessions, self._tasks = Session(self), set(), set()

    def start(self, coroutine):
        """Run a coroutine in the background."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, count, show):
        """Read the line so many times, unless the session ends before.

        show: a function that takes what was read. Raises Refused if the hub has another client.
        """
        await self._open(self._first)
        while self.count < count:
            stop = await self._stops.get()
            if stop is None:
                return
            session, thread = stop
            facts = None
            with suppress(Refused):  # it has gone on, or ended
                facts = await self._facts(session, thread)
            with suppress(Refused):
                await session.request("continue", threadId=thread)
            if facts:
                self.count += 1
                show(facts)

    async def leave(self):
        """End the session: the hub has all programs go on."""
        with suppress(Refused, asyncio.TimeoutError):
            await asyncio.wait_for(self._first.request("disconnect"), link.TIMEOUT)

    def breakpoints(self):
        """Return what has become of the breakpoint, by the pid of the program."""
        return {session.pid: session.breakpoint for session in self._sessions}

    async def _open(self, session):
        self._sessions.add(session)
        await session.open()

    async def _follow(self, pid):
        with suppress(Refused):  # it has ended meanwhile
            await self._open(Session(self, pid))

    def note(self, session, event, body):
        """Note what happens to a session."""
        if event == "stopped":
            self._stops.put_nowait((session, body["threadId"]))
        elif event == "process":
            session.pid = body.get("systemProcessId")
        elif event == "breakpoint":
            session.breakpoint = body["breakpoint"]
        elif event == "debugpyAttach":
            self.start(self._follow(body["subProcessId"]))
        elif event == "output" and body.get("category") == "important":
            lines = body["output"].strip().splitlines()
            text = ": ".join(dict.fromkeys([lines[0], lines[-1]]))
            if text not in self.said and len(self.said) < 10:
                self.said.append(text)
        elif event in ("terminated", "closed") and session is self._first:
            self._stops.put_nowait(None)
        elif event == "closed":
            self._sessions.discard(session)

    async def _facts(self, session, thread):
        """Return what a thread that has stopped has at the place; None if it is elsewhere."""
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
