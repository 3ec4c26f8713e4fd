"""One summary across all sensors: settings by destination, idle deaths, deaths by cause and hour, findings, losses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib import resources
from itertools import islice
from typing import TypedDict

from kacap.analysis import Analysis
from kacap.clock import HOUR_NS
from kacap.connections import passing
from kacap.model import Connection, Setting
from kacap.report.sentences import break_words
from kacap.units import clean, counted, duration, moment

SHOWN = 50  # rows of each table of the text; the page has all
DEATHS = ("reset", "gave-up", "user-timeout", "unreachable")


class Part(TypedDict):
    """A sensor's part of the summary: times in nanoseconds since 1970, silences in nanoseconds."""

    sensor: str
    files: int
    frames: int
    segments: int
    first_ns: int | None
    last_ns: int | None
    connections: int
    probing: int
    settings: list[tuple[str, str, str, str, int]]  # destination; idle, interval and count in words; how many
    deaths: list[tuple[str, str, int, int]]  # how, by whom, in which hour, how many
    idle_deaths: list[tuple[str, int, int, int]]  # destination, silences survived and fatal, how many
    findings: list[tuple[str, int]]
    dropped: int
    breaks: list[str]
    damages: list[str]


class Summary(TypedDict):
    """All sensors, and the sums over them."""

    sensors: list[Part]
    settings: list[tuple[str, str, str, str, int]]
    deaths: list[tuple[str, str, int, int]]
    idle_deaths: list[tuple[str, int, int, int]]
    findings: list[tuple[str, int]]


def part_of(read: Part) -> Part:
    """Return a part that was read as JSON, its rows as ``summed_up`` has them."""
    read["settings"] = [(to, idle, interval, count, n) for to, idle, interval, count, n in read["settings"]]
    read["deaths"] = [(how, by, hour_ns, n) for how, by, hour_ns, n in read["deaths"]]
    read["idle_deaths"] = [(to, survived_ns, killed_ns, n) for to, survived_ns, killed_ns, n in read["idle_deaths"]]
    read["findings"] = [(name, n) for name, n in read["findings"]]
    return read


def summed_up(analysis: Analysis, sensor: str) -> Part:
    """Return a sensor's part of the summary, as JSON has it."""
    settings: Counter[tuple[str, str, str, str]] = Counter()
    deaths: Counter[tuple[str, str, int]] = Counter()
    connections = probing = 0
    for connection in passing(analysis.connections):
        connections += 1
        probing += bool(connection.probers)
        settings.update((str(p.peer), _words(p.idle), _words(p.interval), _words(p.count)) for p in connection.probers)
        deaths.update(_death(connection))
    capture = analysis.capture
    return {
        "sensor": sensor,
        "files": len(capture.files),
        "frames": capture.frames,
        "segments": capture.segments,
        "first_ns": capture.first_ns,
        "last_ns": capture.last_ns,
        "connections": connections + analysis.unprobed.connections,
        "probing": probing,
        "settings": [(*key, n) for key, n in sorted(settings.items())],
        "deaths": [(*key, n) for key, n in sorted(deaths.items())],
        "idle_deaths": [(str(d.destination), d.survived_ns, d.killed_ns, d.deaths) for d in analysis.idle_deaths],
        "findings": sorted(Counter(finding.id for finding in analysis.findings).items()),
        "dropped": capture.dropped,
        "breaks": [break_words(each) for each in capture.breaks],
        "damages": [str(damage) for damage in analysis.damages],
    }


def _words(setting: Setting) -> str:
    """Return the settings that could have produced what was seen, in few characters."""
    if not setting.candidates:
        return "?"
    least, most = setting.candidates[0], setting.candidates[-1]
    return str(least) if least == most else f"{least} to {most}"


def _death(connection: Connection) -> Iterator[tuple[str, str, int]]:
    """Yield cause and hour of a connection that did not end by itself: how, by whom, and when."""
    ended = connection.ended
    if ended.how in DEATHS and ended.time_ns is not None:
        yield ended.how, str(ended.by), ended.time_ns // HOUR_NS * HOUR_NS


def merged(parts: Iterable[Part]) -> Summary:
    """Return the summary over all sensors, whose parts ``summed_up`` returned."""
    sensors = sorted(parts, key=lambda part: str(part["sensor"]))
    settings: Counter[tuple[str, str, str, str]] = Counter()
    deaths: Counter[tuple[str, str, int]] = Counter()
    findings: Counter[str] = Counter()
    brackets: dict[str, list[int]] = defaultdict(lambda: [0, 1 << 62, 0])
    for part in sensors:
        settings.update({(to, idle, interval, count): n for to, idle, interval, count, n in part["settings"]})
        deaths.update({(how, by, hour): n for how, by, hour, n in part["deaths"]})
        findings.update(dict(part["findings"]))
        for destination, survived_ns, killed_ns, number in part["idle_deaths"]:
            bracket = brackets[destination]
            bracket[:] = max(bracket[0], survived_ns), min(bracket[1], killed_ns), bracket[2] + number
    return {
        "sensors": sensors,
        "settings": [(*key, n) for key, n in settings.most_common()],
        "deaths": [(*key, n) for key, n in sorted(deaths.items(), key=lambda item: (item[0][2], item[0]))],
        "idle_deaths": [(to, survived, killed, n) for to, (survived, killed, n) in sorted(brackets.items())],
        "findings": findings.most_common(),
    }


Sections = list[tuple[str, list[str], list[list[str]]]]


def sections(summary: Summary) -> Sections:
    """Return the tables of the summary: title, heads, rows."""
    sensors = summary["sensors"]
    return [
        ("Sensors", ["sensor", "files", "frames", "connections", "probing", "from", "to"],
         [[s["sensor"], *(f"{n:,}" for n in (s["files"], s["frames"], s["connections"], s["probing"])),
           _moment(s["first_ns"]), _moment(s["last_ns"])] for s in sensors]),
        ("Settings in use, by destination", ["destination", "idle s", "interval s", "count", "connections"],
         [[*map(str, key), f"{n:,}"] for *key, n in summary["settings"]]),
        ("Idle deaths, by destination", ["destination", "longest silence survived", "shortest that killed", "deaths"],
         [[to, duration(survived) if survived else "none", duration(killed), f"{n:,}"]
          for to, survived, killed, n in summary["idle_deaths"]]),
        ("Deaths, by hour and cause", ["hour", "how", "by", "connections"],
         [[moment(hour)[:13], how, by, f"{n:,}"] for how, by, hour, n in summary["deaths"]]),
        ("Findings", ["finding", "number"], [[name, f"{n:,}"] for name, n in summary["findings"]]),
        ("Sensors with drops, gaps or damage", ["sensor", "what"], [
            [s["sensor"], what] for s in sensors
            for what in [*([counted(s["dropped"], "frame") + " dropped"] if s["dropped"] else []), *s["breaks"],
                         *s["damages"]]
        ]),
    ]  # fmt: skip


def _moment(time_ns: int | None) -> str:
    return "" if time_ns is None else moment(time_ns)[:19]


def text_of(summary: Summary) -> str:
    """Return the summary as lines of text."""
    lines: list[str] = []
    for title, heads, rows in sections(summary):
        if not rows:
            continue
        shown = [[clean(cell) for cell in row] for row in islice(rows, SHOWN)]
        widths = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
        lines += ["", title]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in [heads, *shown]]
        if len(rows) > SHOWN:
            lines.append(f"  ... {len(rows) - SHOWN:,} more rows in summary.html and summary.json")
    return "\n".join(lines[1:]) + "\n"


def page_of(summary: Summary) -> str:
    """Return the summary as one HTML page; every value in it is escaped."""
    from jinja2 import Environment, StrictUndefined

    source = resources.files(__package__).joinpath("summary.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(str(value)),
    )
    return environment.from_string(source).render(sections=sections(summary))
