import struct
from itertools import pairwise

import charts
import numpy as np
import pytest
import samples
from matplotlib.backends.backend_agg import FigureCanvasAgg

import kacap
from kacap.errors import UsageError
from kacap.model import Finding, Setting
from kacap.report import chart
from kacap.report.chart.axis import TimeAxis, log_ticks, long_silences, span_ticks
from kacap.report.chart.palette import SHAPES
from kacap.summary import Drop

pytestmark = pytest.mark.slow

S = samples.S
CASES = [(sample, view) for sample in samples.ALL for view in chart.VIEWS]


def configured(analysis, **expected):
    """Return an analysis on which every prober's settings are stated."""
    for prober in (p for c in analysis.connections for p in c.probers):
        for name, value in expected.items():
            setting = getattr(prober, name)
            setting.expected, setting.source = value, "--expect"
    return analysis


@pytest.mark.parametrize(("sample", "view"), CASES)
def test_every_sample_is_drawn_in_every_view_with_the_same_bytes_each_time(sample, view):
    first, second = (charts.drawn(chart.draw(samples.ALL[sample](), [view])) for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml")
    assert len(first) < 600_000


@pytest.mark.parametrize("form", ["png", "pdf"])
@pytest.mark.parametrize("view", chart.VIEWS)
def test_pictures_and_pages_have_the_same_bytes_each_time_too(view, form):
    first, second = (charts.drawn(chart.draw(samples.gave_up(), [view]), form) for _ in range(2))
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[form])


@pytest.mark.parametrize("width", [800, 1200, 3000])
@pytest.mark.parametrize(("sample", "view"), CASES)
def test_no_word_runs_off_the_page(sample, view, width):
    assert not charts.outside(chart.draw(samples.ALL[sample](), [view], width=width))


@pytest.mark.parametrize("width", [400, 800, 1200, 1999])
def test_a_picture_is_as_wide_as_was_asked_for(width):
    data = charts.drawn(chart.timeline(samples.gave_up(), width=width), "png")
    assert int.from_bytes(data[16:20], "big") == width


def test_dark_paper_is_dark_and_holds_the_same_words():
    light, dark = chart.timeline(samples.gave_up()), chart.timeline(samples.gave_up(), dark=True)
    assert sum(dark.get_facecolor()[:3]) < 0.5 < 2.5 < sum(light.get_facecolor()[:3])
    assert charts.words(light) == charts.words(dark)


def test_no_two_shapes_look_alike_without_colour():
    looks = {(shape.marker, shape.filled, shape.edge, shape.size) for shape in SHAPES.values()}
    assert len(looks) == len(SHAPES)


def test_the_title_is_the_verdict_and_each_lane_names_its_sender():
    said = charts.words(chart.timeline(samples.answered()))
    assert "127.0.0.1:12345 probes every 1.02 s, all answered" in said
    assert {"127.0.0.1:12345 sends", "127.0.0.1:46216 sends"} <= set(said)


def test_each_shape_is_named_and_counted_on_the_lane_where_it_stands():
    figure = chart.timeline(samples.gave_up())
    assert charts.captions(figure) == [
        "10.9.0.1:42952 sends",
        "4 probes",
        "1 data",
        "1 RST",
        "10.9.0.2:12345 sends",
        "4 not answered",
        "1 data",
    ]
    assert len(charts.points(figure, "v")) == 4
    assert len(charts.points(figure, "x")) == 4
    assert "gave up: RST" in charts.words(figure)


def test_a_probe_answered_with_a_reset_gets_no_cross():
    assert not len(charts.points(chart.timeline(samples.reset()), "x"))


def test_probes_of_either_end_point_their_own_way():
    figure = chart.timeline(samples.both_ends())
    assert (len(charts.points(figure, "v")), len(charts.points(figure, "^"))) == (3, 10)


def test_of_very_many_probes_the_whole_life_is_a_strip_and_what_was_missed_is_enlarged():
    figure = chart.timeline(samples.dense())
    life, _ = figure.axes
    said = {"its whole life, 34 min 1 s", "2,000 probes, too close to draw", "3 not answered"}
    assert said <= set(charts.captions(figure))
    assert len(charts.points(figure, "x")) >= 1
    assert 5 <= len(charts.points(figure, "v")) < 15
    assert not life.collections  # a wall of ticks would hide what was missed


def test_above_six_connections_the_fleet_is_drawn_and_the_timeline_is_of_the_gravest():
    figure = chart.draw(samples.many())
    assert chart.default_view(samples.many()) == "fleet"
    said = "2 of 30 connections failed between 09:52:32 and 10:00:05 UTC: 1 gave up, 1 reset, all to 10.9.0.2:12345"
    assert figure.said[0].startswith(said)
    alone = chart.timeline(samples.many())
    assert any(text.startswith("the gravest of 30: --view fleet shows all") for text in charts.words(alone))
    assert alone.texts[0].get_text().startswith("10.9.0.1:42952 gave up")


def test_one_connection_can_be_asked_for_by_number():
    assert len(chart.timeline(samples.many(), 29).axes) == 1
    with pytest.raises(UsageError, match="connection 99: not in this capture; they are numbered 0 to 29"):
        chart.timeline(samples.many(), 99)


@pytest.mark.parametrize("view", chart.VIEWS)
def test_without_a_probe_every_view_says_so_and_for_how_long_was_watched(view):
    assert "no keepalive probe seen in 14.0 s" in charts.words(chart.draw(samples.quiet(), [view]))


def test_without_a_probe_idle_deaths_are_still_told():
    analysis = samples.quiet()
    analysis.findings.append(Finding("idle-deaths", None, "8 connections died at first use after silence", [], ""))
    assert "8 connections died at first use after silence" in charts.words(chart.timeline(analysis))


@pytest.mark.parametrize("view", chart.VIEWS)
def test_a_connection_on_which_nobody_probes_can_be_asked_for(view):
    assert any("no keepalive probe seen" in text for text in charts.words(chart.draw(samples.quiet(), [view], 0)))


def test_two_hours_of_silence_are_compressed_and_the_break_says_its_length():
    said = charts.words(chart.timeline(samples.long_silence()))
    assert any(text.startswith("2 h ") and "silence" in text for text in said)


def test_no_band_is_drawn_for_a_value_that_nobody_configured():
    analysis = samples.gave_up()
    for setting in (getattr(analysis.connections[0].probers[0], name) for name in ("idle", "interval", "count")):
        setting.expected = setting.source = None
    figure = chart.timeline(analysis)
    assert not charts.bands(figure.axes[0])
    said = charts.words(figure)
    assert "nothing configured is known; guessed from the gaps: idle 3 s, interval 1 s, count 4" in said
    assert {"idle 3 s?", "interval 1 s?", "deadline 3 s + 4 x 1 s = 7 s?"} <= set(said)


def test_a_band_begins_when_the_probe_is_due_and_ends_where_no_timer_is_later():
    analysis = samples.gave_up()
    analysis.clocks = {"10.9.0.1": {250}}
    left, right = np.array(charts.bands(chart.timeline(analysis).axes[0])).T / S
    assert left == pytest.approx([3.0, 4.128, 5.152, 6.176, 7.2])
    assert right - left == pytest.approx([0.256, 0.032, 0.032, 0.032, 0.032])


def test_a_probe_that_waits_when_the_capture_ends_shows_when_the_next_is_due():
    analysis = configured(samples.mid_connection_patterned(), interval=75)
    analysis.capture.last_ns = samples.at(160)
    figure = chart.timeline(analysis)
    assert "next probe due (interval 75 s): 25.4 s beyond the edge" in charts.words(figure)
    assert len(charts.points(figure, ">")) == 1


def test_the_deadline_and_the_user_timeout_are_lines_with_their_sums():
    analysis = configured(samples.user_timeout(), idle=3, interval=1, count=4)
    analysis.connections[0].probers[0].user_timeout = Setting(expected=5500, source="--expect")
    figure = chart.timeline(analysis)
    said = set(charts.words(figure))
    assert {"deadline 3 s + 4 x 1 s = 7 s: 784 ms beyond the edge", "user timeout 5.50 s"} <= said
    upright = {round(line.get_xdata()[0] / S, 6) for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1}
    assert 5.5 in upright


def test_a_setting_that_differs_is_in_the_title_with_what_it_looks_like_below():
    analysis = configured(samples.gave_up(), idle=10)
    idle = analysis.connections[0].probers[0].idle
    idle.verdict, idle.why = "differs", "looks like something else"
    said = " ".join(charts.words(chart.timeline(analysis)))
    assert "idle is not 10 s as configured" in said
    assert "expected 10 s (--expect) DIFFERS: looks like something else" in said


def test_dropped_frames_weaken_every_miss_in_words():
    figure = chart.timeline(samples.drops())
    assert "4 not answered (or not captured)" in charts.captions(figure)
    assert any(text.startswith("! 12 frames dropped while capturing") for text in charts.words(figure))


def test_frames_lost_at_known_times_are_hatched_there_counted_and_named_in_the_caption():
    figure = chart.timeline(samples.drops_in_time())
    moment, second = charts.losses(figure.axes[0])
    assert moment[0] < 2.1 * S < 2.102 * S < moment[1]  # wide enough to be seen, and what was lost lies within
    assert moment[1] - moment[0] == pytest.approx(0.007 * 7.224 * S, rel=0.1)
    assert second == pytest.approx((4.5 * S, 5.5 * S))
    assert {"3 lost", "1,200 lost"} <= set(charts.words(figure))
    assert charts.captions(figure)[-1] == "1,203 frames lost by the capture"
    assert "4 not answered (or not captured)" in charts.captions(figure)
    note = "! 1,205 frames dropped while capturing, 1,203 of them at known times (cross-hatched): a miss may be one"
    assert any(text.startswith(note) for text in charts.words(figure))


@pytest.mark.parametrize("view", ["silence", "residuals"])
def test_every_view_over_time_shows_when_frames_were_lost(view):
    for axes in chart.draw(samples.drops_in_time(), [view]).axes:
        assert charts.losses(axes)[1] == pytest.approx((4.5 * S, 5.5 * S))


def test_drops_that_may_be_anywhere_in_the_capture_or_lie_outside_of_the_panel_are_not_drawn():
    analysis = samples.drops_in_time()
    span = Drop(samples.at(0), samples.at(7.224), 5)
    later = Drop(samples.at(90), samples.at(99), 5)
    analysis.capture.drops = [span, span._replace(since_ns=None)]
    assert not charts.losses(chart.timeline(analysis).axes[0])
    assert any("when is not recorded" in text for text in charts.words(chart.timeline(analysis)))
    analysis.capture.last_ns, analysis.capture.drops = samples.at(100), [later]
    figure = chart.timeline(analysis)
    assert not charts.losses(figure.axes[0])
    assert not any("lost by the capture" in text for text in charts.captions(figure))
    analysis.capture.drops = [Drop(None, samples.at(2), 5)]
    assert charts.losses(chart.timeline(analysis).axes[0]) == [(0, 2 * S)]


@pytest.mark.parametrize(("moments", "spans", "least"), [(256, 1, 1), (40, 40, 12)])
def test_moments_of_drops_that_touch_are_one_and_their_numbers_do_not_run_into_each_other(moments, spans, least):
    analysis, step = samples.drops_in_time(), 7.1 / moments
    analysis.capture.drops = [Drop(samples.at(n * step), samples.at(n * step + 0.001), 7) for n in range(moments)]
    figure = chart.timeline(analysis)
    assert len(charts.losses(figure.axes[0])) == spans
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    numbers = [text for text in figure.axes[0].texts if text.get_text().endswith(" lost")]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in numbers]
    assert len(boxes) >= least
    assert all(before.x1 < after.x0 for before, after in pairwise(boxes))


def test_a_drop_count_in_a_file_is_drawn_where_it_was(captures, tmp_path):
    data = (captures / "lab/recovered/capture.pcapng").read_bytes()
    (tmp_path / "lossy.pcapng").write_bytes(with_drops(data, packet=10, lost=3))
    analysis = kacap.read(str(tmp_path / "lossy.pcapng"), marks=True)
    probes = analysis.connections[0].probers[0].episodes[0].probes
    assert [(drop.since_ns, drop.until_ns, drop.frames) for drop in analysis.capture.drops] == [
        (probes[1].time_ns, probes[2].time_ns, 3)
    ]
    figure = chart.timeline(analysis)
    (span,) = charts.losses(figure.axes[0])
    first_ns = analysis.connections[0].first_ns
    assert span == pytest.approx((probes[1].time_ns - first_ns, probes[2].time_ns - first_ns), abs=0.1 * S)
    assert "3 frames lost by the capture" in charts.captions(figure)


def with_drops(data: bytes, packet: int, lost: int) -> bytes:
    """Return a pcapng whose packet of that number says how many frames were lost before it (option 4)."""
    out, place, number = b"", 0, 0
    while place < len(data):
        kind, length = struct.unpack_from("<II", data, place)
        block = data[place : place + length]
        number += kind == 6
        if kind == 6 and number == packet:
            total = struct.pack("<I", length + 12)
            block = block[:4] + total + block[8:-4] + struct.pack("<HHQ", 4, 8, lost) + total
        out += block
        place += length
    return out


def test_without_marks_the_chart_says_what_it_does_not_draw():
    analysis = samples.answered()
    assert any("marks=True" in text for text in charts.words(analysis.plot.timeline()))


def test_an_analysis_plots_itself_and_a_notebook_shows_the_figure():
    analysis = samples.gave_up()
    for view in chart.VIEWS:
        assert getattr(analysis.plot, view)()._repr_png_() == charts.drawn(chart.draw(analysis, [view]), "png")


def test_all_views_stand_one_below_the_other_on_one_page():
    figure = chart.draw(samples.gave_up(), list(chart.VIEWS))
    assert len(figure.axes) == 7  # the residuals have a panel for each timer


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"a \.png, \.svg or \.pdf file"):
        chart.save(chart.timeline(samples.quiet()), tmp_path / "x.gif")


def test_a_chart_replaces_the_old_one_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "x.svg"
    target.write_text("old")
    chart.save(chart.timeline(samples.answered()), target)
    assert target.read_bytes().startswith(b"<?xml")
    assert list(tmp_path.iterdir()) == [target]


def test_a_chart_that_cannot_be_drawn_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    target = tmp_path / "x.png"
    target.write_text("old")
    figure = chart.timeline(samples.answered())
    figure.draw = None  # what matplotlib calls to draw it
    with pytest.raises(TypeError):
        chart.save(figure, target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_chart_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none/x\.png: cannot be written"):
        chart.save(chart.timeline(samples.quiet()), tmp_path / "none" / "x.png")
    with pytest.raises(UsageError, match="No such file or directory"):
        chart.check_target(tmp_path / "none" / "x.png")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        chart.check_target(tmp_path / "d.png")


def test_a_hostile_file_name_is_drawn_as_plain_text():
    analysis = samples.answered()
    analysis.capture.files = ["$\\frac{a}$\x1b<script>.pcap"]
    figure = chart.timeline(analysis)
    assert any("$\\frac{a}$?<script>.pcap" in text for text in charts.words(figure))
    assert b"<script>" not in charts.drawn(figure)


def test_a_file_name_in_a_script_without_a_font_is_drawn_without_a_warning(recwarn):
    analysis = samples.answered()
    analysis.capture.files = ["\u6355\u83b7.pcap"]
    charts.drawn(chart.timeline(analysis), "png")
    assert not recwarn.list


def test_a_picture_carries_its_verdict_for_readers_that_cannot_see_it():
    data = charts.drawn(chart.timeline(samples.gave_up())).decode()
    assert "<title>10.9.0.1:42952 gave up on 10.9.0.2:12345: 4 unanswered probes in 7.22 s of silence</title>" in data


def test_the_axis_keeps_its_scale_on_both_sides_of_a_break():
    axis = TimeAxis(0, 1000 * S, [(10 * S, 980 * S)])
    before, after = np.diff(axis.x([2 * S, 4 * S]))[0], np.diff(axis.x([990 * S, 992 * S]))[0]
    assert before == after == 2 * S
    assert axis.width < 40 * S


def test_a_steady_rhythm_is_never_broken():
    times = [60 * S * n for n in range(5)]
    assert long_silences(times, times) == []


def test_a_silence_before_a_single_probe_is_not_broken_either():
    assert long_silences([0, S, 7200 * S], [7200 * S]) == []


def test_the_unit_of_the_ticks_is_one_that_divides_them():
    assert TimeAxis(0, 200 * S).ticks(0)[1:] == ([str(n) for n in range(0, 201, 20)], "seconds")
    year = TimeAxis(0, 364 * 86_400 * S).ticks(0)[1]
    assert [label.partition("\n")[0] for label in year] == ["0", *(f"{n} d" for n in range(60, 361, 60))]


def test_ticks_fall_on_round_numbers_and_never_inside_a_break():
    axis = TimeAxis(0, 7972 * S, [(60 * S, 7290 * S)])
    places, labels, words = axis.ticks(0)
    assert words.startswith("time, and time of day in UTC")
    assert labels[0] == "0\n00:00"
    assert "2 h 05 min\n02:05" in labels or "2 h 04 min\n02:04" in labels
    inside = axis.x([61 * S, 7289 * S])
    assert not any(inside[0] < place < inside[1] for place in places)


@pytest.mark.parametrize(
    ("top", "labels"),
    [
        (5, ["0", "1 s", "2 s", "3 s", "4 s", "5 s"]),
        (300, ["0", "60 s", "120 s", "180 s", "240 s", "300 s"]),
        (1500, ["0", "5 min", "10 min", "15 min", "20 min", "25 min"]),
        (7200, ["0", "20 min", "40 min", "60 min", "80 min", "100 min", "120 min"]),
        (0.03, ["0", "5 ms", "10 ms", "15 ms", "20 ms", "25 ms", "30 ms"]),
    ],
)
def test_durations_are_ticked_as_people_count_them(top, labels):
    assert span_ticks(0, round(top * S))[1] == labels


def test_a_logarithmic_axis_is_ticked_at_sixty_and_three_hundred():
    assert {"60 s", "5 min", "1 h"} <= set(log_ticks(S // 2, 7200 * S)[1])
