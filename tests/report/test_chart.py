import io

import numpy as np
import pytest
import samples

from kacap.errors import KacapError, UsageError
from kacap.report import chart
from kacap.report.panel import COLUMNS
from kacap.report.timeaxis import TimeAxis, long_silences

S = samples.S


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts] + [text.get_text() for text in figure.texts]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def points(figure, marker: str) -> int:
    return sum(len(line.get_xdata()) for axes in figure.axes for line in axes.lines if line.get_marker() == marker)


DRAWN = [(s, f) for s in samples.ALL for f in chart.FORMATS if f == "svg" or s in ("answered", "gave_up")]


@pytest.mark.parametrize(("sample", "form"), DRAWN)
def test_every_sample_is_drawn_with_the_same_bytes_each_time(sample, form):
    first, second = io.BytesIO(), io.BytesIO()
    chart.render(samples.ALL[sample](), first, format=form)
    chart.render(samples.ALL[sample](), second, format=form)
    assert first.getvalue() == second.getvalue()
    assert first.getvalue().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[form])
    assert len(first.getvalue()) < 400_000


def test_the_title_is_the_verdict_and_each_lane_names_its_sender():
    said = words(chart.timeline(samples.answered()))
    assert "127.0.0.1:12345 probes every 1.02 s, all answered" in said
    assert {"127.0.0.1:12345 sends", "127.0.0.1:46216 sends"} <= set(said)


def test_probes_replies_misses_and_the_abort_each_have_a_shape():
    figure = chart.timeline(samples.gave_up())
    assert legend(figure) == ["probe", "no reply", "reset", "data"]
    assert points(figure, "v") == 4
    assert points(figure, "x") == 4
    assert "gave up: RST" in words(figure)


def test_a_probe_answered_with_a_reset_gets_no_cross():
    assert points(chart.timeline(samples.reset()), "x") == 0


def test_probes_of_either_end_point_their_own_way():
    figure = chart.timeline(samples.both_ends())
    assert (points(figure, "v"), points(figure, "^")) == (3, 10)


def test_thinning_never_drops_a_miss():
    figure = chart.timeline(samples.dense())
    assert points(figure, "x") == 3
    assert points(figure, "v") <= COLUMNS + 1
    assert {"window probe", "retransmission", "FIN"} <= set(legend(figure))


def test_the_gravest_six_connections_are_drawn_and_the_rest_counted():
    figure = chart.timeline(samples.many())
    assert len(figure.axes) == 6
    assert any("24 more probing connections not drawn" in text for text in words(figure))
    assert "gave up" in figure.axes[0].texts[-1].get_text()


def test_one_connection_can_be_asked_for_by_number():
    assert len(chart.timeline(samples.many(), 29).axes) == 1
    with pytest.raises(UsageError, match="connection 99"):
        chart.timeline(samples.many(), 99)


def test_without_a_probe_the_chart_says_so_and_for_how_long_was_watched():
    assert "no keepalive probe seen in 14.0 s" in words(chart.timeline(samples.quiet()))


def test_two_hours_of_silence_are_compressed_and_the_break_says_its_length():
    figure = chart.timeline(samples.long_silence())
    assert any(text.startswith("2 h ") and "silence" in text for text in words(figure))


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        chart.save(chart.timeline(samples.quiet()), tmp_path / "x.gif")


def test_a_chart_replaces_the_old_one_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "x.svg"
    target.write_text("old")
    chart.save(chart.timeline(samples.answered()), target)
    assert target.read_bytes().startswith(b"<?xml")
    assert list(tmp_path.iterdir()) == [target]


def test_a_chart_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(KacapError, match=r"none/x\.png: cannot write the chart"):
        chart.save(chart.timeline(samples.quiet()), tmp_path / "none" / "x.png")


def test_a_hostile_file_name_is_drawn_as_plain_text():
    analysis = samples.answered()
    analysis.capture.files = ["$\\frac{a}$\x1b.pcap"]
    figure = chart.timeline(analysis)
    chart._write(figure, io.BytesIO(), "svg")
    assert any("$\\frac{a}$?.pcap" in text for text in words(figure))


def test_the_axis_keeps_its_scale_on_both_sides_of_a_break():
    axis = TimeAxis(0, 1000 * S, [(10 * S, 980 * S)])
    before, after = np.diff(axis.place([2 * S, 4 * S]))[0], np.diff(axis.place([990 * S, 992 * S]))[0]
    assert before == after == 2 * S
    assert axis.width < 40 * S


def test_a_steady_rhythm_is_never_broken():
    times = [60 * S * n for n in range(5)]
    assert long_silences(times, times) == []


def test_a_silence_before_a_single_probe_is_not_broken_either():
    assert long_silences([0, S, 7200 * S], [7200 * S]) == []


def test_ticks_fall_on_round_numbers_and_never_inside_a_break():
    axis = TimeAxis(0, 7972 * S, [(60 * S, 7290 * S)])
    places, labels, unit = axis.ticks(0)
    assert unit == "minutes"
    assert all(float(label).is_integer() for label in labels)
    inside = axis.place([61 * S, 7289 * S])
    assert not any(inside[0] < place < inside[1] for place in places)
