"""A state: an analysis that is cut, kept in a file and continued tells what one over everything tells."""

from __future__ import annotations

import io
import json
from pathlib import Path

import analysing
import numpy as np
import pytest
from analysing import CAPTURES, Heard, analyse_frames, frames_of, listener, pieces
from hypothesis import given
from hypothesis import strategies as st

import kacap
from kacap.analyzer import Analyzer
from kacap.capture.earlier import Earlier, earlier_of
from kacap.capture.merge import Extent
from kacap.capture.state_file import layout_digest, pack, unpack
from kacap.classify import tracker
from kacap.errors import KacapError
from kacap.facts.ended import LIKELY_ABORT, OWN_RESET
from kacap.options import Options
from kacap.resuming import LAYOUT, State, StateError
from kacap.state_checks import BOUNDS, check
from kacap.summary import Drop

pytestmark = pytest.mark.slow

EVERY = pytest.mark.parametrize("case", analysing.small_cases())
FILES = 3  # more than any case has
OPTIONS = {"segments": "events", "marks": True}


def handed_on(analyzer: Analyzer, following: Analyzer) -> Analyzer:
    """An analyzer that goes on from the bytes that another one left."""
    state, packed = analyzer.save(), io.BytesIO()
    pack(packed, state.facts, state.tables)
    packed.seek(0)
    facts, tables = unpack(packed, len(packed.getvalue()), LAYOUT)
    following.analysis.capture.frames = analyzer.analysis.capture.frames  # which the source counts
    following.restore(State(tables, facts), FILES)
    return following


def in_parts(case: str, cuts: list[int], **options) -> Heard:
    heard = Heard()
    analyzer = listener(heard, **{**OPTIONS, **options})
    for number, batch in enumerate(pieces(frames_of(case), cuts)):
        if number:
            analyzer = handed_on(analyzer, listener(heard, **{**OPTIONS, **options}))
        analyzer.feed(batch)
    heard.analysis = analyzer.finish()
    return heard


def tenth(case: str) -> list[int]:
    return list(range(10, len(frames_of(case).frames), 10))


def agree(found: Heard, expected: Heard) -> None:
    for one, other in zip(found.comparable, expected.comparable, strict=True):
        assert one == other


@EVERY
def test_handed_on_at_every_tenth_frame_it_tells_the_same(case: str) -> None:
    agree(in_parts(case, tenth(case)), analyse_frames([frames_of(case)], **OPTIONS))


@EVERY
def test_cut_once_anywhere_it_tells_the_same(case: str) -> None:
    expected = analyse_frames([frames_of(case)], **OPTIONS)
    rng, number = np.random.default_rng(3), len(frames_of(case).frames)
    for cut in rng.integers(1, max(number, 2), 3).tolist():
        agree(in_parts(case, [cut] if cut < number else []), expected)


@pytest.mark.slow
def test_a_population_handed_on_in_many_places_tells_the_same() -> None:
    cuts = tenth(analysing.POPULATION)[::40]
    agree(in_parts(analysing.POPULATION, cuts), analyse_frames([frames_of(analysing.POPULATION)], **OPTIONS))


def test_with_an_expectation_what_is_withheld_waits_across_the_cut() -> None:
    expect = kacap.Expectation(idle=60, interval=10, count=5, user_timeout_ns=30_000_000_000)
    for case in ("lab/user-timeout", "lab/cut-off"):
        if case in analysing.every_case():
            options = {"expect": expect}
            agree(in_parts(case, tenth(case), **options), analyse_frames([frames_of(case)], **OPTIONS, **options))


def split(case: str, directory: Path, after: int) -> list[str]:
    """A case of one pcap as two files."""
    data, at, number = (CAPTURES / case / "capture.pcap").read_bytes(), 24, 0
    while number < after:
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        number += 1
    paths = [directory / "one.pcap", directory / "two.pcap"]
    paths[0].write_bytes(data[:at])
    paths[1].write_bytes(data[:24] + data[at:])
    return [str(path) for path in paths]


CASE = "crafted/90-replies-do-not-arrive"


def comparable(analysis: kacap.Analysis) -> tuple:
    return analysis.capture, list(analysis.connections), analysis.episodes, analysis.unprobed, analysis.findings


def test_tomorrow_goes_on_where_today_ended(tmp_path: Path) -> None:
    files, state = split(CASE, tmp_path, 8), str(tmp_path / "watch.state")
    today = kacap.read(files[0], state=state)
    assert comparable(today) == comparable(kacap.read(files[0]))
    assert comparable(kacap.read(files[1], state=state)) == comparable(kacap.read(files))


def test_what_was_read_already_is_refused_and_the_state_stays(tmp_path: Path) -> None:
    files, state = split(CASE, tmp_path, 8), tmp_path / "watch.state"
    kacap.read(files, state=str(state))
    before = state.read_bytes()
    with pytest.raises(KacapError, match=r"begins .* before .* ends"):
        kacap.read(files[0], state=str(state))
    assert state.read_bytes() == before
    assert list(tmp_path.glob(".*~")) == []


@pytest.mark.parametrize(
    ("options", "named"), [({"filter": "tcp"}, "filter"), ({"keep_all": True}, "all"), ({"segments": "events"}, "segm")]
)
def test_a_state_of_another_question_is_refused_by_name(tmp_path: Path, options: dict, named: str) -> None:
    files, state = split(CASE, tmp_path, 8), str(tmp_path / "watch.state")
    kacap.read(files[0], state=state)
    with pytest.raises(KacapError, match=f"other options \\({named}.*give the same"):
        kacap.read(files[1], state=state, **options)


def kept(tmp_path: Path) -> tuple[list[str], Path]:
    files, state = split(CASE, tmp_path, 8), tmp_path / "watch.state"
    kacap.read(files[0], state=str(state))
    return files, state


def test_what_is_no_state_is_refused_in_one_line(tmp_path: Path) -> None:
    files, state = kept(tmp_path)
    good = state.read_bytes()
    for bad, why in (
        (b"hello\n", "is no state"),
        (b"", "is no state"),
        (good.replace(b"state 1", b"state 9", 1), "another version"),
        (good[: len(good) // 2], "damaged|cut"),
        (good[:-6] + b"\0" * 6, "damaged"),
        (good[:20], "damaged|cut"),
    ):
        state.write_bytes(bad)
        with pytest.raises(KacapError, match=f"watch.state: .*({why})") as raised:
            kacap.read(files[1], state=str(state))
        assert "\n" not in str(raised.value)
        assert state.read_bytes() == bad


def test_a_state_that_claims_more_than_it_holds_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    class Claims(np.ndarray):
        def __len__(self) -> int:
            return 1 << 40

    packed = io.BytesIO()
    tables = {name: np.zeros(0, dtype) for name, dtype in LAYOUT.items()}
    tables["probes"] = tables["probes"].view(Claims)
    pack(packed, {}, tables)
    packed.seek(0)
    with pytest.raises(KacapError, match="claims more rows"):
        unpack(packed, len(packed.getvalue()), LAYOUT)


TIMES, COUNTS = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 * 1000)


@given(TIMES, TIMES, COUNTS, st.none() | COUNTS)
def test_what_is_said_of_the_files_before_reads_again_whatever_they_held(
    first_ns: int, last_ns: int, lost: int, known: int | None
) -> None:
    drops = [Drop(None, last_ns, lost), Drop(first_ns, last_ns, lost, "eth0")]
    said = Earlier(["a"], {0: Extent(first_ns, last_ns, 2**64 - 1)}, 7, 0, [65535], known, lost, drops)
    assert earlier_of(json.loads(json.dumps(said.as_json()))) == said


def test_a_table_with_other_columns_has_another_digest() -> None:
    digests = {layout_digest(dtype) for dtype in LAYOUT.values()}
    assert len(digests) == len({str(dtype) for dtype in LAYOUT.values()})


def state_of(case: str) -> State:
    analyzer = Analyzer(Options(**OPTIONS))
    frames = frames_of(case)
    analyzer.feed(pieces(frames, [2 * len(frames.frames) // 3])[0])
    state = analyzer.save()
    return State({name: rows.copy() for name, rows in state.tables.items()}, state.facts)


TELLING = ("crafted/90-replies-do-not-arrive", "lab/cut-off", "lab/up")


def columns_of(dtype: np.dtype, path: str = "") -> list[tuple[str, np.dtype]]:
    """Every column of a type, those within others by their path."""
    if dtype.subdtype:
        return columns_of(dtype.subdtype[0], path)
    if not dtype.names:
        return [(path, dtype)]
    return [found for name in dtype.names for found in columns_of(dtype[name], f"{path}.{name}".lstrip("."))]


# Small whole numbers that are no row, no code and no file: counts, flags, bytes of a header.
PLAIN = {
    "connections": {"state"}, "kept": {"state"}, "found": {"state"},
    "sides": {"open_probes", "late_replies", "held_n", "ttl", "known", "byte", "held_payload", "stamps", "id_ones",
              "id_jumps", "id_pure", "held_hints", "lacks"},
    "watched": {"began", "closed", "window_probes"},
    "watched_sides": {"run_n", "heard_first", "scan", "growths", "holes", "from_start", "last_n"},
    "probers": {"episodes", "runs", "probes", "rows", "replies", "missed", "reset", "longest_run", "run_n",
                "run_replies", "run_unheard", "unheard", "run_spoken", "overdue", "payload"},
    "histories": {"idle_n", "interval_n", "firings", "alike", "run", "began", "flags", "holes", "exhausted_n",
                  "exhausted_min", "exhausted_max", "longest_run", "inexact"},
    "steps": {"n", "flags"},
    "probes": {"payload"},
    "episodes": {"probes"},
    "waiting": {"flags", "answers", "hints", "open", "held", "dropped"},
    "marks": {"connection", "from_a"},
}  # fmt: skip
_OBSERVED = {
    f"{side}.{name}" for side in "ab" for name in ("ttl", "ip_steps", "ip_jumps", "syn_ttl", "more_ttls", "resets")
}
for _name in ("observed", "found_observed"):
    PLAIN[_name] = _OBSERVED
for _name in ("notes", "found_notes"):
    PLAIN[_name] = {"kind", "ttl", "icmp_type", "icmp_code"}
for _name in ("spans", "found_spans"):
    PLAIN[_name] = {"vain"}


@pytest.mark.parametrize("name", LAYOUT)
def test_every_column_that_may_lead_to_a_row_has_its_bounds(name: str) -> None:
    """Whoever adds a column says in ``state_checks.BOUNDS`` what it may hold, or in PLAIN that it leads nowhere."""
    narrow = {path for path, dtype in columns_of(LAYOUT[name]) if dtype.kind == "i" and dtype.itemsize < 8}
    narrow |= {path for path, dtype in columns_of(LAYOUT[name]) if dtype == np.uint8}
    narrow |= {path for path, _ in columns_of(LAYOUT[name]) if path.endswith("file")}
    assert narrow - set(BOUNDS.get(name, ())) - PLAIN.get(name, set()) == set()


def test_a_state_that_was_written_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All captures one after the other: connections of every kind of end were collected before the state is saved."""
    monkeypatch.setattr(tracker, "FIRST_ROWS", 1)
    analyzer = Analyzer(Options(**OPTIONS))
    for batch in sorted(map(frames_of, analysing.small_cases()), key=lambda frames: int(frames.frames["time_ns"][-1])):
        analyzer.feed(batch)
    state = analyzer.save()
    assert check(state.tables, LAYOUT, FILES) == ""
    assert {OWN_RESET, LIKELY_ABORT} < set(state.tables["kept_ends"]["cause"].tolist())


@pytest.mark.parametrize("case", TELLING)
def test_every_number_beyond_its_bounds_is_found(case: str) -> None:
    state = state_of(case)
    assert check(state.tables, LAYOUT, FILES) == ""
    for name, columns in BOUNDS.items():
        for path in columns:
            rows = state.tables[name]
            if len(rows) < 2:
                continue
            column = rows
            for part in path.split(".") if path else ():
                column = column[part]
            for value in (np.iinfo(column.dtype).max, np.iinfo(column.dtype).min):
                before = column[-1].copy()
                if np.all(value == before) or value == 0:
                    continue
                column[-1] = value
                assert check(state.tables, LAYOUT, FILES), f"{name}: {path} = {value}"
                column[-1] = before
    assert check(state.tables, LAYOUT, FILES) == ""


@pytest.mark.parametrize("case", TELLING)
def test_whatever_a_state_holds_it_is_refused_or_it_can_be_continued(case: str) -> None:
    """Damage at random places: what the checks let through leads no kernel, and no report, astray."""
    rng, frames = np.random.default_rng(11), frames_of(case)
    rest = pieces(frames, [2 * len(frames.frames) // 3])[1]
    refused = continued = 0
    for _ in range(80):
        state = state_of(case)
        for _ in range(int(rng.integers(1, 4))):
            name = str(rng.choice([name for name, rows in state.tables.items() if rows.nbytes]))
            view = state.tables[name].view(np.uint8)
            view[int(rng.integers(len(view)))] = rng.integers(256)
        analyzer = Analyzer(Options(**OPTIONS))
        try:
            analyzer.restore(state, FILES)
        except StateError:
            refused += 1
            continue
        continued += 1
        analyzer.feed(rest)
        analysis = analyzer.finish()
        analysis.capture.files = ["a", "b", "c"]
        assert repr(list(analysis.connections)) and analysis.episodes is not None
    assert refused and continued
