import pytest

from kacap.units import between, clean, counted, duration, moment


@pytest.mark.parametrize(
    ("value_ns", "words"),
    [
        (0, "0 s"),
        (850, "850 ns"),
        (15_400, "15 us"),
        (150_000, "0.15 ms"),
        (21_040_000, "21.0 ms"),
        (204_000_000, "204 ms"),
        (1_024_000_000, "1.02 s"),
        (61_440_000_000, "61.4 s"),
        (350_000_000_000, "350 s"),
        (925_600_000_000, "926 s"),
        (1_000_000_000_000, "16 min 40 s"),
        (7_200_000_000_000, "2 h"),
        (7_320_000_000_000, "2 h 2 min"),
        (100 * 3_600_000_000_000, "4 d 4 h"),
        (-1_500_000_000, "-1.50 s"),
    ],
)
def test_a_duration_reads_as_a_person_would_say_it(value_ns, words):
    assert duration(value_ns) == words


@pytest.mark.parametrize(
    ("value_ns", "words"),
    [
        (999, "999 ns"),
        (99_600, "0.10 ms"),
        (9_996_000, "10.0 ms"),
        (999_600_000, "1.00 s"),
        (9_995_000_000, "10.0 s"),
        (99_960_000_000, "100 s"),
        (999_500_000_000, "16 min 40 s"),
        (3_599_600_000_000, "1 h"),
        (86_399_000_000_000, "1 d"),
        (1_005_000_000, "1.01 s"),
        (1_004_999_999, "1.00 s"),
    ],
)
def test_rounding_up_carries_into_the_next_unit(value_ns, words):
    assert duration(value_ns) == words


@pytest.mark.parametrize(
    ("low_ns", "high_ns", "words"),
    [
        (1_016_000_000, 1_028_000_000, "1.02 to 1.03 s"),
        (1_021_000_000, 1_024_000_000, "1.02 s"),
        (56_000, 110_000, "0.06 to 0.11 ms"),
        (30_000, 38_000_000, "30 us to 38.0 ms"),
        (1_020_000_000, 7_320_000_000_000, "1.02 s to 2 h 2 min"),
        (7_200_000_000_000, 7_320_000_000_000, "2 h to 2 h 2 min"),
    ],
)
def test_a_range_names_a_common_unit_once(low_ns, high_ns, words):
    assert between(low_ns, high_ns) == words


def test_a_moment_is_utc_with_milliseconds_rounded_half_up():
    assert moment(1_795_168_345_369_500_000) == "2026-11-20 09:52:25.370 UTC"
    assert moment(-(1 << 63)).startswith("1677-")
    assert moment((1 << 63) - 1).startswith("2262-")


def test_a_count_of_one_is_singular_and_thousands_are_grouped():
    assert [counted(n, "probe") for n in (0, 1, 12_000)] == ["0 probes", "1 probe", "12,000 probes"]


def test_control_and_bidirectional_characters_are_made_visible():
    assert clean("a\x1b[31m\u202eb\udc80\n") == "a?[31m?b??"
