"""The lines and the screen: what happens is told once, when it happens, whatever way the frames came."""

from __future__ import annotations

import io
import re
from pathlib import Path

import analysing
import numpy as np
import pytest
from analysing import pieces
from timelines import parse

from kacap.analyzer import Analyzer
from kacap.capture import open_captures
from kacap.capture.frames import FRAME, FrameBatch
from kacap.capture.live_stream import open_growing
from kacap.library import analyse
from kacap.model import Endpoint, Episode
from kacap.news import News
from kacap.options import Options
from kacap.pipeline import conclude
from kacap.report.live_events import LiveTracker
from kacap.report.live_rows import LiveEvent
from kacap.report.live_text import Clock, Lines
from kacap.report.records import RecordWriter
from kacap.report.screen_rows import history
from kacap.timing.expectations import Expectation

T0 = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
A, B = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


class Follower:
    """An analyzer and its live events: give it frames and the time."""

    def __init__(self, expected=None, **options) -> None:
        self.news: list[News] = []
        self.events: list[LiveEvent] = []
        self.analyzer = Analyzer(Options(**{"segments": "events", **options}), sink=self.news.append)
        self.tracker = LiveTracker(self.analyzer, expected)

    def feed(self, batch: FrameBatch, now_ns: int) -> list[LiveEvent]:
        """Return what is told of some frames, none perhaps, and of what is overdue by ``now_ns``."""
        events = self.tracker.feed(batch, now_ns)
        self.events += events
        return [event for event in events if event.words]

    def wait(self, now_ns: int) -> list[LiveEvent]:
        """Return what is told when no frame comes until ``now_ns``."""
        return self.feed(FrameBatch(np.zeros(0, np.uint8), np.zeros(0, FRAME)), now_ns)

    def finish(self) -> None:
        """End the source."""
        self.analyzer.finish()
        self.tracker.take(self.news[-1], [], self.analyzer.tracker.now_ns)

    @property
    def records(self) -> list[object]:
        """Every record that is final by now."""
        return [record for news in self.news for record in news.records()]


def follow(path, *, expected=None, one_by_one=False) -> tuple[list[str], LiveTracker]:
    """Return what is told of a capture, and who told it; at its end, and once more, nothing is told again."""
    follower, told = Follower(expected), []
    for batch in open_captures([str(path)]):
        for piece in pieces(batch, range(1, len(batch.frames)) if one_by_one else []):
            last_ns = int(piece.frames["time_ns"][-1])
            told += follower.feed(piece, last_ns)
    assert follower.wait(last_ns) == []
    return [f"{one.source} > {one.destination}: {one.words}" for one in told], follower.tracker


def first_batch(path) -> FrameBatch:
    return next(iter(open_captures([str(path)])))


def capture(captures, case):
    return captures / "lab" / case / "capture.pcapng"


def test_a_dead_peer_is_told_probe_by_probe(captures):
    lines, tracker = follow(capture(captures, "cut-off"), one_by_one=True)
    probes = [line for line in lines if ": probe" in line]
    assert len(probes) == 3
    assert [bool(re.search(r"probe (\d) of the run after 1.0\d s", line)) for line in probes] == [False, True, True]
    assert "probe after 2.0" in probes[0] and "of silence" in probes[0]
    assert sum("missed: no answer for" in line for line in lines) == 3
    assert lines[-1].startswith("10.1.0.2:40000 > 10.2.0.2:12345: RST from 10.1.0.2:40000: gave up after 3 unanswered")
    (row,) = tracker.rows.values()
    assert (row.probes, row.answered, row.missed, row.ending) == (3, 0, 3, "gave-up")


@pytest.mark.parametrize("case", ["cut-off", "user-timeout-short", "user-timeout-long"])
def test_giving_up_is_told_when_it_happens_though_its_record_may_wait_for_what_is_expected(captures, case):
    """With a user timeout expected the analyzer may find only at the end that it was behind it."""
    frames = first_batch(capture(captures, case))
    expected = Expectation(count=3, user_timeout_ns=4 * SECOND if "short" in case else None)
    follower = Follower(expect=expected)
    told = [one.words for one in follower.feed(frames, int(frames.frames["time_ns"][-1]))]
    assert sum("gave up after" in words for words in told) == 1
    assert [row.ending for row in follower.tracker.rows.values()] == ["gave-up"]
    assert any(isinstance(record, Episode) for record in follower.records) == ("short" not in case)
    follower.finish()
    endings = [record.ending for record in follower.records if isinstance(record, Episode)]
    assert endings == ["user-timeout" if "short" in case else "gave-up"]


# Answers that take a second are overdue first, for who looks in time.
SLOW = ("crafted/97-same-packet-a-second-apart",)
OF_ONE_FILE = [case for case in analysing.small_cases() if len(analysing.files_of(case)) == 1 and case not in SLOW]


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_ONE_FILE)
def test_lines_do_not_depend_on_how_the_frames_were_cut(case):
    (path,) = analysing.files_of(case)
    assert timeless(follow(path)[0]) == timeless(follow(path, one_by_one=True)[0])


def timeless(lines: list[str]) -> list[str]:
    """Lines without what is known only when it is looked: for how long an answer has been waited for, and will be."""
    return sorted(re.sub(r"; next probe due in .*|(no answer for) [^;]+", r"\1", line) for line in lines)


LATE = """
A 10.0.0.1:40000 isn 1000
B 10.0.0.2:80 isn 5000
0        A > B S
+0.001   B > A S.
+0.001   A > B .
+10      A > B . seq nxt-1
+1       A > B . seq nxt-1
+1       A > B . seq nxt-1
+0.5     B > A .
+1       B > A .
+1       B > A .
+10      A > B . seq nxt-1
+0.001   B > A .
"""


def test_every_late_answer_is_told_once_however_the_frames_were_cut(tmp_path):
    parse(LATE).write_pcap(tmp_path / "late.pcap")
    for one_by_one in (False, True):
        lines, tracker = follow(tmp_path / "late.pcap", one_by_one=one_by_one)
        answers = [re.search(r"answered after ([^;]+)", line) for line in lines]
        after_all = " after all" if one_by_one else ""  # told as missed before
        expected = ["500 ms", f"1.50 s{after_all}", f"2.50 s{after_all}", "1.00 ms"]
        assert [found[1] for found in answers if found] == expected
        (row,) = tracker.rows.values()
        assert (row.probes, row.answered, row.missed) == (4, 4, 0)


def test_every_answer_is_told_with_its_delay_and_the_next_probe(captures):
    lines, _ = follow(capture(captures, "up"), one_by_one=True)
    probes, answers = ([line for line in lines if word in line] for word in (": probe", ": answered after"))
    assert len(probes) == len(answers) >= 2
    assert all(re.search(r"answered after [\d.]+ [um]s; next probe due in 2\.0\d s", line) for line in answers[1:])


def test_a_miss_is_told_when_it_is_overdue_though_no_frame_comes(captures):
    frames = first_batch(capture(captures, "cut-off"))
    follower = Follower()
    probe = 7  # the eighth frame is the first probe: see the README's sample
    sent_ns = int(frames.frames["time_ns"][probe])
    told = follower.feed(FrameBatch(frames.buffer, frames.frames[: probe + 1]), sent_ns)
    assert "probe" in told[-1].words
    assert follower.wait(sent_ns + SECOND - 1) == []
    (missed,) = follower.wait(sent_ns + SECOND)
    assert missed.words == "missed: no answer for 1.00 s"
    assert missed.time_ns == sent_ns + SECOND
    assert follower.wait(sent_ns + 60 * SECOND) == []


def test_probes_that_nobody_answers_from_the_start_have_a_row_before_it_is_sure_what_they_are(captures):
    frames = first_batch(captures / "crafted" / "55-mid-capture-unanswered" / "capture.pcap")
    follower = Follower()
    missed = []
    for piece in pieces(frames, range(1, len(frames.frames))):
        sent_ns = int(piece.frames["time_ns"][0])
        for tell, now_ns in ((follower.feed, sent_ns), (lambda _, now_ns: follower.wait(now_ns), sent_ns + SECOND)):
            tell(piece, now_ns)
            missed.append([row.missed for row in follower.tracker.suspects])
    assert missed == [[], [], [1], [2], [2], [3], [3], [4]]
    (row,) = follower.tracker.suspects
    assert (str(row.prober), str(row.peer), row.run) == ("10.0.0.1:40000", "10.0.0.2:80", 4)
    assert history(row) == "✗✗✗✗ 4/?"
    assert not follower.tracker.rows
    follower.finish()
    assert not follower.tracker.suspects
    assert [row.run for row in follower.tracker.rows.values()] == [4]


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
        lines, _ = follow(tmp_path / "stuck.pcap", one_by_one=one_by_one)
        assert lines == 3 * [
            "10.0.0.1:40000 > 10.0.0.2:80: keepalive or zero-window probe: the window of 10.0.0.2:80 is 0, "
            "and the gaps do not tell yet"
        ]


def test_with_drops_a_miss_is_told_with_doubt(captures):
    follower = Follower()
    follower.tracker.word = "missed or not captured"
    frames = first_batch(capture(captures, "cut-off"))
    told = follower.feed(frames, int(frames.frames["time_ns"][-1]))
    assert sum(one.words.startswith("missed or not captured: ") for one in told) == 3


def test_a_reset_names_who_sent_it(captures):
    lines, tracker = follow(capture(captures, "restarted"), one_by_one=True)
    assert re.search(r"^(\S+) > \S+: RST from \1 in answer to ", lines[-1])
    assert [row.ending for row in tracker.rows.values()] == ["reset"]


def test_a_gap_is_compared_with_what_the_socket_is_set_to(captures):
    def expected(prober, peer):
        return Expectation(2, 1, 3, source="socket option")

    lines, _ = follow(capture(captures, "cut-off"), expected=expected)
    probes = [line for line in lines if ": probe" in line]
    assert re.search(r"\(expected 2 s, socket option: \d+(\.\d+)? (ms|us) late\)$", probes[0])
    assert re.search(r"\(expected 1 s, socket option: [\d.]+ ms late\)$", probes[1])


LAB = Path(__file__).resolve().parent.parent.parent / "captures" / "lab"


@pytest.mark.slow
@pytest.mark.parametrize("path", [*map(str, sorted(LAB.glob("*/*.pcapng")))], ids=lambda path: Path(path).parent.name)
def test_a_stream_gives_the_records_of_the_file(path):
    outs = [io.StringIO(), io.StringIO()]
    analyse([path], None, Options(segments="events"), sink=RecordWriter(outs[0], [path]).news)
    source = open_growing(path)
    analyzer = Analyzer(Options(segments="events"), sink=RecordWriter(outs[1], [path]).news)
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


def test_the_time_of_day_is_utc_wherever_the_host_is_and_four_letters_add_the_date(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert Clock(0).stamp(T0) == "22:13:20.123456 "
        assert Clock(4).stamp(T0) == "2023-11-14 22:13:20.123456 "
    finally:
        monkeypatch.undo()
        time.tzset()


def test_lines_are_clean_and_brief_ones_tell_only_what_goes_wrong():
    out = io.StringIO()
    fine, bad = LiveEvent(T0, A, B, "answered", "good"), LiveEvent(T0, A, B, "missed\x1b[2J", "bad")
    Lines(out, Clock(1), brief=True).write([fine, bad])
    assert out.getvalue() == "10.0.0.1:40000 > 10.0.0.2:5432: missed?[2J\n"
