"""The live screen: a summary, stable rows, the dead with their causes, keys; and what a terminal shows of it."""

from __future__ import annotations

import io
import re

import pytest
from namespaced import STARTED, inside

from kacap.commands.keyboard import named
from kacap.model import Endpoint
from kacap.report.live_rows import LiveEvent, ProbingConnection, What
from kacap.report.live_text import Clock, Lines, fitted, without_last_clauses
from kacap.report.screen import View
from kacap.report.screen_rows import history, names, next_of, settings
from kacap.timing.expectations import Expectation

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND  # 22:13:20 UTC
A, B = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def prober(number: int, **more) -> ProbingConnection:
    return ProbingConnection(number, Endpoint("10.0.0.1", 40000 + number), B, **{"heard_ns": NOW - SECOND, **more})


def fine(number: int) -> ProbingConnection:
    return prober(number, probes=3, answered=3, probe_ns=NOW - SECOND, idle_gap_ns=2 * SECOND, outcomes="+++")


def missing(number: int) -> ProbingConnection:
    expected = Expectation(2, 3, 10, source="socket option")
    outcomes = "++++---"
    return prober(
        number, missed=3, run=3, probe_ns=NOW - SECOND, outcomes=outcomes, expected=expected, reported_missed={1}
    )


def dead(number: int, died_s: int = 5) -> ProbingConnection:
    return prober(number, missed=3, ending="gave-up", died_ns=NOW - died_s * SECOND, death="gave up after 3 unanswered")


def shown(view: View, rows, width=100, height=24) -> list[str]:
    lines = [words for words, _ in view.lines(rows, NOW, 0, width, height)]
    assert len(lines) <= height
    assert all(len(words) <= width for words in lines)
    return lines


def test_the_summary_counts_the_states_and_says_the_time_and_what_was_dropped():
    rows = [*map(fine, range(55)), *map(missing, range(55, 58)), *map(dead, range(58, 60))]
    assert shown(View(), rows)[0] == "60 connections: 55 up, 3 missing, 2 dead; 22:13:20 UTC, 0 dropped"


def test_rows_stay_where_they_are_and_the_dead_have_a_section_with_their_cause():
    rows = [fine(0), dead(1, 9), missing(2), fine(3), dead(4, 2)]
    lines = shown(View(), rows)
    names_shown = [line.split()[0] for line in lines[2:5]]
    assert names_shown == ["10.0.0.1:40000", "10.0.0.1:40002", "10.0.0.1:40003"]
    head = lines.index("dead (2)")
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["10.0.0.1:40004", "10.0.0.1:40001"]
    assert lines[head + 1].endswith("dead     22:13:18 gave up after 3 unanswered")


def test_a_run_shows_its_marks_how_many_of_how_many_and_when_it_is_given_up():
    row = missing(0)
    assert history(row) == "✓✓✓✓✗✗✗ 3/10"
    assert history(row, ascii_only=True) == "++++xxx 3/10"
    # The last probe was a second ago; seven more come every 3 s, and after the last 3 s more are waited.
    assert next_of(row, NOW) == "dies 22:13:43"
    assert next_of(fine(1), NOW) == "next in 1.00 s"
    assert settings(row) == "2/3/10 (socket option)"
    assert settings(fine(1)) == "idle 2.00 s (seen)"


def test_states_are_words_so_that_nothing_is_lost_without_colour():
    lines = shown(View(), [fine(0), missing(1), dead(2)])
    assert [next(word for word in ("missing", "dead", "up") if f" {word} " in line) for line in lines[2:4]] == [
        "up",
        "missing",
    ]


def test_in_eighty_columns_the_shared_host_is_left_out_and_no_port_is():
    here, there = "fd00:aaaa:bbbb:cccc::1", "fd00:aaaa:bbbb:cccc::2"
    long = [ProbingConnection(n, Endpoint(here, 40000 + n), Endpoint(there, 5432)) for n in range(3)]
    lines = shown(View(), long, width=80)
    assert [line.split("  ")[0] for line in lines[2:5]] == [f"..:{40000 + n} > ..:5432" for n in range(3)]
    assert ".. is fd00:aaaa:bbbb:cccc:" in lines[1]
    mixed = [ProbingConnection(0, Endpoint(f"fd00:aaaa:bbbb:{n}::1", 40000 + n), B) for n in range(3)]
    called, _ = names(mixed, 30)
    assert all(len(name) <= 30 and name.endswith(":5432") for name in called)
    assert [re.search(r":(\d+) >", name)[1] for name in called] == ["40000", "40001", "40002"]


def test_keys_sort_filter_choose_open_and_quit():
    view, rows = View(), [fine(0), missing(1), fine(2), dead(3)]
    view.take([LiveEvent(NOW, B, rows[1].prober, "no answer for 1.00 s", "bad", What.MISSING, rows[1])])
    shown(view, rows)
    view.press("s")
    assert shown(view, rows)[2].startswith("10.0.0.1:40001")
    for key in ("down", "down", "up"):
        view.press(key)
    assert view.chosen == 1
    view.press("k")
    view.press("enter")
    lines = shown(view, rows)
    assert lines[1].startswith("10.0.0.1:40001 > 10.0.0.2:5432  missing")
    assert lines[2] == "22:13:20 < no answer for 1.00 s"
    view.press("escape")
    for key in ("/", *"40002", "enter"):
        view.press(key)
    lines = shown(view, rows)
    assert sum("10.0.0.1:4000" in line for line in lines) == 1
    assert lines[-1].endswith("filter: 40002")
    view.press("q")
    assert view.quit


def test_what_is_not_sure_yet_is_among_the_events_of_a_connection_and_a_narrow_screen_ends_with_a_whole_word():
    view, rows = View(), [missing(0), dead(1)]
    view.take([LiveEvent(NOW, rows[0].prober, B, "probably probe 2 of a run", "doubt")])
    assert shown(view, rows, width=60)[4].endswith("dead     22:13:15 gave up after 3")
    view.press("enter")
    assert "22:13:20 > probably probe 2 of a run" in shown(view, rows)


@pytest.mark.slow
def test_what_does_not_fit_is_scrolled_to_and_counted():
    view, rows = View(), [*map(fine, range(100))]
    assert "(80 more)" in shown(view, rows)[1]
    for _ in range(50):
        view.press("down")
        lines = shown(view, rows)
    assert any(line.startswith("10.0.0.1:40050") for line in lines)
    assert not any(line.startswith("10.0.0.1:40000 ") for line in lines)


def test_what_a_terminal_sends_becomes_the_names_of_keys():
    assert [*named("s\x1b[A\x1b[6~\r\x7f\x1b[Cq\x1b")] == ["s", "up", "page down", "enter", "delete", "q", "escape"]


def answered(row, time_ns) -> list[LiveEvent]:
    return [
        LiveEvent(time_ns, row.prober, row.peer, "probe after 2.00 s of silence", "", What.PROBE, row, 1),
        LiveEvent(time_ns, row.peer, row.prober, "answered after 0.30 ms", "good", What.ANSWERED, row, 0, 300_000),
    ]


def test_on_a_terminal_healthy_probes_share_one_line_and_each_change_has_its_own():
    out, row = io.StringIO(), fine(0)
    lines = Lines(out, Clock(1), width=120)
    for n in range(3):
        lines.write(answered(row, NOW + n))
        lines.wait([row], NOW + n * SECOND // 2)
    assert "\n" not in out.getvalue()
    assert out.getvalue().rpartition("\r")[2] == (
        "3 probes answered, the last by 10.0.0.2:5432 after 0.30 ms; next probe due in 0 s".replace(
            "; next probe due in 0 s", ""
        )
    )
    lines.write([LiveEvent(NOW, A, B, "missed: no answer for 1.00 s", "bad", What.MISSING, row)])
    assert out.getvalue().endswith("\r10.0.0.1:40000 > 10.0.0.2:5432: missed: no answer for 1.00 s\n")


def test_while_waiting_the_terminal_says_when_the_next_probe_is_due():
    out = io.StringIO()
    row = prober(0, heard_ns=NOW - 2 * SECOND, idle_gap_ns=60 * SECOND)
    Lines(out, Clock(1), width=120).wait([row], NOW)
    assert out.getvalue() == "next probe due in 58.0 s"


def test_no_line_wraps_at_120_columns_and_the_ports_stay():
    far = Endpoint("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1", 40000), Endpoint("2001:db8:aaaa:bbbb:cccc:dddd:eeee:2", 5432)
    words = f"RST from {far[0]}: gave up after 3 unanswered probes in 5.06 s of silence (expected 5 s, socket option)"
    line = fitted("22:13:20.123456 ", LiveEvent(NOW, *far, words, "bad"), 120)
    assert len(line) <= 120
    assert "]:40000 > [" in line and "]:5432: RST" in line
    words = f"RST from {A}: gave up after 3 unanswered probes"
    assert without_last_clauses("probe 2 (expected 2 s, socket option: 16 ms late)", 40) == "probe 2 (expected 2 s)"
    short = fitted("22:13:20.123456 ", LiveEvent(NOW, A, B, words, "bad"), 120)
    assert short.endswith("RST from 10.0.0.1:40000: gave up after 3 unanswered probes")


WATCH = """
pane() {{ tmux -S {home}/tmux -f /dev/null "$@"; }}
trap 'kill $pair; pane kill-server 2>/dev/null' EXIT
pane new-session -d -x 80 -y 24 "env NO_COLOR=1 TERM=screen {kacap} live --top -i lo port 12345 2>{home}/log"
look() {{
  for n in $(seq {tries}); do
    pane capture-pane -p > {home}/screen || break
    grep -q "$1" {home}/screen && break
    sleep 0.1
  done
  cat {home}/screen; echo ====
}}
look ' up '
nft add table t; nft 'add chain t c {{ type filter hook input priority 0; }}'
nft add rule t c tcp dport 12345 drop; nft add rule t c tcp sport 12345 drop
look ' missing '
look '^dead (1)'
pane send-keys Enter
look ' > RST: gave up after'
pane send-keys q
for n in $(seq 100); do pane has-session 2>/dev/null || break; sleep 0.1; done
"""


@pytest.mark.namespaces
@pytest.mark.tool("nft")
@pytest.mark.tool("tmux")
def test_peers_die_on_the_screen_of_a_terminal(tmp_path):
    """A terminal of 80 columns is read back while a peer is cut off: first it is up, then missing, then dead."""
    script = WATCH.format(home=tmp_path, kacap=STARTED, tries=250)
    done = inside(script, pair="-d 1 -i 1 -c 3")
    up, miss, gone, events, *_ = done.stdout.split("====\n")
    said = done.stdout + done.stderr + (tmp_path / "log").read_text()
    assert re.search(r"^1 connection: 1 up; \d\d:\d\d:\d\d UTC, 0 dropped$", up, re.M), said
    assert re.search(r"^127\.0\.0\.1:12345 > \S+:\d+ +up +✓", up, re.M), said
    assert re.search(r" missing +✓*✗+ [1-3]/3 +dies \d\d:\d\d:\d\d", miss), said
    assert re.search(r"^1 connection: 1 dead;", gone, re.M), said
    assert re.search(r"^dead \(1\)\n\S+ > \S+ +dead +\d\d:\d\d:\d\d gave up after ", gone, re.M), said
    assert re.search(r"^\d\d:\d\d:\d\d > RST: gave up after 3 unanswered probes", events, re.M), said
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_what_does_not_fit_a_row_wholly_is_left_out():
    narrow, wide = shown(View(), [missing(0)], width=80)[2], shown(View(), [missing(0)], width=110)[2]
    assert narrow.endswith("dies 22:13:43")
    assert wide.endswith("dies 22:13:43    2/3/10 (socket option)")
