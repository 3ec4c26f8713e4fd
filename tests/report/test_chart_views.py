import re

import charts
import numpy as np
import pytest
import samples
from bench_reader import given_up

import kacap
from kacap.model import Endpoint, Episode, FrameRef, IdleDeaths, Probe, Setting
from kacap.report import chart
from kacap.report.chart.expected import Term, Terms, terms_of
from kacap.report.chart.firings import IDLE, INTERVAL, UNKNOWN_NS, firings_of, thinned
from kacap.report.chart.groups import groups_of
from kacap.report.chart.page import conclusion
from kacap.report.chart.palette import ORANGE
from kacap.report.chart.sawtooth import Saw
from kacap.timing.wheel import latest_s
from kacap.units import roundest

pytestmark = pytest.mark.slow

S = samples.S
GIVEN_UP_BYTES = 351  # of the five records of a connection that gave up


def answered_every(seconds, count, *, idle, interval=None, side=samples.A, peer=samples.B):
    """Return a prober whose probes come so many seconds apart, each answered at once; its settings are stated."""
    episodes = [
        samples.episode(
            [samples.probe(2 * n, seconds * (n + 1), reply_ms=0, side=side, peer=peer)], "answered", heard=seconds * n
        )
        for n in range(count)
    ]
    stated = {"idle": Setting(expected=idle, source="--expect")}
    if interval:
        stated["interval"] = Setting(expected=interval, source="--expect")
    return samples.prober(episodes, **stated)


@pytest.mark.parametrize(
    ("candidates", "setting"),
    [([60, 61], 60), ([74, 75], 75), ([58, 59, 60, 61], 60), ([15], 15), (list(range(7100, 7300)), 7200)],
)
def test_the_guess_is_the_setting_that_a_person_would_have_chosen(candidates, setting):
    assert roundest(candidates) == setting


def test_a_probe_is_due_after_idle_and_the_next_of_a_run_after_the_interval():
    prober = samples.gave_up().connections[0].probers[0]
    found = firings_of(prober, terms_of(samples.analysis(), prober))
    since = (found["due_ns"] - samples.START) / S
    assert since == pytest.approx([3.0, 4.128, 5.152, 6.176, 7.2])
    assert found["timer"].tolist() == [IDLE, INTERVAL, INTERVAL, INTERVAL, INTERVAL]
    assert found["abort"].tolist() == [False] * 4 + [True]
    assert found["missed"].sum() == 4


@pytest.mark.parametrize(("case", "missed"), [("cut-off", 3), ("recovered", 2), ("up", 0)])
def test_every_missed_probe_of_a_capture_has_its_cross(captures, case, missed):
    analysis = kacap.read(str(captures / "lab" / case / "capture.pcapng"), marks=True)
    assert len(charts.points(chart.timeline(analysis), "x")) == missed


def test_an_interval_longer_than_idle_governs_answered_probes_too():
    prober = answered_every(45.06, 4, idle=5, interval=45)
    found = firings_of(prober, terms_of(samples.analysis(), prober))
    assert found["timer"].tolist() == [IDLE, INTERVAL, INTERVAL, INTERVAL]
    assert ((found["time_ns"] - found["due_ns"])[1:] / S) == pytest.approx([0.06] * 3)


def test_nothing_is_due_where_no_setting_is_known():
    prober = samples.reset().connections[0].probers[0]
    assert set(firings_of(prober, Terms(None, None, None, None, (250,)))["due_ns"].tolist()) == {UNKNOWN_NS}


def test_thinning_keeps_the_ends_and_the_extremes_of_every_column():
    generator = np.random.default_rng(1)
    x, y = np.sort(generator.random(50_000)), generator.random(50_000)
    kept = thinned(x, 500, y)
    assert len(kept) <= 1_002
    assert {0, 49_999, int(y.argmin()), int(y.argmax())} <= set(kept.tolist())
    assert thinned(x[:500], 500).tolist() == list(range(500))


def test_the_silence_climbs_to_the_end_of_a_dead_connection_and_is_not_ended_by_what_was_not_accepted():
    analysis = samples.gave_up()
    analysis.marks = np.concatenate(
        [analysis.marks, samples.marks((2.0, samples.Kind.RETRANSMISSION, 0, 5))]
    )  # from the peer, within the silence before the first probe
    connection = analysis.connections[0]
    saw = Saw(analysis, connection, connection.probers[0])
    assert (saw.heights_ns / S).tolist() == pytest.approx([7.224])
    assert saw.falls.tolist() == [False]


def test_a_silence_that_began_before_the_capture_is_at_least_as_long_as_was_watched():
    analysis = samples.mid_connection_patterned()
    saw = Saw(analysis, analysis.connections[0], analysis.connections[0].probers[0])
    assert saw.at_least
    assert (saw.heights_ns / S).tolist() == [200]
    axes = chart.draw(analysis, ["silence"])
    assert any("longest silence at least 200 s" in text for text in charts.words(axes))


def test_the_silence_says_which_known_limits_it_crossed():
    said = " ".join(charts.words(chart.draw(samples.reset(), ["silence"])))
    assert "known limits crossed:" in said
    assert "350 s AWS NLB and 3 more" in said
    assert "not reached: 600 s GCP VPC firewall" in said


def test_residuals_are_observed_minus_configured_by_timer():
    analysis = samples.gave_up()
    analysis.clocks = {"10.9.0.1": {250}}
    idle, interval = groups_of(analysis, analysis.connections[0].probers)
    assert idle.said() == "idle 3 s: 128 ms late (n=1)"
    assert interval.said() == "interval 1 s: 24.0 ms late (n=4)"
    assert (idle.most_ns, interval.most_ns) == (256_000_000, 32_000_000)
    said = charts.words(chart.draw(analysis, ["residuals"]))
    assert "idle 3 s: 128 ms late (n=1); interval 1 s: 24.0 ms late (n=4)" in said
    assert "up to 256 ms (8.5 %) at HZ=250" in said


def test_residuals_of_a_guess_are_hollow_and_without_a_band():
    analysis = samples.gave_up()
    for name in ("idle", "interval", "count"):
        getattr(analysis.connections[0].probers[0], name).expected = None
    figure = chart.draw(analysis, ["residuals"])
    for axes in figure.axes:
        dots = [line for line in axes.lines if line.get_marker() in ("o", "^")]
        assert all(line.get_markerfacecolor() == "#ffffff" for line in dots)
    assert not any("up to" in text for text in charts.words(figure))


def test_milliseconds_taken_as_seconds_show_as_a_residual_of_hours():
    analysis = samples.analysis(samples.connection([answered_every(10_000.5, 3, idle=10)], last=30_010), last=30_010)
    (group,) = groups_of(analysis, analysis.connections[0].probers)
    assert group.said() == "idle 10 s: 2 h 47 min late (n=3)"
    axes = chart.draw(analysis, ["residuals"]).axes[0]
    assert axes.get_ylim()[1] > 9_990 * S


def test_early_probes_are_counted_in_the_residuals():
    analysis = samples.analysis(samples.connection([answered_every(50, 3, idle=60)], last=160), last=160)
    (group,) = groups_of(analysis, analysis.connections[0].probers)
    assert group.said() == "idle 60 s: 10.0 s early (n=3)"


def test_many_settings_are_drawn_over_the_setting_with_the_staircase_of_the_wheel():
    connections = [
        samples.connection([answered_every(n + latest_s(n, 250) / 2, 3, idle=n)], number=n, last=999)
        for n in (1, 2, 5, 10, 30, 60, 120)
    ]
    analysis = samples.analysis(*connections, last=999)
    analysis.clocks = {"10.9.0.1": {250}}
    figure = chart.draw(analysis, ["residuals"])
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "21 of 21 firings as configured" in charts.words(figure)
    steps = max(axes.lines, key=lambda line: len(line.get_xdata()))
    for x, y in zip(steps.get_xdata()[::90], steps.get_ydata()[::90], strict=True):
        assert y == pytest.approx(latest_s(float(x), 250) / x * 100)


def test_the_distribution_holds_every_gap_and_names_the_settings():
    figure = chart.draw(samples.gave_up(), ["ecdf"])
    said = charts.words(figure)
    assert {"idle 3 s", "interval 1 s"} <= set(said)
    assert "silence before a probe (idle), n=1" in said
    assert "gap after a miss (interval), n=4" in said


def test_the_bracket_of_idle_deaths_is_drawn_and_lies_on_the_panel():
    analysis = samples.analysis(samples.connection([answered_every(30, 2, idle=30)]), last=700)
    analysis.idle_deaths = [IdleDeaths(samples.B, round(349.1 * S), round(350.2 * S), 2)]
    figure = chart.draw(analysis, ["ecdf"])
    assert "timeout to 10.9.0.2:12345: 349 s to 350 s, 2 died" in charts.words(figure)
    low, high = figure.axes[0].get_xlim()
    assert low < 30 * S and high > 350.2 * S


def test_a_death_after_a_shorter_silence_than_another_survived_gets_no_bracket():
    analysis = samples.analysis(samples.connection([answered_every(30, 2, idle=30)]), last=700)
    analysis.idle_deaths = [IdleDeaths(samples.B, 349 * S, 100 * S, 2)]
    assert not any(text.startswith("timeout to") for text in charts.words(chart.draw(analysis, ["ecdf"])))


@pytest.mark.parametrize(
    ("case", "bracket"),
    [
        ("72-path-forgot", "timeout to 10.0.0.2:5432: 200 s to 361 s, 1 died"),
        ("73-box-resets-the-probe", "timeout to 10.0.0.2:5432: 300 s to 360 s, 1 died"),
        ("82-nobody-else-heard", None),
    ],
)
def test_the_chart_brackets_idle_deaths_where_the_finding_does(case, bracket, captures):
    analysis = kacap.read(str(captures / "crafted" / case / "capture.pcap"))
    told = [finding.sentence for finding in analysis.findings if finding.id == "idle-deaths"]
    assert len(told) == len(analysis.idle_deaths) == (bracket is not None)
    figure = chart.draw(analysis, ["ecdf"])
    drawn = [text for text in charts.words(figure) if text.startswith("timeout to")]
    assert drawn == ([bracket] if bracket else [])
    assert " ".join(told) in figure.said[1]


def year_of_probes(count=50_000):
    """Return a year in which a probe comes every 630 s, three of them missed and one much later than the others."""
    lost, late = {0, 25_000, count - 1}, 12_347
    side, peer = Endpoint("10.0.0.5", 5432), Endpoint("10.0.1.2", 40000)
    episodes = []
    for n in range(count):
        sent = samples.START + 630 * S * n + (30 * S if n == late else n * 370 % 1_000_000_000)
        reply = None if n in lost else FrameRef(0, 2 * n + 2)
        one = Probe(0, FrameRef(0, 2 * n + 1), sent, side, peer, "proven", 0, reply, None if n in lost else 400_000)
        one.outcome = "missed" if n in lost else "answered"
        since = sent - 600 * S - (30 * S if n == late else n * 370 % 1_000_000_000)
        ending = "resumed" if n in lost else "answered"
        episodes.append(Episode(0, side, [one], since, sent - since, [], ending, reply))
    prober = samples.prober(episodes, idle=Setting(expected=600, source="--expect"))
    days = 630 * count
    return samples.analysis(samples.connection([prober], last=days, a=peer, b=side), last=days)


@pytest.mark.slow
def test_a_year_of_probes_is_drawn_in_seconds_without_losing_a_miss_an_extreme_or_the_ends():
    analysis = year_of_probes()
    figures = {view: chart.draw(analysis, [view]) for view in chart.VIEWS}
    sizes = {view: len(charts.drawn(figure)) for view, figure in figures.items()}
    assert max(sizes.values()) < 500_000
    assert {"50,000 probes, too close to draw", "3 not answered"} <= set(charts.captions(figures["timeline"]))
    life = figures["timeline"].axes[0]
    (band,) = [line.get_xdata() for line in life.lines if line.get_linewidth() == 9]
    assert list(band) == pytest.approx([0, 630 * 49_999 * S], rel=1e-6)
    lost = [line.get_xdata()[0] for line in life.lines if line.get_color() == ORANGE]
    assert sorted(lost) == pytest.approx([0, 630 * 25_000 * S, 630 * 49_999 * S], rel=1e-6)
    residuals = figures["residuals"].axes[0]
    dots = max((line for line in residuals.lines if line.get_marker() == "o"), key=lambda line: len(line.get_xdata()))
    assert max(dots.get_ydata()) == 30 * S
    assert len(charts.points(figures["residuals"], "x")) == 3
    teeth = max(figures["silence"].axes[0].lines, key=lambda line: len(line.get_xdata()))
    assert np.nanmax(teeth.get_ydata()) >= 630 * S


def test_a_stated_setting_wins_over_what_the_gaps_suggest():
    prober = samples.gave_up().connections[0].probers[0]
    prober.idle.candidates = [3, 4]
    prober.idle.expected = 5
    assert terms_of(samples.analysis(), prober).idle == Term(5, True, "socket option")
    prober.idle.expected = None
    assert terms_of(samples.analysis(), prober).idle == Term(4, False)


@pytest.mark.parametrize(
    ("view", "case", "named"),
    [
        ("silence", "18b-gave-up", "AWS ALB"),
        ("silence", "18c-host-unreachable", "AWS ALB"),
        ("idle", "77-idle-deaths", "timeout: 349 s"),
        ("idle", "77b-silent-idle-deaths", "timeout: 349 s"),
    ],
)
def test_no_words_lie_over_a_missed_probe_or_a_connection_found_dead(view, case, named, captures):
    figure = chart.draw(kacap.read(str(captures / "crafted" / case / "capture.pcap"), marks=True), [view])
    figure.canvas.draw()
    (axes,) = [axes for axes in figure.axes if any(line.get_marker() == "x" for line in axes.lines)]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert any(named in words for words in boxes)
    crosses = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "x"])
    for x, y in axes.transData.transform(crosses):
        assert not [words for words, box in boxes.items() if box.contains(x, y)]


def test_the_rst_of_an_application_is_not_called_giving_up(captures):
    capture = captures / "crafted" / "92-application-resets" / "capture.pcap"
    words = charts.words(chart.draw(kacap.read(str(capture), marks=True), ["timeline"]))
    assert "RST" in words and "gave up: RST" not in words


def test_a_guess_that_a_probe_came_before_is_not_drawn_as_due(captures):
    analysis = kacap.read(str(captures / "crafted/74-swallowed-probes/capture.pcap"), marks=True)
    (prober,) = analysis.connections[0].probers
    found = firings_of(prober, terms_of(analysis, prober))
    known = found[found["due_ns"] != UNKNOWN_NS]
    assert 0 < len(known) < len(found) and (known["time_ns"] >= known["due_ns"]).all()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("55-mid-capture-unanswered", "1 that may still be answered"),
        ("91-answer-not-captured", "1 reply not captured"),
        ("90-replies-do-not-arrive", "59.9 s, probe 1 of 3"),  # the replies did not reach the prober: one run to it
        ("54-gave-up-with-timestamps", "idle 55 s? (55 to 59)"),
    ],
)
def test_the_timeline_says_what_is_open(case, words, captures):
    analysis = kacap.read(str(captures / f"crafted/{case}/capture.pcap"), marks=True)
    assert words in charts.words(chart.draw(analysis, ["timeline"], width=1200))


def test_a_window_probe_stands_beside_the_keepalive_probe_sent_at_the_same_time(captures):
    figure = chart.draw(
        kacap.read(str(captures / "crafted/22b-peer-window-zero/capture.pcap"), marks=True), ["timeline"]
    )
    places = {line.get_marker(): float(line.get_ydata()[0]) for line in figure.axes[0].lines if len(line.get_xdata())}
    assert places["D"] > places["v"] + 0.3


def test_a_reply_that_the_capture_shows_before_its_probe_ends_the_silence_too(captures):
    analysis = kacap.read(str(captures / "crafted/28-reply-before-probe/capture.pcap"), marks=True)
    saw = Saw(analysis, analysis.connections[0], analysis.connections[0].probers[0])
    assert len(saw.heights_ns) >= 3 and saw.heights_ns.max() < 62 * S


@pytest.mark.parametrize(("case", "stars"), [("98-error-quotes-the-first", 2), ("98b-error-quotes-the-only", 1)])
def test_an_icmp_error_that_quotes_what_was_not_yet_known_for_a_probe_has_its_star(case, stars, captures):
    analysis = kacap.read(str(captures / "crafted" / case / "capture.pcap"), marks=True)
    assert len(charts.points(chart.timeline(analysis), "*")) == stars


def test_replies_that_did_not_reach_a_prober_that_gave_up_end_no_silence_of_it(captures):
    analysis = kacap.read(str(captures / "crafted" / "90-replies-do-not-arrive" / "capture.pcap"), marks=True)
    (connection,) = analysis.connections
    saw = Saw(analysis, connection, connection.probers[0])
    assert saw.heights_ns.max() == pytest.approx(89.88 * S, abs=0.01 * S)
    assert any("gave up after 89.9 s" in words for words in charts.words(analysis.plot.silence()))


def test_a_title_that_is_too_long_is_its_conclusion_and_the_rest_stands_below():
    sentence = "10.0.0.1:1, or a box in its name, does not know the connection: it answered with RST; 2 probes waited"
    assert conclusion(sentence, lambda words: len(words) < 90) == tuple(sentence.split("; "))
    assert conclusion(sentence, lambda words: len(words) < 70) == tuple(sentence.split(": "))
    assert conclusion(sentence, lambda words: len(words) < 9) == (sentence, "")
    forgotten = "10.0.0.2:5 has forgotten the connection (RST), 10.0.0.1:1 went on"
    assert conclusion(forgotten, lambda words: len(words) < 60)[1] == "10.0.0.1:1 went on"
    assert conclusion("gave up (count 3)", lambda words: len(words) < 9) == ("gave up", "count 3")
    assert conclusion("9 connections with keepalive: 7 up; 2 dead", lambda words: len(words) < 36)[1] == "2 dead"


def test_an_outage_that_was_outlived_is_in_the_title(captures):
    figure = kacap.read(str(captures / "crafted" / "67-peer-comes-back" / "capture.pcap"), marks=True).plot.timeline()
    assert figure.said[0].startswith("nothing was heard of 10.0.0.2:80 for 80.5 s, then it answered again, unless")


@pytest.mark.parametrize("width", [500, 900, 1300])
def test_words_beside_the_rows_of_a_fleet_can_be_read_on_paper_and_on_a_screen(width, captures):
    """A row is a tenth of an inch high."""
    figure = kacap.read(str(captures / "lab" / "many" / "capture.pcapng")).plot.fleet(width=width)
    rows = [text for text in figure.axes[-1].texts if text.get_text().startswith(":")]
    assert len(rows) == 40
    assert min(text.get_size() for text in rows) >= 6.0
    heights = sorted(text.get_transform().transform(text.get_position())[1] for text in rows)
    assert np.diff(heights) == pytest.approx(15, abs=0.5)


def test_of_very_many_that_died_two_thousand_have_rows_and_the_others_are_counted(tmp_path):
    """No screen shows a picture of tens of thousands."""
    (tmp_path / "dead.pcap").write_bytes(given_up(2100 * GIVEN_UP_BYTES))
    figure = kacap.read(str(tmp_path / "dead.pcap")).plot.fleet()
    words = charts.words(figure)
    assert {
        "2,100 of 2,100 connections gave up at 22:13:35 UTC",
        "100 others,\n100 failed",
        "200 missed",
        "2,100 gave up",
    } <= set(words)
    assert figure.get_size_inches()[1] < 2000 * 0.05 + 4


@pytest.mark.parametrize("width", [500, 1300])
@pytest.mark.parametrize("shape", ["fifty years", "long addresses"])
def test_hostile_shapes_stay_on_the_page_and_titles_are_short(shape, width):
    ends = {
        "side": Endpoint("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1", 40000),
        "peer": Endpoint("2001:db8::1:2:3:4:5", 443),
    }
    ends = ends if shape == "long addresses" else {}
    later = 50 * 365 * 86_400 if shape == "fifty years" else 0
    sent = [60, 120, 180, *(later + seconds for seconds in (240, 300))]
    runs = [
        samples.episode([samples.probe(2 * n, s, reply_ms=1, **ends)], "answered", heard=s - 60)
        for n, s in enumerate(sent)
    ]
    lost = [samples.probe(20 + n, later + 360 + 10 * n, reply_ms=None, **ends) for n in range(3)]
    runs.append(samples.episode(lost, "gave-up", heard=later + 300, ended=later + 390, frame=30))
    own = {"a": ends["side"], "b": ends["peer"]} if ends else {}
    seen = samples.analysis(samples.connection([samples.prober(runs)], last=later + 390, **own), last=later + 390)
    for view in chart.VIEWS:
        figure = chart.draw(seen, [view], width=width)
        assert charts.misplaced(figure) == ([], []), view
        assert charts.longest_title(figure) <= 2, view


def test_each_gap_of_a_run_and_of_those_before_it_is_bracketed(captures):
    path = captures / "lab" / "close-wait-forgotten" / "capture.pcapng"
    words = charts.words(kacap.read(str(path), marks=True).plot.timeline())
    assert [word for word in words if re.fullmatch(r"2\.0\d s", word)] == ["2.03 s", "2.02 s", "2.02 s"]


def test_where_very_many_silences_were_survived_they_are_pale():
    runs = [
        samples.episode([samples.probe(2 * n, 60 * n + 60, reply_ms=1)], "answered", heard=60 * n) for n in range(400)
    ]
    (axes,) = samples.analysis(samples.connection([samples.prober(runs)], last=24_060), last=24_060).plot.silence().axes
    assert [line.get_alpha() for line in axes.lines if len(line.get_xdata()) > 400] == [0.3]
