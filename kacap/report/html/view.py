"""What the page shows, as plain values: the templates only lay it out."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import kacap
from kacap.analysis import Analysis
from kacap.facts.overall import GRAVE, Cause, causes, overall
from kacap.facts.sent import sent_by
from kacap.facts.standing import STATES, Standing, by_gravity, gravest, state_of
from kacap.facts.verdicts import of_prober
from kacap.model import SETTINGS, Connection, Prober, Setting
from kacap.report.html.embedded import encoded
from kacap.report.html.wireshark import frames_filter, pair_filter
from kacap.report.sentences import (
    GRADES,
    break_words,
    ending_words,
    missed_word,
    observed_words,
    reply_words,
    span_words,
)
from kacap.report.settings import setting
from kacap.units import between, clean, counted, duration, moment

if TYPE_CHECKING:
    from markupsafe import Markup

    from kacap.report.html import Provenance

CARDS, FINDINGS = 6, 200
STATIC = 1_000  # rows that are there without the script
PROBES = 250_000  # embedded: of more every row has its newest, and all that were missed
LINKED, EACH = 24, 40  # connections that a finding names, and sentences that it folds
MANY = 5  # from so many connections on the distribution of gaps says more than each probe's lateness


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
    mood: str = "doubt"
    rows: Sequence[int] = ()
    more: str = ""
    each: Sequence[str] = ()


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
    ids: list[str] = field(default_factory=list)
    moods: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    static: int = STATIC
    data: Markup | str = ""
    contents: list[tuple[str, str]] = field(default_factory=list)
    more_rows: str = ""
    unprobed: str = ""
    commands: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    files: list[tuple[str, str, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


# A status has a shape and a colour as well as words.
GLYPHS = dict(zip(STATES, "✕✕■✱…▲□▲●", strict=True))
MOODS = dict(zip(STATES, ("bad", "bad", "bad", "bad", "doubt", "doubt", "none", "doubt", "good"), strict=True))
COLUMNS = (
    ("#", True), ("prober", False), ("peer", False), ("probes", True), ("answered", True), ("missed", True),
    ("idle", True), ("interval", True), ("count", True), ("status", True), ("first seen", True), ("observed for", True),
)  # fmt: skip


def page_of(analysis: Analysis, made_from: Provenance, *, brief: bool = False) -> Page:
    """Return the page of an analysis; ``brief``: without the table and what stands below it."""
    probing = by_gravity(analysis.connections)
    cards = [card for connection in list(probing[:CARDS]) for card in _cards(analysis, connection)]
    found = causes(analysis)
    shown = [_shown(analysis, cause) for cause in found[:FINDINGS]]
    verdict = overall(analysis)
    page = Page(
        title=f"kacap: {_names(analysis)}",
        headline=verdict.sentence if verdict is not None else _nothing(analysis),
        mood=verdict.mood if verdict is not None else "none",
        summary=_summary(analysis, probing),
        cards=cards[:CARDS],
        more_cards=probing.totals.probers - len(cards[:CARDS]),
        charts=_charts(analysis, probing, brief),
        findings=shown,
        more_findings=len(found) - len(shown),
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
    return span_words(analysis.capture) or ""


def _nothing(analysis: Analysis) -> str:
    """Return what is said of a capture where nobody probes and nothing was found."""
    watched = _watched(analysis)
    return f"No keepalive probe seen in {watched}" if watched else "No frame captured"


def _summary(analysis: Analysis, probing: Standing) -> list[tuple[str, str]]:
    """Return the numbers at the top."""
    totals = probing.totals
    return [
        (f"{len(probing):,}", "probing connection" + ("s" if len(probing) != 1 else "")),
        (f"{totals.probes:,}", "probe" + ("s" if totals.probes != 1 else "")),
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
    if (answered := reply_words(prober)) is not None:
        yield "replies", answered
    yield "ending", ending_words(prober.ending)
    yield "confidence", GRADES.get(prober.grade, prober.grade)
    for name in SETTINGS:
        if (words := setting(name, getattr(prober, name))) is not None:
            yield name.replace("_", " "), words
    yield "observed", observed_words(connection)


def _shown(analysis: Analysis, cause: Cause) -> ShownFinding:
    """Return a cause as it is shown: its sentence, the connections that it hit, their frames."""
    all_frames = [frame for finding in cause.findings for frame in finding.frames]
    names = [str(analysis.frame_name(frame)) for frame in all_frames[:12]]
    frames = ", ".join(names) + (f" and {len(all_frames) - 12:,} more" if len(all_frames) > 12 else "")
    numbers = cause.connections
    about = "capture" if not numbers else f"connection {numbers[0]}" if len(numbers) == 1 else ""
    several = [finding.sentence for finding in cause.findings[:EACH]] if len(cause.findings) > 1 else []
    return ShownFinding(
        cause.id, about or counted(len(numbers), "connection"), cause.sentence, cause.remedy, frames,
        frames_filter(analysis, all_frames), "bad" if cause.id in GRAVE else "doubt", numbers[:LINKED],
        f"and {len(numbers) - LINKED:,} more" if len(numbers) > LINKED else "", several,
    )  # fmt: skip


def _charts(analysis: Analysis, probing: Standing, brief: bool) -> list[Markup]:
    """Return the charts that suit what was found, as inline SVG."""
    from markupsafe import Markup

    from kacap.report import chart
    from kacap.report.html.svg import inline

    views = [chart.default_view(analysis)]
    if not brief and probing:
        views.append("ecdf" if len(probing) >= MANY else "residuals")
        views += ["idle"] if analysis.idle_deaths else []
    return [Markup(inline(chart.draw(analysis, [view]), view)) for view in views]


def _add_table(page: Page, analysis: Analysis, probing: Standing) -> None:
    """Add a row for each prober of the gravest connections, and what is left out."""
    start_ns = analysis.capture.first_ns or 0
    pairs = [(connection, prober) for connection in probing for prober in gravest(connection)]
    page.rows = [_row(connection, prober, start_ns) for connection, prober in pairs]
    page.ids = [
        f"connection-{connection.connection}" + ("" if prober is gravest(connection)[0] else "-2")
        for connection, prober in pairs[:STATIC]
    ]
    states = [STATES[state_of(prober)] for _, prober in pairs]
    page.moods = [MOODS[state] for state in states[:STATIC]]
    numbers = Counter(states)
    page.states = [(state, f"{numbers[state]:,}") for state in STATES if state in numbers]
    page.data = _data(analysis, page, pairs, states)
    if len(page.rows) > STATIC:
        page.more_rows = f"{len(page.rows) - STATIC:,} more rows need this page's script, or kacap read --json"
    sections = (
        ("findings", f"Findings ({len(analysis.findings):,})"),
        ("charts", "Charts"),
        ("verdicts", "Verdicts"),
        ("connections", f"Connections ({len(probing):,})"),
        ("reproduce", "How to reproduce this"),
        ("skipped", "What was left out"),
        ("provenance", "Provenance"),
    )
    page.contents = [(name, words) for name, words in sections if name != "verdicts" or page.cards]
    unprobed = analysis.unprobed
    if unprobed.connections:
        silence = duration(unprobed.longest_silence_ns)
        number = counted(unprobed.connections, "connection")
        page.unprobed = f"{number} without a keepalive probe; longest silence {silence}"


def _row(connection: Connection, prober: Prober, start_ns: int) -> list[Cell]:
    """Return the cells of one prober, in the order of COLUMNS; the capture began at ``start_ns``."""
    lost, observed_ns, state = prober.missed, connection.observed_ns, STATES[state_of(prober)]
    return [
        Cell(str(connection.connection), connection.connection),
        Cell(str(prober.side)),
        Cell(str(prober.peer)),
        *(Cell(f"{number:,}", number) for number in (prober.probes, prober.replies, lost)),
        *(_setting_cell(name, getattr(prober, name)) for name in ("idle", "interval", "count")),
        Cell(f"{GLYPHS[state]} {state}", STATES.index(state)),
        Cell(duration(connection.first_ns - start_ns), connection.first_ns),
        Cell(duration(observed_ns), observed_ns),
    ]


def _data(analysis: Analysis, page: Page, pairs: Sequence[tuple[Connection, Prober]], states: Sequence[str]) -> Markup:
    """Return what the page's script draws from, as JSON that no HTML parser takes for anything else."""
    from markupsafe import Markup

    from kacap.report.chart.expected import terms_of

    start_ns = analysis.capture.first_ns or 0
    sent = sent_by(analysis.connections, [prober for _, prober in pairs], PROBES)
    probes, offsets = encoded(sent, len(pairs), start_ns)
    terms = [terms_of(analysis, prober) for _, prober in pairs]
    found = {
        "start_ns": str(start_ns),
        "files": [clean(name) for name in analysis.capture.files],
        "rows": [[c.text if c.key is None else [c.text, _sortable(c.key)] for c in row] for row in page.rows],
        "moods": MOODS,
        "states": states,
        "terms": [[t.idle.value if t.idle else 0, t.interval.value if t.interval else 0] for t in terms],
        "probes": probes,
        "offsets": offsets,
    }
    text = json.dumps(found, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _sortable(key: int) -> int | float:
    """Return a key as JSON holds it: JavaScript has 53 bits, enough for the order of times in microseconds."""
    return key if abs(key) < 1 << 52 else key // 1_000


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
        yield "clock" if each.what == "clock" else f"{each.what} between files", break_words(each)
    yield "filter", made_from.expression or "none"
    yield "kacap", kacap.__version__
