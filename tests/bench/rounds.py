"""Measuring side by side: a slow minute of the machine is a slow minute for all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# What was measured of each contender, a figure each round.
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and the quartiles: half of all are from `low` to `high`."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        if len(figures) == 1:
            return cls(*figures * 3)
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median, low, high)


def ratio(samples: Samples, name: str, base: str) -> Spread:
    """How many times as much as of `base` it is of `name`, each round by itself."""
    return Spread.of([one / other for one, other in zip(samples[name], samples[base], strict=True)])


def side_by_side(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> Samples:
    """Run all contenders once a round, and return what each has given.

    Each round begins with another one. One round more comes first, which fills caches and does
    not count.
    """
    names = list(contenders)
    samples: Samples = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figure = contenders[name]()
            if number > 0:
                samples[name].append(figure)
    return samples


class Stopwatch:
    """`seconds` is how long its `with` block took."""

    seconds: float


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    watch = Stopwatch()
    start = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - start
