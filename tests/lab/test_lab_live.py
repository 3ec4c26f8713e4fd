"""Every scenario watched live, beside the lab's own recorder, tells what its capture tells when it is read afterwards.

Both watch one interface at one time through sockets of their own: a frame has the same timestamp in both where the host
sends it, and one some microseconds apart where it arrives. Live asks the sockets what they are set to; reading is told
the same by rules made from the truth, so that verdicts and findings are compared too.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kacap.commands.read import read as kacap_read
from kacap.lab.scenarios import SCENARIOS
from kacap.lab.truth import read

Record = dict[str, Any]

APART_NS = 5_000_000  # between two timestamps of one frame, on a machine that is busy
OPTIONS = {"idle": "tcp_keepidle", "interval": "tcp_keepintvl", "count": "tcp_keepcnt"}
FRAMES = ("frame", "frames[]", "probes[]", "reply_frame", "ending_frame")
ENHANCED_PACKET = 6
# libpcap leaves out the outgoing copy of what goes over lo, also on any; the lab's recorder keeps both.
ONCE = {"on-any"}


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_watched_live_ends_in_the_records_of_its_capture(
    name: str, watched_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = watched_runs[name]
    for told, files, host, interface in watches(run):
        live = [json.loads(line) for line in told.read_text().splitlines()]
        window = (live[-1]["first_ns"] - APART_NS, live[-1]["last_ns"] + APART_NS)
        parts = [part(file, tmp_path / file.name, window, interface) for file in files]
        later = read_records(parts, rules_for(read(run / "truth.toml"), host), tmp_path)
        assert (live[0].get("kind") == "syn") == (name != "mid-connection")
        assert differences(comparable(live, name), comparable(later, name)) == []
        for of_both in ("segments", "skipped", "frames") if name not in ONCE else ("link_types",):
            assert live[-1][of_both] == later[-1][of_both]
        assert live[-1]["dropped"]["kernel"] == 0


def watches(run: Path) -> list[tuple[Path, list[Path], str, int | None]]:
    """Return, for each watch of a run: what it told, the recorder's files, the host, and the interface in the file."""
    if SCENARIOS[run.name].merged:  # both recorders' files became one after the run
        file = [run / "capture.pcapng"]
        return [(run / "prober.out", file, "client", 0), (run / "peer.out", file, "server", 1)]
    found = []
    for told in read(run / "truth.toml")["capture"]:
        stem = told["files"][0].partition(".")[0].partition("_")[0]  # capture_00001.pcapng, where it was rotated
        found.append((run / f"{stem}.out", [run / file for file in told["files"]], told["host"], None))
    return found


def part(file: Path, copy: Path, window: tuple[int, int], only: int | None) -> Path:
    """Copy a capture of the lab without the frames before and after a window, and with one interface's only.

    The recorder begins before the watch and ends after it; neighbour discovery and probes go on meanwhile.
    """
    data, kept, at = file.read_bytes(), b"", 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        interface, high, low = struct.unpack_from("<III", data, at + 8) if kind == ENHANCED_PACKET else (only, 0, 0)
        if kind != ENHANCED_PACKET or (window[0] <= high << 32 | low <= window[1] and only in (None, interface)):
            kept += data[at : at + size]
        at += size
    copy.write_bytes(kept)
    return copy


def read_records(files: list[Path], rules: str, scratch: Path) -> list[Record]:
    """Return what ``kacap read --json`` tells of some files."""
    (scratch / "rules.toml").write_text(rules)
    options = ["--segments", "all", *(["--rules", str(scratch / "rules.toml")] if rules else [])]
    done = CliRunner().invoke(kacap_read, ["--json", *options, *map(str, files)])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def rules_for(truth: dict, host: str) -> str:
    """Return as rules what the sockets of ``host`` are set to: a live watch there asks them itself."""
    rules = []
    for pair in truth["connection"]:
        for name, other in (("client", "server"), ("server", "client")):
            end = pair[name]
            if not end["keepalive"] or host not in (name, "host"):
                continue
            options = end.get("end", end["after"])
            ports = [pair[each]["address"].rpartition(":")[2] for each in (name, other)]
            rules += ["[[expect]]", f'filter = "port {ports[0]} and port {ports[1]}"', f'from = "{end["address"]}"']
            rules += [f"{setting} = {options[option]}" for setting, option in OPTIONS.items()]
            rules += [f'user_timeout = "{options["tcp_user_timeout"]}ms"'] if options["tcp_user_timeout"] else []
    return "\n".join(rules)


def comparable(records: list[Record], name: str) -> list[Record]:
    """Return all records but the last in an order of their own.

    A frame is called by its connection, sender and place among the sender's: two recorders may disagree about the order
    of what arrives at one moment on two CPUs.
    """
    segments = [record for record in records if record["type"] == "segment"]
    if name in ONCE:
        segments = [record for record in segments if record["kind"] != "duplicate-frame"]
    names: dict[int | str, str] = {}
    sent: Counter[str] = Counter()
    for record in sorted(segments, key=lambda record: place(record["frame"])):
        sender = f"{record['connection']} {record['from']}"
        sent[sender] += 1
        names[record["frame"]] = f"{sender} {sent[sender]}"
    others = [record for record in records[:-1] if record["type"] != "segment"]
    return sorted((plain(record, names) for record in segments + others), key=order)


def place(frame: int | str) -> tuple[str, int]:
    """Return what frames are sorted by: ``name:12`` of several files by name first."""
    name, _, number = str(frame).rpartition(":")
    return name, int(number)


def order(record: Record) -> tuple:
    """Return what records are sorted by: they come when they are final, which is no order over all connections."""
    first = record.get("frame") or next(iter(record.get("probes") or record.get("frames") or []), "")
    return record["type"], record["connection"] or 0, record.get("id", ""), len(first), first


def plain(value: Any, names: dict, key: str = "") -> Any:
    """Return a part of a record without what may differ: how frames are called, times in words, who said a setting."""
    if isinstance(value, dict):
        return {name: plain(part, names, name) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part, names, f"{key}[]") for part in value]
    if key in FRAMES and value in names:
        return names[value]
    if key in ("sentence", "why", "remedy", "verdict") and value:
        return re.sub(r"[\d.]+ (us|ms|s)\b", "some time", value)
    return bool(value) if key == "source" else value


def differences(live: Any, later: Any, at: str = "") -> list[str]:
    """Return where two values differ; times may lie ``APART_NS`` apart."""
    if isinstance(live, dict) and isinstance(later, dict):
        return [d for key in {**live, **later} for d in differences(live.get(key), later.get(key), f"{at}.{key}")]
    if isinstance(live, list) and isinstance(later, list) and len(live) == len(later):
        return [d for i, (a, b) in enumerate(zip(live, later, strict=True)) for d in differences(a, b, f"{at}[{i}]")]
    if "_ns" in at and isinstance(live, int) and isinstance(later, int) and abs(live - later) <= APART_NS:
        return []
    return [] if live == later else [f"{at}: live {live}, read {later}"]
