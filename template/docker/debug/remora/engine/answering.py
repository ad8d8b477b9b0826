"""Make pydevd answer requests at the right moment, and refuse those that it fails to handle."""

import json
import threading
from contextlib import contextmanager

from . import limits

# Answers that pydevd may give only once it traces the process, as (debugger, answer). None while
# pydevd is not about to begin: then no answer has to wait.
held, lock = None, threading.Lock()


def answer_when_traced(pydevd):
    """Delay pydevd's answer to configurationDone until the program stops at breakpoints."""
    from _pydevd_bundle.pydevd_process_net_command_json import PyDevJsonCommandProcessor

    answer = PyDevJsonCommandProcessor.on_configurationdone_request

    def on_configurationdone_request(self, py_db, request):
        found = answer(self, py_db, request)
        with lock:
            if held is None:
                return found
            held.append((py_db, found))

    PyDevJsonCommandProcessor.on_configurationdone_request = on_configurationdone_request


@contextmanager
def about_to_trace():
    """Hold the answers of answer_when_traced() while the body of the `with` begins the tracing."""
    global held
    with lock:
        held = []
    try:
        yield
    finally:
        with lock:
            ready, held = held, None
        for debugger, answer in ready:
            debugger.writer.add_command(answer)


def refuse_what_fails(pydevd):
    """Make pydevd refuse a request that it fails to handle.

    pydevd itself ends its session. If a thread of the program handles the request, and an
    expression or a __repr__() there raises SystemExit or the like, pydevd never answers.
    """
    from _pydevd_bundle.pydevd_comm import InternalThreadCommand
    from _pydevd_bundle.pydevd_comm_constants import CMD_RETURN
    from _pydevd_bundle.pydevd_net_command import NetCommand
    from _pydevd_bundle.pydevd_process_net_command_json import PyDevJsonCommandProcessor

    def refuse(py_db, seq, command, error):
        answer = {
            "type": "response",
            "request_seq": seq,
            "command": command,
            "success": False,
            "message": f"pydevd cannot do this: {type(error).__name__} {error}".rstrip(),
        }
        py_db.writer.add_command(NetCommand(CMD_RETURN, 0, answer, is_json=True))

    process = PyDevJsonCommandProcessor.process_net_command_json

    def process_net_command_json(self, py_db, contents, *arguments, **options):
        try:
            return process(self, py_db, contents, *arguments, **options)
        except Exception as error:
            request = json.loads(contents)
            refuse(py_db, request["seq"], request["command"], error)

    PyDevJsonCommandProcessor.process_net_command_json = process_net_command_json

    do_it = InternalThreadCommand.do_it

    def do_it_or_refuse(self, py_db):
        request = next((part for part in self.args or () if hasattr(part, "seq")), None)
        try:
            with limits.Call():
                do_it(self, py_db)
        except BaseException as error:
            if request is None:
                raise
            refuse(py_db, request.seq, request.command, error)

    InternalThreadCommand.do_it = do_it_or_refuse
