"""What somebody configured: idle, interval, count and user timeout, where that was said, and for which connections.

Nothing is guessed here: a value that may be milliseconds, a name that nobody knows and two values for one setting
are refused, with their origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from typing import TYPE_CHECKING

from kacap.clock import SECOND_NS
from kacap.errors import UsageError
from kacap.model import SETTINGS, Connection, Endpoint
from kacap.timing.sides import Side

MOST_SECONDS = 32_767  # MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL, include/net/tcp.h
MOST_SYSCTL_SECONDS = 2_147_483  # proc_dointvec_jiffies: an int of jiffies, at 1000 a second
MOST_PROBES = 127  # MAX_TCP_KEEPCNT
MOST_USER_TIMEOUT_NS = 2_147_483_647 * 1_000_000  # an int of milliseconds

OTHER_NAMES = {  # as tcp(7), the sysctls, libpq, PostgreSQL, nginx, Envoy and the socket modules write them
    "idle": "keepidle tcp_keepidle tcp_keepalive_time keepalive_time keepalives_idle tcp_keepalives_idle",
    "interval": "intvl keepintvl tcp_keepintvl tcp_keepalive_intvl keepalive_interval keepalives_interval "
    "tcp_keepalives_interval",
    "count": "cnt probes keepcnt tcp_keepcnt tcp_keepalive_probes keepalive_probes keepalives_count "
    "tcp_keepalives_count",
    "user_timeout": "tcp_user_timeout",
}
ALIASES = {alias: name for name, others in OTHER_NAMES.items() for alias in (name, *others.split())}

UNITS_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "min": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
_DURATION = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,9})?) ?([a-z]*)")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one side of a connection is expected to do; None: nothing is expected of that setting.

    ``idle`` and ``interval`` in seconds, ``count`` in probes, ``user_timeout_ns`` in nanoseconds; ``source`` says where
    the values come from (``--expect``, ``socket``, ``sysctl``). ``side`` is the end that must probe, None: either.
    A text may have a unit, ``idle="2m"``, and raises UsageError where no socket takes it. Numbers are not checked
    here: a live socket may hold what no setter accepts.

    >>> import kacap
    >>> kacap.Expectation(idle="2m", interval=10, count=6).idle
    120
    >>> analysis = kacap.read("captures/lab/cut-off/capture.pcapng", expect=kacap.Expectation(idle=2, count=3))
    >>> [(prober.idle.verdict, prober.count.verdict) for prober in analysis.connections[0].probers]
    [('ok', 'ok')]
    """

    idle: int | None = None
    interval: int | None = None
    count: int | None = None
    user_timeout_ns: int | None = None
    source: str = "stated"
    side: Side | None = None

    if TYPE_CHECKING:  # a setting may be given as a text, too; what is kept is a number

        def __init__(
            self,
            idle: int | str | None = None,
            interval: int | str | None = None,
            count: int | str | None = None,
            user_timeout_ns: int | str | None = None,
            source: str = "stated",
            side: Side | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Read texts as the numbers they mean. Raises UsageError for what is neither."""
        for field, name in zip(("idle", "interval", "count", "user_timeout_ns"), SETTINGS, strict=True):
            value: object = getattr(self, field)
            if isinstance(value, bool) or not (value is None or isinstance(value, int)):
                object.__setattr__(self, field, _number(Stated(name, value, "Expectation")))

    def ends(self, connection: Connection) -> list[Endpoint]:
        """Return the ends of ``connection`` that the expectation is about: one, both, or none."""
        both = [connection.a, connection.b]
        return both if self.side is None else self.side.among(both)


Expected = Callable[[Connection], Expectation | None]


@dataclass(frozen=True, slots=True)
class Stated:
    """One value as somebody wrote it, and where: ``Stated("idle", "60s", "--expect")``."""

    name: str
    value: object  # a text or a whole number, once it has been looked at
    origin: str


def parse(text: str, origin: str = "--expect", source: str | None = None) -> Expectation:
    """Return the expectation in ``idle=60,interval=10,count=6``; values may have units (60s, 2m, 2h).

    ``source`` is what it is called in reports (None: as its origin). Raises UsageError, which names ``origin``,
    for anything else, an unknown name, a value out of range, and a setting given twice with different values.
    """
    return combine(stated(text, origin), source or origin)


def stated(text: str, origin: str) -> list[Stated]:
    """Return the values in ``idle=60,interval=10,count=6``, unread. Raises UsageError for anything else."""
    found = []
    for part in text.split(","):
        name, sign, value = (word.strip() for word in part.partition("="))
        if not sign or not name or not value:
            raise UsageError(f"{origin} {text}: '{part.strip()}' is not name=value, as in idle=60,interval=10,count=6")
        found.append(Stated(name, value, origin))
    return found


def combine(values: Iterable[Stated], source: str, side: Side | None = None) -> Expectation:
    """Return one expectation from values of several origins.

    Raises UsageError for an unknown name, a value out of range, and two different values of one setting.
    """
    found: dict[str, tuple[int, Stated]] = {}
    for one in values:
        name, value = setting_name(one.name, one.origin), _number(one)
        if name in found and found[name][0] != value:
            first = found[name][1]
            raise UsageError(f"{name} is given twice: {first.value} ({first.origin}) and {one.value} ({one.origin})")
        found[name] = value, one
    number = {name: found[name][0] if name in found else None for name in SETTINGS}
    return Expectation(
        number["idle"], number["interval"], number["count"], number["user_timeout"], source=source, side=side
    )


def setting_name(name: str, origin: str) -> str:
    """Return the setting that a name or an alias of it means. Raises UsageError for an unknown one."""
    key = name.lower().replace("-", "_").replace(" ", "_").removeprefix("net.ipv4.")
    if key not in ALIASES:
        near = get_close_matches(key, ALIASES, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SETTINGS)}"
        raise UsageError(f"{origin}: unknown setting '{name}' ({hint})")
    return ALIASES[key]


def _number(one: Stated) -> int:
    """Return a value in its setting's unit: seconds, probes, or nanoseconds for the user timeout."""
    name = setting_name(one.name, one.origin)
    if isinstance(one.value, bool) or not isinstance(one.value, str | int):
        raise UsageError(f'{one.origin}: {one.name} is neither a whole number nor a text such as "60s": {one.value}')
    text = str(one.value).strip()
    if name == "count":
        return _count(text, one)
    return _user_timeout(text, one) if name == "user_timeout" else _seconds(text, one)


def _count(text: str, one: Stated) -> int:
    """Return a number of probes."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_PROBES:
        raise UsageError(f"{one.origin}: {one.name}={text} is out of range: 1 to {MOST_PROBES} probes, without a unit")
    return int(text)


def _user_timeout(text: str, one: Stated) -> int:
    """Return a user timeout in nanoseconds; its unit must be said, since systems and libraries differ in it."""
    value_ns, unit = _duration(text, one)
    if not unit and value_ns:
        raise UsageError(f"{one.origin}: {one.name}={text} needs its unit: {text}ms (as the socket counts) or {text}s")
    if value_ns % 1_000_000 or not 0 <= value_ns <= MOST_USER_TIMEOUT_NS:
        most = MOST_USER_TIMEOUT_NS // 1_000_000
        raise UsageError(f"{one.origin}: {one.name}={text} is out of range: whole milliseconds up to {most}")
    return int(value_ns)


def _seconds(text: str, one: Stated) -> int:
    """Return whole seconds; more than a socket takes (a sysctl may) only where the unit is said."""
    value_ns, unit = _duration(text, one)
    seconds = value_ns / SECOND_NS
    what = f"{one.origin}: {one.name}={text}"
    if seconds.denominator != 1:
        raise UsageError(f"{what} is not a whole number of seconds, and a socket counts in seconds")
    if seconds > MOST_SECONDS and not unit and seconds % 1000 == 0:
        raise UsageError(f"{what} looks like milliseconds: write {seconds // 1000} or {text}ms for {seconds // 1000} s")
    most = MOST_SYSCTL_SECONDS if unit else MOST_SECONDS
    if not 1 <= seconds <= most:
        more = f" (a sysctl may be larger: then say the unit, {text}s)" if seconds > most == MOST_SECONDS else ""
        raise UsageError(f"{what} is out of range: 1 to {most} s{more}")
    return int(seconds)


def _duration(text: str, one: Stated) -> tuple[Fraction, str]:
    """Return a duration in nanoseconds, and its unit as written; a bare number is seconds."""
    matched = _DURATION.fullmatch(text.lower())
    if matched is None or (matched[2] and matched[2] not in UNITS_NS):
        raise UsageError(f"{one.origin}: {one.name}={text}: not a duration: 60, 60s, 2m, 2h (ms, s, m, h)")
    return Fraction(matched[1]) * UNITS_NS[matched[2] or "s"], matched[2]
