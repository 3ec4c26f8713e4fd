"""The run of ``kacap live``: open, give up privileges, follow until the end, sum up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator

from kacap.analysis import Analysis
from kacap.analyzer import Analyzer
from kacap.capture.frames import FrameBatch
from kacap.capture.live_capture import open_live
from kacap.capture.live_source import LiveSource
from kacap.capture.live_stream import open_growing
from kacap.capture.privileges import User, check_directory, drop, is_privileged
from kacap.capture.rotation import Rotation
from kacap.capture.savefile import Savefile
from kacap.commands.compiling import COMPLETE
from kacap.commands.keyboard import Keyboard
from kacap.commands.live import LiveOptions
from kacap.commands.live_duty import Duty
from kacap.commands.live_pace import Links, Namespace, Pace
from kacap.commands.live_proxies import Proxies
from kacap.commands.live_ready import compile_apart, import_ahead, warm_up
from kacap.commands.live_sockets import Sockets
from kacap.commands.live_until import Waiting
from kacap.commands.telling import colored, tell
from kacap.errors import EXIT_DONE, EXIT_FAILED
from kacap.kernel_cache import CACHE
from kacap.news import passed_over
from kacap.options import Options
from kacap.outputs import refuse_inputs
from kacap.pipeline import conclude
from kacap.report import text
from kacap.report.live_events import LiveTracker
from kacap.report.live_rows import LiveEvent, ProbingConnection
from kacap.report.live_text import Clock, Lines
from kacap.report.records import RecordWriter
from kacap.report.screen import Screen, rehearse
from kacap.report.terminal import width_of
from kacap.units import clean

KEPT_EPISODES = 4096  # of each prober: the summary of a watch of weeks needs no more


def watch(user: User | None, sockets: Sockets | None, options: LiveOptions) -> int:
    """Follow an interface or a stream until it, or the user, ends it; return the exit code. Goes on as ``user``.

    What needs rights comes first: the device and the file of -w are opened. Then all rights are given up, and only then
    is anything loaded from the cache, and any packet looked at.
    """
    privileged = is_privileged()
    if options.stream is None and not CACHE.has(COMPLETE):
        _open(options, user).close()  # what cannot be captured is known before anything is compiled
    if privileged:
        compile_apart()
    else:
        warm_up()
    if options.top:
        rehearse()
        Keyboard.prepare()
    source = _open(options, user)
    file = _savefile(options, source, user)
    duty = Duty(options, user)
    import_ahead()
    drop(user)
    CACHE.reopen()
    if privileged:
        warm_up()
    run = Run(source, file, sockets, options, duty)
    _announce(source, options, duty)
    with signals_handled(source, duty):
        run.follow()
    analysis = run.conclude()
    sum_up(analysis, source, options, run)
    if gone := run.analyzer.past.forgotten:
        tell(f"kacap: the summary is of what is open and the newest that is over; {gone:,} older connections were told")
    if run.waiting is not None:
        return run.waiting.exit_code
    return EXIT_FAILED if source.faults or source.damages else EXIT_DONE


def _open(options: LiveOptions, user: User | None) -> LiveSource:
    """Open what the options name; a program that captures is started as ``user``."""
    if options.stream is not None:
        return open_growing(options.stream, filter=options.passing, limit=options.packets)
    return open_live(
        options.interfaces or ["any"],
        engine=options.engine,
        filter=options.passing,
        snaplen=options.snaplen,
        promiscuous=options.promiscuous,
        buffer_kib=options.buffer_kib,
        netns=options.netns,
        link_type=options.link_type,
        limit=options.packets,
        user=user,
    )


def _announce(source: LiveSource, options: LiveOptions, duty: Duty) -> None:
    """Say on stderr what is listened to, as tcpdump does, and where the metrics are."""
    if duty.url is not None:
        tell(f"kacap: metrics at {duty.url}")
    if options.lean:
        from kacap.capture.lean import COST

        tell(f"kacap: {COST}")
    if options.stream is None:
        size = f"snapshot length {source.snaplen} bytes"
        zone = "" if options.as_json else Clock(options.stamps).zone
        parts = [f"listening on {', '.join(source.files)}", size, f"engine {source.engine}", *filter(None, [zone])]
        tell(f"kacap: {', '.join(parts)}")


@contextlib.contextmanager
def signals_handled(source: LiveSource, duty: Duty | None = None) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP stop the source, a second one ends at once; SIGUSR1 (SIGINFO) shows the counters.

    With a log, SIGHUP opens its file anew.
    """
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        source.stop()

    def count(number: int, _: object) -> None:
        os.write(2, ("\n".join(source.counters().lines()) + "\n").encode())

    handlers: dict[int, Callable[[int, object], None]] = {signal.SIGINT: ask, signal.SIGTERM: ask}
    for name in ("SIGUSR1", "SIGINFO"):
        if hasattr(signal, name):
            handlers[getattr(signal, name)] = count
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: it goes on
        reopens = duty is not None and duty.can_reopen
        handlers[signal.SIGHUP] = (lambda *_: duty.reopen()) if duty is not None and reopens else ask
    for number, handler in handlers.items():
        signal.signal(number, handler)
    yield


class Run:
    """One watch: source, analyzer, and who shows the events."""

    def __init__(
        self, source: LiveSource, file: Savefile | None, sockets: Sockets | None, options: LiveOptions, duty: Duty
    ) -> None:
        self.source, self.file, self.sockets, self.options, self.duty = source, file, sockets, options, duty
        self.out = options.out
        self.colored = colored(options.color, self.out)
        records = RecordWriter(self.out, source.files, flush=True)
        how = Options(
            keep_episodes=KEPT_EPISODES,
            segments=options.segments if options.as_json else "events",
            expect=sockets.of_connection if sockets is not None else None,
            marks=False,
        )
        self.analyzer = Analyzer(how, sink=records.news if options.as_json else passed_over)
        self.live = LiveTracker(self.analyzer, sockets.of_prober if sockets is not None else None)
        self.screen, self.keyboard = self._screen(), Keyboard()
        self.lines = Lines(
            self.out, Clock(options.stamps), color=self.colored, brief=options.brief, width=self._columns()
        )
        self.waiting = Waiting(options.expression, sockets) if options.until == "verdict" else None
        self.proxies = Proxies(self.live, sockets)
        own = options.stream is None and options.netns is None
        self._pace, self._links = Pace(), Links(source.files if own else [])
        self._namespace = Namespace(options.netns)
        self._started_ns: int | None = None
        duty.start(source, self.live, sockets)

    def _screen(self) -> Screen | None:
        """Return the live screen where it was asked for and there is a terminal; else plain lines do."""
        wanted = self.options.top and self.out.isatty() and os.environ.get("TERM") != "dumb"
        return Screen(color=self.colored) if wanted else None

    def _columns(self) -> int | None:
        """Return how wide a terminal is that healthy probes share one line of; None: each has a line of its own."""
        plain = not self.out.isatty() or os.environ.get("TERM") == "dumb" or self.options.verbose
        return None if plain or self.options.until else shutil.get_terminal_size().columns

    def follow(self) -> None:
        """Feed what comes until the end."""
        try:
            with self.screen or contextlib.nullcontext(), self.keyboard if self.screen else contextlib.nullcontext():
                for batch in self.source:
                    self.step(batch)
        finally:
            self.lines.end()
            if self.file is not None:
                self.file.close()
            if self.waiting is not None:
                self.waiting.close()
            self.duty.close()

    def step(self, batch: FrameBatch) -> None:
        """Take one batch, which may be empty: only time has passed."""
        source = self.source
        if self.options.stream is None and (stepped := self._pace.stepped()):
            self._trouble(stepped)
        for words in (*self._links.changed(), *self._namespace.changed()):
            self._trouble(words)
        if self.file is not None:
            self.file.write(batch)
        with self.duty.lock:
            if self.sockets is not None:
                self.sockets.look_ahead(len(batch.frames) > 0)
            events = self.live.feed(batch, source.now_ns, source.dropped)
            events += self.proxies.look(source.now_ns)
            self.duty.take(events)
            if self.waiting is not None and self.waiting.is_due(self._now_ns):
                self.live.update_heard()
                self.waiting.look(self._rows(), self._now_ns)
        if self.screen is not None:
            self._redraw(self.screen, events)
        elif not self.options.as_json:
            self.lines.write(events)
            if self.lines.is_due(self._now_ns):
                self.live.update_heard()
                self.lines.wait(self._rows(), self._now_ns)
        if self._over():
            source.stop()

    def _redraw(self, screen: Screen, events: list[LiveEvent]) -> None:
        """Take what happened and the keys that were pressed, and draw the screen when it is time, or a key asks."""
        screen.view.take(events)
        keys = list(self.keyboard.keys())
        for key in keys:
            screen.view.press(key)
        if screen.view.quit:
            self.source.stop()
        if keys or screen.is_due(self._now_ns):
            self.live.update_heard()
            screen.draw(self._rows(), self._now_ns, self.source.dropped or 0)

    @property
    def _now_ns(self) -> int:
        """What time it is as the analysis counts it, nanoseconds: the clock may have been set back."""
        return self.analyzer.tracker.clock.now_ns(self.source.now_ns)

    def _over(self) -> bool:
        """Return whether one of the wished ends has come."""
        options = self.options
        now_ns = self._pace.watched_ns() if options.stream is None else self.source.now_ns
        if self._started_ns is None:
            self._started_ns = now_ns
        limit_ns = options.duration_ns
        return (
            (limit_ns is not None and now_ns - self._started_ns >= limit_ns)
            or (options.probes is not None and self.live.decided >= options.probes)
            or (self.waiting is not None and self.waiting.take(self._rows()))
            or (self.file is not None and self.file.full)
        )

    def _rows(self) -> list[ProbingConnection]:
        """Return every prober, and what is probably one."""
        return [*self.live.rows.values(), *self.live.suspects]

    def _trouble(self, words: str) -> None:
        """Tell, and log, what happened to the watch itself."""
        tell(f"kacap: {words}")
        self.duty.trouble(words)

    def conclude(self) -> Analysis:
        """Finish the analysis; with ``--json`` the last records are written."""
        self.proxies.update(self.source.now_ns)
        if self.options.as_json:
            self.out.writelines(f"{line}\n" for line in self.proxies.records())
        return conclude(self.source, self.analyzer)


def _savefile(options: LiveOptions, source: LiveSource, user: User | None) -> Savefile | None:
    """Return the open file of -w, if one is wanted; its header is there at once where the link type is known.

    Files that give way to others are opened as ``user``, who must open the others too. Raises UsageError if he may not.
    """
    if options.savefile is None:
        return None
    rotation: Rotation = options.rotation
    refuse_inputs(options.savefile, [options.stream] if options.stream is not None else [])
    file = Savefile(
        options.savefile,
        source.snaplen,
        rotation,
        micro=options.micro,
        flush=options.unbuffered or options.savefile == "-",
    )
    known = source.link_types if options.stream is None and options.engine != "dumpcap" else []
    if user is None or not rotation.rotates:
        file.open(known[0] if known else None, source.now_ns)
    else:
        check_directory(options.savefile, "-w", user, opens="-G and -C open each file")
    return file


def sum_up(analysis: Analysis, source: LiveSource, options: LiveOptions, run: Run) -> None:
    """Write the summary as ``kacap read`` does, with proxies, and tcpdump's counters on stderr."""
    out = run.out
    if not options.as_json:
        out.write("\n")
        shade = colored(options.color, out)
        text.render(analysis, out, color=shade, brief=options.brief, verbose=options.verbose > 0, width=width_of(out))
        out.writelines(f"{clean(line)}\n" for line in run.proxies.lines())
        out.flush()
    for line in source.counters().lines():
        tell(line)
    for trouble in [*source.faults, *map(str, source.damages)]:
        tell(f"kacap: {trouble}")
