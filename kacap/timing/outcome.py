"""Whether a whole capture meets what was expected of it: every connection's verdicts, and one answer over all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kacap.model import SETTINGS, Connection, Prober, Setting
from kacap.timing.judging import DIFFERS, OK

MET, NOT_MET, NO_EVIDENCE = "met", "not met", "not enough evidence"


@dataclass(frozen=True, slots=True)
class Demand:
    """How much must be seen: settings that count as failed when not observable, and the fewest probes to judge by."""

    required: frozenset[str] = frozenset()
    min_probes: int = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One setting of one prober against its expectation; ``answer`` is met, not met, or not enough evidence."""

    name: str
    setting: Setting
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One connection: the prober that was judged (None: nobody who should probes), and its checks."""

    connection: Connection
    prober: Prober | None
    checks: list[Check]

    @property
    def answer(self) -> str:
        """Not met if any check is not; met if any is; else not enough evidence."""
        return answer_of(check.answer for check in self.checks)


@dataclass(slots=True)
class Outcome:
    """Every connection that was judged; ``quiet`` counts those too silent to probe and not silent long enough."""

    demand: Demand
    checked: list[Checked] = field(default_factory=list)
    quiet: int = 0
    longest_quiet_ns: int = 0

    @property
    def answer(self) -> str:
        """The answer over all connections; without a single one that shows anything, not enough evidence."""
        return answer_of(one.answer for one in self.checked)

    def take(self, connection: Connection) -> None:
        """Take a connection that has been judged (``judge_connection``)."""
        if connection.unprobed is not None:
            self._take_unprobed(connection, connection.unprobed)
            return
        found = [(prober, self._checks(prober)) for prober in connection.probers]
        found = [(prober, checks) for prober, checks in found if checks]
        if found:
            self.checked.append(Checked(connection, *max(found, key=lambda one: _merit(one[1]))))

    def _take_unprobed(self, connection: Connection, idle: Setting) -> None:
        """Take a connection whose expected prober does not probe."""
        if idle.verdict == DIFFERS:
            self.checked.append(Checked(connection, None, [Check("idle", idle, NOT_MET, idle.why)]))
            return
        self.quiet += 1
        self.longest_quiet_ns = max(self.longest_quiet_ns, connection.longest_silence_ns)

    def _checks(self, prober: Prober) -> list[Check]:
        """Return the checks of one prober: one for each setting with an expectation."""
        settings = [(name, getattr(prober, name)) for name in SETTINGS]
        return [self._check(prober, name, value) for name, value in settings if value.expected is not None]

    def _check(self, prober: Prober, name: str, value: Setting) -> Check:
        """Return one check."""
        if value.verdict == DIFFERS:
            return Check(name, value, NOT_MET, value.why)
        if value.verdict == OK and prober.probes >= self.demand.min_probes:
            return Check(name, value, MET, value.why)
        if value.verdict == OK:
            few = f"as expected, but only {prober.probes} of {self.demand.min_probes} probes"
            return Check(name, value, NO_EVIDENCE, few)
        if name in self.demand.required:
            return Check(name, value, NOT_MET, f"not observable ({value.why}), and it is required")
        return Check(name, value, NO_EVIDENCE, value.why)


def _merit(checks: list[Check]) -> int:
    """Return how well a prober does: where both ends probe and either may be meant, the better one is judged."""
    return sum({MET: 1, NOT_MET: -1, NO_EVIDENCE: 0}[check.answer] for check in checks)


def answer_of(answers: Iterable[str]) -> str:
    """Return the answer over several: one that is not met decides, then one that is met."""
    found = set(answers)
    return NOT_MET if NOT_MET in found else MET if MET in found else NO_EVIDENCE
