"""Numbers into words: durations, moments, counts, and text that came from outside.

The only place where nanoseconds become seconds. Everything is rounded half up in integers, so that 59.9996 s never
reads "60.00 s" in one line and "1 min" in the next. The words are ASCII: they survive every pipe.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kacap.clock import DAY_NS, HOUR_NS, MICROSECOND_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS

ROUND_STEPS = (7200, 3600, 1800, 900, 600, 300, 240, 120, 60, 30, 15, 10, 5, 2, 1)  # seconds

Scale = tuple[int, int, int, int, str]

# Below `limit` a duration is written in `unit`, rounded to `step`, with so many decimals.
_SCALES: tuple[Scale, ...] = (
    (MICROSECOND_NS, 1, 1, 0, "ns"),
    (100 * MICROSECOND_NS, MICROSECOND_NS, MICROSECOND_NS, 0, "us"),
    (10 * MILLISECOND_NS, MILLISECOND_NS, 10 * MICROSECOND_NS, 2, "ms"),
    (100 * MILLISECOND_NS, MILLISECOND_NS, 100 * MICROSECOND_NS, 1, "ms"),
    (SECOND_NS, MILLISECOND_NS, MILLISECOND_NS, 0, "ms"),
    (10 * SECOND_NS, SECOND_NS, 10 * MILLISECOND_NS, 2, "s"),
    (100 * SECOND_NS, SECOND_NS, 100 * MILLISECOND_NS, 1, "s"),
    (1_000 * SECOND_NS, SECOND_NS, SECOND_NS, 0, "s"),
)

# From 1,000 s on, two units: (limit, large unit, its name, small unit, its name).
_PAIRS: tuple[tuple[int | None, int, str, int, str], ...] = (
    (HOUR_NS, MINUTE_NS, "min", SECOND_NS, "s"),
    (DAY_NS, HOUR_NS, "h", MINUTE_NS, "min"),
    (None, DAY_NS, "d", HOUR_NS, "h"),
)


def rounded(value_ns: int, step_ns: int) -> int:
    """Return ``value_ns`` rounded half up to a multiple of ``step_ns``, in nanoseconds."""
    return (value_ns + step_ns // 2) // step_ns * step_ns


def duration(value_ns: int) -> str:
    """Return a duration for people: ``15 us``, ``1.02 s``, ``61.4 s``, ``350 s``, ``2 h 2 min``."""
    if value_ns == 0:
        return "0 s"
    if value_ns < 0:
        return "-" + duration(-value_ns)
    scale = _scale(value_ns)
    return f"{_number(value_ns, scale)} {scale[-1]}" if scale else _two_units(value_ns)


def _scale(value_ns: int) -> Scale | None:
    """Return the scale that suits a duration, None from 1,000 s on."""
    for scale in _SCALES:
        if rounded(value_ns, scale[2]) < scale[0]:
            return scale
    return None


def _number(value_ns: int, scale: Scale) -> str:
    """Return a duration as a number in a scale's unit."""
    _, unit, step, places, _ = scale
    return f"{rounded(value_ns, step) / unit:.{places}f}"


def _two_units(value_ns: int) -> str:
    """Return a long duration in its two largest units, the smaller one left out when it is 0."""
    _, large, large_name, small, small_name = next(
        row for row in _PAIRS if row[0] is None or rounded(value_ns, row[3]) < row[0]
    )
    shown = rounded(value_ns, small)
    rest = shown % large // small
    return f"{shown // large} {large_name}" + (f" {rest} {small_name}" if rest else "")


def between(low_ns: int, high_ns: int) -> str:
    """Return a range of durations, in one unit where they are near: ``0.06 to 0.11 ms``; equal ends are one."""
    low, high, scale = duration(low_ns), duration(high_ns), _scale(high_ns)
    if scale and low_ns * 100 > high_ns:
        low = _number(low_ns, scale)
    return high if high in (low, f"{low} {scale[-1] if scale else ''}") else f"{low} to {high}"


def roundest(seconds: list[int]) -> int:
    """Return the setting that people would choose of several: a multiple of the largest usual step."""
    return max(seconds, key=lambda value: (max(step for step in ROUND_STEPS if value % step == 0), -value))


def moment(time_ns: int) -> str:
    """Return a time since 1970 as ``2026-11-20 09:52:25.369 UTC``, rounded to milliseconds."""
    milliseconds = rounded(time_ns, MILLISECOND_NS) // MILLISECOND_NS
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{whole.microsecond // 1000:03d} UTC"


def clock_span(first_ns: int, last_ns: int) -> str:
    """Return two times since 1970 as ``between 22:40:13 and 22:55:02 UTC``, equal ones as ``at``; no date."""
    first, last = (f"{datetime.fromtimestamp(time_ns // SECOND_NS, UTC):%H:%M:%S}" for time_ns in (first_ns, last_ns))
    days = last_ns // DAY_NS - first_ns // DAY_NS
    if first == last and not days:
        return f"at {first} UTC"
    later = f" {counted(days, 'day')} later" if days else ""
    return f"between {first} and {last} UTC{later}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 probe``, ``12,000 probes``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def clean(text: str) -> str:
    """Return ``text`` with every character that is not printable (control, bidirectional, undecodable) as ``?``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
