"""What ``kacap check`` found, for people (text), scripts (JSON Lines) and test and monitoring systems (JUnit XML, TAP,
Nagios). All of them tell the same points; only their form differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO
from xml.etree import ElementTree

from kacap.analysis import Analysis
from kacap.clock import MILLISECOND_NS
from kacap.facts.due import WorstRun, worst_run
from kacap.model import Setting
from kacap.report.records import setting_fields, written
from kacap.report.sentences import ending_name
from kacap.report.settings import seen
from kacap.timing.judging import OK
from kacap.timing.outcome import MET, NO_EVIDENCE, NOT_MET, Check, Checked, Outcome
from kacap.units import clean, counted, duration

SHOWN = 20  # connections in the text; those that fail come first
WORDS = {MET: "ok", NOT_MET: "FAIL", NO_EVIDENCE: "skip"}


@dataclass(frozen=True, slots=True)
class Point:
    """One line of every format: about what, its name, its answer, and the words for it.

    ``group`` is ``about`` without what differs from run to run, for systems that follow a point over time.
    """

    about: str
    group: str
    name: str
    answer: str
    words: str


def who(one: Checked) -> str:
    """Return ``10.0.0.1:40000 -> 10.0.0.2:5432``, from the prober to its peer; ``-`` where nobody probes."""
    if one.prober is None:
        return f"{one.connection.a} - {one.connection.b}"
    return f"{one.prober.side} -> {one.prober.peer}"


def group_of(one: Checked) -> str:
    """Return ``10.0.0.1 -> 10.0.0.2:5432``: both ends, without the port that a system chose for one connection.

    That is the higher one: servers listen below the ports that systems hand out (RFC 6335, 6).
    """
    arrow = "-" if one.prober is None else "->"
    a, b = (one.connection.a, one.connection.b) if one.prober is None else (one.prober.side, one.prober.peer)
    shown = [str(end) if end.port <= other.port else end.address for end, other in ((a, b), (b, a))]
    return f" {arrow} ".join(shown)


def value_of(name: str, number: int | None) -> str:
    """Return a setting's value with its unit: ``60 s``, ``6``; a user timeout comes in milliseconds."""
    if name == "user_timeout":
        return duration((number or 0) * MILLISECOND_NS)
    return f"{number:,}" if name == "count" else f"{number:,} s"


def observed_of(name: str, value: Setting) -> str:
    """Return what was observed: ``60.9 s observed (n=3)``, or read from a socket: ``7,200 s set``; or nothing."""
    if what := seen(value):
        return f"{what} observed (n={value.n})"
    return f"{value_of(name, value.candidates[0])} set" if value.candidates else ""


def words_of(check: Check) -> str:
    """Return what is said about one check after its name."""
    name, value = check.name, check.setting
    if check.answer == NO_EVIDENCE and value.verdict != OK:
        return f"not observable ({check.why}); add --require {name} to make this a failure"
    parts = [f"{value_of(name, value.expected)} expected", observed_of(name, value)]
    line = ", ".join(part for part in parts if part)
    return f"{line}: {check.why}" if check.why else line


def points(outcome: Outcome, analysis: Analysis) -> Iterator[Point]:
    """Yield one point for each check; then one for missing evidence, and one for each damage, where there are."""
    for one in outcome.checked:
        for check in one.checks:
            yield Point(who(one), group_of(one), check.name, check.answer, words_of(check))
    if outcome.answer == NO_EVIDENCE:
        yield Point("capture", "capture", "evidence", NOT_MET, shortage(outcome, analysis))
    for damage in analysis.damages:
        yield Point("capture", "capture", "whole", NOT_MET, str(damage))


def shortage(outcome: Outcome, analysis: Analysis) -> str:
    """Return why there is not enough evidence."""
    if any(check.setting.verdict == OK for one in outcome.checked for check in one.checks):
        return f"fewer than {outcome.demand.min_probes} probes on every connection"
    if outcome.checked:
        return "no expected setting is observable"
    if outcome.quiet:
        silence = duration(outcome.longest_quiet_ns)
        return f"no probe; {counted(outcome.quiet, 'connection')} silent for {silence} at most"
    if not analysis.capture.files:
        return "the command opened no TCP connection of which anything is expected"
    if not analysis.capture.segments:
        return "the capture holds no TCP segment" + (" that the filter takes" if analysis.capture.frames else "")
    return "no connection has an expectation"


def summary(outcome: Outcome, analysis: Analysis) -> str:
    """Return the last line: the answer, and what it rests on."""
    checks = [check for one in outcome.checked for check in one.checks]
    numbers = {answer: sum(check.answer == answer for check in checks) for answer in WORDS}
    met, lacking = counted(numbers[MET], "setting"), f"{numbers[NO_EVIDENCE]:,} not observable"
    checked = f"{counted(len(outcome.checked), 'connection')} checked"
    line = f"{outcome.answer}: {checked}; {met} as expected, {numbers[NOT_MET]:,} not, {lacking}"
    if outcome.answer == NO_EVIDENCE:
        return f"{outcome.answer}: {shortage(outcome, analysis)}"
    if outcome.quiet:
        line += f"; {outcome.quiet:,} not silent long enough to judge"
    return line


def text(outcome: Outcome, analysis: Analysis, out: TextIO) -> None:
    """Write the checks of each connection, those that fail first, and the answer in the last line."""
    order = sorted(outcome.checked, key=lambda one: (NOT_MET, NO_EVIDENCE, MET).index(one.answer))
    for one in order[:SHOWN]:
        out.write(clean(_heading(one)) + "\n")
        width = max(9, *(len(check.name) for check in one.checks))
        for check in one.checks:
            out.write(clean(f"{WORDS[check.answer]:<4} {check.name:<{width}} {words_of(check)}") + "\n")
    if len(order) > SHOWN:
        rest = [one.answer for one in order[SHOWN:]]
        counts = ", ".join(f"{rest.count(answer):,} {answer}" for answer in WORDS if answer in rest)
        out.write(f"{len(rest):,} more: {counts} (--format json has every one)\n")
    out.write(clean(summary(outcome, analysis)) + "\n")


def _heading(one: Checked) -> str:
    """Return the line above a connection's checks."""
    prober = one.prober
    if prober is None:
        return f"{who(one)} (connection {one.connection.connection})"
    if not prober.probes:
        return f"{who(one)} (socket {one.connection.connection})"
    numbers = f"{counted(prober.probes, 'probe')}, {prober.replies:,} answered, {prober.missed:,} missed"
    return f"{who(one)} (connection {one.connection.connection}): {numbers}, {ending_name(prober.ending)}"


def as_json(outcome: Outcome, analysis: Analysis, out: TextIO) -> None:
    """Write a ``check`` record for each check and a ``result`` record as the last (see schema.json)."""
    for one in outcome.checked:
        for check in one.checks:
            out.write(_line("check", _check_fields(one, check)))
    result = {
        "answer": outcome.answer,
        "connections": len(outcome.checked),
        "quiet": outcome.quiet,
        "damages": [str(damage) for damage in analysis.damages],
        "why": summary(outcome, analysis),
    }
    out.write(_line("result", result))


def _check_fields(one: Checked, check: Check) -> dict[str, object]:
    """Return the fields of a check record."""
    return {
        "connection": one.connection.connection,
        "a": str(one.connection.a),
        "b": str(one.connection.b),
        "prober": None if one.prober is None else str(one.prober.side),
        "probes": 0 if one.prober is None else one.prober.probes,
        "setting": check.name,
        "answer": check.answer,
        **setting_fields(check.name, check.setting),
        "why": check.why,
    }


def _line(kind: str, fields: dict[str, object]) -> str:
    """Return one record as a line."""
    return written(kind, fields) + "\n"


def tap(outcome: Outcome, analysis: Analysis, out: TextIO) -> None:
    """Write the Test Anything Protocol, version 13."""
    found = list(points(outcome, analysis))
    out.write(f"TAP version 13\n1..{len(found)}\n")
    for number, point in enumerate(found, 1):
        state = "not ok" if point.answer == NOT_MET else "ok"
        skipped = " # SKIP" if point.answer == NO_EVIDENCE else ":"
        words = clean(point.words).replace("#", "\\#")
        out.write(f"{state} {number} - {point.about} {point.name}{skipped} {words}\n")


def junit(outcome: Outcome, analysis: Analysis, out: TextIO) -> None:
    """Write a JUnit XML test suite: a test case for each point, under a name that is the same in the next run."""
    found = list(points(outcome, analysis))
    answers = [point.answer for point in found]
    suite = ElementTree.Element("testsuite", name="kacap check", tests=str(len(found)), errors="0")
    suite.set("failures", str(answers.count(NOT_MET)))
    suite.set("skipped", str(answers.count(NO_EVIDENCE)))
    seen: Counter[tuple[str, str]] = Counter()
    for point in found:
        seen[point.group, point.name] += 1
        number = seen[point.group, point.name]
        name = point.name if number == 1 else f"{point.name} #{number}"
        case = ElementTree.SubElement(suite, "testcase", classname=point.group, name=name)
        words = clean(f"{point.about}: {point.words}" if point.about != point.group else point.words)
        if point.answer == MET:
            ElementTree.SubElement(case, "system-out").text = words
        else:
            ElementTree.SubElement(case, "failure" if point.answer == NOT_MET else "skipped", message=words)
    ElementTree.indent(suite)
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n")


def nagios_state(outcome: Outcome, analysis: Analysis) -> int:
    """Return 0 OK, 1 WARNING (met, but probes missed or the capture damaged), 2 CRITICAL, 3 UNKNOWN."""
    if outcome.answer != MET:
        return 2 if outcome.answer == NOT_MET else 3
    return 1 if analysis.damages or _total(outcome, "missed") else 0


def nagios(outcome: Outcome, analysis: Analysis, out: TextIO) -> None:
    """Write the one line of a monitoring plugin, performance data after the bar."""
    state = nagios_state(outcome, analysis)
    failed = [point for point in points(outcome, analysis) if point.answer == NOT_MET]
    said = summary(outcome, analysis)
    if failed and outcome.answer != NO_EVIDENCE:
        said = f"{failed[0].about} {failed[0].name}: {failed[0].words}"
    if len(failed) > 1:
        said += f" (and {len(failed) - 1:,} more)"
    failing = sum(one.answer == NOT_MET for one in outcome.checked)
    numbers = f"connections={len(outcome.checked)} not_met={failing}"
    numbers += f" probes={_total(outcome, 'probes')} missed={_total(outcome, 'missed')}"
    worst = worst_run(one.prober for one in outcome.checked if one.prober is not None)
    if worst is not None:
        missing = sum(one.prober is not None and one.prober.missed > 0 for one in outcome.checked)
        lead = f"{said}; " if state in (2, 3) else f"{outcome.answer}: "
        said = f"{lead}{counted(missing, 'connection')} missed probes, worst {worst_words(worst, analysis)}"
        numbers += f" worst_run={worst.probes}"
    word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[state]
    out.write(f"KEEPALIVE {word} - {clean(said).replace('|', '/')} | {numbers}\n")


def worst_words(worst: WorstRun, analysis: Analysis) -> str:
    """Return whose run is worst, how long it is, and how much time is left when the capture ends."""
    of = f" of {worst.most:,}" if worst.most is not None else ""
    words = f"{worst.prober.side} -> {worst.prober.peer}: {worst.probes:,}{of} unanswered"
    if worst.died:
        return f"{words}, given up"
    if worst.gives_up_ns is None or analysis.capture.last_ns is None:
        return words
    left_ns = worst.gives_up_ns - analysis.capture.last_ns
    return f"{words}, {duration(left_ns)} left until it is given up" if left_ns > 0 else f"{words}, due to be given up"


def _total(outcome: Outcome, name: str) -> int:
    """Return the sum of a number over the probers that were judged."""
    return sum(getattr(one.prober, name) for one in outcome.checked if one.prober is not None)


FORMATS = {"text": text, "json": as_json, "junit": junit, "tap": tap, "nagios": nagios}
