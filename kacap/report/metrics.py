"""The tallies of a watch as metrics of Prometheus: names, help texts and units; needs prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import kacap
from kacap.clock import SECOND_NS
from kacap.report.live_rows import Cause
from kacap.report.tallies import Histogram, Label, LabelState, Tally

SETTINGS = ("keepalive", "idle", "interval", "count")  # the labels of kacap_sockets

COUNTERS: tuple[tuple[str, str, Callable[[Tally], int]], ...] = (
    ("probes", "Keepalive probes sent.", lambda tally: tally.probes),
    ("replies", "Keepalive probes that were answered.", lambda tally: tally.replies),
    (
        "missed_probes",
        "Keepalive probes without an answer in time; one that came late after all stays counted.",
        lambda tally: tally.missed,
    ),
    ("outages_survived", "Runs of missed probes after which the peer answered again.", lambda tally: tally.survived),
    (
        "resets",
        "Connections with keepalive that an RST ended, unless it was sent by keepalive itself.",
        lambda tally: tally.resets,
    ),
)
GAUGES: tuple[tuple[str, str, Callable[[LabelState], int]], ...] = (
    ("probing_connections", "Open connections that have sent a keepalive probe.", lambda now: now.probing),
    ("missing_connections", "Open connections whose newest keepalive probes are unanswered.", lambda now: now.missing),
    (
        "longest_run_probes",
        "Unanswered keepalive probes in a row on the worst open connection.",
        lambda now: now.longest_run,
    ),
)
HISTOGRAMS: tuple[tuple[str, str, Callable[[Tally], Histogram]], ...] = (
    ("reply_seconds", "Time from a keepalive probe to its answer.", lambda tally: tally.reply),
    (
        "lateness_seconds",
        "How much later a keepalive probe was sent than its socket is set to.",
        lambda tally: tally.late,
    ),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is told at one moment."""

    now_ns: int
    tallies: Mapping[Label, Tally]
    states: Mapping[Label, LabelState]
    captured: int
    dropped: Mapping[str, int]


Census = Callable[[], Mapping[tuple[str, ...], int] | None]


class Exposition(Collector):
    """Collects anew whenever somebody asks; ``by_process`` adds the process to the labels.

    ``look`` is called with ``lock`` held; ``census`` returns numbers of sockets by ``SETTINGS``, None: not known.
    """

    def __init__(
        self, look: Callable[[], Snapshot], census: Census, lock: AbstractContextManager[object], *, by_process: bool
    ) -> None:
        self._look, self._census, self._lock, self._by_process = look, census, lock, by_process
        self._labels = ["destination", "side", *(["process"] if by_process else [])]

    def describe(self) -> Iterable[Metric]:
        """Return nothing: who registers this is not told in advance what it will collect."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return every family with its samples."""
        census = self._census()
        with self._lock:
            found = self._look()
            families = [_build(), *self._counts(found.tallies), *self._states(found), *_frames(found)]
        return families if census is None else [*families, _sockets(census)]

    def _values(self, label: Label) -> list[str]:
        return list(label if self._by_process else label[:2])

    def _counts(self, tallies: Mapping[Label, Tally]) -> Iterator[Metric]:
        """Yield what was counted since the start."""
        for name, words, number_of in COUNTERS:
            family = CounterMetricFamily(f"kacap_{name}", words, labels=self._labels)
            for label, tally in tallies.items():
                family.add_metric(self._values(label), number_of(tally))
            yield family
        deaths = CounterMetricFamily(
            "kacap_deaths", "Connections with keepalive that died, by cause.", labels=[*self._labels, "cause"]
        )
        for label, tally in tallies.items():
            for cause in Cause:  # from the start, so that the first death is an increase
                deaths.add_metric([*self._values(label), cause.value], tally.deaths[cause])
        yield deaths
        for name, words, histogram_of in HISTOGRAMS:
            histogram = HistogramMetricFamily(f"kacap_{name}", words, labels=self._labels)
            for label, tally in tallies.items():
                values = histogram_of(tally)
                histogram.add_metric(self._values(label), values.cumulative(), values.total_ns / SECOND_NS)
            yield histogram

    def _states(self, found: Snapshot) -> Iterator[Metric]:
        """Yield how the connections stand now."""
        for name, words, number_of in GAUGES:
            family = GaugeMetricFamily(f"kacap_{name}", words, labels=self._labels)
            for label, state in found.states.items():
                family.add_metric(self._values(label), number_of(state))
            yield family
        words = "Time until the first connection that misses its replies is given up; absent where nothing is missing."
        verdict = GaugeMetricFamily("kacap_next_verdict_seconds", words, labels=self._labels)
        for label, state in found.states.items():
            if state.verdict_ns is not None:
                verdict.add_metric(self._values(label), max(state.verdict_ns - found.now_ns, 0) / SECOND_NS)
        yield verdict


def _build() -> Metric:
    build = GaugeMetricFamily("kacap_build_info", "Which kacap watches.", labels=["version"])
    build.add_metric([kacap.__version__], 1)
    return build


def _frames(found: Snapshot) -> Iterator[Metric]:
    """Yield what the capture itself counts."""
    captured = CounterMetricFamily("kacap_frames_captured", "Frames captured.")
    captured.add_metric([], found.captured)
    yield captured
    dropped = CounterMetricFamily("kacap_frames_dropped", "Frames lost while capturing.", labels=["where"])
    for where, number in found.dropped.items():
        dropped.add_metric([where], number)
    yield dropped


def _sockets(census: Mapping[tuple[str, ...], int]) -> Metric:
    words = "Connected TCP sockets by what their keepalive is set to, in seconds, seconds and probes."
    sockets = GaugeMetricFamily("kacap_sockets", words, labels=SETTINGS)
    for setting, number in census.items():
        sockets.add_metric(setting, number)
    return sockets
