"""No words lie over others, or off the page, on any shipped capture in any view, on paper of any usual width."""

from __future__ import annotations

import charts
import pytest
from make_expected import cases, goldens_of

import kacap
from kacap.report import chart

pytestmark = pytest.mark.slow

SHIPPED = [(case, path.name, files) for case in cases() for path, files in goldens_of(case).items()]


@pytest.mark.parametrize(("case", "name", "files"), SHIPPED, ids=lambda value: value if isinstance(value, str) else "")
def test_no_words_lie_over_others_on_a_shipped_capture(case, name, files):
    analysis = kacap.read(files, marks=True)
    for nth, view in enumerate(chart.VIEWS, sum(map(ord, case))):
        width = (500, 1300)[nth % 2]  # over the captures every view is drawn on either paper
        figure = chart.draw(analysis, [view], width=width)
        assert charts.misplaced(figure) == ([], []), (view, width)
        assert width < 1300 or charts.longest_title(figure) <= 2, view
