"""Publish the figures: docs/benchmarks.json records them, .md explains them, .svg plots them.

    python tests/bench/page.py

writes the page and the plot again, from the recorded figures.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
from rounds import Samples, Spread, ratio

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "docs/benchmarks.json"

# The formats of a ratio and of a range
TIMES, TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

# The unit of each figure
UNITS = {
    "edit to breakpoint, train": "s",
    "edit to breakpoint, api": "s",
    "edit to breakpoint, api, attached before": "s",
    "step": "ms",
    "start, train": "s",
    "start, api": "s",
    "hub": "MiB",
    "loop, Python 3.11": "s",
    "loop, Python 3.13": "s",
    "value": "ms",
    "before a crash": "s",
    "dump": "ms",
    "report": "ms",
    "dump, size": "kB",
    "process": "ms",
    "fork": "ms",
    "size": "MB",
    "layers": "layers",
    "cold build, train": "s",
    "cold build, api": "s",
    "build after an edit, train": "s",
    "build after an edit, api": "s",
    "copier copy": "s",
    "copier update": "s",
}

# The big values of the program that shows values
VALUES = {
    "array": "NumPy array of 4 GB",
    "table": "pandas DataFrame of 10 million rows, 5 columns of different types",
    "dict": "dictionary of 10 million keys",
    "list": "list of 10 million items",
}


# The variables of the program that crashes
HELD = {
    "nothing": "nothing",
    **VALUES,
    "objects": "list of 500,000 objects, each with another",
}


def publish(measures: dict[str, Samples]) -> None:
    """Write all three files. The samples are given by name, for some names of UNITS.

    Other figures stay, and the page says which of them are from another day.
    """
    if not measures:
        return
    rounded = {
        name: {one: [float(f"{figure:.4g}") for figure in figures] for one, figures in all.items()}
        for name, all in measures.items()
    }
    now = machine()
    data: dict[str, Any] = {"measures": {}, "later": {}}
    if set(rounded) == set(UNITS):
        data["machine"] = now
    else:
        data = json.loads(DATA.read_text())
        when = f"{now['date']}, {now['commit']}"
        data["later"] = {**data.get("later", {}), **dict.fromkeys(rounded, when)}
    everything = {**data["measures"], **rounded}
    data["measures"] = {name: everything[name] for name in UNITS if name in everything}
    DATA.write_text(text(data))
    write()


def text(data: dict[str, Any]) -> str:
    """The text of docs/benchmarks.json: a line for each way, so that a diff names what is new."""
    lists = re.compile(r"\[[^\]]*\]")
    indented = json.dumps(data, indent=1)
    return lists.sub(lambda found: json.dumps(json.loads(found[0])), indented) + "\n"


def write() -> None:
    """Write the page and its plot from the data."""
    data = json.loads(DATA.read_text())
    DATA.with_suffix(".md").write_text(page(data))
    plot(data["measures"], DATA.with_suffix(".svg"))


# ---- The machine ----


def machine() -> dict[str, str]:
    """A description of this machine."""

    def output(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    labels = ["docker", "image", "inspect", "--format={{json .Config.Labels}}"]
    label = output(*labels, "python:3.13-slim")
    engine = output("docker", "version", "--format={{.Server.Version}}")
    compose = output("docker", "compose", "version", "--short")
    return {
        "date": date.today().isoformat(),
        "commit": output("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"),
        "processor": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Docker": f"Engine {engine}, Compose {compose}",
        "base images": "stand-ins, from Debian's packages" if "stand-in" in label else "official",
    }


# ---- The page ----


def page(data: dict[str, Any]) -> str:
    """The text of docs/benchmarks.md."""
    measures = data["measures"]

    def figure(measure: str, name: str) -> str:
        """The figures of one name."""
        return show(Spread.of(measures[measure][name]), UNITS[measure])

    def times(measure: str, name: str, base: str) -> str:
        """How many times as much as another figure one figure is."""
        return show(ratio(measures[measure], name, base), TIMES)

    def row(what: str, measure: str, name: str, base: str, goal: float) -> str:
        """A row of the table of goals, for a ratio."""
        is_met = ratio(measures[measure], name, base).median <= goal
        return (
            f"| {what} | ≤ {goal:.2f} {TIMES} | {times(measure, name, base)} | {verdict(is_met)} |"
        )

    def verdict(is_met: bool) -> str:
        return "met" if is_met else "**not met**"

    def more(measure: str, name: str, base: str) -> float:
        """How much more than another figure one figure is, by the medians."""
        return median(measure, name) - median(measure, base)

    def median(measure: str, name: str) -> float:
        return Spread.of(measures[measure][name]).median

    def is_one(measure: str, name: str, base: str) -> bool:
        """Whether the quartiles allow that there is no difference, or a difference of 1 %."""
        spread = ratio(measures[measure], name, base)
        return spread.low <= 1.01 and spread.high >= 0.99

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        figure=figure,
        times=times,
        row=row,
        verdict=verdict,
        is_one=is_one,
        values=VALUES,
        held=HELD,
        more=more,
        median=median,
    )
    return environment.get_template("benchmarks.md.jinja").render({"later": {}, **data})


def show(spread: Spread, unit: str) -> str:
    """A median with its unit, and in brackets the range that contains half of the figures."""
    digits = {"s": 2, "ms": 1, "MB": 1, "MiB": 1, "kB": 0, "layers": 0, TIMES: 2}[unit]
    median, low, high = (f"{one:.{digits}f}" for one in (spread.median, spread.low, spread.high))
    around = "" if low == high else f" ({low}{TO}{high})"
    return f"{median} {unit}{around}"


# ---- The plot ----

# Readable for those who do not tell red from green (Okabe and Ito, 2008), and on a dark page.
COLOURS = {
    "Remora": "#D55E00",
    "Remora, no reloader": "#F0B183",
    "container extension": "#56B4E9",
    "debugpy in the code": "#009E73",
    "no debugger": "#888888",
}


def plot(measures: dict[str, Samples], path: Path) -> None:
    """Draw the time from an edit to the breakpoint."""
    from matplotlib import pyplot

    panels = {
        "train": "edit to breakpoint, train",
        "api": "edit to breakpoint, api",
        "api, attached before": "edit to breakpoint, api, attached before",
    }
    with pyplot.rc_context({"svg.hashsalt": "remora", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(3, 1, figsize=(7, 4.2), height_ratios=[4, 4, 3])
        for axis, (title, measure) in zip(axes, panels.items(), strict=True):
            samples = measures[measure]
            boxes = axis.boxplot(
                list(samples.values()),
                tick_labels=list(samples),
                orientation="horizontal",
                widths=0.6,
                patch_artist=True,
                medianprops={"color": "black"},
                flierprops={"markersize": 3},
            )
            for box, name in zip(boxes["boxes"], samples, strict=True):
                box.set_facecolor(COLOURS[name])
            axis.set_title(title, loc="left", fontweight="bold")
            axis.set_xlim(left=0)
            axis.invert_yaxis()
            axis.spines[["top", "right"]].set_visible(False)
        axes[-1].set_xlabel("seconds from an edit to the breakpoint")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    write()
