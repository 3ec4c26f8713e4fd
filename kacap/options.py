"""How a capture is read and judged: one frozen object that ``kacap.read``, ``kacap.live`` and the analyzer share."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from kacap.capture.tshark.engine import ENGINES, Engine
from kacap.errors import UsageError
from kacap.timing.expectations import Expectation, Expected, parse
from kacap.timing.limits import LIMITS, Limit
from kacap.timing.systems import NAMES

Segments = Literal["events", "all", "none"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a capture is read and judged. All fields have defaults, and wrong values raise ``UsageError`` at once.

    ``expect``: what is configured, as ``"idle=60,interval=10,count=6"``, an ``Expectation``, or a function that returns
    one (or None) for a ``Connection``. ``system``: whose timers to assume, one of ``timing.systems.NAMES``. ``limits``:
    the idle limits of boxes to look for. ``segments``: which segments a sink gets a record of: ``events`` (all but data
    and plain ACKs), ``all`` or ``none``. ``keep_all`` keeps connections without a probe too. ``marks`` keeps what a
    timeline draws besides probes and replies (None: while the capture is small). ``keep_episodes``: so many episodes
    of each prober are kept (None: all). ``engine``: who decodes. ``follow``: go on reading a file that grows.
    ``frames``: end after so many frames that the filter accepts. ``state``: a file that the reading goes on from, if it
    is there, and leaves for the next one; the result is that of one reading of everything.

    >>> import kacap
    >>> options = kacap.Options(expect="idle=2m,count=6", keep_all=True)
    >>> options.expect
    Expectation(idle=120, interval=None, count=6, user_timeout_ns=None, source='stated', side=None)
    >>> kacap.read("captures/lab/up/capture.pcapng", options=options).connections[0].probers[0].idle.verdict
    'differs'
    """

    expect: Expected | Expectation | str | None = None
    system: str = "auto"
    limits: tuple[Limit, ...] = LIMITS
    segments: Segments = "none"
    keep_all: bool = False
    marks: bool | None = None
    keep_episodes: int | None = None
    engine: Engine = "auto"
    follow: bool = False
    frames: int | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        """Read a text as the expectation that it states; refuse what nothing could be done with."""
        if isinstance(self.expect, str):
            object.__setattr__(self, "expect", parse(self.expect, "expect", "stated"))
        elif not (self.expect is None or isinstance(self.expect, Expectation) or callable(self.expect)):
            raise UsageError(f'expect={self.expect!r}: write "idle=60,interval=10,count=6" or an Expectation')
        for name, value, known in (
            ("system", self.system, NAMES),
            ("segments", self.segments, get_args(Segments)),
            ("engine", self.engine, ENGINES),
        ):
            if value not in known:
                raise UsageError(f"{name}={value!r}: one of {', '.join(known)}")
        for name, number in (("frames", self.frames), ("keep_episodes", self.keep_episodes)):
            if number is not None and number < 1:
                raise UsageError(f"{name}={number}: 1 or more")

    def changed(self, **changes: object) -> Options:
        """Return these options with some of them changed. Raises UsageError for an unknown name."""
        names = [field.name for field in fields(self)]
        for name in changes:
            if name not in names:
                raise UsageError(f"unknown option {name!r}; known: {', '.join(names)}")
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def judges(self) -> bool:
        """Whether anything is expected of any connection."""
        return self.expect is not None

    @property
    def expected(self) -> Expected:
        """What is expected of a connection, as a function."""
        wanted = self.expect
        if callable(wanted):
            return wanted
        found = None if isinstance(wanted, str) else wanted
        return lambda _: found


DEFAULTS = Options()
