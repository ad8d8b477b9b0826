"""The command `remora open [NAME]`: show a dump to a client, as if the program were there.

This process connects to the hub like a kept program, and answers the client from the dump until the
client leaves. Exit codes: 0; 1 if the dump cannot be shown; 130 for Ctrl+C.
"""

import asyncio
import os
import sys

from .. import link
from ..command import command
from ..hub import protocol
from . import reading
from .recorded import Recorded, Refused
from .writing import PARTIAL


def main(name):
    """Run the command, and return its exit code.

    name: see find() in reading.py; None for the newest.
    """
    try:
        path = reading.find(name)
        recorded = Recorded(reading.read(path))
        recorded.stop()  # raises now what a client could not be told later
        title = f"{os.path.basename(path)}: {' '.join(recorded.found['command'])}"
    except reading.Unreadable as error:
        print(error, file=sys.stderr)
        return 1
    except reading.DAMAGED:
        print(reading.plain(f"{path} is a damaged dump"), file=sys.stderr)
        return 1
    command.start_hub()
    connection = link.connect(is_program=False)
    said = {"recorded": True, "command": ["remora", "open", os.path.basename(path)]}
    answer = connection and link.exchange(connection, said)
    if not answer:
        print(command.NO_HUB, file=sys.stderr)
        return 1
    print(reading.plain(title))
    for line in answer["say"]:
        print(line, flush=True)
    if not answer["engine"]:
        return 1
    try:
        asyncio.run(serve(connection, recorded))
    except KeyboardInterrupt:
        return 130
    return 0


async def serve(connection, recorded):
    """Answer the hub until it leaves, or the client goes on.

    connection: the socket to the hub. recorded: a Recorded.
    """
    reader, writer = await asyncio.open_unix_connection(sock=connection)

    def send(kind, **message):
        writer.write(protocol.frame(dict(message, type=kind, seq=0)))

    def tell(event, **body):
        send("event", event=event, body=body)

    while True:
        message = await protocol.read(reader)
        if message is None:
            return
        name, arguments = message["command"], message.get("arguments") or {}
        known = {"request_seq": message["seq"], "command": name}
        is_end = name in ("continue", "terminate") or arguments.get("terminateDebuggee") is True
        try:
            if is_end:
                body = {"allThreadsContinued": True}
            elif name in ("configurationDone", "disconnect"):
                body = {}
            else:
                body = recorded.answer(name, arguments)
            send("response", **known, success=True, body=body)
        except Refused as error:
            send("response", **known, success=False, message=str(error), body={})
        if name == "configurationDone":
            tell_state(recorded, tell)
        if is_end:
            tell("terminated")
        await writer.drain()
        if is_end:
            writer.close()
            return


def tell_state(recorded, tell):
    """Tell a client what a program would tell that has stopped at the exception.

    tell: a function that sends an event.
    """
    tell("process", name="recorded crash", systemProcessId=os.getpid(), startMethod="attach")
    for number in range(1, len(recorded.threads) + 1):
        tell("thread", reason="started", threadId=number)
    tell("stopped", **recorded.stop())
    notes = [] if recorded.found.get("complete", True) else [f"the dump is {PARTIAL}"]
    others = ", ".join(recorded.files_as_they_were())
    if others:
        notes.append(f"shown as it was, since the file is not the same here: {others}")
    for text in notes:
        tell("output", category="important", output=f"remora: {text}\n")
