"""Numbers into words: durations, moments, counts, and text that came from outside.

The only place where nanoseconds become seconds. Everything is rounded half up in integers, so that 59.9996 s never
reads "60.00 s" in one line and "1 min" in the next. The words are ASCII: they survive every pipe.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND

# Below `limit` a duration is written in `unit`, rounded to `step`, with so many decimals.
_SCALES = (
    (US, 1, 1, 0, "ns"),
    (100 * US, US, US, 0, "us"),
    (10 * MS, MS, 10 * US, 2, "ms"),
    (100 * MS, MS, 100 * US, 1, "ms"),
    (SECOND, MS, MS, 0, "ms"),
    (10 * SECOND, SECOND, 10 * MS, 2, "s"),
    (100 * SECOND, SECOND, 100 * MS, 1, "s"),
    (1_000 * SECOND, SECOND, SECOND, 0, "s"),
)

# From 1,000 s on, two units: (limit, large unit, its name, small unit, its name).
_PAIRS: tuple[tuple[int | None, int, str, int, str], ...] = (
    (HOUR, MINUTE, "min", SECOND, "s"),
    (DAY, HOUR, "h", MINUTE, "min"),
    (None, DAY, "d", HOUR, "h"),
)


def rounded(value_ns: int, step_ns: int) -> int:
    """Return ``value_ns`` rounded half up to a multiple of ``step_ns``, in nanoseconds."""
    return (value_ns + step_ns // 2) // step_ns * step_ns


def duration(value_ns: int) -> str:
    """Return a duration for people: ``15 us``, ``1.02 s``, ``61.4 s``, ``350 s``, ``2 h 2 min``."""
    if value_ns < 0:
        return "-" + duration(-value_ns)
    if value_ns == 0:
        return "0 s"
    for limit, unit, step, places, name in _SCALES:
        shown = rounded(value_ns, step)
        if shown < limit:
            return f"{shown / unit:.{places}f} {name}"
    return _two_units(value_ns)


def _two_units(value_ns: int) -> str:
    """Return a long duration in its two largest units, the smaller one left out when it is 0."""
    _, large, large_name, small, small_name = next(
        row for row in _PAIRS if row[0] is None or rounded(value_ns, row[3]) < row[0]
    )
    shown = rounded(value_ns, small)
    rest = shown % large // small
    return f"{shown // large} {large_name}" + (f" {rest} {small_name}" if rest else "")


def between(low_ns: int, high_ns: int, link: str = " to ") -> str:
    """Return a range of durations, naming a common unit once: ``1.02 to 3.40 s``; equal ends are one duration."""
    low, high = duration(low_ns), duration(high_ns)
    if low == high:
        return high
    if low.count(" ") == 1 and low.split()[1] == high.split()[-1] and high.count(" ") == 1:
        low = low.split()[0]
    return low + link + high


def moment(time_ns: int) -> str:
    """Return a time since 1970 as ``2026-11-20 09:52:25.369 UTC``, rounded to milliseconds."""
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=rounded(time_ns, MS) // MS)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{whole.microsecond // 1000:03d} UTC"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 probe``, ``12,000 probes``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def clean(text: str) -> str:
    """Return ``text`` with every character that is not printable (control, bidirectional, undecodable) as ``?``."""
    return "".join(c if c.isprintable() else "?" for c in text)
