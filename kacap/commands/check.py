"""``kacap check``: does a capture show what was configured? An exit code for scripts and CI."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kacap.commands.expecting import SINGLE, Expecting, expecting
from kacap.commands.reading import Reading, options_of, reading
from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, EXIT_NO_EVIDENCE, KacapError, UsageError

if TYPE_CHECKING:
    from kacap.analysis import Analysis
    from kacap.timing.outcome import Outcome
    from kacap.timing.rules import Rules

NAGIOS_UNKNOWN = 3


@dataclass(frozen=True, kw_only=True)
class CheckOptions(Reading, Expecting):
    """What ``kacap check`` is asked for."""

    require: tuple[str, ...]
    min_probes: int
    command: bool
    seconds: float
    form: str

    def demanded(self) -> Rules:
        """Return what the options expect. Raises UsageError when that is nothing, or not what they require."""
        rules = self.expected()
        if rules is None:
            raise UsageError("nothing is expected: give --expect idle=60,interval=10,count=6, --idle or --rules")
        for name in self.require:
            field = "user_timeout_ns" if name == "user_timeout" else name
            if all(getattr(rule.expectation, field) is None for rule in rules.rules):
                raise UsageError(f"--require {name}: say what is expected of it, for example --expect {name}=...")
        return rules


@click.command(no_args_is_help=True)
@reading
@expecting
@click.option(
    "--require",
    multiple=True,
    type=click.Choice(SINGLE),
    help="Fail when this setting is not observable; may be given several times.",
)
@click.option(
    "--min-probes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="How many probes of one side it takes to judge a setting.",
)
@click.option("--run", "command", is_flag=True, help="Start a command and read its sockets instead: --run -- COMMAND.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="With --run: how long to wait for sockets that are as expected.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit", "tap", "nagios"]),
    default="text",
    show_default=True,
    help="For people, scripts, CI, test harnesses, monitoring.",
)
def check(**given: object) -> int:
    """Check that a capture shows the keepalive that was configured.

    FILE and the filter are as in kacap read. What is expected is stated in the options or in a file of rules; the
    tolerance is computed: a timer is never early, and late by what the kernel's timer wheel allows.

    \b
    kacap check run.pcap port 5432 --expect idle=60,interval=10,count=6
    kacap check run.pcap --idle 2h --from 10.0.0.5 --min-probes 2
    kacap check 'night.pcap*' --rules keepalive.toml --require count --format junit
    kacap check --idle 60 --interval 10 --run -- ./myserver --once

    --run waits for no probe: it reads the options of the sockets that the command opens (Linux), then ends it.

    Exit code 0: met. 1: not met, or the capture is damaged. 2: usage, or --run cannot start the command. 3: not
    enough evidence. With --format nagios 0 OK, 1 WARNING (met, with probes missed), 2 CRITICAL, 3 UNKNOWN.
    """
    options = options_of(CheckOptions, given)
    try:
        outcome, analysis = _of_command(options) if options.command else _of_captures(options)
        return _tell(outcome, analysis, options.form)
    except KacapError as error:
        if options.form != "nagios":
            raise
        from kacap.units import clean

        click.echo(f"KEEPALIVE UNKNOWN - {clean(' '.join(str(error).split())).replace('|', '/')}")
        return NAGIOS_UNKNOWN


def _of_command(options: CheckOptions) -> tuple[Outcome, Analysis]:
    """Start a command and judge its sockets."""
    if options.named or options.filter_file or not options.words:
        raise UsageError("--run reads sockets, not captures: --run -- COMMAND ARGUMENTS")
    rules = options.demanded()
    from kacap.analysis import Analysis
    from kacap.commands.check_run import run

    return run(options.words, rules, frozenset(options.require), options.seconds), Analysis()


def _of_captures(options: CheckOptions) -> tuple[Outcome, Analysis]:
    """Read the files and take every connection as it is judged."""
    files, expression = options.sources()
    rules = options.demanded()
    from kacap.library import analyse
    from kacap.model import Connection
    from kacap.news import News
    from kacap.options import Options
    from kacap.timing.outcome import Demand, Outcome

    outcome = Outcome(Demand(frozenset(options.require), options.min_probes))

    def take(news: News) -> None:
        for record in news.late():
            if isinstance(record, Connection):
                outcome.take(record)

    how = Options(expect=rules, marks=False, engine=options.engine)
    return outcome, analyse(files, expression, how, sink=take)


def _tell(outcome: Outcome, analysis: Analysis, form: str) -> int:
    """Write the outcome in the format asked for; return the exit code."""
    from kacap.report.checks import FORMATS, nagios_state

    with suppress(BrokenPipeError):  # who has read enough of it is told by the exit code all the same
        FORMATS[form](outcome, analysis, sys.stdout)
    for damage in analysis.damages:
        tell(f"kacap: {damage}")
    if form == "nagios":
        return nagios_state(outcome, analysis)
    return _exit_code(outcome, analysis)


def _exit_code(outcome: Outcome, analysis: Analysis) -> int:
    """Return 0 met, 1 not met or damaged, 3 not enough evidence."""
    from kacap.timing.outcome import MET, NOT_MET

    if analysis.damages or outcome.answer == NOT_MET:
        return EXIT_FAILED
    return EXIT_DONE if outcome.answer == MET else EXIT_NO_EVIDENCE
