"""One of the two captures: its analysis, and the rows of its segments by what does not change on the way."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from kacap.addresses import address_text
from kacap.analysis import Analysis
from kacap.classify.emit import LABEL, LabelRows
from kacap.errors import Damage
from kacap.facts.legs import Messages
from kacap.model import Connection, Endpoint, FrameRef
from kacap.segments import FIN, IS_QUOTE, RST, SEGMENT, SYN, SegmentRows

ENOUGH = 64  # segments with data that are kept of a connection: the clocks and the TTLs need no more

# What a segment is known by at both sites: everything but addresses, ports, TTL, IP ID and time.
Identity = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Site:
    """What was captured at one site. ``rows`` (SEGMENT) and ``labels`` (LABEL) are those of the segments kept."""

    name: str
    analysis: Analysis = field(default_factory=Analysis)
    rows: SegmentRows = field(default_factory=lambda: np.empty(0, SEGMENT))
    labels: LabelRows = field(default_factory=lambda: np.empty(0, LABEL))
    connections: dict[int, Connection] = field(default_factory=dict)
    of: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # connection to its rows
    at: dict[FrameRef, int] = field(default_factory=dict)  # frame to its row
    identities: list[Identity] = field(default_factory=list)  # of each row: seq, ack, payload, flags, tsval, tsecr
    messages: Messages = field(default_factory=Messages)  # of every connection
    ttls: dict[tuple[int, bool], Counter[int]] = field(default_factory=dict)  # of each side of a connection, once asked

    @property
    def probing(self) -> list[Connection]:
        """The connections with probes."""
        return [connection for connection in self.connections.values() if connection.probers]

    def from_a(self, row: int) -> bool:
        """Return whether a row was sent by its connection's side a."""
        return bool(self.labels[row]["from_a"])

    def time_ns(self, row: int) -> int:
        """Return when a row was captured, by this site's clock."""
        return int(self.rows[row]["time_ns"])

    def frame(self, row: int) -> FrameRef:
        """Return a row's frame."""
        return FrameRef(int(self.rows[row]["file"]), int(self.rows[row]["frame"]))

    def endpoints(self, row: int) -> tuple[Endpoint, Endpoint]:
        """Return source and destination of a row."""
        seg = self.rows[row]
        return (
            Endpoint(address_text(int(seg["src_hi"]), int(seg["src_lo"])), int(seg["src_port"])),
            Endpoint(address_text(int(seg["dst_hi"]), int(seg["dst_lo"])), int(seg["dst_port"])),
        )

    def ttls_of_sender(self, row: int) -> Counter[int]:
        """Return how many segments the sender of a row sent with each TTL on that connection."""
        sender = int(self.labels[row]["id"]), self.from_a(row)
        if sender not in self.ttls:
            sent = [other for other in self.of[sender[0]] if self.from_a(other) == sender[1]]
            self.ttls[sender] = Counter(self.rows["ttl"][sent].tolist())
        return self.ttls[sender]

    def identity(self, row: int) -> Identity:
        """Return what a row is known by at the other site, where no box renumbers it."""
        return self.identities[row]


class Collector:
    """Keeps the segments that a comparison needs while an analyzer takes batch after batch."""

    def __init__(self) -> None:
        self._data: dict[int, int] = defaultdict(int)
        self._rows: list[SegmentRows] = []
        self._labels: list[LabelRows] = []

    def take(self, segments: SegmentRows, labels: LabelRows) -> None:
        """Keep what has at most one byte or a flag that counts, and the first ``ENOUGH`` with data of a connection."""
        small = (segments["payload_len"] <= 1) | (segments["flags"] & (SYN | FIN | RST) != 0)
        for row in np.flatnonzero(~small).tolist():
            number = int(labels["id"][row])
            self._data[number] += 1
            small[row] = self._data[number] <= ENOUGH
        small &= (segments["has"] & IS_QUOTE == 0) & (labels["id"] > 0)
        self._rows.append(segments[small].copy())
        self._labels.append(labels[small].copy())

    def fill(self, site: Site) -> None:
        """Hand everything to ``site``, with its indices."""
        site.rows = np.concatenate([np.empty(0, SEGMENT), *self._rows])
        site.labels = np.concatenate([np.empty(0, LABEL), *self._labels])
        site.identities = site.rows[["seq", "ack", "payload_len", "flags", "tsval", "tsecr"]].tolist()
        for row, number in enumerate(site.labels["id"].tolist()):
            site.of[number].append(row)
        files, frames = site.rows["file"].tolist(), site.rows["frame"].tolist()
        site.at = {FrameRef(*ref): row for row, ref in enumerate(zip(files, frames, strict=True))}


def read(files: list[str], name: str) -> Site:
    """Read the capture of one site, possibly of several files. Raises KacapError; damage is in ``analysis``."""
    from kacap.analyzer import Analyzer
    from kacap.capture import open_captures
    from kacap.capture.tshark.engine import decoder
    from kacap.options import Options
    from kacap.pipeline import conclude

    site, kept, decode = Site(name), Collector(), decoder("auto")
    source = open_captures(files)
    analyzer = Analyzer(Options(keep_all=True, marks=False), decoder=decode)
    try:
        for batch in source:
            tracked = analyzer.track(analyzer.decode(batch))
            kept.take(tracked.segments, tracked.labels)
            site.messages.take(tracked.segments, tracked.labels)
            analyzer.gather(tracked)
    finally:
        source.close()
        decode.close()
    site.analysis = conclude(source, analyzer)
    site.connections = {connection.connection: connection for connection in site.analysis.connections}
    kept.fill(site)
    return site


def damages(*sites: Site) -> list[Damage]:
    """Return where the captures stop making sense."""
    return [damage for site in sites for damage in site.analysis.damages]
