"""Every shipped capture still gives the golden result that lies beside it."""

from __future__ import annotations

import pytest
from make_expected import CAPTURES, cases, records


@pytest.mark.parametrize("case", cases())
def test_a_shipped_capture_gives_its_golden_result(case: str) -> None:
    golden = (CAPTURES / case / "expected.json").read_text().splitlines()
    assert records(case) == golden, f"read the difference, then: python tests/make_expected.py {case}"
