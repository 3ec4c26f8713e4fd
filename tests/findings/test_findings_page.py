"""The page of findings says what the program says, and each capture that it names does what the page says."""

from __future__ import annotations

import re

import make_pages
import pytest

from kacap.findings import TABLE, WHOLE

RULES = (*TABLE, *WHOLE)


@pytest.mark.slow
def test_the_page_is_what_its_generator_writes() -> None:
    assert make_pages.PAGE.read_text(encoding="utf-8") == make_pages.page(), "run python tests/make_pages.py"


@pytest.mark.slow
def test_every_finding_has_its_section_with_two_commands() -> None:
    sections = re.findall(r"^## (.+)$", make_pages.PAGE.read_text(encoding="utf-8"), re.M)
    assert sections == [rule.id for rule in RULES]
    assert len(re.findall(r"^\*(?:True|Nearly):\* `kacap read ", make_pages.page(), re.M)) == 2 * len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_finding_is_in_the_one_capture_and_not_in_the_other(rule) -> None:
    pair = make_pages.pair_of(rule.id)
    assert rule.id in [finding.id for finding in make_pages.found(pair.raises, pair.expect)]
    assert rule.id not in [finding.id for finding in make_pages.found(pair.spares[0], pair.spared_by)]
