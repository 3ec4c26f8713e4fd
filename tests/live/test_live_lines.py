"""The lines and the screen: what happens is told once, when it happens, whatever way the frames came."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from kacap.report.happenings import Follower, Happening, Probing
from timelines import parse

import kacap
from kacap.analyzer import Analyzer
from kacap.capture import open_captures
from kacap.capture.live_stream import open_growing
from kacap.model import Endpoint, Episode
from kacap.pipeline import conclude
from kacap.report.live_text import Clock, Lines
from kacap.report.records import RecordWriter
from kacap.report.screen import cells, table
from kacap.timing.expectations import Expectation

T0 = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
A, B = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def follow(path, *, expected=None, one_by_one=False, later_ns=0) -> tuple[list[str], Follower, Analyzer]:
    """Return what a follower tells of a capture whose last moment is ``later_ns`` after its last frame."""
    follower = Follower(expected)
    analyzer = Analyzer(sink=follower.hear, segments="events")
    told = []
    for batch in open_captures([str(path)]):
        pieces = range(len(batch.frames)) if one_by_one else [slice(None)]
        for piece in pieces:
            rows = batch.frames[piece : piece + 1] if one_by_one else batch.frames
            analyzer.feed(type(batch)(batch.buffer, rows))
            told += follower.happened(analyzer, int(rows["time_ns"][-1]))
            last_ns = int(rows["time_ns"][-1])
    told += follower.happened(analyzer, last_ns + later_ns)
    told += follower.happened(analyzer, last_ns + later_ns)  # nothing is told twice
    return [f"{one.source} > {one.destination}: {one.words}" for one in told], follower, analyzer


def capture(captures, case):
    return captures / "lab" / case / "capture.pcapng"


def test_a_dead_peer_is_told_probe_by_probe(captures):
    lines, follower, _ = follow(capture(captures, "cut-off"), one_by_one=True)
    probes = [line for line in lines if ": probe" in line]
    assert len(probes) == 3
    assert [bool(re.search(r"probe (\d) of the run after 1.0\d s", line)) for line in probes] == [False, True, True]
    assert "probe after 2.0" in probes[0] and "of silence" in probes[0]
    assert sum("missed: no answer for" in line for line in lines) == 3
    assert lines[-1].startswith("10.1.0.2:40000 > 10.2.0.2:12345: RST from 10.1.0.2:40000: gave up after 3 unanswered")
    (row,) = follower.rows.values()
    assert (row.probes, row.answered, row.missed, row.ending) == (3, 0, 3, "gave-up")


@pytest.mark.parametrize("case", ["cut-off", "user-timeout-short", "user-timeout-long"])
def test_giving_up_is_told_when_it_happens_though_its_record_may_wait_for_what_is_expected(captures, case):
    """With an expectation the analyzer may find only at the end that a user timeout was behind it."""
    frames = next(iter(open_captures([str(capture(captures, case))])))
    expected = Expectation(count=3, user_timeout_ns=4 * SECOND if "short" in case else None)
    follower, records = Follower(), []
    analyzer = Analyzer(segments="events", expect=expected)
    analyzer.sink = lambda record: (follower.hear(record), records.append(record))
    analyzer.feed(frames)
    told = [one.words for one in follower.happened(analyzer, analyzer.tracker.now_ns)]
    assert sum("gave up after" in words for words in told) == 1
    assert [row.ending for row in follower.rows.values()] == ["gave-up"]
    assert any(isinstance(record, Episode) for record in records) == (case == "cut-off")
    analyzer.finish()
    endings = [record.ending for record in records if isinstance(record, Episode)]
    assert endings == ["user-timeout" if "short" in case else "gave-up"]


def test_lines_do_not_depend_on_how_the_frames_were_cut(captures):
    def timeless(lines):  # how long an answer has been waited for is known when it is looked
        return sorted(re.sub(r"(no answer for|next probe due in) [^;]+", r"\1", line) for line in lines)

    for case in ("cut-off", "up", "mid-connection", "restarted", "recovered", "both-probe"):
        path = capture(captures, case)
        assert timeless(follow(path)[0]) == timeless(follow(path, one_by_one=True)[0]), case


def test_every_answer_is_told_with_its_delay_and_the_next_probe(captures):
    lines, _, _ = follow(capture(captures, "up"), one_by_one=True)
    probes, answers = ([line for line in lines if word in line] for word in (": probe", ": answered after"))
    assert len(probes) == len(answers) >= 2
    assert all(re.search(r"answered after [\d.]+ [um]s; next probe due in 2\.0\d s", line) for line in answers[1:])


def test_a_miss_is_told_when_it_is_overdue_though_no_frame_comes(captures, tmp_path):
    frames = next(iter(open_captures([str(capture(captures, "cut-off"))])))
    follower = Follower()
    analyzer = Analyzer(sink=follower.hear, segments="events")
    probe = 7  # the eighth frame is the first probe: see the README's sample
    analyzer.feed(type(frames)(frames.buffer, frames.frames[: probe + 1]))
    sent_ns = int(frames.frames["time_ns"][probe])
    assert "probe" in follower.happened(analyzer, sent_ns)[-1].words
    assert follower.happened(analyzer, sent_ns + SECOND - 1) == []
    (missed,) = follower.happened(analyzer, sent_ns + SECOND)
    assert missed.words == "missed: no answer for 1.00 s"
    assert missed.time_ns == sent_ns + SECOND
    assert follower.happened(analyzer, sent_ns + 60 * SECOND) == []


def test_probes_that_nobody_answers_from_the_start_have_a_row_before_it_is_sure_what_they_are(captures):
    frames = next(iter(open_captures([str(captures / "crafted" / "55-mid-capture-unanswered" / "capture.pcap")])))
    follower = Follower()
    analyzer = Analyzer(sink=follower.hear, segments="events")
    missed = []
    for number, sent_ns in enumerate(frames.frames["time_ns"].tolist()):
        analyzer.feed(type(frames)(frames.buffer, frames.frames[number : number + 1]))
        for now_ns in (sent_ns, sent_ns + SECOND):
            follower.happened(analyzer, now_ns)
            missed.append([row.missed for row in follower.suspects])
    assert missed == [[], [], [1], [2], [2], [3], [3], [4]]
    (row,) = follower.suspects
    assert (str(row.prober), str(row.peer), row.run) == ("10.0.0.1:40000", "10.0.0.2:80", 4)
    assert "(4 waiting)" in "\n".join(drawn([row]))
    assert not follower.rows
    analyzer.finish()
    follower.happened(analyzer, sent_ns)
    assert not follower.suspects
    assert [row.run for row in follower.rows.values()] == [4]


STUCK = """
A 10.0.0.1:40000 isn 1000
B 10.0.0.2:80 isn 5000
0        B > A .  win 0
60       A > B .  seq nxt-1
+0.001   B > A .  win 0
"""


def test_probes_in_front_of_a_closed_window_are_told_though_their_gaps_do_not_tell_what_they_are(tmp_path):
    again = "+60 A > B .  seq nxt-1\n+0.001 B > A .  win 0\n"
    parse(STUCK + 4 * again).write_pcap(tmp_path / "stuck.pcap")
    for one_by_one in (False, True):
        lines, _, _ = follow(tmp_path / "stuck.pcap", one_by_one=one_by_one)
        assert lines == 3 * [
            "10.0.0.1:40000 > 10.0.0.2:80: keepalive or zero-window probe: the window of 10.0.0.2:80 is 0, "
            "and the gaps do not tell yet"
        ]


def test_with_drops_a_miss_is_told_with_doubt(captures):
    follower = Follower()
    follower.word = "missed or not captured"
    analyzer = Analyzer(sink=follower.hear, segments="events")
    for batch in open_captures([str(capture(captures, "cut-off"))]):
        analyzer.feed(batch)
    told = follower.happened(analyzer, analyzer.tracker.now_ns)
    assert sum(one.words.startswith("missed or not captured: ") for one in told) == 3


def test_a_reset_names_who_sent_it(captures):
    lines, follower, _ = follow(capture(captures, "restarted"), one_by_one=True)
    assert re.search(r"^(\S+) > \S+: RST from \1 in answer to ", lines[-1])
    assert [row.ending for row in follower.rows.values()] == ["reset"]


def test_a_gap_is_compared_with_what_the_socket_is_set_to(captures):
    def expected(prober, peer):
        return Expectation(2, 1, 3, source="socket option")

    lines, _, _ = follow(capture(captures, "cut-off"), expected=expected)
    probes = [line for line in lines if ": probe" in line]
    assert re.search(r"\(expected 2 s, socket option: \d+(\.\d+)? (ms|us) late\)$", probes[0])
    assert re.search(r"\(expected 1 s, socket option: [\d.]+ ms late\)$", probes[1])


LAB = Path(__file__).resolve().parent.parent.parent / "captures" / "lab"


@pytest.mark.parametrize("path", [*map(str, sorted(LAB.glob("*/*.pcapng")))], ids=lambda path: Path(path).parent.name)
def test_a_stream_gives_the_records_of_the_file(path):
    outs = [io.StringIO(), io.StringIO()]
    kacap.read(path, sink=RecordWriter(outs[0], [path]), segments="events")
    source = open_growing(path)
    analyzer = Analyzer(sink=RecordWriter(outs[1], [path]), segments="events")
    for batch in source:
        analyzer.feed(batch)
    conclude(source, analyzer)
    assert outs[0].getvalue() == outs[1].getvalue()


@pytest.mark.parametrize(
    ("level", "stamps"),
    [
        (1, ["", ""]),
        (2, ["1700000000.123456 ", "1700000061.623456 "]),
        (3, ["00:00:00.000000 ", "00:01:01.500000 "]),
        (5, ["00:00:00.000000 ", "00:01:01.500000 "]),
    ],
)
def test_times_are_written_as_the_letters_of_tcpdump_say(level, stamps):
    clock = Clock(level)
    assert [clock.stamp(T0), clock.stamp(T0 + 61_500_000_000)] == stamps


def test_the_default_time_is_local_and_four_letters_add_the_date(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert Clock(0).stamp(T0) == "22:13:20.123456 "
    assert Clock(4).stamp(T0) == "2023-11-14 22:13:20.123456 "


def test_lines_are_clean_and_brief_ones_tell_only_what_goes_wrong():
    out = io.StringIO()
    fine, bad = Happening(T0, A, B, "answered", "good"), Happening(T0, A, B, "missed\x1b[2J", "bad")
    Lines(out, Clock(1), brief=True).write([fine, bad])
    assert out.getvalue() == "10.0.0.1:40000 > 10.0.0.2:5432: missed?[2J\n"


def drawn(rows, room=10) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=130).print(table(Analyzer(), rows, T0, "8 packets captured", room))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_screen_has_a_row_for_each_prober_and_what_is_wrong_on_top():
    fine = Probing(1, A, B, probes=3, answered=3, heard_ns=T0 - SECOND, probe_ns=T0 - SECOND, answer_after_ns=50_000,
                   idle_gap_ns=2 * SECOND)  # fmt: skip
    waiting = Probing(2, B, A, probes=2, missed=2, run=2, heard_ns=T0 - 4 * SECOND, probe_ns=T0 - SECOND,
                      expected=Expectation(2, 3, 9, source="socket option"))  # fmt: skip
    dead = Probing(3, A, B, missed=3, heard_ns=T0 - 9 * SECOND, ending="gave-up")
    lines = drawn([fine, waiting, dead])
    assert re.split(r"\s{2,}", lines[0]) == [
        "Prober > peer", "Silent for", "Next probe in", "Answered in", "Missed", "Settings",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:4]] == [str(A), str(B), str(A)]
    assert "gave up" in lines[1]
    assert cells(Analyzer(), waiting, T0)[1:4] == ["4.00 s", "2.00 s (2 waiting)", "none yet"]
    assert cells(Analyzer(), waiting, T0)[4:] == ["2", "2/3/9 (socket option)"]
    assert cells(Analyzer(), fine, T0)[1:] == ["1.00 s", "1.00 s", "50 us", "0", "idle 2.00 s (seen)"]
    assert lines[-1] == "8 packets captured"
    assert drawn([fine, waiting, dead], room=1)[-1] == "2 more; 8 packets captured"
