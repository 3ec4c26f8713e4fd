"""The table of what one segment cannot tell: every state and what comes, carried out as the table says."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from strategies import SHAPES

from kacap.classify.emit import EVENT
from kacap.classify.kind_reasons import KindReason
from kacap.classify.kinds import GRADE_WORDS, KIND_WORDS
from kacap.classify.states import ACT, NEXT, TABLE, Act, Seen, State
from kacap.flows import CONNECTION, NEVER
from kacap.timing.forgetting import forget
from kacap.timing.gathering import Gatherer

S = 1_000_000_000
START = 10**18
A, B = 0, 1  # the side in question, and its peer
SEQ = 1000
AGAIN = (Act.DOUBT_CLOSED_AGAIN, Act.END_REPEATS_AGAIN, Act.FORGET_AGAIN, Act.COMPANY_AGAIN)
DECIDED_BY_GAPS = (Act.JOIN_CLOSED, Act.JOIN_REPEATS)


@dataclass
class Story:
    """One connection whose side a is looked at: what was told of its segments so far."""

    gatherer: Gatherer = field(default_factory=lambda: Gatherer(listening=True, reported_from=0))
    now_ns: int = START
    frame: int = 0
    told: list[tuple[int, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        row = np.zeros(1, CONNECTION)
        row["id"], row["a_lo"], row["b_lo"] = 1, 1, 2
        self.gatherer.introduce(row)

    def send(self, name: str, side: int, after_s: float = 1, **fields: int) -> int:
        """Send a segment of one of the shapes; return its frame number."""
        self.frame += 1
        self.now_ns += round(after_s * S)
        event = np.zeros(1, EVENT)
        given = {
            **SHAPES[name], "time_ns": self.now_ns, "frame": self.frame, "id": 1, "from_a": int(side == A), "seq": SEQ,
            "ack": SEQ if side == B else 5000, "heard_ns": NEVER, "closed_ns": NEVER, **fields,
        }  # fmt: skip
        for key, value in given.items():
            event[key] = value
        self.gatherer.take(event)
        self.hear()
        return self.frame

    def end(self) -> None:
        self.gatherer.close(np.array([0]), self.now_ns)
        self.hear()

    def hear(self) -> None:
        for row in self.gatherer.changed().decided:
            words = KIND_WORDS[row["kind"]], GRADE_WORDS[row["grade"]], KindReason(row["why"]).name
            self.told.append((int(row["frame"]), *words))

    @property
    def state(self) -> State:
        return State(self.gatherer.sides.rows[A]["state"])

    def of(self, frame: int) -> tuple[str, str, str] | None:
        """What was told of a frame; None: it waits."""
        return next((words for number, *words in map(list, self.told) if number == frame and words), None)


def reach(state: State) -> Story:
    """A story whose side a has come into a state. Its last probe has the number SEQ."""
    story = Story()
    match state:
        case State.CLEAR:
            story.send("higher", A)
        case State.LONE:
            story.send("unseen", A)
        case State.CLOSED:
            story.send("closed", A)
        case State.KEEPALIVE:
            for gap in (2, 2, 2):
                story.send("closed", A, gap)
        case State.PERSIST:
            for gap in (2, 2, 4):
                story.send("closed", A, gap)
        case State.REPEATED:
            story.send("repeat", A)
            story.send("repeat", A)
        case State.CONFIRMED:
            story.send("repeat", A)
            story.send("data", A, seq=SEQ + 1)
    assert story.state == state
    return story


# What comes, as side a sees it: (shape, who sends it, more).
COMES: dict[Seen, tuple[str, int, dict[str, int]]] = {
    Seen.PROBE: ("probe", A, {}), Seen.SOON_PROBE: ("soon", A, {}), Seen.UNPROVEN_PROBE: ("unseen", A, {}),
    Seen.CLOSED_PROBE: ("closed", A, {}), Seen.REPEAT: ("repeat", A, {}),
    Seen.OTHER_REPEAT: ("repeat", A, {"seq": SEQ + 7}), Seen.ABORT: ("abort", A, {}),
    Seen.SAME_BYTES: ("data", A, {}), Seen.BYTES: ("data", A, {"seq": SEQ + 1}),
    Seen.ONE_HIGHER: ("reply", B, {"ack": SEQ + 1, "answers": 1, "window": 9}),
    Seen.REPLY: ("reply", B, {"answers": 1}), Seen.OPENING_REPLY: ("reply", B, {"answers": 1, "window": 9}),
    Seen.SPEECH: ("ack", B, {"answers": 1}), Seen.OPENING_SPEECH: ("ack", B, {"answers": 1, "window": 9}),
    Seen.RESET: ("reset", B, {}), Seen.OTHER: ("copy", B, {}),
}  # fmt: skip
PAIRS = [(state, seen) for state in State for seen in COMES if seen != Seen.ONE_HIGHER or state == State.REPEATED]

# What an act makes of the segments that waited, and of the one that came (None: it waits; "": it stays what it was).
WAITED = {
    Act.CONFIRM: ("probe", "patterned", "REPEATS"),
    Act.CONFIRM_ABORT: ("probe", "patterned", "REPEATS"),
    Act.ANSWER: ("probe", "answered", "ANSWERED_ONE_HIGHER"),
    Act.DROP: ("ack", "patterned", "REPEATS"),
    Act.DOUBT_CLOSED: ("window-probe", "ambiguous", "ZERO_WINDOW_UNDECIDED"),
    Act.DOUBT_CLOSED_AGAIN: ("window-probe", "ambiguous", "ZERO_WINDOW_UNDECIDED"),
    Act.HOLD_REPLY_DOUBT: ("window-probe", "ambiguous", "ZERO_WINDOW_UNDECIDED"),
    Act.END_REPEATS: ("probe", "ambiguous", "REPEATS_TOO_LITTLE"),
    Act.END_REPEATS_AGAIN: ("probe", "ambiguous", "REPEATS_TOO_LITTLE"),
    Act.COMPANY_AGAIN: ("probe", "ambiguous", "ACK_UNSEEN"),
}
WAITS = (Act.WAIT, Act.JOIN_CLOSED, Act.JOIN_REPEATS, Act.HOLD_REPLY)


def acts(state: State, seen: Seen) -> tuple[list[Act], State]:
    """The acts that the table wants for one segment, and the state after the last."""
    found = []
    while True:
        act, state = TABLE.get((state, seen), (Act.PASS, state))
        found.append(act)
        if act not in AGAIN:
            return found, state


def test_the_arrays_of_the_kernels_hold_the_table_and_nothing_else() -> None:
    for state in State:
        for seen in Seen:
            assert (ACT[state, seen], NEXT[state, seen]) == TABLE.get((state, seen), (Act.PASS, state))


def test_every_act_is_in_the_table_and_what_is_asked_again_is_asked_in_another_state() -> None:
    assert {act for act, _ in TABLE.values()} | {Act.PASS} == set(Act)
    for state in State:
        for seen in Seen:
            assert 1 <= len(acts(state, seen)[0]) <= 3
            if ACT[state, seen] in AGAIN:
                assert NEXT[state, seen] != state


def test_one_higher_is_only_asked_for_where_a_run_repeats() -> None:
    assert [state for state, seen in TABLE if seen == Seen.ONE_HIGHER] == [State.LONE, State.REPEATED]


@pytest.mark.parametrize("state", State)
def test_no_state_is_unreachable_and_the_end_leaves_nothing_open(state: State) -> None:
    story = reach(state)
    story.end()
    frames = [number for number, *_ in story.told]
    assert frames == list(range(1, story.frame + 1))
    assert acts(state, Seen.END)[1] not in (State.LONE, State.CLOSED, State.REPEATED)
    assert story.state == acts(state, Seen.END)[1]
    head = story.gatherer.watched.rows[0]
    assert (head["queue"], head["queue_end"], head["closed"]) == (0, 0, 1)
    assert all(story.of(frame) == [*WAITED[acts(state, Seen.END)[0][0]]] for frame in waiting_in(state))


def waiting_in(state: State) -> list[int]:
    """The frames that wait in a state."""
    return {State.LONE: [1], State.CLOSED: [1], State.REPEATED: [1, 2]}.get(state, [])


@pytest.mark.parametrize(("state", "seen"), PAIRS, ids=lambda one: one.name)
def test_what_the_table_says_is_done(state: State, seen: Seen) -> None:
    story = reach(state)
    rating = story.gatherer.sides.rows[A].copy()
    replies = int(story.gatherer.probers.rows[1]["replies"])
    waited = waiting_in(state)
    assert not [frame for frame in waited if story.of(frame)]
    shape, side, more = COMES[seen]
    frame = story.send(shape, side, 3, **more)
    wanted, after = acts(state, seen)

    assert story.state == after or wanted[-1] in DECIDED_BY_GAPS
    expected = WAITED.get(wanted[0])
    if wanted[0] == Act.COMPANY_AGAIN and shape == "reply":
        open_window = seen in (Seen.OPENING_REPLY, Seen.ONE_HIGHER)
        undecided = ("window-probe", "ambiguous", "ZERO_WINDOW_UNDECIDED")
        expected = ("probe", "answered", "ACK_UNSEEN") if open_window else undecided
    if expected:
        assert [story.of(number) for number in waited] == [list(expected)] * len(waited)
    else:
        assert not [number for number in waited if story.of(number)]

    made = SHAPES[shape]
    as_it_came = [KIND_WORDS[made["kind"]], GRADE_WORDS[made["grade"]], KindReason(made["why"]).name]
    behind = bool(waited) and not expected  # behind what waits
    found = story.of(frame)
    if wanted[-1] in WAITS or behind:
        assert found is None
    elif wanted[-1] == Act.AS_BEFORE:
        before = GRADE_WORDS[rating["last_grade"]], KindReason(rating["last_why"]).name
        if wanted[0] == Act.END_REPEATS_AGAIN:
            before = WAITED[wanted[0]][1:]
        assert found == ["probe", *before]
    elif wanted[-1] == Act.RATE_AS_RUN:
        reason = KindReason(rating["rating_why"]).name
        words = KIND_WORDS[rating["rating_kind"]], GRADE_WORDS[rating["rating_grade"]], reason
        assert found == [*words]
    elif wanted[-1] in (Act.REPLY_IS_ACK, Act.HOLD_REPLY_DOUBT) or (state, seen) == (State.LONE, Seen.REPLY):
        assert found is not None and found[0] == "ack"
        assert story.gatherer.probers.rows[1]["replies"] == replies
    elif wanted[-1] == Act.CONFIRM_ABORT:
        assert found == ["abort", "patterned", "GAVE_UP"]
    elif shape == "reply":
        assert found == ["reply", GRADE_WORDS[story.gatherer.sides.rows[A]["last_grade"]], "ANSWERS_PROBE"]
    else:
        assert found == as_it_came


def test_a_run_of_equal_acks_that_is_dropped_counts_no_probe_and_one_that_is_confirmed_counts_all() -> None:
    dropped, confirmed = reach(State.REPEATED), reach(State.REPEATED)
    dropped.send("data", A)
    confirmed.send("data", A, seq=SEQ + 1)
    assert dropped.gatherer.probes.used == 0
    assert confirmed.gatherer.probes.used == 2


@pytest.mark.parametrize(
    ("gaps", "state", "verdict"),
    [
        ((2, 2, 2), State.KEEPALIVE, ("probe", "proven", "ZERO_WINDOW_CONSTANT")),
        ((2, 2, 2.3), State.KEEPALIVE, ("probe", "proven", "ZERO_WINDOW_CONSTANT")),
        ((2, 2, 4), State.PERSIST, ("window-probe", "proven", "ZERO_WINDOW_GROWING")),
        ((2, 0.5), State.PERSIST, ("window-probe", "proven", "ZERO_WINDOW_GROWING")),
        ((2, 2, 2.8), State.CLOSED, None),
        ((2, 60, 60), State.CLOSED, None),  # where back-off of BSD ends
        ((2, 120, 120, 120), State.CLOSED, None),
    ],
)
def test_gaps_in_front_of_a_closed_window_tell_keepalive_from_persist_timer(
    gaps: tuple[float, ...], state: State, verdict: tuple[str, str, str] | None
) -> None:
    story = Story()
    for gap in gaps:
        story.send("closed", A, gap)
    assert story.state == state
    assert [story.of(frame) for frame in range(1, story.frame + 1)] == [verdict and [*verdict]] * len(gaps)


def test_where_the_window_was_seen_to_close_a_run_at_the_ceiling_is_decided() -> None:
    story = Story()
    for gap in (2, 60, 60):
        story.send("closed", A, gap, closed_ns=START)
    assert story.state == State.KEEPALIVE


@pytest.mark.parametrize(
    ("gaps", "payload", "state", "words"),
    [
        ((1,) * 16, 0, State.CONFIRMED, ("probe", "patterned", "REPEATS")),
        ((1,) * 15, 0, State.REPEATED, None),
        ((1, 1, 2.5), 0, State.CLEAR, ("window-probe", "ambiguous", "GROWING_REPEATS")),
        ((1, 1, 2.5), 1, State.CLEAR, ("retransmission", "proven", "GROWING_REPEATS")),
        ((1, 1, 2), 0, State.REPEATED, None),  # twice the interval: perhaps one was not captured
        ((1, 1, 2, 4), 0, State.CLEAR, ("window-probe", "ambiguous", "GROWING_REPEATS")),
        ((1, 1, 1.4), 0, State.REPEATED, None),
        ((1, 1, 1, 2), 0, State.REPEATED, None),
        ((1, 1, 1, 2, 4), 0, State.CLEAR, ("window-probe", "ambiguous", "GROWING_REPEATS")),
    ],
)
def test_gaps_of_equal_acks_tell_probes_from_what_backs_off(
    gaps: tuple[float, ...], payload: int, state: State, words: tuple[str, str, str] | None
) -> None:
    story = Story()
    for gap in gaps:
        story.send("repeat", A, gap, payload_len=payload)
    assert story.state == state
    assert [story.of(frame) for frame in range(1, story.frame + 1)] == [words and [*words]] * len(gaps)


def test_one_hole_in_a_run_of_constant_gaps_leaves_it_patterned_at_its_end() -> None:
    runs = {(1, 1, 1, 2): "patterned", (1, 2, 1, 1): "patterned", (1, 1, 2): "ambiguous", (1, 1): "ambiguous"}
    for gaps, grade in runs.items():
        story = Story()
        for gap in gaps:
            story.send("repeat", A, gap)
        story.end()
        assert {words[1:3] for words in story.told} == {("probe", grade)}, gaps


def test_a_probe_that_nobody_answers_is_missed_though_answered_ones_before_it_are_forgotten() -> None:
    story = Story()
    for _ in range(6):
        story.send("probe", A, 10)
        story.send("reply", B, 0.1, answers=1)
    forget(story.gatherer, 1)
    assert story.gatherer.probes.used == 2
    story.send("probe", A, 10)
    story.send("probe", A)
    story.end()
    assert story.gatherer.probes.filled["reply_frame"].tolist() == [2, 12, 0, 0]
    prober = story.gatherer.probers.rows[1]
    assert (prober["probes"], prober["replies"], prober["missed"]) == (8, 6, 1)  # the last may still be answered
