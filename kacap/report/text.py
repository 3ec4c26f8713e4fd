"""An analysis as plain text: what went wrong first, one block for each connection that probes.

The lines are ASCII without borders, so that they survive mail, tickets and pipes; colour only repeats what the words
say. The first line is the verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TextIO

from kacap.analysis import Analysis
from kacap.classify.kinds import Ending
from kacap.connections import passing
from kacap.facts.groups import Group, grouped
from kacap.facts.overall import did, several
from kacap.facts.runs import gave_up_ns, unanswered, uncaptured
from kacap.facts.standing import STATES, Standing, by_gravity, gravest, numbers_of
from kacap.facts.verdicts import of_prober
from kacap.findings import RANKS
from kacap.model import SETTINGS, Connection, Episode, Finding, Prober
from kacap.report.sentences import (
    GRADES,
    break_words,
    ending_name,
    ending_words,
    missed_word,
    observed_words,
    reply_words,
    span_words,
)
from kacap.report.settings import setting
from kacap.report.terminal import DOUBT, GOOD, folded
from kacap.units import between, clean, counted, duration, moment

CLOCKS = 4  # clock rates that are tried: when none is excluded, nothing is known
SHOWN = 20  # connections shown one by one without --all
WHOLE = 3  # so many connections are shown one by one without being asked for
GROUPS, OF_STATE, KINDS = 8, 3, 2  # groups of connections, of them in one state, kinds of findings on one screen
BREAKS_SHOWN = 10  # places where files do not follow on one another
STEPS = 12  # probes of one unanswered run written out
UNSHOWN = ("suspended", "close-wait")  # findings on connections whose probes may all be answered
KEY = 12  # width of the column of names

COLOURS = {"bad": "\x1b[1;31m", "doubt": f"\x1b[38;5;{DOUBT}m", "good": f"\x1b[38;5;{GOOD}m", "dim": "\x1b[2m"}
PLAIN = "\x1b[0m"


def render(
    analysis: Analysis,
    out: TextIO,
    *,
    all_connections: bool = False,
    color: bool = False,
    brief: bool = False,
    verbose: bool = False,
    width: int | None = None,
) -> None:
    """Write the report to ``out``.

    More than three connections that probe are told on one screen, in groups of those that are alike. ``verbose`` shows
    the gravest twenty one by one, with every run of unanswered probes, every finding and the kernel's HZ;
    ``all_connections`` every connection that the analysis kept; ``brief`` one line for each of the gravest. ``color``
    adds ANSI colours. Lines longer than ``width`` are folded between words (None: none is).
    """
    for line, mood in _lines(analysis, all_connections, brief, verbose):
        for text in folded(clean(line), width):
            out.write(f"{COLOURS[mood]}{text}{PLAIN}\n" if color and mood in COLOURS else f"{text}\n")


Line = tuple[str, str]  # the words, and their mood ("" for none)


def _lines(analysis: Analysis, everything: bool, brief: bool, verbose: bool) -> Iterator[Line]:
    """Yield the whole report, line by line."""
    probing = by_gravity(analysis.connections)
    if not probing:
        yield _nothing(analysis), ""
    elif len(probing) > 1:
        yield f"{len(probing):,} connections probe: {probing}{_beside(analysis, probing)}", ""
    if len(probing) > WHOLE and not (everything or brief or verbose):
        yield from _overview(analysis, probing)
    else:
        yield from _each(analysis, probing, everything, brief, verbose)
    yield from _understood(analysis)


def _beside(analysis: Analysis, probing: Standing) -> str:
    """Return what probing connections suffer that their probes do not show: ``; 5 had keepalive suspended by ...``."""
    numbers = numbers_of(probing)
    hurt = Counter(f.id for f in analysis.findings if f.id in UNSHOWN and f.connection in numbers)
    return "".join(f"; {number:,} {did(name, number)}" for name, number in hurt.items())


def _overview(analysis: Analysis, probing: Standing) -> Iterator[Line]:
    """Yield one screen about many connections: those that are alike in one line, findings of one kind in another."""
    groups = grouped(probing, GROUPS)
    yield "", ""
    of_state: Counter[int] = Counter()
    shown: list[Group] = []
    for group in groups:
        of_state[group.state] += 1
        if of_state[group.state] <= OF_STATE and len(shown) < GROUPS:
            shown.append(group)
    for group in shown:
        yield _group(probing, group)
    rest = len(probing) - sum(map(len, shown))
    more = f"{counted(rest, 'connection')} more in {counted(len(groups) - len(shown), 'group')}; " if rest else ""
    yield f"{more}-v shows the gravest {min(SHOWN, len(probing))} in detail, --all every one", "dim"
    yield "", ""
    yield from _others(analysis, False)
    yield from folded_findings(analysis)


def _group(probing: Standing, group: Group) -> Line:
    """Return the line of connections that are alike: ``1,974 connections to 10.0.0.1:5432: all answered, ...``."""
    first = probing[int(group.members[0])]
    mood = first.verdict.mood
    if len(group) == 1:
        return first.verdict.sentence, mood
    pace = "" if group.pace_ns is None else f", every {between(*group.pace_ns)}"
    way = "probed by" if group.probes_from_place else "to"
    return f"{counted(len(group), 'connection')} {way} {group.place}: {STATES[group.state]}{pace}", mood


def _each(analysis: Analysis, probing: Standing, everything: bool, brief: bool, verbose: bool) -> Iterator[Line]:
    """Yield a block for each of the gravest connections, then what is left to tell."""
    shown = probing if everything else probing[:SHOWN]
    found: dict[int | None, list[Finding]] = {}
    for finding in analysis.findings:
        found.setdefault(finding.connection, []).append(finding)
    for connection in shown.passing():
        if not brief and len(probing) > 1:
            yield "", ""
        yield from _block(analysis, connection, found.get(connection.connection, []), brief, verbose)
    if not brief and probing:
        yield "", ""
    if len(shown) < len(probing):
        yield f"{len(probing) - len(shown):,} more: {probing[len(shown) :]} (--all shows every one)", "dim"
    yield from _others(analysis, everything)
    yield from _findings(analysis, found.get(None, []), "")
    yield from _findings_aside(analysis, verbose)


def _nothing(analysis: Analysis) -> str:
    """Return the verdict over a capture without a probe: it always says how long was watched."""
    capture = analysis.capture
    if (span := span_words(capture)) is None:
        return "no keepalive probe: " + ("no frame passed the filter" if capture.frames else "no frame captured")
    return f"no keepalive probe seen in {span}"


def _block(
    analysis: Analysis, connection: Connection, found: list[Finding], brief: bool, verbose: bool
) -> Iterator[Line]:
    """Yield the block of one connection: the gravest prober first, then the other side, then its findings."""
    probers = gravest(connection)
    for prober in probers:
        said = connection.verdict if prober is probers[0] else of_prober(prober)
        named = not brief or str(prober.peer) in said.sentence
        yield said.sentence if named else f"{said.sentence} (peer {prober.peer})", said.mood
        if not brief:
            yield from ((f"  {key:<{KEY}}{words}", "") for key, words in _facts(analysis, prober, verbose))
    if brief:
        return
    if len(probers) == 1:
        yield f"  {'peer':<{KEY}}{probers[0].peer} sent no probes in {duration(connection.observed_ns)}", ""
    yield f"  {'observed':<{KEY}}{observed_words(connection)}", ""
    yield from _findings(analysis, found, "  ")


def _facts(analysis: Analysis, prober: Prober, verbose: bool) -> Iterator[tuple[str, str]]:
    """Yield the named facts about one prober."""
    yield "probes", f"to {prober.peer}: {_numbers(analysis, prober)}, {_payload(prober)}{_frames(analysis, prober)}"
    if prober.gaps_ns is not None:
        yield "gaps", between(*prober.gaps_ns)
    if (answered := reply_words(prober)) is not None:
        yield "replies", answered
    silent = [episode for episode in prober.runs if unanswered(episode)]
    for episode in silent if verbose else silent[-1:]:
        yield "silence", _silence(analysis, episode)
    yield "ending", ending_words(prober.ending)
    yield "confidence", GRADES.get(prober.grade, prober.grade)
    for name in SETTINGS:
        if (words := setting(name, getattr(prober, name))) is not None:
            yield name.removeprefix("user_"), words
    clock = analysis.clocks.get(prober.side.address, set())
    if verbose and 0 < len(clock) < CLOCKS and prober.idle.candidates:
        rates = " or ".join(map(str, sorted(clock)))
        yield "clock", f"kernel HZ of {prober.side.address}: {rates} (from timer lateness)"


def _numbers(analysis: Analysis, prober: Prober) -> str:
    """Return ``412 sent, 409 answered, 3 missed``; with drops a miss may be a frame that was not captured."""
    lost = prober.missed
    reset = prober.last is not None and prober.last.probes[-1].outcome == "reset"
    more = f", {reset:,} reset" if reset and prober.ending == Ending.RESET else ""
    if unseen := uncaptured(prober):
        more += f", {unseen:,} answered, but not in the capture"
    return f"{prober.probes:,} sent, {prober.replies:,} answered, {lost:,} {missed_word(analysis)}{more}"


def _payload(prober: Prober) -> str:
    """Return how many bytes each probe carries, in words."""
    return "no payload" if prober.payload_bytes == 0 else f"{counted(prober.payload_bytes, 'byte')} each"


def _frames(analysis: Analysis, prober: Prober) -> str:
    """Return the first and the last probe's frame: `` (frames 11 to 17)``."""
    if prober.frames is None:
        return ""
    first, last = map(analysis.frame_name, prober.frames)
    return f" (frame {first})" if prober.probes == 1 else f" (frames {first} to {last})"


def _silence(analysis: Analysis, episode: Episode) -> str:
    """Return a run of unanswered probes as a timeline: from the last sign of life to its ending."""
    times = [probe.time_ns for probe in episode.probes]
    heard = episode.silent_since_ns
    start = times[0] if heard is None else heard
    steps = [f"+{duration(time - start)}" for time in times]
    if len(steps) > STEPS:
        steps[STEPS - 1 : -1] = ["..."]
    opening = "first probe" if heard is None else f"last heard {moment(heard)}"
    line = f"{opening}; probes {', '.join(steps)}"
    gave_up = gave_up_ns(episode)
    line += f"; {ending_name(episode.ending)}" if gave_up is None else f"; gave up +{duration(gave_up - start)}"
    frame = analysis.frame_name(episode.ending_frame)
    return line if frame is None else f"{line} (frame {frame})"


def _others(analysis: Analysis, everything: bool) -> Iterator[Line]:
    """Yield the connections without probes: one line, or each of them."""
    for connection in (c for c in passing(analysis.connections) if not c.probers) if everything else ():
        silence, observed = duration(connection.longest_silence_ns), duration(connection.observed_ns)
        yield f"{connection.a} - {connection.b}: no probes in {observed}, longest silence {silence}", ""
    if analysis.unprobed.connections:
        yield _unprobed(analysis), ""


def _unprobed(analysis: Analysis) -> str:
    """Return the summary line over the connections without a probe."""
    unprobed = analysis.unprobed
    between_whom = f" ({unprobed.longest.a} - {unprobed.longest.b})" if unprobed.longest else ""
    line = (
        f"{counted(unprobed.connections, 'connection')} without a keepalive probe; "
        f"longest silence {duration(unprobed.longest_silence_ns)}{between_whom}"
    )
    if unprobed.let_go:
        line += f"; {unprobed.let_go:,} of them let go after one segment"
    if unprobed.window_probing:
        line += f"; {unprobed.window_probing:,} with zero-window probes (not keepalives)"
    if unprobed.retransmitting:
        line += f"; {unprobed.retransmitting:,} with retransmissions"
    return line


def _findings(analysis: Analysis, found: list[Finding], indent: str) -> Iterator[Line]:
    """Yield findings in full."""
    for finding in found:
        yield f"{indent}{'finding':<{KEY}}{finding.sentence}{_evidence(analysis, finding)}", "doubt"
        if finding.remedy:
            yield f"{indent}{'remedy':<{KEY}}{finding.remedy}", ""


def folded_findings(analysis: Analysis) -> Iterator[Line]:
    """Yield the findings of an analysis, those of one kind in one line, gravest first, as many as fit a screen."""
    kinds: dict[str, list[Finding]] = {}
    for finding in analysis.findings:
        if not finding.folded:
            kinds.setdefault(finding.id, []).append(finding)
    order = sorted(kinds.values(), key=lambda found: RANKS.index(found[0].id))
    for found in order[:KINDS]:
        if len(found) > 1:
            yield f"{'finding':<{KEY}}{several(found)}", "doubt"
        name = "example" if len(found) > 1 else "finding"
        yield f"{name:<{KEY}}{found[0].sentence}{_evidence(analysis, found[0])}", "doubt"
        if found[0].remedy:
            yield f"{'remedy':<{KEY}}{found[0].remedy}", ""
    if rest := [several(found) for found in order[KINDS:]]:
        yield f"{'more':<{KEY}}{'; '.join(rest)} (-v shows them)", "dim"


def _findings_aside(analysis: Analysis, verbose: bool) -> Iterator[Line]:
    """Yield the findings of connections without probes, the first few; these have no block of their own.

    Those about keepalive are only counted, unless ``verbose``: nobody there uses it.
    """
    probing = numbers_of(analysis.connections)
    found = [f for f in analysis.findings if f.connection is not None and f.connection not in probing]
    shown = [finding for finding in found if verbose or not finding.folded]
    for finding in shown if verbose else shown[:SHOWN]:
        yield f"{'finding':<{KEY}}{finding.sentence}{_evidence(analysis, finding)}", "doubt"
        yield f"{'remedy':<{KEY}}{finding.remedy}", ""
    if not verbose and len(shown) > SHOWN:
        yield f"{len(shown) - SHOWN:,} more findings on connections without a probe (-v lists them)", "dim"
    folded: dict[str, list[Finding]] = {}
    for finding in found:
        if finding.folded:
            folded.setdefault(finding.id, []).append(finding)
    if folded and not verbose:
        yield f"where nobody probes: {'; '.join(map(several, folded.values()))} (-v lists them)", "dim"


def _evidence(analysis: Analysis, finding: Finding) -> str:
    """Return the frames a finding rests on, the first few of them."""
    if not finding.frames:
        return ""
    names = [str(analysis.frame_name(frame)) for frame in finding.frames[:6]]
    plural, more = "s" if len(finding.frames) > 1 else "", ", ..." if len(finding.frames) > 6 else ""
    return f" (frame{plural} {', '.join(names)}{more})"


def _understood(analysis: Analysis) -> Iterator[Line]:
    """Yield how much of the capture was understood."""
    capture = analysis.capture
    name = capture.files[0] if len(capture.files) == 1 else counted(len(capture.files), "file")
    span = f" in {words}" if (words := span_words(capture)) else ""
    line = f"{name}: {counted(capture.frames, 'frame')}{span}, {counted(capture.segments, 'TCP segment')}"
    if capture.quotes:
        line += f", {counted(capture.quotes, 'ICMP error that quotes', 'ICMP errors that quote')} one"
    yield f"{line}; {_left_out(analysis)}", "dim"
    for each in capture.breaks[:BREAKS_SHOWN]:
        yield break_words(each), "dim"
    if (more := len(capture.breaks) - BREAKS_SHOWN) > 0:
        yield f"{counted(more, 'more place')} where times do not follow on one another (--json lists them)", "dim"


def _left_out(analysis: Analysis) -> str:
    """Return the frames that were not decoded, by reason, most frequent first."""
    skipped = sorted(analysis.capture.skipped.items(), key=lambda item: (-item[1], item[0]))
    if not skipped:
        return "nothing left out"
    return "left out: " + ", ".join(f"{count:,} {reason}" for reason, count in skipped)
