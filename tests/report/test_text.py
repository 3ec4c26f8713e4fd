import io
from collections.abc import Iterator

import pytest
import samples

from kacap.classify.kinds import Ending, Grade
from kacap.facts.standing import by_gravity
from kacap.facts.verdicts import of_prober
from kacap.model import Finding
from kacap.report import text
from kacap.report.sentences import ENDINGS, GRADES


def rendered(analysis, **options) -> list[str]:
    out = io.StringIO()
    text.render(analysis, out, **options)
    return out.getvalue().splitlines()


def line_of(lines: list[str], key: str) -> str:
    """Return the words beside ``key`` in a block."""
    return next(line.split(key, 1)[1].strip() for line in lines if line.strip().startswith(key))


@pytest.mark.parametrize(
    ("sample", "first"),
    [
        ("answered", "127.0.0.1:12345 probes every 1.02 s, all answered"),
        ("gave_up", "10.9.0.1:42952 gave up on 10.9.0.2:12345: 4 unanswered probes in 7.22 s of silence"),
        (
            "user_timeout",
            "10.9.0.1:42952 gave up on 10.9.0.2:12345: 3 unanswered probes in 6.22 s of silence"
            " (TCP_USER_TIMEOUT, not its count)",
        ),
        (
            "reset",
            "10.9.0.2:12345 does not know the connection: it answered with RST to the probe of 10.9.0.1:42952 after "
            "360 s of silence",
        ),
        ("unreachable", "10.9.0.1:42952 cannot reach 10.9.0.2:12345: 3 unanswered probes and ICMP errors"),
        (
            "mid_connection_patterned",
            "10.9.0.1:42952 probes every 75.2 s, none answered; 3 unanswered probes when the capture ended",
        ),
        ("both_ends", "10.9.0.1:42952 probes after 2.00 s of silence, 2 of 3 answered"),
        ("many", "30 connections probe: 1 gave up, 1 reset, 28 all answered"),
        ("quiet", "no keepalive probe seen in 14.0 s"),
        ("empty", "no keepalive probe: no frame captured"),
        ("dense", "10.9.0.1:42952 probes every 1.02 s, 1,997 of 2,000 answered"),
    ],
)
def test_the_first_line_is_the_verdict(sample, first):
    assert rendered(samples.ALL[sample]())[0] == first


def test_a_dead_peer_is_told_as_a_timeline_from_its_last_sign_of_life():
    lines = rendered(samples.gave_up())
    assert line_of(lines, "silence") == (
        "last heard 2026-11-20 09:52:25.369 UTC; probes +3.13 s, +4.15 s, +5.18 s, +6.20 s; gave up +7.22 s (frame 10)"
    )
    assert line_of(lines, "idle") == "3 s, observed 3.13 s (n=1), expected 3 s (socket option) OK"
    assert line_of(lines, "count") == "4, observed 4 (n=1), expected 4 (socket option) OK"
    assert line_of(lines, "peer") == "10.9.0.2:12345 sent no probes in 7.22 s"


def test_a_reset_is_not_called_a_miss():
    words = line_of(rendered(samples.reset()), "probes")
    assert "0 missed, 1 reset" in words


def test_settings_that_nobody_looked_at_are_left_out():
    assert not [line for line in rendered(samples.answered()) if line.startswith("  idle")]


def test_both_probing_ends_get_their_own_lines_and_nobody_is_called_silent():
    lines = rendered(samples.both_ends())
    assert "10.9.0.2:12345 probes every 1.02 s, all answered" in lines
    assert not any("sent no probes" in line for line in lines)


def test_what_went_wrong_comes_first_in_a_large_capture():
    order = by_gravity(samples.many().connections)
    assert [c.connection for c in order[:3]] == [28, 29, 0]


def test_a_large_capture_is_told_on_one_screen():
    lines = rendered(samples.many(), width=80)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "28 connections probed by 10.0.0.5:5432: all answered, every 60.9 s" in lines


def test_folded_lines_hold_the_same_words_and_end_between_them():
    whole, narrow = (rendered(samples.gave_up(), width=width) for width in (None, 60))
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(whole).split())
    assert max(map(len, narrow)) <= 60 < max(map(len, whole))


def test_in_detail_a_large_capture_shows_twenty_and_counts_the_rest():
    lines = rendered(samples.many(), verbose=True)
    assert sum(line.startswith("  probes") for line in lines) == 20
    assert "10 more: 10 all answered (--all shows every one)" in lines
    assert any(line.startswith("4,970 connections without a keepalive probe; longest silence 611 s") for line in lines)


def test_all_shows_every_probing_connection():
    lines = rendered(samples.many(), all_connections=True)
    assert sum(line.startswith("  probes") for line in lines) == 30


class Counted(list[Finding]):
    """Findings that count how often somebody goes through all of them."""

    times = 0

    def __iter__(self) -> Iterator[Finding]:
        self.times += 1
        return super().__iter__()


def test_findings_are_not_searched_for_each_connection_anew() -> None:
    analysis = samples.many()
    analysis.findings = Counted(analysis.findings)
    assert len(rendered(analysis, all_connections=True)) > len(analysis.connections) > 10
    assert 0 < analysis.findings.times < 10


def test_all_shows_connections_without_a_probe_with_the_window_that_was_watched():
    lines = rendered(samples.quiet(), all_connections=True)
    assert "[fd00::1]:5432 - [fd00::2]:40000: no probes in 14.0 s, longest silence 3.00 s" in lines


def test_brief_gives_each_connection_one_line_that_names_both_ends():
    lines = rendered(samples.many(), brief=True)
    assert "10.0.0.5:5432 probes every 60.9 s, all answered (peer 10.0.1.2:40003)" in lines
    assert not any(line.startswith("  ") for line in lines)


def test_dropped_frames_weaken_every_miss():
    lines = rendered(samples.drops())
    assert "4 missed or not captured" in line_of(lines, "probes")
    assert sum("12 frames" in line for line in lines) == 1  # the finding tells it, and what to do


def test_findings_and_frames_of_several_files_carry_the_file_name():
    lines = rendered(samples.drops())
    assert line_of(lines, "finding") == "12 frames were lost (frames a.pcap:6, b.pcap:2)"
    assert line_of(lines, "remedy") == "use -s 128"


def test_the_last_lines_say_how_much_was_understood():
    lines = rendered(samples.answered())
    assert lines[-1] == "idle.pcapng: 40 frames in 10.0 s, 38 TCP segments; left out: 2 not TCP"


@pytest.mark.slow
def test_verbose_tells_every_silent_run_and_the_default_only_the_last():
    assert sum(line.startswith("  silence") for line in rendered(samples.dense())) == 1
    assert sum(line.startswith("  silence") for line in rendered(samples.dense(), verbose=True)) == 3


def test_an_ambiguous_prober_is_never_stated_as_a_fact():
    analysis = samples.answered()
    (prober,) = analysis.connections[0].probers
    prober.grade = "ambiguous"
    for probe in (probe for episode in prober.episodes for probe in episode.probes):
        probe.grade = "ambiguous"
    assert rendered(analysis)[0] == "10 segments may be keepalive probes, none is certain"


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_has_a_sentence_and_a_meaning(ending):
    prober = samples.up()
    prober.ending = ending
    assert ENDINGS[ending].meaning
    assert str(prober.side) in of_prober(prober).sentence


def test_every_grade_has_words():
    assert set(GRADES) == {grade.word for grade in Grade}


@pytest.mark.parametrize("sample", samples.ALL)
def test_the_text_is_ascii_without_colour_or_trailing_blanks(sample):
    for line in rendered(samples.ALL[sample]()):
        assert line.isascii()
        assert line.isprintable()
        assert line == line.rstrip()


def test_colour_only_repeats_what_the_words_say():
    plain, coloured = rendered(samples.many()), rendered(samples.many(), color=True)
    stripped = list(coloured)
    for code in (*text.COLOURS.values(), text.PLAIN):
        stripped = [line.replace(code, "") for line in stripped]
    assert stripped == plain
    assert any(text.COLOURS["bad"] in line for line in coloured)


def test_a_hostile_file_name_cannot_reach_the_terminal():
    analysis = samples.answered()
    analysis.capture.files = ["\x1b]0;owned\x07\udcff.pcap"]
    assert rendered(analysis)[-1].startswith("?]0;owned??.pcap: ")
