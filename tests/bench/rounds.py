"""Measure contenders side by side, so that a slow minute of the machine is slow for all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# The figures of each contender, one for each round.
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some figures: half of them are from `low` to `high`."""

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
    """The ratio of the figures of `name` to those of `base`, round by round."""
    return Spread.of([one / other for one, other in zip(samples[name], samples[base], strict=True)])


def side_by_side(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> Samples:
    """Run all contenders once in each round, and return their figures.

    Each round begins with another contender. An extra round comes first, to fill caches, and does
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
    """Measures a `with` block, in `seconds`."""

    seconds: float


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    watch = Stopwatch()
    start = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - start
