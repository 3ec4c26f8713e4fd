"""--lean: what the kernel passes is enough for the probes, and what is not is said."""

from __future__ import annotations

import analysing
import pytest
from analysing import files_of

import kacap
from kacap.capture.lean import lean

# A probe that data answered; frames in VLANs, which the filter does not pass.
DIFFERENT = {"crafted/20-answered-by-data", "crafted/29-data-between-probe-and-reply", "crafted/32-two-vlans",
             "crafted/94b-run-in-two-vlans"}  # fmt: skip
CASES = [case for case in analysing.small_cases() if case.startswith(("lab/", "both/")) or case in DIFFERENT]


def probes(analysis: kacap.Analysis) -> tuple:
    sent = sorted((probe.frame, probe.outcome) for probe in analysis.probes)
    return sent, sorted(prober.ending for c in analysis.connections for prober in c.probers)


@pytest.mark.parametrize("case", CASES)
def test_probes_answers_and_endings_are_the_same_but_for_what_the_filter_says_it_costs(case: str) -> None:
    whole, passed = kacap.read(files_of(case)), kacap.read(files_of(case), lean(None))
    assert (probes(passed) == probes(whole)) == (case not in DIFFERENT)


def test_it_passes_only_a_part_of_what_an_expression_does() -> None:
    files, words = files_of("both/recovered"), "host 10.1.0.2"
    whole, passed = kacap.read(files, words), kacap.read(files, lean(words))
    assert 0 < passed.capture.segments < whole.capture.segments
