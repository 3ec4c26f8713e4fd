"""Residuals: when each probe came minus when it was due at the earliest, against what the timer's granule allows.

A few settings are drawn over time, a panel each; many (a whole population) over the setting, where the granule of the
timer wheel is a staircase.
"""

from __future__ import annotations

import numpy as np

from kacap.analysis import Analysis
from kacap.model import Connection
from kacap.report.chart import page as paper
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.groups import Group, groups_of
from kacap.report.chart.overtime import HEIGHT, OverTime
from kacap.report.chart.staircase import OverSettings
from kacap.report.chart.words import headline, population, probers_of
from kacap.timing.wheel import EARLY_NS
from kacap.units import counted

PANELS = 4  # settings that get a panel each


def page(analysis: Analysis, connections: list[Connection]) -> paper.Page:
    """Return the residuals of some connections."""
    probers = probers_of(connections)
    groups = groups_of(analysis, probers)
    lines = population(analysis, connections)
    if not groups:
        words = "no gap that a known setting or a guess explains" if probers else "no keepalive probe seen"
        return paper.Page([paper.only_words(f"{words}: no residuals", lines)])
    said = [_verdict(groups), headline(connections)]
    if any(one.verdict.mood != "good" for one in connections):
        said.reverse()  # what is graver is the title
    title, lines = said[0], [*said[1:], *lines]
    if len(groups) > PANELS:
        stairs = OverSettings(groups)
        return paper.Page([paper.Panel(stairs.draw, 2.8, title, [*lines, stairs.said()], 0.12, 0.45, left=0.8)])
    axis = _axis(analysis, groups)
    origin_ns = axis.first_ns if analysis.capture.first_ns is None else analysis.capture.first_ns
    panels = []
    for nth, group in enumerate(groups):
        last = nth == len(groups) - 1
        one = OverTime(analysis, group, axis, last)
        below = paper.below(axis, origin_ns) if last else 0.05
        panel = paper.Panel(one.draw, HEIGHT, below=below, left=0.8, fit=one.fit)
        if nth == 0:
            panel.title, panel.lines = title, lines
        panels.append(panel)
    return paper.Page(panels)


def _axis(analysis: Analysis, groups: list[Group]) -> TimeAxis:
    """Return the time axis: the whole capture where the firings fill a third of it, else their own span."""
    first, last = min(int(g.time_ns[0]) for g in groups), max(int(g.time_ns[-1]) for g in groups)
    begin, end = analysis.capture.first_ns, analysis.capture.last_ns
    if begin is not None and end is not None and (first == last or end - begin <= 3 * (last - first)):
        first, last = min(first, begin), max(last, end)
    spare = (last - first) // 50 + 1
    return TimeAxis(first, last) if begin == first else TimeAxis(first - spare, last + spare)


def _verdict(groups: list[Group]) -> str:
    """Return the residuals in one sentence."""
    if len(groups) <= PANELS:
        return "; ".join(group.said() for group in groups)
    late = np.concatenate([g.late_ns for g in groups])
    allowed = np.concatenate([np.full(len(g.late_ns), g.most_ns) for g in groups])
    early = int((late < -EARLY_NS).sum())
    beyond = int(((late > allowed + EARLY_NS) & (allowed > 0)).sum())
    sure = "as configured" if all(g.term.stated for g in groups) else "as configured or guessed"
    good = len(late) - early - beyond
    words = f"{good:,} of {counted(len(late), 'firing')} {sure}"
    words += f"; {early:,} early" if early else ""
    return words + (f"; {beyond:,} later than the timer wheel allows" if beyond else "")
