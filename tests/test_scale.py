"""1,000 pods and 512 ranks in a simulation: what docs/scale.md says about them."""

from __future__ import annotations

import pytest
import scale
from support.container import imported

RANKS = 512


@pytest.fixture
def is_held(monkeypatch: pytest.MonkeyPatch):
    """The rule of the debug layer, for a rank other than this process's."""

    def is_held(chosen: str, rank: int) -> bool:
        with imported("remora.ranks") as ranks:
            monkeypatch.setattr(ranks, "rank_of", lambda: rank)
            return ranks.is_held(chosen, ["python", "train.py"])

    return is_held


def test_a_rank_is_found_by_its_label_as_by_search() -> None:
    pods = [scale.pod(number) for number in range(1000)]
    for rank in (0, 511, 999):
        (found,) = [pod for pod in pods if pod["metadata"]["labels"][scale.INDEX] == str(rank)]
        assert scale.by_label(scale.listing([found])) == scale.by_search(scale.listing(pods), rank)


@pytest.mark.parametrize(("chosen", "held"), [("2", 1), ("0,511", 2), ("*", 512), ("", 512)])
def test_only_held_ranks_wait(is_held, chosen: str, held: int) -> None:
    """If one rank is held, no job waits for 512 editors."""
    assert sum(is_held(chosen, rank) for rank in range(RANKS)) == held


@pytest.mark.parametrize(
    ("mode", "chosen", "a_container", "kept"),
    [
        ("crash", "", 1, (512, 512)),
        ("crash", "", 8, (64, 64)),
        ("crash", "2", 8, (1, 1)),
        ("crash", "0,1", 8, (1, 1)),
        ("dump", "", 8, (0, 0)),
    ],
)
def test_few_processes_are_kept_when_all_crash(is_held, mode, chosen, a_container, kept) -> None:
    """Each container keeps one process at most."""
    assert scale.kept_in_a_crash(RANKS, mode, chosen, a_container, 1, is_held) == kept


def test_each_pod_is_probed_once_a_period() -> None:
    counts = list(scale.probes(1000, 10, 60, 30, 1))
    for begin in (30, 40, 50):  # once all have started
        assert sum(counts[begin : begin + 10]) == 1000
