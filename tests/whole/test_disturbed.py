"""Whatever is lost, copied, delayed or cut of a capture of the lab, nothing that kacap says of it becomes false."""

from __future__ import annotations

import disturbed
import pytest

pytestmark = pytest.mark.slow

PART = 120


@pytest.mark.parametrize("part", range(5))
def test_a_disturbed_capture_brings_out_no_false_statement(part: int) -> None:
    for seed in range(part * PART, (part + 1) * PART):
        name, done, false = disturbed.check(seed)
        assert not false, f"python tests/disturbed.py --seeds {seed} ({name}: {'; '.join(done)})\n" + "\n".join(false)


def test_a_capture_is_disturbed_in_every_way_and_each_kind_of_statement_is_looked_at() -> None:
    done = " ".join(word for seed in range(200) for word in disturbed.check(seed)[1])
    for word in ("lost [", "lost span", "lost of port", "begins after", "ends after", "copied", "delayed", "cut at"):
        assert word in done


def test_a_false_setting_a_false_probe_and_a_false_finding_are_each_noticed() -> None:
    case, files = next(view for view in disturbed.views() if view[0] == "lab/cut-off")
    whole = disturbed.untouched(files)
    assert not list(disturbed.false_statements(case, disturbed.Disturbed(disturbed.segments_of(files)), whole, whole))
    found = disturbed.analyse_segments(disturbed.segments_of(files))
    (prober,) = next(c for c in found.of(disturbed.Connection) if c.probers).probers
    prober.idle.candidates, prober.idle.assumes = [3], []
    prober.count.candidates, prober.count.assumes = [9], []
    found.objects.append(disturbed.Finding("forged-reset", 1, "a box did it", [], ""))
    wrong = list(disturbed.false_statements(case, disturbed.Disturbed(disturbed.segments_of(files)), found, whole))
    assert {text.split()[0] for text in wrong} == {"idle", "count", "forged-reset:"}
