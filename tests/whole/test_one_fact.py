"""One fact, one value: every report of a capture gives the same number, and the same sentence, for the same thing.

Each report is read back from what it writes, not from the objects behind it. What it says of a prober becomes a dict of
facts under (connection, peer); facts of the same name from different reports must be equal.
"""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from make_expected import cases, goldens_of

import kacap
from kacap.library import Analysis
from kacap.model import Connection
from kacap.report import checks, html, records, text
from kacap.report.chart.words import headline, lines_of
from kacap.report.html import view
from kacap.timing.expectations import Expectation
from kacap.timing.outcome import Demand, Outcome
from kacap.units import between, duration

pytestmark = pytest.mark.slow

Key = tuple[int, str]  # connection, peer
Facts = dict[Key, dict[str, Any]]

SETTINGS = ("idle", "interval", "count")
CAPTURES = [(case, path.name, files) for case in cases() for path, files in goldens_of(case).items()]
NUMBERS = re.compile(r"([\d,]+) sent, ([\d,]+) answered, ([\d,]+) missed")


def number(words: str) -> int:
    return int(words.replace(",", ""))


def candidates(words: str) -> tuple[int, int] | None:
    """Return the least and the most of ``60 or 61 s, observed ...``, ``56 to 60 s (probably 60)``; None without."""
    found = re.match(r"(\d+(?:(?: to | or )\d+)*)(?![\d.])", words)
    numbers = [int(n) for n in re.findall(r"\d+", found[1])] if found else []
    return (min(numbers), max(numbers)) if numbers else None


def ending(words: str) -> str:
    """Return the name of an ending from its words."""
    name = words.partition(":")[0]
    return {"last probe answered": "answered", "gave up": "gave-up", "gave up early": "user-timeout",
            "still waiting": "open"}.get(name, name)  # fmt: skip


def from_named(named: dict[str, str]) -> dict[str, Any]:
    """Return the facts in the named lines that text and HTML have in common."""
    sent, answered, missed = (number(n) for n in NUMBERS.search(named["probes"]).groups())
    facts: dict[str, Any] = {
        "probes": sent,
        "answered": answered,
        "missed": missed,
        "ending": ending(named["ending"]),
        "gaps": named.get("gaps"),
        "replies": named.get("replies", "").removeprefix("after ").partition(" (")[0] or None,
        "observed": re.search(r" UTC, for (.*), (?:handshake|starts)", named["observed"])[1],
    }
    return facts | {name: candidates(named.get(name, "")) for name in SETTINGS}


def of_text(analysis: Analysis) -> Facts:
    """Read the text back: a block for each connection, in it the lines of each prober, then what they share."""
    out = io.StringIO()
    text.render(analysis, out, all_connections=True, verbose=True)
    found: Facts = {}
    for block in re.split(r"\n\n", out.getvalue()):
        shared = re.search(r"^  observed +(.*) \(connection (\d+)\)$", block, re.M)
        if shared is None:
            continue
        parts = re.split(r"^(?=\S)", block, flags=re.M)
        for part in (part for part in parts if NUMBERS.search(part)):
            sentence, *lines = part.splitlines()
            named = {line[2:14].strip(): line[14:] for line in lines if line.startswith("  ") and line[2:14].strip()}
            facts = from_named(named | {"observed": shared[1]})
            if not any(key[0] == int(shared[2]) for key in found):
                facts["verdict"] = sentence
            found[int(shared[2]), re.match(r"to (\S+):", named["probes"])[1]] = facts
    return found


class Html(HTMLParser):
    """Collects the cards (sentence and named facts) and the rows of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self._tags: list[str] = []
        self._in_card, self._name = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "input", "br"):
            return
        self._tags.append(tag)
        if tag == "article":
            self._in_card = (dict(attrs).get("class") or "").startswith("card")
            if self._in_card:
                self.cards.append(("", {}))
        elif tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._tags and self._tags.pop() != tag:
            pass
        if tag == "article":
            self._in_card = False

    def handle_data(self, data: str) -> None:
        tag = self._tags[-1] if self._tags else ""
        if tag == "td":
            self.rows[-1][-1] += data
        if not self._in_card:
            return
        sentence, named = self.cards[-1]
        if tag == "h3":
            self.cards[-1] = (sentence + data.strip(), named)
        elif tag == "dt":
            self._name = data
        elif tag == "dd":
            named[self._name] = named.get(self._name, "") + data


def of_html(analysis: Analysis) -> tuple[Facts, Facts]:
    """Read the page back: its cards, and its table."""
    out = io.BytesIO()
    html.render(analysis, out)
    page = Html()
    page.feed(out.getvalue().decode())
    rows: Facts = {}
    for row in page.rows:
        if not row:
            continue  # the head
        named = dict(zip((name for name, _ in view.COLUMNS), row, strict=True))
        rows[int(named["#"]), named["peer"]] = {
            "probes": number(named["probes"]),
            "answered": number(named["answered"]),
            "missed": number(named["missed"]),
            "observed": named["observed for"],
        } | {name: candidates(named[name]) for name in SETTINGS}
    cards: Facts = {}
    for sentence, named in page.cards:
        connection = int(re.search(r"\(connection (\d+)\)$", named["observed"])[1])
        peers = [key for key in rows if key[0] == connection and key not in cards]
        facts = from_named(named)
        if not any(key[0] == connection for key in cards):
            facts["verdict"] = sentence
        cards[peers[0]] = facts  # cards and rows of a connection come in the same order
    return cards, rows


def of_records(analysis: Analysis) -> Facts:
    """Read the JSON back; gaps and reply times are worked out from its probes."""
    out = io.StringIO()
    records.render(analysis, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    probes: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["type"] == "probe":
            probes[line["connection"], line["prober"]].append(line)
    found: Facts = {}
    for line in lines:
        for prober in line["probers"] if line["type"] == "connection" else ():
            own = probes[line["connection"], prober["side"]]
            times = sorted(probe["time_ns"] for probe in own)
            gaps = [later - earlier for earlier, later in pairwise(times)]
            replies = [probe["reply_after_ns"] for probe in own if probe["reply_after_ns"] is not None]
            assert (len(own), len(replies)) == (prober["probes"], prober["replies"])
            settings = {name: prober[name]["candidates"] for name in SETTINGS}
            found[line["connection"], line["b"] if prober["side"] == line["a"] else line["a"]] = {
                "probes": prober["probes"],
                "answered": prober["replies"],
                "ending": prober["ending"],
                "gaps": between(min(gaps), max(gaps)) if gaps else None,
                "replies": between(min(replies), max(replies)) if replies else None,
                "observed": duration(line["observed_until_ns"] - line["first_ns"]),
                "verdict": line["verdict"],
            } | {name: (found[0], found[-1]) if found else None for name, found in settings.items()}
    return found


def of_tables(analysis: Analysis) -> Facts:
    """Read the table of probers back, as pandas gets it."""
    found: Facts = {}
    for row in analysis.tables.probers.to_pandas().astype(object).to_dict("records"):
        known = {
            name: None if value is None or value != value or str(value) == "<NA>" else value
            for name, value in row.items()
        }
        names = {"probes": "probes", "answered": "replies", "missed": "missed", "ending": "ending"}
        facts = {name: known[column] for name, column in names.items()}
        for name in SETTINGS:
            unit = "" if name == "count" else "_s"
            least, most = known[f"{name}{unit}_least"], known[f"{name}{unit}_most"]
            facts[name] = None if least is None else (int(least), int(most))
        found[int(known["connection"]), known["peer"]] = facts
    return found


def of_chart(analysis: Analysis) -> Facts:
    """Read titles and what stands under them; where both ends probe, the title is about the graver one."""
    found: Facts = {}
    for connection in analysis.connections:
        if not connection.probers:
            continue
        lines = lines_of(analysis, connection)
        for line in lines:
            if said := re.match(r"(\S+) probes (\S+?)(?: \(connection \d+, [^)]*\))?: n=([\d,]*\d)(.*)", line):
                gaps = re.search(r", gaps (.*?)(?=, replies|;|$)", said[4])
                replies = re.search(r", replies after (.*?)(?= \(|;|$)", said[4])
                found[connection.connection, said[2]] = {
                    "probes": number(said[3]),
                    "gaps": gaps and gaps[1],
                    "replies": replies and replies[1],
                    "verdict": headline([connection]),
                }
    return found


def of_check(files: list[str]) -> Facts:
    """Read ``kacap check`` back, which judges one prober of each connection."""
    outcome = Outcome(Demand())
    analysis = kacap.read(
        files, expect=Expectation(idle=3600), sink=lambda r: outcome.take(r) if isinstance(r, Connection) else None
    )
    out = io.StringIO()
    checks.text(outcome, analysis, out)
    heading = re.compile(
        r"^\S+ -> (\S+) \(connection (\d+)\): ([\d,]+) probes?, ([\d,]+) answered, ([\d,]+) missed, (.+)$", re.M
    )
    return {
        (int(connection), peer): {
            "probes": number(sent),
            "answered": number(answered),
            "missed": number(missed),
            "ending": ending(how),
        }
        for peer, connection, sent, answered, missed, how in heading.findall(out.getvalue())
    }


def reports_of(files: list[str]) -> dict[str, Facts]:
    """Return what each report says of each prober of a capture."""
    analysis = kacap.read(files)
    cards, rows = of_html(analysis)
    return {
        "text": of_text(analysis),
        "records": of_records(analysis),
        "cards": cards,
        "rows": rows,
        "tables": of_tables(analysis),
        "chart": of_chart(analysis),
        "check": of_check(files),
    }


def contradictions(reports: dict[str, Facts]) -> Iterator[str]:
    """Yield each fact for which two reports have different values."""
    values: dict[tuple[Key, str], dict[str, Any]] = defaultdict(dict)
    for report, facts in reports.items():
        for key, named in facts.items():
            for name, value in named.items():
                values[key, name][report] = value
    for (key, name), said in values.items():
        if len({repr(value) for value in said.values()}) > 1:
            yield f"connection {key[0]}, peer {key[1]}, {name}: {said}"


def in_sentences(facts: dict[str, Any]) -> Iterator[str]:
    """Yield where the numbers in a verdict are not those of the prober."""
    said = re.search(r"([\d,]+) of ([\d,]+) answered", facts.get("verdict", ""))
    if said and (number(said[1]), number(said[2])) != (facts["answered"], facts["probes"]):
        yield f"{facts['verdict']}: {facts['answered']} of {facts['probes']}"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts of the page out: what they say in words is read from where they take it."""
    monkeypatch.setattr(view, "_charts", lambda *_: [])


@pytest.mark.parametrize(("case", "name", "files"), CAPTURES, ids=lambda value: value if isinstance(value, str) else "")
def test_no_two_reports_of_a_capture_give_two_values_for_one_fact(case: str, name: str, files: list[str]) -> None:
    reports = reports_of(files)
    assert not list(contradictions(reports))
    assert not [wrong for facts in reports["text"].values() for wrong in in_sentences(facts)]
    shown: Callable[[str], set[Key]] = lambda report: set(reports[report])  # noqa: E731
    assert shown("text") == shown("records") == shown("rows") == shown("tables") == shown("chart")
    assert shown("cards") <= shown("rows")


def test_every_report_is_read_back_with_all_that_it_says() -> None:
    files = next(files for case, _, files in CAPTURES if case == "lab/cut-off")
    reports = reports_of(files)
    key = (1, "10.2.0.2:12345")
    for report, facts in reports.items():
        assert facts.keys() == {key}, report
        assert facts[key]["probes"] == 3, report
        assert report == "chart" or facts[key]["answered"] == 0, report
        assert report in ("records", "chart") or facts[key]["missed"] == 3, report
        assert report in ("chart", "rows") or facts[key]["ending"] == "gave-up", report
    for report in ("text", "records", "cards", "rows", "tables"):
        assert [reports[report][key][name] for name in SETTINGS] == [(2, 2), (1, 1), (3, 3)], report
    for report in ("text", "records", "cards", "chart"):
        assert (reports[report][key]["gaps"], reports[report][key]["replies"]) == ("1.01 to 1.02 s", None), report
        assert reports[report][key]["verdict"].startswith("10.1.0.2:40000 gave up on 10.2.0.2:12345"), report


def test_a_contradiction_between_two_reports_is_found() -> None:
    said = {"text": {(1, "b"): {"missed": 2}}, "rows": {(1, "b"): {"missed": 3}}, "chart": {(1, "b"): {"probes": 3}}}
    assert list(contradictions(said)) == ["connection 1, peer b, missed: {'text': 2, 'rows': 3}"]
    assert list(in_sentences({"verdict": "a probes once, 1 of 3 answered", "answered": 2, "probes": 3}))
