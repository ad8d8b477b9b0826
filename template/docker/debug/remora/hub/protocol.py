"""The Debug Adapter Protocol as the hub speaks it: messages, and the form of each request.

https://microsoft.github.io/debug-adapter-protocol/specification

An unexpected message can make pydevd end a program's debugger, or the program. So pydevd gets from
a client only the requests of REQUESTS, with arguments of the types that stand there.
"""

import json

# The longest messages that the hub reads, in bytes: from a client before its attach, from a client
# after its attach, and from an engine.
STRANGERS_LIMIT, LIMIT, ENGINE_LIMIT = 2**20, 2**26, 2**30

# The longest header, in bytes
HEADER_LIMIT = 4096


class ProtocolError(Exception):
    """The other side does not speak the protocol. The text says what is wrong."""


async def read(reader, limit=LIMIT):
    """Return the next message of a StreamReader, a dictionary; None if the other side has left.

    limit: the longest message, in bytes. Raises ProtocolError if something else comes.
    """
    length = None
    while True:
        line = await reader.readline()
        if not line:
            return None
        name, colon, value = line.partition(b":")
        if line == b"\r\n" and length is not None:
            break
        if not colon or len(line) > HEADER_LIMIT or not line.endswith(b"\r\n"):
            raise ProtocolError("not a header")
        if name.lower() == b"content-length":
            value = value.strip()
            if not value.isdigit() or len(value) > 10 or int(value) > limit:
                raise ProtocolError("bad length")
            length = int(value)
    try:
        message = json.loads((await reader.readexactly(length)).decode())
    except (ValueError, RecursionError):
        raise ProtocolError("not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("not an object")
    return message


def frame(message):
    """Return a message as the bytes to send."""
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


# ---- Requests ----

# A type below is a Python type, a tuple of allowed types, [type of the items], or a dictionary of
# keys. A key that ends in "!" is required. Unknown keys are dropped.
ANY_OBJECT = dict
VALUE_FORMAT = {"hex": bool, "rawString": bool}
SOURCE = {"path": str, "name": str, "sourceReference": int}
LINE_BREAKPOINT = {
    "line!": int,
    "column": int,
    "condition": str,
    "hitCondition": str,
    "logMessage": str,
}
STEP = {"threadId!": int, "singleThread": bool, "granularity": str}

# Options of an attach that pydevd or the hub reads
ATTACH = {
    "name": str,
    "type": str,
    "connect": ANY_OBJECT,
    "host": str,
    "port": int,
    "subProcessId": int,
    "autoReload": {
        "enable": bool,
        "pollingInterval": (int, float),
        "exclude": [str],
        "include": [str],
        "watchDirectories": [str],
    },
    "breakOnSystemExit": [(int, dict, type(None))],
    "clientOS": str,
    "debugOptions": [str],
    "django": bool,
    "flask": bool,
    "guiEventLoop": str,
    "jinja": bool,
    "justMyCode": bool,
    "maxExceptionStackFrames": int,
    "onTerminate": str,
    "pathMappings": [{"localRoot": str, "remoteRoot": str}],
    "pyramid": bool,
    "redirectOutput": bool,
    "resolveSymlinks": bool,
    "rules": [{"path": str, "module": str, "include": bool}],
    "showReturnValue": bool,
    "stepping": bool,
    "steppingResumesAllThreads": bool,
    "stopAllThreadsOnSuspend": bool,
    "subProcess": bool,
    "terminateChildProcesses": bool,
    "variablePresentation": {
        "all": str,
        "class": str,
        "function": str,
        "protected": str,
        "special": str,
    },
}

# The requests that a client may send, with their arguments
REQUESTS = {
    "initialize": {
        "adapterID": str,
        "clientID": str,
        "clientName": str,
        "columnsStartAt1": bool,
        "linesStartAt1": bool,
        "locale": str,
        "pathFormat": str,
        "supportsRunInTerminalRequest": bool,
        "supportsStartDebuggingRequest": bool,
        "supportsVariablePaging": bool,
        "supportsVariableType": bool,
    },
    "attach": ATTACH,
    "completions": {"frameId": int, "text!": str, "column!": int, "line": int},
    "configurationDone": {},
    "continue": STEP,
    "debugpySystemInfo": {},
    "disconnect": {"restart": bool, "terminateDebuggee": bool, "suspendDebuggee": bool},
    "evaluate": {"expression!": str, "frameId": int, "context": str, "format": VALUE_FORMAT},
    "exceptionInfo": {"threadId!": int},
    "goto": {"threadId!": int, "targetId!": int},
    "gotoTargets": {"source!": SOURCE, "line!": int, "column": int},
    "launch": {},
    "modules": {"startModule": int, "moduleCount": int},
    "next": STEP,
    "pause": {"threadId": int},
    "pydevdSystemInfo": {},
    "scopes": {"frameId!": int},
    "setBreakpoints": {
        "source!": SOURCE,
        "breakpoints": [LINE_BREAKPOINT],
        "lines": [int],
        "sourceModified": bool,
    },
    "setDebuggerProperty": {
        "ideOS": str,
        "skipSuspendOnBreakpointException": [str],
        "skipPrintBreakpointException": [str],
        "multiThreadsSingleNotification": bool,
    },
    "setExceptionBreakpoints": {
        "filters": [str],
        "filterOptions": [{"filterId!": str, "condition": str}],
        "exceptionOptions": [{"breakMode!": str, "path": [{"names!": [str], "negate": bool}]}],
    },
    "setExpression": {"expression!": str, "value!": str, "frameId": int, "format": VALUE_FORMAT},
    "setFunctionBreakpoints": {
        "breakpoints!": [{"name!": str, "condition": str, "hitCondition": str}]
    },
    "setPydevdSourceMap": {
        "source!": SOURCE,
        "pydevdSourceMaps": [
            {"line!": int, "endLine!": int, "runtimeLine!": int, "runtimeSource!": SOURCE}
        ],
    },
    "setVariable": {
        "variablesReference!": int,
        "name!": str,
        "value!": str,
        "format": VALUE_FORMAT,
    },
    "source": {"source": SOURCE, "sourceReference!": int},
    "stackTrace": {"threadId!": int, "startFrame": int, "levels": int, "format": ANY_OBJECT},
    "stepIn": dict(STEP, targetId=int),
    "stepInTargets": {"frameId!": int},
    "stepOut": STEP,
    "terminate": {"restart": bool},
    "threads": {},
    "variables": {
        "variablesReference!": int,
        "filter": str,
        "start": int,
        "count": int,
        "format": VALUE_FORMAT,
    },
}


def checked(message):
    """Return the command and the arguments of a request, without unknown keys.

    Raises ProtocolError if the message is not a request, or its arguments do not fit REQUESTS.
    """
    command, seq = message.get("command"), message.get("seq")
    if message.get("type") != "request" or not isinstance(command, str) or type(seq) is not int:
        raise ProtocolError("it is not a request")
    if command not in REQUESTS:
        raise ProtocolError(f"the request {command[:50]!r} is not known here")
    arguments = message.get("arguments")
    return command, fitting({} if arguments is None else arguments, REQUESTS[command], "arguments")


def fitting(value, expected, where):
    """Return the parts of a value that fit the expected type. where: its name for the error.

    Raises ProtocolError if the value does not fit.
    """
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            raise ProtocolError(f"{where}: an object was expected")
        result = {}
        for key, kind in expected.items():
            name = key.rstrip("!")
            if value.get(name) is not None:
                result[name] = fitting(value[name], kind, f"{where}.{name}")
            elif key != name:
                raise ProtocolError(f"{where}.{name} is missing")
        return result
    if isinstance(expected, list):
        if not isinstance(value, list):
            raise ProtocolError(f"{where}: a list was expected")
        return [fitting(item, expected[0], where) for item in value]
    kinds = expected if isinstance(expected, tuple) else (expected,)
    # To isinstance(), a boolean is an int, too.
    if not any(type(value) is kind for kind in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ProtocolError(f"{where}: {names} was expected")
    return value
