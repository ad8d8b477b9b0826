"""The command `remora` of the debug image.

    remora status           say what runs, what is debugged, and what cannot be, with the reason
    remora attach [PID...]  make the running programs, or these, ready for a client now
    remora let-go [PID...]  end the processes that mode `crash` keeps, or these
    remora ready            wait until a client can attach
    remora relay            connect a client by standard input and output: see relay.py
    remora at FILE:LINE     print what a program has at a line, without an editor: see at.py
    remora dump [PID...]    write the state of running programs to files
    remora crashes          list, print or remove the files of mode `dump`: see crashes/reading.py
    remora open [NAME]      show such a file to a client: see crashes/opening.py

The docstring of each function says its exit codes.
"""

import argparse
import sys

from .. import container, link
from . import processes
from .processes import mode

# The reasons why a command can do nothing
OFF = "REMORA_MODE is off, so nothing in this container can be debugged"
NO_HUB = "the debugger's hub does not answer"
NO_ANSWER = "has not answered: it is inside a library that is not Python, or stopped"
NOT_BEGUN = "has nothing to dump: it has not begun, and waits until a client has attached"


def ask(what, **more):
    """Return the hub's answer to a question; None if there is no hub.

    what: the question; more: its arguments. See _answer_command() in hub/server.py.
    """
    connection = link.connect(is_program=False)
    if connection is None:
        return None
    with connection:
        return link.exchange(connection, dict(more, ask=what))


def status():
    """Print what is going on. Returns 0 if there is a process to debug, else 1."""
    answer = ask("status") or {}
    client = "a client is attached" if answer.get("is_attached") else "no client is attached"
    if answer.get("port"):
        print(f"mode {mode()}, port {answer['port']} ({answer['address']}), {client}")
    elif answer.get("is_attached"):
        print(f"mode {mode()}, the port is closed, {client}")  # by `remora at`
    else:
        print(f"mode {mode()}, the port is closed")
    found = processes.states(answer)
    processes.show(found, answer)
    return 0 if set(found.values()) - {"no debugger"} else 1


def attach(chosen):
    """Make programs ready for a client. chosen: their pids; an empty list means all.

    Returns 0 if all of them are ready, or if none runs yet. Otherwise prints the reasons, and
    returns 1.
    """
    if mode() == "off":
        print(OFF)
        return 1
    start_hub()
    answer = ask("attach", pids=chosen)
    if answer is None or "error" in answer:
        print((answer or {}).get("error", NO_HUB))
        return 1
    programs, problems = {int(pid) for pid in answer["programs"]}, answer.get("problems", {})
    running = list(processes.pythons())
    if not chosen and not running:
        print(f"no Python process runs yet; those that start are debugged: {answer['address']}")
        return 0
    wanted = chosen or [pid for pid in running if pid in programs or container.can_be_asked(pid)]
    for pid in wanted:
        if pid in programs:
            print(f"pid {pid} is ready: {answer['address']}")
        elif pid not in running:
            print(f"pid {pid} is not a Python process of this container")
        elif str(pid) in problems or not container.can_be_asked(pid):
            why = problems.get(str(pid)) or processes.why_not(pid)
            print(f"pid {pid} cannot be debugged: {why}")
        else:
            print(f"pid {pid} {NO_ANSWER}, or of another user")
            print("The process is ready as soon as it returns to Python.")
    if not wanted:
        print("nothing can be debugged:")
        processes.show(processes.states(answer), answer)
    return 0 if wanted and programs.issuperset(wanted) else 1


def dump(chosen):
    """Write dumps of running programs, and return the exit code.

    chosen: their pids; an empty list means all.
    """
    if mode() == "off":
        print(OFF)
        return 1
    start_hub()
    answer = ask("dump", pids=chosen)
    if answer is None:
        print(NO_HUB)
        return 1
    from ..crashes.reading import plain

    written = {int(pid): path for pid, path in answer["dumped"].items()}
    for pid in chosen or written:
        path = written.get(pid)
        if path:
            print(plain(path))
        elif pid not in written:
            print(f"pid {pid} cannot write a dump: `remora status` says why, if it is Python")
        elif path is None:
            program = answer["programs"].get(str(pid), {})
            is_held = program.get("kept") == "wait" and not program["is_shown"]
            print(f"pid {pid} {NOT_BEGUN if is_held else NO_ANSWER}")
        else:
            print(f"pid {pid} could not write a dump: the container's log says why")
    if not chosen and not written:
        print("no program can write a dump")
    return 0 if written and all(map(written.get, chosen or written)) else 1


def let_go(chosen):
    """End processes that mode `crash` keeps. chosen: their pids; an empty list means all.

    Returns 0 if all of them were kept, else 1.
    """
    answer = ask("let go", pids=chosen) or {}
    found = answer.get("let_go", [])
    for pid in found:
        print(f"pid {pid} ends as it would have")
    for pid in [pid for pid in chosen if pid not in found]:
        print(f"pid {pid} is not kept")
    if not chosen and not found:
        print("no crash is kept")
    return 0 if found and set(chosen) <= set(found) else 1


def ready(health):
    """Wait until a client can attach. Returns 0 then; 1 with the reason if none ever can.

    health: whether a health check asks, which calls a container healthy that is not debugged.
    """
    if mode() not in ("wait", "listen"):
        if health:
            return 0
        answer = ask("status")
        if answer and answer.get("port"):
            return 0
        remedy = "" if mode() == "off" else ": `remora attach` opens the port"
        print(f"REMORA_MODE is {mode()}, so no client can attach{remedy}")
        return 1
    answer = ask("ready") or start_hub() or ask("ready") or {}
    if answer.get("port"):
        return 0
    print(answer.get("error", NO_HUB))
    return 1


def start_hub():
    """Start the hub if none runs. The hub prints to the container's log."""
    link.start_hub(wait=True, output=container.open_log())


def renamed(arguments):
    """Return the arguments of `remora` for the arguments of `debug-attach`, its former name."""
    now = "status" if "--status" in arguments else "attach"
    print(f"debug-attach is called `remora {now}` now", file=sys.stderr)
    return [now, *(argument for argument in arguments if argument not in ("--all", "--status"))]


def parser():
    """Return the parser of the command line."""
    description = "Debug the Python programs of this container."
    parser = argparse.ArgumentParser(prog="remora", description=description)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("status", help="show what runs, what is debugged, and why the rest is not")
    one = commands.add_parser("attach", help="make the running programs ready for a client now")
    one.add_argument("pids", metavar="PID", nargs="*", type=int, help="only these processes")
    one = commands.add_parser("let-go", help="end the processes that mode `crash` keeps")
    one.add_argument("pids", metavar="PID", nargs="*", type=int, help="only these processes")
    one = commands.add_parser("ready", help="wait until a client can attach")
    one.add_argument("--health", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("relay", help="connect a client by standard input and output")
    one = commands.add_parser(
        "at",
        help="print what a program has at a line, without an editor",
        description="Print the stack and the variables of each program that reaches a line, and let"
        " it go on. Values are cut to 200 characters, and stacks to 50 frames.",
        epilog="exit code: 0 the line was reached, 1 it was not, 2 there is no such line or the"
        " command is wrong, 3 another client is attached",
    )
    place = "a line of a file, by its path in the project or any other"
    one.add_argument("place", metavar="FILE:LINE", help=place)
    one.add_argument("--when", metavar="EXPR", help="stop only where this is true")
    more = "print the values of these as well"
    one.add_argument("--eval", metavar="EXPR", nargs="+", action="extend", default=[], help=more)
    count = "end after N stops, by default 1"
    one.add_argument("--count", metavar="N", type=int, default=1, help=count)
    wait = "end after S seconds, by default 60; 0 sets no limit"
    one.add_argument("--timeout", metavar="S", type=float, default=60, help=wait)
    one.add_argument("--json", action="store_true", help="print a JSON object for each stop")
    one = commands.add_parser("dump", help="write the state of running programs to files")
    one.add_argument("pids", metavar="PID", nargs="*", type=int, help="only these processes")
    one = commands.add_parser("crashes", help="list, print or remove the dumps of mode `dump`")
    shown = "print a dump, by default the newest"
    one.add_argument("--show", metavar="NAME", nargs="?", const="", help=shown)
    removed = "remove dumps; a name may be a pattern with * and ?"
    one.add_argument("--remove", metavar="NAME", nargs="+", help=removed)
    one.add_argument("--json", action="store_true", help="print a JSON object for each dump")
    one = commands.add_parser("open", help="show a dump to a client, with its stacks and variables")
    opened = "the dump to show, by default the newest"
    one.add_argument("name", metavar="NAME", nargs="?", help=opened)
    return parser


def main(arguments):
    """Run the command, and return its exit code. arguments: the texts after the command's name."""
    if arguments[:1] == ["debug-attach"]:
        arguments = renamed(arguments[1:])
    options = parser().parse_args(arguments)
    of_pids = {"attach": attach, "let-go": let_go, "dump": dump}
    if options.command in of_pids:
        return of_pids[options.command](options.pids)
    if options.command == "status":
        return status()
    if options.command == "ready":
        return ready(options.health)
    if options.command == "relay":
        from . import relay

        return relay.main()
    if options.command == "at":
        from . import at  # only now: the health check needs none of it

        return at.main(options)
    if options.command == "crashes":
        from ..crashes import reading

        return reading.crashes(options)
    if options.command == "open":
        from ..crashes import opening

        return opening.main(options.name)
    parser().print_help()
    return 2
