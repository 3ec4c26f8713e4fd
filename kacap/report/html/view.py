"""What the page shows, as plain values: the templates only lay it out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import kacap
from kacap.analysis import Analysis
from kacap.facts.standing import Standing, by_gravity, gravest, state_of
from kacap.facts.verdicts import of_prober
from kacap.model import Connection, Finding, Prober, Setting
from kacap.report.html.wireshark import frames_filter, pair_filter
from kacap.report.sentences import GRADES, break_words, ending_words, missed_word, observed_words
from kacap.report.settings import setting
from kacap.units import between, counted, duration, moment

if TYPE_CHECKING:
    from markupsafe import Markup

    from kacap.report.html import Provenance

CARDS, ROWS, FINDINGS = 6, 5_000, 200
MANY = 5  # from so many connections on the distribution of gaps says more than each probe's lateness
SETTINGS = ("idle", "interval", "count", "user_timeout")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: its words, and what it is sorted by (None: its words)."""

    text: str
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One prober of a connection: the verdict, its mood, the named facts, filters for Wireshark."""

    sentence: str
    mood: str
    facts: Sequence[tuple[str, str]]
    filters: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """A finding as it is shown."""

    id: str
    about: str
    sentence: str
    remedy: str
    frames: str
    filters: Sequence[tuple[str, str]]


@dataclass(slots=True)
class Page:
    """Everything on the page, in words."""

    title: str
    headline: str
    mood: str
    summary: list[tuple[str, str]]
    cards: list[Card]
    more_cards: int
    charts: list[Markup]
    findings: list[ShownFinding]
    more_findings: int
    columns: Sequence[tuple[str, bool]]  # (name, whether it is a number)
    rows: list[list[Cell]] = field(default_factory=list)
    more_rows: str = ""
    unprobed: str = ""
    commands: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    files: list[tuple[str, str, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


COLUMNS = (
    ("#", True), ("prober", False), ("peer", False), ("probes", True), ("answered", True), ("missed", True),
    ("idle", True), ("interval", True), ("count", True), ("ending", True), ("first seen", True), ("observed for", True),
)  # fmt: skip


def page_of(analysis: Analysis, made_from: Provenance, *, brief: bool = False) -> Page:
    """Return the page of an analysis; ``brief``: without the table and what stands below it."""
    probing = by_gravity(analysis.connections)
    cards = [card for connection in probing[:CARDS] for card in _cards(analysis, connection)]
    shown = [_shown(analysis, finding) for finding in analysis.findings[:FINDINGS]]
    page = Page(
        title=f"kacap: {_names(analysis)}",
        headline=_headline(analysis, probing),
        mood=cards[0].mood if cards else "none",
        summary=_summary(analysis, probing),
        cards=cards[:CARDS],
        more_cards=probing.totals.probers - len(cards[:CARDS]),
        charts=_charts(analysis, probing, brief),
        findings=shown,
        more_findings=len(analysis.findings) - len(shown),
        columns=COLUMNS,
    )
    if not brief:
        _add_table(page, analysis, probing)
        _add_source(page, analysis, made_from)
    return page


def _names(analysis: Analysis) -> str:
    """Return the name of the one file, or how many there are."""
    files = analysis.capture.files
    return files[0].rpartition("/")[2] if len(files) == 1 else counted(len(files), "file")


def _watched(analysis: Analysis) -> str:
    """Return for how long was watched, empty without a frame."""
    capture = analysis.capture
    if capture.first_ns is None or capture.last_ns is None:
        return ""
    return duration(capture.last_ns - capture.first_ns)


def _headline(analysis: Analysis, probing: Standing) -> str:
    """Return the verdict over the whole capture."""
    if not probing:
        watched = _watched(analysis)
        return f"No keepalive probe seen in {watched}" if watched else "No frame to look at"
    if len(probing) == 1:
        return probing[0].verdict.sentence
    return f"{len(probing):,} connections probe: {probing}"


def _summary(analysis: Analysis, probing: Standing) -> list[tuple[str, str]]:
    """Return the numbers at the top."""
    totals = probing.totals
    return [
        (f"{len(probing):,}", "probing connection" + ("s" if len(probing) != 1 else "")),
        (f"{totals.probes:,}", "probes"),
        (f"{totals.replies:,}", "answered"),
        (f"{totals.missed:,}", missed_word(analysis)),
        (f"{len(analysis.findings):,}", "finding" + ("s" if len(analysis.findings) != 1 else "")),
        (_watched(analysis) or "nothing", "watched"),
    ]


def _cards(analysis: Analysis, connection: Connection) -> Iterator[Card]:
    """Yield a card for each prober of a connection, the one that fares worst first."""
    for number, prober in enumerate(gravest(connection)):
        said = connection.verdict if number == 0 else of_prober(prober)
        frames = [f for e in prober.episodes for p in e.probes for f in (p.frame, p.reply_frame) if f is not None]
        frames += [e.ending_frame for e in prober.episodes if e.ending_frame is not None]
        filters = [("connection", pair_filter(connection.a, connection.b)), *frames_filter(analysis, frames)]
        yield Card(said.sentence, said.mood, list(_facts(analysis, connection, prober)), filters)


def _facts(analysis: Analysis, connection: Connection, prober: Prober) -> Iterator[tuple[str, str]]:
    """Yield the named facts about one prober."""
    lost = f"{prober.missed:,} {missed_word(analysis)}"
    yield "probes", f"{prober.probes:,} sent, {prober.replies:,} answered, {lost}"
    if prober.gaps_ns is not None:
        yield "gaps", between(*prober.gaps_ns)
    if prober.reply_after_ns is not None:
        yield "replies", f"after {between(*prober.reply_after_ns)}"
    yield "ending", ending_words(prober.ending)
    yield "confidence", GRADES.get(prober.grade, prober.grade)
    for name in SETTINGS:
        if (words := setting(name, getattr(prober, name))) is not None:
            yield name.replace("_", " "), words
    yield "observed", observed_words(connection)


def _shown(analysis: Analysis, finding: Finding) -> ShownFinding:
    """Return a finding as it is shown."""
    names = [str(analysis.frame_name(frame)) for frame in finding.frames[:12]]
    frames = ", ".join(names) + (f" and {len(finding.frames) - 12:,} more" if len(finding.frames) > 12 else "")
    about = "capture" if finding.connection is None else f"connection {finding.connection}"
    return ShownFinding(
        finding.id, about, finding.sentence, finding.remedy, frames, frames_filter(analysis, finding.frames)
    )


def _charts(analysis: Analysis, probing: Standing, brief: bool) -> list[Markup]:
    """Return the charts that suit what was found, as inline SVG."""
    from markupsafe import Markup

    from kacap.report import chart
    from kacap.report.html.svg import inline

    views = ["timeline"] if brief or not probing else ["timeline", "ecdf" if len(probing) >= MANY else "residuals"]
    return [Markup(inline(chart.draw(analysis, [view]), view)) for view in views]


def _add_table(page: Page, analysis: Analysis, probing: Standing) -> None:
    """Add a row for each prober of the gravest connections, and what is left out."""
    shown, start_ns = probing[:ROWS], analysis.capture.first_ns or 0
    page.rows = [_row(connection, prober, start_ns) for connection in shown for prober in gravest(connection)]
    if len(probing) > len(shown):
        page.more_rows = f"{len(probing) - len(shown):,} more: {probing[len(shown) :]}"
    unprobed = analysis.unprobed
    if unprobed.connections:
        silence = duration(unprobed.longest_silence_ns)
        number = counted(unprobed.connections, "connection")
        page.unprobed = f"{number} without a keepalive probe; longest silence {silence}"


def _row(connection: Connection, prober: Prober, start_ns: int) -> list[Cell]:
    """Return the cells of one prober, in the order of COLUMNS; the capture began at ``start_ns``."""
    lost, observed_ns = prober.missed, connection.observed_ns
    return [
        Cell(str(connection.connection), connection.connection),
        Cell(str(prober.side)),
        Cell(str(prober.peer)),
        *(Cell(f"{number:,}", number) for number in (prober.probes, prober.replies, lost)),
        *(_setting_cell(name, getattr(prober, name)) for name in ("idle", "interval", "count")),
        Cell(prober.ending, state_of(prober)),
        Cell(duration(connection.first_ns - start_ns), connection.first_ns),
        Cell(duration(observed_ns), observed_ns),
    ]


def _setting_cell(name: str, value: Setting) -> Cell:
    """Return what a setting may be, and whether that is as expected; sorted by the least candidate."""
    if not value.candidates:
        return Cell("-", -1)
    low, high = value.candidates[0], value.candidates[-1]
    unit = "" if name == "count" else " s"
    words = f"{low}{unit}" if low == high else f"{low} to {high}{unit}"
    if value.expected is not None and value.verdict == "differs":
        words += f" (expected {value.expected}{unit})"
    return Cell(words, low)


def _add_source(page: Page, analysis: Analysis, made_from: Provenance) -> None:
    """Add how to repeat the report, what it leaves out and what it was made from."""
    files = [name for name, _, _ in made_from.files]
    page.commands = list(_commands(files, made_from))
    skipped = sorted(analysis.capture.skipped.items(), key=lambda item: (-item[1], item[0]))
    page.skipped = [(f"{count:,}", reason) for reason, count in skipped]
    page.damages = [str(damage) for damage in analysis.damages]
    page.files = [
        (name, "not known" if size is None else f"{size:,} bytes", digest or "not known")
        for name, size, digest in made_from.files
    ]
    page.facts = list(_capture_facts(analysis, made_from))


def _commands(files: Iterable[str], made_from: Provenance) -> Iterator[str]:
    """Yield the lines that lead to this report, quoted for a shell."""
    names = ["-" if name == "standard input" else name for name in files]
    words = [*names, *([made_from.expression] if made_from.expression else []), *made_from.options]
    yield shlex.join(["kacap", "report", *words, "-o", "report.html"])
    yield shlex.join(["kacap", "read", *words])
    if known := [name for name, _, digest in made_from.files if digest is not None]:
        yield shlex.join(["sha256sum", *known])


def _capture_facts(analysis: Analysis, made_from: Provenance) -> Iterator[tuple[str, str]]:
    """Yield what the capture is, and with what it was looked at."""
    capture = analysis.capture
    yield "frames", f"{capture.frames:,}, of them {capture.segments:,} TCP segments"
    if capture.first_ns is not None and capture.last_ns is not None:
        yield "span", f"{moment(capture.first_ns)} to {moment(capture.last_ns)}"
    yield "link types", ", ".join(map(str, capture.link_types)) or "none"
    drops = [("by the kernel", capture.dropped_kernel), ("by the interface", capture.dropped_interface)]
    yield "dropped", ", ".join(f"{n:,} {who}" for who, n in drops if n is not None) or "the capture does not say"
    for each in capture.breaks:
        yield f"{each.what} between files", break_words(each)
    yield "filter", made_from.expression or "none"
    yield "kacap", kacap.__version__


