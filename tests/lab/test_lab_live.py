"""Every scenario watched live tells what the frames that it kept tell when they are read afterwards.

Live asks the sockets what they are set to; reading is told the same by rules made from the truth, so that verdicts and
findings are compared too. That live saw every frame is held against the lab's own recorder, which watches the same
interface through a socket of its own: as a set, because the kernel hands what two CPUs handle at one moment to two
sockets in either order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scapy.utils import RawPcapNgReader, RawPcapReader

from kacap.commands.read import read as kacap_read
from kacap.lab.scenarios import SCENARIOS
from kacap.lab.truth import read

Record = dict[str, Any]
Frame = tuple[int, bytes]  # its length on the wire, and its headers

APART_NS = 5_000_000  # between two timestamps of one frame, on a machine that is busy
HEADERS = 96  # of every frame, in both
OPTIONS = {"idle": "tcp_keepidle", "interval": "tcp_keepintvl", "count": "tcp_keepcnt"}
# libpcap leaves out the outgoing copy of what goes over lo, also on any; the lab's recorder keeps both.
ONCE = {"on-any"}


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_watched_live_ends_in_the_records_of_its_frames(
    name: str, watched_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = watched_runs[name]
    for stem, files, host, interface in watches(run):
        live = [json.loads(line) for line in (run / f"{stem}.out").read_text().splitlines()]
        kept = run / f"{stem}.pcap"
        later = read_records(kept, rules_for(read(run / "truth.toml"), host), tmp_path)
        assert (live[0].get("kind") == "syn") == (name != "mid-connection")
        assert differences(comparable(live), comparable(later)) == []
        for of_both in ("segments", "skipped", "frames", "link_types", "first_ns", "last_ns"):
            assert live[-1][of_both] == later[-1][of_both]
        assert live[-1]["dropped"]["kernel"] == 0

        window = (live[-1]["first_ns"] - APART_NS, live[-1]["last_ns"] + APART_NS)
        ours, theirs = (Counter(found) for found in (of_pcap(kept), of_pcapng(files, window, interface)))
        assert sum(ours.values()) == live[-1]["frames"]
        assert ours - theirs == Counter()
        assert name in ONCE or theirs - ours == Counter()


def watches(run: Path) -> list[tuple[str, list[Path], str, str | None]]:
    """Return of each watch the stem of its files, the recorder's files, the host, and the interface in the latter."""
    if SCENARIOS[run.name].merged:  # both recorders' files became one after the run
        file = [run / "capture.pcapng"]
        return [("prober", file, "client", "client:eth0"), ("peer", file, "server", "server:eth0")]
    found = []
    for told in read(run / "truth.toml")["capture"]:
        stem = told["files"][0].partition(".")[0].partition("_")[0]  # capture_00001.pcapng, where it was rotated
        found.append((stem, [run / file for file in told["files"]], told["host"], None))
    return found


def of_pcap(file: Path) -> Iterator[Frame]:
    """Yield the frames of a pcap file."""
    with RawPcapReader(str(file)) as frames:
        for data, told in frames:
            yield told.wirelen, data[:HEADERS]


def of_pcapng(files: list[Path], window: tuple[int, int], only: str | None) -> Iterator[Frame]:
    """Yield the frames of a recorder's files from a window of time, those of one interface or of all.

    The recorder begins before the watch and ends after it; neighbour discovery and probes go on meanwhile.
    """
    for file in files:
        with RawPcapNgReader(str(file)) as frames:
            for data, told in frames:
                within = window[0] <= told.tshigh << 32 | told.tslow <= window[1]
                if within and only in (None, told.ifname.decode()):
                    yield told.wirelen, data[:HEADERS]


def read_records(file: Path, rules: str, scratch: Path) -> list[Record]:
    """Return what ``kacap read --json`` tells of a file."""
    (scratch / "rules.toml").write_text(rules)
    options = ["--segments", "all", *(["--rules", str(scratch / "rules.toml")] if rules else [])]
    done = CliRunner().invoke(kacap_read, ["--json", *options, str(file)])
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


def comparable(records: list[Record]) -> list[Record]:
    """Return all records but the last in an order of their own: they come when they are final."""
    return sorted((plain(record) for record in records[:-1]), key=order)


def order(record: Record) -> tuple:
    """Return what records are sorted by."""
    first = record.get("frame") or next(iter(record.get("probes") or record.get("frames") or []), 0)
    return record["type"], record["connection"] or 0, record.get("id", ""), first


def plain(value: Any) -> Any:
    """Return a part of a record without what may differ: who said a setting."""
    if isinstance(value, dict):
        return {name: bool(part) if name == "source" else plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def differences(live: Any, later: Any, at: str = "") -> list[str]:
    """Return where two values differ."""
    if isinstance(live, dict) and isinstance(later, dict):
        return [d for key in {**live, **later} for d in differences(live.get(key), later.get(key), f"{at}.{key}")]
    if isinstance(live, list) and isinstance(later, list) and len(live) == len(later):
        return [d for i, (a, b) in enumerate(zip(live, later, strict=True)) for d in differences(a, b, f"{at}[{i}]")]
    return [] if live == later else [f"{at}: live {live}, read {later}"]
