"""What an analysis is made of: a few plain objects for what is few. Times are integer nanoseconds, UTC.

A frame is written ``FrameRef(file, number)``; kinds and grades are the values of the table in ``classify/kinds.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class FrameRef(NamedTuple):
    """A frame: the index of its file in the capture, and its number within that file, from 1."""

    file: int
    number: int


class Endpoint(NamedTuple):
    """One side of a connection, numeric."""

    address: str
    port: int

    def __str__(self) -> str:
        """Return ``10.0.0.1:5432`` or ``[fd00::1]:5432``."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(slots=True)
class SegmentRecord:
    """What one segment is, how sure that is, and why, in words."""

    frame: FrameRef
    time_ns: int
    connection: int
    source: Endpoint
    destination: Endpoint
    kind: str
    grade: str
    reason: str


@dataclass(slots=True)
class Probe:
    """One keepalive probe. ``reply_frame``, ``reply_after_ns`` and ``answered_by`` (its kind) are None: no reply came.

    ``outcome`` is ``answered``, ``missed``, ``reset`` (a reset answered it) or ``waiting`` (an answer may still come).

    >>> import kacap
    >>> kacap.read("captures/lab/recovered/capture.pcapng").probes[0].outcome
    'missed'
    """

    connection: int
    frame: FrameRef
    time_ns: int
    prober: Endpoint
    peer: Endpoint
    grade: str
    payload_bytes: int
    reply_frame: FrameRef | None = None
    reply_after_ns: int | None = None
    outcome: str = "missed"
    answered_by: str | None = None


@dataclass(slots=True)
class Episode:
    """A run of probes with one ending; an answered probe is an episode of its own.

    ``silent_since_ns`` is when the prober last accepted a segment from the peer (None: before the capture's view, or
    one that the capture lacks); ``first_gap_ns`` from there to the first probe; ``gaps_ns`` between the probes, and
    from the last to an abort.

    >>> import kacap
    >>> (episode,) = kacap.read("captures/lab/cut-off/capture.pcapng").episodes
    >>> len(episode.probes), episode.ending, round(episode.first_gap_ns / 1e9, 1)
    (3, 'gave-up', 2.0)
    """

    connection: int
    prober: Endpoint
    probes: list[Probe]
    silent_since_ns: int | None
    first_gap_ns: int | None
    gaps_ns: list[int]
    ending: str
    ending_frame: FrameRef | None


@dataclass(slots=True)
class Setting:
    """idle, interval or count of one prober: what was seen, what could have produced it, what was expected.

    ``observed_ns`` is (min, max) of a time as seen, ``observed`` of a count; ``candidates`` are whole seconds, or
    counts; ``assumes`` names what they take for granted, empty where the capture alone shows them.
    """

    observed_ns: tuple[int, int] | None = None
    n: int = 0
    candidates: list[int] | None = None
    expected: int | None = None
    source: str | None = None
    verdict: str = "not observable"
    why: str = ""
    assumes: list[str] = field(default_factory=list)
    observed: tuple[int, int] | None = None


SETTINGS = ("idle", "interval", "count", "user_timeout")  # of a prober, or expected of it


class ProbeTables(Protocol):
    """The tables that hold what a prober sent; a prober is named by its row there."""

    def episodes(self, prober: int) -> list[Episode]:
        """Return its episodes, in order."""

    def runs(self, prober: int) -> list[Episode]:
        """Return those of them that are more than one probe answered."""

    def last(self, prober: int) -> Episode:
        """Return the last of them."""

    def times_ns(self, prober: int) -> list[int]:
        """Return when its probes were sent, in order."""

    def silences_ns(self, prober: int) -> list[int]:
        """Return the silences before its episodes, in order, where they are known."""

    def end(self, prober: int, ending: str) -> None:
        """Let its last episode have ended in another way."""


@dataclass(slots=True)
class Prober:
    """One side that probes: numbers, and the three settings of ``tcp(7)``.

    >>> import kacap
    >>> (prober,) = kacap.read("captures/lab/cut-off/capture.pcapng").connections[0].probers
    >>> str(prober.side), prober.probes, prober.missed, prober.idle.candidates, prober.ending
    ('10.1.0.2:40000', 3, 3, [2], 'gave-up')
    """

    side: Endpoint
    peer: Endpoint
    probes: int = 0
    replies: int = 0
    missed: int = 0
    idle: Setting = field(init=False)  # these four: made when they are first asked for
    interval: Setting = field(init=False)
    count: Setting = field(init=False)
    user_timeout: Setting = field(init=False)  # expected in ms, observed a bracket; in no record
    ending: str = "open"
    grade: str = "proven"  # the weakest grade among its probes
    payload_bytes: int = 0
    first_probe_ns: int = 0
    last_probe_ns: int = 0
    reply_after_ns: tuple[int, int] | None = None  # fastest and slowest reply
    gaps_ns: tuple[int, int] | None = None  # shortest and longest gap between consecutive probes
    survived_ns: int = 0  # the longest silence that an answered probe ended
    longest_run: int = 0  # of misses in a row
    unheard: int = 0  # replies in the capture that did not reach it, as its timestamps show
    connection: int = 0
    row: int = 0  # of the tables that it is a view of
    frames: tuple[FrameRef, FrameRef] | None = None  # of its first and its last probe
    lone: int = 0  # episodes that are one probe answered
    path_ns: int = 0  # from the capture to it and back, at most; 0: not seen
    cut: bool = False  # the capture's clock was set after it: what came then counts as another connection's
    estimated: Callable[[], Sequence[Setting]] | None = field(default=None, repr=False, compare=False)
    _rows: ProbeTables | None = field(default=None, repr=False, compare=False)
    _episodes: list[Episode] | None = field(default=None, repr=False, compare=False)
    _runs: list[Episode] | None = field(default=None, repr=False, compare=False)
    _last: Episode | None = field(default=None, repr=False, compare=False)

    def __getattr__(self, name: str) -> Setting:
        """Return a setting that was not asked for before: of most probers that gave up nobody asks for any."""
        if name not in SETTINGS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        known = self.estimated() if self.estimated is not None else ()
        place = SETTINGS.index(name)
        setting = known[place] if place < len(known) else Setting()
        setattr(self, name, setting)
        return setting

    def __repr__(self) -> str:
        """Return it in one line: who probes whom, how often, and how that ended."""
        return f"<prober {self.side} of {self.peer}: {self.probes} probes, {self.replies} answered, {self.ending}>"

    @property
    def episodes(self) -> list[Episode]:
        """Its episodes in order, made when they are first asked for."""
        if self._episodes is None:
            if self._rows is None:
                self._episodes = []
            else:
                self._episodes = self._rows.episodes(self.row) if self.lone else self.runs
        return self._episodes

    @episodes.setter
    def episodes(self, episodes: list[Episode]) -> None:
        """Give it these episodes."""
        self._episodes, self._runs, self._rows = episodes, None, None

    @property
    def runs(self) -> list[Episode]:
        """Its episodes that are more than one probe answered, in order: few, where most probes are."""
        if self._runs is None and self._rows is not None:
            self._runs = self._rows.runs(self.row)
        elif self._runs is None:
            self._runs = [e for e in self.episodes if len(e.probes) > 1 or e.ending != "answered"]
        return self._runs

    def give(self, runs: list[Episode], last: Episode | None) -> None:
        """Give it its runs and its last episode (None: to be made), made before anybody asked for them."""
        self._runs, self._last = runs, last

    @property
    def times_ns(self) -> list[int]:
        """When its probes were sent, in order."""
        if self._rows is not None:
            return self._rows.times_ns(self.row)
        return [probe.time_ns for episode in self.episodes for probe in episode.probes]

    @property
    def silences_ns(self) -> list[int]:
        """The silences before its episodes in order, nanoseconds; not those that began before the capture."""
        if self._rows is not None:
            return self._rows.silences_ns(self.row)
        return [episode.first_gap_ns for episode in self.episodes if episode.first_gap_ns is not None]

    @property
    def last(self) -> Episode | None:
        """Its last episode."""
        if self._rows is None:
            return self.episodes[-1] if self.episodes else None
        if self._last is None:
            self._last = self._rows.last(self.row)
        return self._last

    def end(self, ending: str) -> None:
        """Let it, and its last episode, have ended in another way than the rows say."""
        self.ending = ending
        if self._rows is not None:
            self._rows.end(self.row, ending)
        for made in (*(self._episodes or [])[-1:], *(self._runs or [])[-1:], self._last):
            if made is not None:
                made.ending = ending

    @property
    def steady(self) -> bool:
        """Whether every probe was answered."""
        return self.replies == self.probes


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a connection: ``how`` is open, fin, reset, gave-up, user-timeout or unreachable.

    ``by`` is a, b, a box or unclear (None: still open), ``cause`` that of a reset (``facts.ended``). ``named``, a or b,
    is who sent the FIN, or in whose name the RST came.
    """

    how: str = "open"
    by: str | None = None
    frame: FrameRef | None = None
    time_ns: int | None = None
    cause: int = 0
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence, and its mood: ``bad``, ``doubt`` or ``good``.

    >>> import kacap
    >>> kacap.read("captures/lab/mid-connection/capture.pcapng").connections[0].verdict
    Verdict(sentence='10.1.0.2:40000 probes every 2.02 s, all answered', mood='good')
    """

    sentence: str
    mood: str


@dataclass(slots=True)
class Connection:
    """Both directions of a 4-tuple, one incarnation, until it closed or the capture ended; ``probers`` may be empty.

    >>> import kacap
    >>> kacap.read("captures/lab/mid-connection/capture.pcapng").connections[0]
    <connection 1, 10.1.0.2:40000 - 10.2.0.2:12345: 10.1.0.2:40000 probes every 2.02 s, all answered>
    """

    connection: int
    a: Endpoint
    b: Endpoint
    first_ns: int
    last_ns: int
    longest_silence_ns: int
    segments: int = 0
    began_in_capture: bool = False  # its SYN was seen
    window_probes: int = 0
    retransmissions: int = 0
    probers: list[Prober] = field(default_factory=list)
    unprobed: Setting | None = None  # idle, judged where no end that should probe does; in no record
    observed_until_ns: int = 0
    ended: Ended = field(default_factory=Ended)
    _verdict: Verdict | Callable[[Connection], Verdict] | None = field(default=None, repr=False, compare=False)

    @property
    def destination(self) -> Endpoint:
        """The end that was connected to; where the SYN was not captured, the one with the smaller port."""
        return self.b if self.began_in_capture or self.b.port <= self.a.port else self.a

    def __repr__(self) -> str:
        """Return it in one line: number, ends, verdict."""
        said = f": {self.verdict.sentence}" if self.verdict.sentence else ""
        return f"<connection {self.connection}, {self.a} - {self.b}{said}>"

    @property
    def observed_ns(self) -> int:
        """For how long it was observed: until it closed, or until the capture ended."""
        return max(self.observed_until_ns, self.last_ns) - self.first_ns

    @property
    def verdict(self) -> Verdict:
        """The gravest true thing about it, made when it is first asked for."""
        if callable(self._verdict):
            self._verdict = self._verdict(self)
        return self._verdict or Verdict("", "good")

    @verdict.setter
    def verdict(self, verdict: Verdict | Callable[[Connection], Verdict]) -> None:
        """Give it this verdict, or what makes it."""
        self._verdict = verdict


@dataclass(slots=True)
class Finding:
    """One thing worth telling, with its evidence.

    >>> import kacap
    >>> kacap.read("captures/lab/cut-off/capture.pcapng").findings[0].id
    'peer-gone'
    """

    id: str
    connection: int | None
    sentence: str
    frames: list[FrameRef]
    remedy: str
    folded: bool = False  # about keepalive where nobody probes or should: counted in a text, and listed on request


class IdleDeaths(NamedTuple):
    """Connections to one destination, which was up, that died at first use after a silence; in nanoseconds.

    A limit on the way lies between the longest silence survived (0: no long one was) and the shortest that killed;
    if the first is not below the second, they did not die of one limit.
    """

    destination: Endpoint
    survived_ns: int
    killed_ns: int
    deaths: int
