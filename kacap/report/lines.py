"""The records of segments, probes and episodes as lines of JSON, written by a kernel: a busy capture has millions.

``written`` returns the bytes of what ``News`` brought, the same as ``records.line`` of each record one by one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kacap.classify.kind_reasons import SENTENCES, KindReason
from kacap.classify.kinds import ENDINGS, GRADE_WORDS, KIND_WORDS
from kacap.classify.tables import Change, DecidedRows, EpisodeRows, ProbeRows, ProberRows, WatchedRows
from kacap.flows import NEVER
from kacap.kernels import Row, entry, kernel
from kacap.news import News
from kacap.views import endpoints

_SEGMENT, _ENDED = int(Change.SEGMENT), int(Change.ENDED)
NUMBER = 24  # bytes that a number takes at most


class Texts:
    """Pieces of text, one after the other: bytes, and where each begins and ends."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = [0]

    def add(self, text: str) -> int:
        """Add a piece and return its number."""
        self._bytes += text.encode()
        self._ends.append(len(self._bytes))
        return len(self._ends) - 2

    def __len__(self) -> int:
        """Return how many pieces there are."""
        return len(self._ends) - 1

    def columns(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return all bytes, and the place of each piece: it ends where the next begins."""
        return np.frombuffer(bytes(self._bytes) or b"\0", np.uint8), np.array(self._ends, np.int64)


_FIXED = Texts()
_SEGMENT_HEAD = _FIXED.add('{"v":1,"type":"segment","frame":')
_PROBE_HEAD = _FIXED.add('{"v":1,"type":"probe","connection":')
_EPISODE_HEAD = _FIXED.add('{"v":1,"type":"episode","connection":')
_FRAME, _TIME, _CONNECTION = (_FIXED.add(f',"{name}":') for name in ("frame", "time_ns", "connection"))
_FROM, _TO, _PROBER, _PEER = (_FIXED.add(f',"{name}":') for name in ("from", "to", "prober", "peer"))
_PAYLOAD, _REPLY, _AFTER = (_FIXED.add(f',"{name}":') for name in ("payload_bytes", "reply_frame", "reply_after_ns"))
_PROBES, _SINCE, _FIRST = (_FIXED.add(text) for text in (',"probes":[', '],"silent_since_ns":', ',"first_gap_ns":'))
_GAPS, _ENDING_FRAME = _FIXED.add(',"gaps_ns":['), _FIXED.add(',"ending_frame":')
_NULL, _CLOSE, _COMMA, _QUOTE = (_FIXED.add(text) for text in ("null", "}\n", ",", '"'))
_KIND = len(_FIXED)
for _word in KIND_WORDS:
    _FIXED.add(f',"kind":"{_word}"')
_GRADE = len(_FIXED)
for _word in GRADE_WORDS:
    _FIXED.add(f',"grade":"{_word}"')
_REASON = len(_FIXED)
for _why in KindReason:
    _FIXED.add(f',"reason":{json.dumps(SENTENCES[_why])}')
_ENDING = len(_FIXED)
for _ending in ENDINGS:
    _FIXED.add(f'],"ending":"{_ending}"')
_BYTES, _ENDS = _FIXED.columns()
_LONGEST = max(_FIXED._ends[i + 1] - _FIXED._ends[i] for i in range(len(_FIXED)))


class Page(NamedTuple):
    """What a kernel writes on: bytes and, in one number, how many of them are written."""

    buffer: NDArray[np.uint8]
    used: NDArray[np.int64]
    names: NDArray[np.uint8]  # the texts of endpoints and files
    ends: NDArray[np.int64]  # ... where each ends: sides a and b of each row of WATCHED, then the files
    files: NDArray[np.int64]  # one number: the first file's text, -1: frames are plain numbers


class Rows(NamedTuple):
    """The rows that lines are made of."""

    watched: WatchedRows
    probers: ProberRows
    probes: ProbeRows
    episodes: EpisodeRows
    decided: DecidedRows
    scratch: NDArray[np.int64]  # rows of PROBE of the episode at hand


@kernel
def _put(page: Row, texts: Row, ends: Row, piece: Row) -> None:
    """Write one of some texts."""
    at = page.used[0]
    for i in range(ends[piece], ends[piece + 1]):
        page.buffer[at] = texts[i]
        at += 1
    page.used[0] = at


@kernel
def _fixed(page: Row, piece: Row) -> None:
    """Write one of the fixed pieces."""
    _put(page, _BYTES, _ENDS, piece)


@kernel
def _number(page: Row, number: Row) -> None:
    """Write a number."""
    at, value = page.used[0], np.int64(number)
    if value < 0:
        page.buffer[at] = 45
        at += 1
        value = -value
    digits, rest = 1, value
    while rest >= 10:
        rest //= 10
        digits += 1
    for i in range(digits - 1, -1, -1):
        page.buffer[at + i] = 48 + value % 10
        value //= 10
    page.used[0] = at + digits


@kernel
def _name(page: Row, piece: Row) -> None:
    """Write the text of an endpoint or a file."""
    _put(page, page.names, page.ends, piece)


@kernel
def _frame(page: Row, file: Row, frame: Row) -> None:
    """Write a frame: its number, or ``"name:12"`` where there are several files; null for none."""
    if frame == 0:
        _fixed(page, _NULL)
    elif page.files[0] < 0:
        _number(page, frame)
    else:
        _name(page, page.files[0] + file)
        _number(page, frame)
        _fixed(page, _QUOTE)


@kernel
def _segment(page: Row, rows: Row, row: Row) -> None:
    """Write the line of a row of DECIDED."""
    seg = rows.decided[row]
    _fixed(page, _SEGMENT_HEAD)
    _frame(page, seg.file, seg.frame)
    _fixed(page, _TIME)
    _number(page, seg.time_ns)
    _fixed(page, _CONNECTION)
    _number(page, rows.watched[seg.watched].id)
    _fixed(page, _FROM)
    _name(page, 2 * seg.watched + 1 - seg.from_a)
    _fixed(page, _TO)
    _name(page, 2 * seg.watched + seg.from_a)
    _fixed(page, _KIND + seg.kind)
    _fixed(page, _GRADE + seg.grade)
    _fixed(page, _REASON + seg.why)
    _fixed(page, _CLOSE)


@kernel
def _probe(page: Row, rows: Row, row: Row) -> None:
    """Write the line of a row of PROBE."""
    probe = rows.probes[row]
    prober = rows.probers[probe.prober]
    _fixed(page, _PROBE_HEAD)
    _number(page, rows.watched[prober.watched].id)
    _fixed(page, _FRAME)
    _frame(page, probe.file, probe.frame)
    _fixed(page, _TIME)
    _number(page, probe.time_ns)
    _fixed(page, _PROBER)
    _name(page, 2 * prober.watched + prober.side)
    _fixed(page, _PEER)
    _name(page, 2 * prober.watched + 1 - prober.side)
    _fixed(page, _GRADE + probe.grade)
    _fixed(page, _PAYLOAD)
    _number(page, probe.payload)
    _fixed(page, _REPLY)
    _frame(page, probe.reply_file, probe.reply_frame)
    _fixed(page, _AFTER)
    if probe.reply_frame:
        _number(page, probe.reply_after_ns)
    else:
        _fixed(page, _NULL)
    _fixed(page, _CLOSE)


@kernel
def _episode(page: Row, rows: Row, row: Row) -> None:
    """Write the lines of the probes of a row of EPISODE, then its own."""
    episode = rows.episodes[row]
    number = episode.probes
    probe = episode.last
    for i in range(number - 1, -1, -1):
        rows.scratch[i] = probe
        probe = rows.probes[probe].previous
    for i in range(number):
        _probe(page, rows, rows.scratch[i])
    prober = rows.probers[episode.prober]
    _fixed(page, _EPISODE_HEAD)
    _number(page, rows.watched[prober.watched].id)
    _fixed(page, _PROBER)
    _name(page, 2 * prober.watched + prober.side)
    _fixed(page, _PROBES)
    for i in range(number):
        if i:
            _fixed(page, _COMMA)
        _frame(page, rows.probes[rows.scratch[i]].file, rows.probes[rows.scratch[i]].frame)
    first_ns, since_ns = rows.probes[rows.scratch[0]].time_ns, episode.silent_since_ns
    _fixed(page, _SINCE)
    if since_ns == NEVER:
        _fixed(page, _NULL)
        _fixed(page, _FIRST)
        _fixed(page, _NULL)
    else:
        _number(page, since_ns)
        _fixed(page, _FIRST)
        _number(page, first_ns - since_ns)
    _fixed(page, _GAPS)
    for i in range(1, number):
        if i > 1:
            _fixed(page, _COMMA)
        _number(page, rows.probes[rows.scratch[i]].time_ns - rows.probes[rows.scratch[i - 1]].time_ns)
    if episode.closed_ns != NEVER:
        if number > 1:
            _fixed(page, _COMMA)
        _number(page, episode.closed_ns - rows.probes[episode.last].time_ns)
    _fixed(page, _ENDING + episode.ending)
    _fixed(page, _ENDING_FRAME)
    _frame(page, episode.ending_file, episode.ending_frame)
    _fixed(page, _CLOSE)


@entry
def _write(page: Row, rows: Row, changes: Row) -> None:
    """Write the lines of some CHANGE rows: those of segments, and of runs that are over."""
    for i in range(len(changes)):
        one = changes[i]
        if one.what == _SEGMENT:
            _segment(page, rows, one.row)
        elif one.what == _ENDED:
            _episode(page, rows, one.row)


class Writer:
    """Makes the lines of what ``News`` brings; ``files`` are the names that frames refer to."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = [json.dumps(f"{name}:")[:-1] for name in files]
        self._names = Texts()
        self._known = 0

    def written(self, news: News) -> bytes:
        """Return the lines of the changes of ``news``, without those it withholds."""
        gatherer, changes = news.views.gatherer, news.changes.rows
        changes = changes[np.isin(changes["what"], (_SEGMENT, _ENDED))]
        if news.withheld:
            held = (changes["what"] == _ENDED) & np.isin(changes["row"], list(news.withheld))
            changes = changes[~held]
        ended = changes["row"][changes["what"] == _ENDED]
        lengths = gatherer.episodes.rows["probes"][ended]
        self._learn_names(gatherer.watched.filled)
        names, ends = self._names.columns() if not self._files[1:] else self._with_files().columns()
        first_file = 2 * self._known if self._files[1:] else -1
        widest = int(np.diff(ends).max(initial=0)) + NUMBER + 2
        per_line = 16 * NUMBER + 2 * widest + 9 * _LONGEST
        room = len(changes) * (per_line + 4 * widest) + int(lengths.sum()) * (per_line + widest + NUMBER + 4 * widest)
        page = Page(np.empty(room, np.uint8), np.zeros(1, np.int64), names, ends, np.array([first_file], np.int64))
        rows = Rows(
            gatherer.watched.rows,
            gatherer.probers.rows,
            gatherer.probes.rows,
            gatherer.episodes.rows,
            news.changes.decided,
            np.zeros(int(lengths.max(initial=1)), np.int64),
        )
        _write(page, rows, changes)
        return page.buffer[: page.used[0]].tobytes()

    def _learn_names(self, watched: WatchedRows) -> None:
        """Add the texts of endpoints that are new."""
        for a, b in endpoints(watched[self._known :]):
            self._names.add(f'"{a}"')
            self._names.add(f'"{b}"')
        self._known = len(watched)

    def _with_files(self) -> Texts:
        """Return the texts of endpoints with those of the files behind them."""
        texts = Texts()
        texts._bytes, texts._ends = self._names._bytes.copy(), self._names._ends.copy()
        for name in self._files:
            texts.add(name)
        return texts
