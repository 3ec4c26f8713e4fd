"""kacap and tshark scored on public captures whose frames were labelled by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.score import score

pytestmark = [pytest.mark.tool("tshark"), pytest.mark.shared, pytest.mark.slow, pytest.mark.xdist_group("score")]


@pytest.mark.parametrize("engine", ["kacap", "tshark"])
def test_kacap_finds_every_probe_and_reply_and_names_nothing_else_so(engine: str, shared: Path) -> None:
    scores = score(shared, engine)
    for what, mine in scores["kacap"].items():
        theirs = scores["tshark"][what]
        assert (mine.false, mine.missed - mine.copies) == (0, 0), (what, mine.examples)
        assert mine.hits > 0
        assert mine.precision >= theirs.precision
        assert mine.recall >= theirs.recall
    assert scores["tshark"]["probe"].recall < 0.9 < scores["kacap"]["probe"].recall
