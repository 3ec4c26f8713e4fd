"""The roads that a capture takes through kacap, in this process: each command as it is called, and what must hold."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import distributed
import polars
import zstandard
from prometheus_client.parser import text_string_to_metric_families
from stories import Chance, pcap, shipped

import kacap.commands
from kacap.capture.endpoints import EndpointsFilter
from kacap.capture.filters import Filter, compile_filter
from kacap.capture.tshark.fields import FIELDS
from kacap.capture.tshark.rows import row_of, table
from kacap.commands import live_run
from kacap.commands.live import LiveOptions
from kacap.commands.live import live as live_command
from kacap.errors import KacapError
from kacap.survey.run import survey
from kacap.timing.limits import parse_limits
from kacap.timing.rules import parse_rules
from kacap.wire.skip_reasons import SkipReason

FILTERS = (
    "tcp",
    "port 12345",
    "host 10.0.0.1",
    "not port 5432 and ip",
    "tcp[13] & 16 != 0",
    "ip6 or icmp",
    "vlan and tcp",
    "greater 60",
    "src net 10.0.0.0/8",
    "tcp[tcpflags] & tcp-rst != 0",
)
EXPECTED = (
    "idle=60,interval=10,count=6",
    "idle=1",
    "count=3,user_timeout=4s",
    "idle=2,interval=1,count=3,user_timeout=0",
    "idle=32767,interval=32767,count=127",
)
LONGEST_S = 40  # of the processor's time; one who hangs without using any is ended from outside
ENDS = {0, 1, 2, 3}  # exit codes as documented


class WrongError(AssertionError):
    """What came out is not what may come out."""


class CostError(WrongError):
    """It costs more than it may."""


@dataclass
class Cost:
    """What a road may cost: processor seconds, and memory, for a file of so many bytes."""

    seconds: float = 1.0
    seconds_per_mb: float = 0.2
    mb: float = 200.0
    mb_per_mb: float = 8.0

    def allows(self, used_s: float, used_mb: float, size: int) -> bool:
        """Return whether it is within the bounds."""
        return (
            used_s <= self.seconds + self.seconds_per_mb * size / 1e6
            and used_mb <= self.mb + self.mb_per_mb * size / 1e6
        )


READING, DRAWING = Cost(), Cost(seconds=8.0, mb=400.0)
BOTH = Cost(seconds_per_mb=0.4, mb_per_mb=16.0)  # a capture and its copy


@dataclass
class Road:
    """How a capture is used; how often, against the others; what it may cost (None: another program works, too)."""

    walk: Callable[[Chance, str], None]
    often: int
    cost: Cost | None = field(default_factory=lambda: READING)


@contextlib.contextmanager
def streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Have the standard streams in memory, and the signals as they were."""
    out, err = io.BytesIO(), io.BytesIO()
    before, handlers = (sys.stdout, sys.stderr), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    sys.stdout, sys.stderr = io.TextIOWrapper(out, "utf-8"), io.TextIOWrapper(err, "utf-8")
    try:
        yield out, err
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        sys.stdout, sys.stderr = before
        for number, handler in handlers.items():
            signal.signal(number, handler)


def program(*words: str) -> tuple[int, str, str]:
    """Run a command in this process; an exception not kacap's own is raised. Return exit code, stdout, stderr."""
    code: Any = 0
    with streams() as (out, err), patch.dict(os.environ, KACAP_DEBUG="1"):
        try:
            kacap.commands.main(list(words), prog_name="kacap")
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        said, told = out.getvalue().decode(), err.getvalue().decode()
    if code not in ENDS:
        raise WrongError(f"exit code {code}: {told}")
    if code == 1 and not said and not told:
        raise WrongError("failed without a word")
    inert(told)
    return code, said, told


def inert(text: str) -> None:
    """Raise WrongError where a text would move a cursor, or turn around what follows."""
    wrong = {c for c in set(text) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}
    if wrong:
        raise WrongError(f"{wrong} in {text[:200]!r}")


def wishes(c: Chance) -> list[str]:
    """Return options that every command of reading takes."""
    words = ["--expect", c.choice(EXPECTED)] if c.one_in(3) else []
    return words + (
        ["--from", c.choice(("a", "b", "10.0.0.1", "12345", "10.0.0.1:40000"))] if words and c.one_in(3) else []
    )


def read_text(c: Chance, path: str) -> None:
    """Read, and write the report as text."""
    words = [word for word in ("--all", "-q", "-v") if c.one_in(3)]
    expression = [c.choice(FILTERS)] if c.one_in(6) else []
    if c.one_in(5):
        words += ["--system", c.choice(("linux", "windows", "macos", "auto"))]
    inert(program("read", path, *words, *wishes(c), *expression)[1])


def read_json(c: Chance, path: str) -> None:
    """Read, and write records: each is JSON, and the capture's comes last."""
    code, said, _ = program("read", path, "--json", "--segments", c.choice(("all", "events", "none")), *wishes(c))
    records = [json.loads(line, parse_constant=no_constant) for line in said.splitlines()]
    if code in (0, 1) and records and records[-1]["type"] != "capture":
        raise WrongError(f"the last record is of type {records[-1]['type']}")


def no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise WrongError(f"{name} in JSON")


# The page's own scripts, as its template has them.
OWN_SCRIPTS = (Path(kacap.commands.__file__).parents[1] / "report/html/report.html").read_text().count("<script")


def report(c: Chance, path: str) -> None:
    """Write the page."""
    _, said, _ = program("report", path, "-o", "-", *wishes(c))
    if said and (said.count("<script") > OWN_SCRIPTS or not said.startswith("<!DOCTYPE html>")):
        raise WrongError("the page holds what it may not, or is none")


def chart(c: Chance, path: str) -> None:
    """Draw."""
    out = Path(path).with_suffix(c.choice((".svg", ".svg", ".png", ".pdf")))
    view = c.choice(("timeline", "silence", "residuals", "ecdf", "all"))
    one = ["--connection", str(c.choice((1, 1, 2, 99)))] if c.one_in(3) else []
    code, _, _ = program("chart", path, "-o", str(out), "--view", view, *one, *wishes(c))
    if code == 0 and not out.stat().st_size:
        raise WrongError("an empty picture")
    out.unlink(missing_ok=True)


def annotate(c: Chance, path: str) -> None:
    """Write the capture again; what is written reads without damage."""
    out = str(Path(path).with_name("annotated.pcapng"))
    words = [word for word in ("--only", "--headers-only", "--anonymise") if c.one_in(3)]
    code, _, told = program("annotate", path, "-o", out, *words, *wishes(c))
    if code == 0 and "beyond" not in told:
        again, _, said = program("read", out, "-q")
        if again != 0 and "no place for" not in said:
            raise WrongError(f"the annotated copy is damaged: {said}")
    Path(out).unlink(missing_ok=True)


def check(c: Chance, path: str) -> None:
    """Check an expectation."""
    form = c.choice(("text", "json", "junit", "tap", "nagios"))
    words = ["--require", c.choice(("idle", "interval", "count"))] if c.one_in(3) else []
    said = program("check", path, "--expect", c.choice(EXPECTED), "--format", form, *words)[1]
    if form != "json":
        inert(said)


def explain(c: Chance, path: str) -> None:
    """Explain a frame."""
    inert(program("explain", path, "--frame", str(c.choice((1, 2, 3, 5, 8, 20))))[1])


def compare(c: Chance, path: str) -> None:
    """Compare a capture with a copy of itself, some of whose bytes are others."""
    data = bytearray(Path(path).read_bytes())
    for _ in range(c.randrange(4)):
        if len(data) > 60:
            data[c.randrange(40, len(data))] = c.number(8)
    other = Path(path).with_name("other" + Path(path).suffix)
    other.write_bytes(data)
    said = program("compare", path, str(other), *(["--json"] if c.one_in(2) else ["-v"]))[1]
    inert(said)


def labels(c: Chance, path: str) -> None:
    """Compare with Wireshark's labels."""
    inert(program("compare", path, *(["--json"] if c.one_in(2) else []))[1])


def by_tshark(c: Chance, path: str) -> None:
    """Have tshark decode."""
    inert(program("read", path, "--engine", "tshark", "-q")[1])


def live(c: Chance, path: str) -> None:
    """Follow the capture as it comes out of a pipe, in pieces; save it, too."""
    pipe = Path(path).with_name("pipe")
    os.mkfifo(pipe)
    cuts = [c.choice((1, 7, 100, 4096)) for _ in range(5)]
    writer = threading.Thread(target=pour, args=(Path(path).read_bytes(), str(pipe), cuts), daemon=True)
    writer.start()
    words = ["-r", str(pipe), "--segments", "all", *(word for word in ("-q", "-v", "-tt", "--json") if c.one_in(3))]
    words += ["-w", str(pipe.with_name("saved.pcap"))] if c.one_in(4) else []
    kept = [pipe.with_name("metrics.prom"), pipe.with_name("log.jsonl")]
    words += ["--textfile", str(kept[0]), "--log", str(kept[1])] if c.one_in(3) else []
    words += [c.choice(FILTERS)] if c.one_in(8) else []
    try:
        with streams() as (out, err):
            with contextlib.suppress(KacapError):
                watch(words)
            sys.stdout.flush()
            said, told = out.getvalue().decode(), err.getvalue().decode()
        inert(told)
        inert(said) if "--json" not in words else [json.loads(line) for line in said.splitlines()]
        if kept[0].exists():
            list(text_string_to_metric_families(kept[0].read_text()))
            list(map(json.loads, kept[1].read_text().splitlines()))
    finally:
        for used in (pipe, *kept):
            used.unlink(missing_ok=True)
        writer.join(5)


def tables(c: Chance, path: str) -> None:
    """Write Parquet: every table reads."""
    directory = Path(path).with_name("tables")
    program("read", path, "-q", "--parquet", str(directory), *wishes(c))
    for file in directory.glob("**/*.parquet"):
        polars.read_parquet(file)
    shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def client() -> distributed.Client:
    """One worker, in this process; what its tasks raise is told as a trouble."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    return distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)


def lake(c: Chance, path: str) -> None:
    """Survey the capture beside one that is whole; a second run finds nothing new."""
    place = Path(path).with_name("lake")
    for sensor in ("one", "other") if c.one_in(2) else ("one", "one"):
        (place / sensor).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / sensor / Path(path).name)
    (place / sensor / "whole.pcap").write_bytes(pcap(c, list(c.choice(shipped()))).data)
    asked = client(), [f"{place}/*/*"], str(place / "results"), None, lambda *_: None
    with contextlib.suppress(KacapError):
        first = survey(*asked)
        inert(first.text)
        if wrong := [
            trouble for trouble in first.troubles if ": not finished: " in trouble or ": not summed" in trouble
        ]:
            raise WrongError(wrong[0])
        if (again := survey(*asked)).files and not first.troubles:
            raise WrongError(f"{again.files} files are said to be new at the second run")
    shutil.rmtree(place)


def watch(words: list[str]) -> None:
    """Do what ``kacap live`` does, but for the rights that it gives up for good."""
    with (
        patch.object(live_run, "is_privileged", lambda: False),
        patch.object(live_run, "warm_up", lambda: None),
        patch.object(live_run, "drop", lambda _: None),
    ):
        live_run.watch(None, None, LiveOptions(**live_command.make_context("live", words).params))


def pour(data: bytes, pipe: str, cuts: list[int]) -> None:
    """Write ``data`` into a pipe, in pieces; the reader may go away."""
    with contextlib.suppress(OSError), Path(pipe).open("wb", buffering=0) as out:
        at, number = 0, 0
        while at < len(data):
            size = cuts[number] if number < len(cuts) else 1 << 16
            out.write(data[at : at + size])
            at, number = at + size, number + 1


def state(c: Chance, path: str) -> None:
    """Go on from a state that somebody else has written: its form is right, its rows and facts are not."""
    kept = Path(path).with_name("state")
    kept.unlink(missing_ok=True)
    program("read", path, "-q", "--state", str(kept))
    if kept.exists():
        first, _, packed = kept.read_bytes().partition(b"\n")
        data = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
        damages = c.choice((0, 1, 1, 3, 20))
        for _ in range(damages):
            at = c.randrange(8, len(data)) if c.one_in(2) else c.randrange(8, min(len(data), 2000))
            size = c.choice((1, 2, 4, 8))
            data[at : at + size] = (c.number(8 * size)).to_bytes(size, "little")[: len(data) - at]
        packed = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(data))
        other = c.one_in(8)
        kept.write_bytes(c.randbytes(c.randrange(200)) if other else first + b"\n" + packed)
        later = Path(path).with_name("later.pcap")
        rows = list(c.choice(shipped()))
        by_ns = 4_102_444_800 * 10**9 - rows[0].time_ns  # after all that came before
        later.write_bytes(pcap(c, [replace(row, time_ns=row.time_ns + by_ns) for row in rows]).data)
        told = program("read", str(later), "-q", "--state", str(kept))[2]
        if "again without it" in told and not damages and not other:
            raise WrongError(f"what was written is refused: {told}")
    kept.unlink(missing_ok=True)


WORDS = (
    "tcp",
    "udp",
    "port",
    "host",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "(",
    ")",
    "12345",
    "10.0.0.1",
    "::1",
    "net",
    "10/8",
    "vlan",
    "ip[0]",
    "tcp[13]",
    "&",
    "=",
    "!=",
    "0xffffffff",
    "less",
    "greater",
    "proto",
    "6",
    "portrange",
    "1-70000",
    "ether",
    "00:11:22:33:44:55",
    "-1",
    "'",
    '"',
    "\\",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "len",
    ">",
    "+",
    "*",
    "/",
    "%",
    "0",
    "mpls",
    "geneve",
    "inbound",
    "ip6",
    "protochain",
)


def expressions(c: Chance, _: str) -> None:
    """Compile filters that nobody would write."""
    text = " ".join(c.choice(WORDS) for _ in range(c.randrange(1, 9)))
    with contextlib.suppress(KacapError):
        compile_filter(text, c.choice((0, 1, 12, 101, 113, 127, 276, 65000)))
    with contextlib.suppress(KacapError):
        EndpointsFilter(text)
    with contextlib.suppress(KacapError):
        Filter(text).program(c.number(16))


def settings(c: Chance, _: str) -> None:
    """Read files of rules and of limits that nobody would write."""
    values = (
        "60",
        "-1",
        "1e9",
        '"60s"',
        '"2h"',
        '""',
        "true",
        "[1]",
        "{a=1}",
        "nan",
        "inf",
        "2026-01-01",
        "0x10",
        '"\\u202e"',
        "99999999999999999999",
        '"port 5432"',
        '"a"',
        '"10.0.0.1:99999"',
        "'''x'''",
        "[[",
        '"1500ms"',
        "1.5",
    )
    keys = (
        "idle",
        "interval",
        "count",
        "user_timeout",
        "filter",
        "from",
        "id",
        "seconds",
        "what",
        "refreshed",
        "after",
        "idel",
        '"\\u001b[31m"',
        "date",
        "source",
    )
    heads = ("[[expect]]", "[[limit]]", "[expect]", "expect = 1", "[[expect", "")
    lines = [c.choice(heads)]
    for _ in range(c.randrange(8)):
        lines.append(f"{c.choice(keys)} = {c.choice(values)}" if not c.one_in(6) else c.choice(heads))
    text = "\n".join(lines)
    for parse in (lambda: parse_rules(text, "rules.toml", EndpointsFilter), lambda: parse_limits(text, "limits.toml")):
        with contextlib.suppress(KacapError):
            parse()


def fields(c: Chance, _: str) -> None:
    """Make rows of words that tshark would not write, but another program in its place, or another version, might."""
    layers = (
        "eth",
        "ethertype",
        "ip",
        "ipv6",
        "tcp",
        "icmp",
        "icmpv6",
        "vlan",
        "gre",
        "vxlan",
        "udp",
        "gtp",
        "data",
        "",
        "ipv6.fraghdr",
        "pppoes",
        "erspan",
        "ah",
        "geneve",
    )
    values = (
        "",
        "0",
        "1",
        "40000",
        "10.0.0.1",
        "::1",
        "0x10",
        "0x0010",
        "4294967295",
        "-1",
        "99999999999999999999",
        "1,2,3",
        "10.0.0.1,10.0.0.2",
        "True",
        "x",
        ",",
        "0xffffffffffffffffff",
        "61:62",
        "1.5",
        "20",
        "5",
        "65536",
        "\u0661",
        "1_0",
    )
    usual = {
        "frame.number": "1",
        "ip.src": "10.0.0.1",
        "ip.dst": "10.0.0.2",
        "ip.ttl": "64",
        "ip.id": "0x1",
        "ip.proto": "6",
        "ip.flags.mf": "0",
        "ip.frag_offset": "0",
        "tcp.srcport": "40000",
        "tcp.dstport": "80",
        "tcp.seq": "1",
        "tcp.ack": "1",
        "tcp.len": "0",
        "tcp.hdr_len": "20",
        "tcp.flags": "0x0010",
        "tcp.window_size_value": "1",
    }
    words = [c.choice(values) if c.one_in(6) else usual.get(name, "") for name in FIELDS]
    words[FIELDS.index("frame.protocols")] = (
        "eth:ethertype:ip:tcp" if c.one_in(2) else ":".join(c.choice(layers) for _ in range(c.randrange(1, 9)))
    )
    row = row_of(words, 1, 1, 0)
    if not isinstance(row, SkipReason):
        with contextlib.suppress(KacapError):
            table([row])


ROADS = {
    "read": Road(read_text, 30),
    "json": Road(read_json, 20),
    "live": Road(live, 20),
    "annotate": Road(annotate, 12),
    "check": Road(check, 8),
    "explain": Road(explain, 5),
    "compare": Road(compare, 10, BOTH),
    "report": Road(report, 5, DRAWING),
    "chart": Road(chart, 6, DRAWING),
    "labels": Road(labels, 1, None),
    "tshark": Road(by_tshark, 1, None),
    "filters": Road(expressions, 6, None),
    "toml": Road(settings, 6),
    "fields": Road(fields, 10),
    "state": Road(state, 8),
    "tables": Road(tables, 5, None),
    "survey": Road(lake, 2, None),
}
WITHOUT_CAPTURE = {"filters", "toml", "fields"}


class TooLongError(WrongError):
    """It takes far too long: raised where it was when the time was over."""


def measured(walk: Callable[[], None]) -> tuple[float, float]:
    """Return the processor seconds of a walk, and by how many MB the process grew at its highest.

    Raises TooLongError in the middle of it when it takes more than ``LONGEST_S``.
    """

    def over(*_: object) -> None:
        raise TooLongError(f"more than {LONGEST_S} s")

    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before_mb, began_s = memory_mb("VmRSS"), time.process_time()
    signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        walk()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return time.process_time() - began_s, memory_mb("VmHWM") - before_mb


def memory_mb(name: str) -> float:
    """Return a number of /proc/self/status in MB; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0
