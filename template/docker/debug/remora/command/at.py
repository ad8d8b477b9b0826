"""The command `remora at`: print what a program has at a line, without an editor.

    remora at FILE:LINE [--when EXPR] [--eval EXPR ...] [--count N] [--timeout S] [--json]

It watches all programs of the container, including those that start meanwhile. When it ends, no
breakpoint stays behind. Exit codes:

    0    the line was reached
    1    the line was not reached, or nothing can be debugged
    2    there is no such line, or the command is wrong
    3    another client is attached, or a crash is kept for one
    130  Ctrl+C
"""

import asyncio
import json
import sys
from contextlib import redirect_stdout

from . import command, processes
from .place import Place, Unknown
from .watch import Ended, NoCode, Refused, Watch


class Problem(Exception):
    """The reason why the command ends early.

    Arguments: the exit code, and a sentence for the user.
    """


def main(options):
    """Run the command, and return its exit code. options: what argparse has read in command.py."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return asyncio.run(run(options))
    except Problem as problem:
        code, text = problem.args
        print(text, file=sys.stderr)
        return code
    except KeyboardInterrupt:
        return 130


async def run(options):
    """Print what the programs have at the line, and return the exit code. Raises Problem."""
    place = checked(options)
    start_hub()
    watch = Watch(place, options.when, options.eval)
    show = show_as_json if options.json else show_in_words
    how = "before the session ended"
    try:
        await asyncio.wait_for(watch.run(options.count, show), options.timeout or None)
    except asyncio.TimeoutError:
        how = f"in {options.timeout:g} seconds"
    except Ended as error:
        raise Problem(1, str(error)) from None
    except NoCode as error:
        raise Problem(2, str(error)) from None
    except Refused as error:
        raise Problem(3, f"{error}: end that session first") from None
    with redirect_stdout(sys.stderr):
        if not watch.count:
            report(watch, how)
        elif watch.count < options.count:
            print(f"{watch.count} of {options.count} stops {how}")
    await watch.leave()
    return 0 if watch.count else 1


def checked(options):
    """Return the Place that the user means. Raises Problem if the command is wrong."""
    for expression in filter(None, [options.when, *options.eval]):
        try:
            compile(expression.strip(), "", "eval")
        except (SyntaxError, ValueError) as error:
            raise Problem(2, f"{expression!r} is not an expression: {error.args[0]}") from None
    if options.count < 1 or not options.timeout >= 0:
        raise Problem(2, "--count must be 1 or more, and --timeout 0 or more")
    try:
        return Place(options.place)
    except Unknown as error:
        raise Problem(2, str(error)) from None


def start_hub():
    """Start the hub if none runs. Raises Problem if the hub cannot take this client."""
    if command.mode() == "off":
        raise Problem(1, command.OFF)
    command.start_hub()
    answer = command.ask("status")
    if answer is None:
        raise Problem(1, command.NO_HUB)
    for pid, program in answer["programs"].items():
        if program["kept"] in ("crash", "recorded") and not answer["is_attached"]:
            raise Problem(3, f"pid {pid} has crashed, and is kept for an editor: attach one first")


# ---- What is printed ----


def show_as_json(facts):
    print(json.dumps(facts), flush=True)


def show_in_words(facts):
    place = "{file}:{line} in {function}"
    print(place.format(**facts), f"(pid {facts['pid']}, {facts['command']})")
    print("stack")
    for entry in facts["stack"]:
        print(" ", place.format(**entry))
    for title in ("locals", "values", "errors"):
        if facts[title]:
            print(title)
        for name, value in facts[title].items():
            print(f"  {name} = {value}" if title != "errors" else f"  {name}: {value}")
    print(flush=True)


def report(watch, how):
    """Print why the line may not have been reached: each program, and the state of its breakpoint.

    watch: the Watch that has waited. how: how long it has waited, in words.
    """
    answer = command.ask("status") or {}
    notes = {}
    for pid, breakpoint in watch.breakpoints().items():
        state = "set" if breakpoint.get("verified") else f"not set: {breakpoint.get('message')}"
        notes[pid] = f"the breakpoint is {state}"
    condition = f" with {watch.when}" if watch.when else ""
    place = f"{watch.place.name}:{watch.place.line}{condition}"
    print(f"{place} was not reached {how}, in mode {command.mode()}")
    processes.show(processes.states(answer), answer, notes)
    for text in watch.said:
        print(text)
