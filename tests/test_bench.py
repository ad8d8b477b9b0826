"""The benchmarks page tells what was measured. `nox -s bench` measures."""

from __future__ import annotations

import json

import page
from rounds import Spread, ratio, side_by_side


def test_each_contender_runs_once_in_each_round() -> None:
    turns: list[str] = []

    def contender(name: str, figure: float):
        def measure() -> float:
            turns.append(name)
            return figure

        return measure

    samples = side_by_side(2, {name: contender(name, n) for n, name in enumerate("abc")})
    # The first round fills caches.
    assert "".join(turns) == "abc" + "bca" + "cab"
    assert samples == {"a": [0, 0], "b": [1, 1], "c": [2, 2]}


def test_ratio_compares_figures_of_the_same_round() -> None:
    # The machine was ten times slower in the last round.
    samples = {"one": [2.0, 4.0, 30.0], "other": [1.0, 2.0, 10.0]}
    assert ratio(samples, "one", "other") == Spread(median=2.0, low=2.0, high=2.5)


def test_page_shows_the_recorded_figures() -> None:
    data = json.loads(page.DATA.read_text())
    assert list(data["measures"]) == list(page.UNITS)
    assert page.DATA.with_suffix(".md").read_text() == page.page(data)
    assert page.DATA.read_text() == page.text(data)
