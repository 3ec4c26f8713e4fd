"""Plays one scenario: network, recorders, connections, timeline, truth. A process of its own.

``python -m kacap.lab.scenario_run`` takes a request as JSON on its command line and tells its progress on stdout, one
JSON object a line; ``kacap.lab.runner`` is the other end. It ends with everything it made when its parent ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from kacap.errors import KacapError
from kacap.lab import network as net
from kacap.lab import truth
from kacap.lab.actions import Actions
from kacap.lab.merge import merge
from kacap.lab.process import die_with_parent, own_user_namespace
from kacap.lab.record import Recording
from kacap.lab.runner import Asked, Step
from kacap.lab.scenario import At, Scenario, View
from kacap.trusted import search_path

_SETTLE_S = 0.15  # beside the way there and back: the last frames reach the recorders


class ScenarioRun:
    """One run of ``scenario``: captures and ``truth.toml`` go into ``directory``; ``tell`` is called with each step.

    ``companion`` is a program that watches with every recorder, see ``kacap.lab.companion``; empty: none.
    """

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        tell: Callable[[Step], None],
        companion: Sequence[str] = (),
    ) -> None:
        self.scenario = scenario
        self.directory = directory
        self.tell = tell
        self.companion = companion
        self.events: list[dict[str, object]] = []
        self.captures: list[truth.CaptureFacts] = []
        self.established_ns = 0
        self.ended_early = False

    def play(self) -> None:
        """Play it from the first cable to the truth. Raises ``KacapError`` when a step fails."""
        scenario = self.scenario
        self.tell({"step": "building"})
        self.network = net.Network(scenario.topology, scenario.family)
        self.hosts = {host.name: host for host in self.network.hosts.values()}
        self.missing = self.network.build(scenario.pins)
        self._firewall()
        self._repin()
        if scenario.way:
            self.network.slow(scenario.way)
        self._prepare()
        before = self._counters()
        for view in scenario.views:
            if view.since is None:
                self._record(view)
        self._connect()
        self._timeline()
        self._silence()
        after = self._counters()
        self._stop()
        self._write(before, after)
        self.network.leave()

    def _firewall(self) -> None:
        """Load the scenario's rules; without nft, leave them to the events that stand in for them, if there are any."""
        if self.scenario.without_nft and not self.network.has_nft:
            self.scenario = replace(self.scenario, events=(*self.scenario.events, *self.scenario.without_nft))
            return
        for host, text in self.scenario.firewall:
            self.network.nft(host, text)

    def _repin(self) -> None:
        """Set connection-tracking pins, which exist only once a rule needs them."""
        again = [pin for pin in self.scenario.pins if pin[1].startswith("net.netfilter.")]
        for host, key, value in again:
            if self.network.hosts[host].call("sysctl", key, value):
                self.missing.remove(f"{host}: {key}") if f"{host}: {key}" in self.missing else None

    def _prepare(self) -> None:
        verbs = {event.verb for event in self.scenario.events}
        for host in self.hosts.values():
            if self.scenario.together:
                host.call("arm_together")
            if verbs & {"probe_by_hand", "forge_reset"}:
                host.call("prepare_forging")

    def _counters(self) -> dict[str, dict[str, int]]:
        return {name: host.call("counters") for name, host in self.hosts.items()}

    def _record(self, view: View) -> None:
        host, interface = self.network.interface(view.site, self.scenario.prober)
        recording = Recording(str((self.directory / view.file).resolve()), interface, rotate=view.rotate)
        host.call("start_recording", recording)
        if self.companion:
            host.call("start_companion", self.companion, recording)
        capture: truth.CaptureFacts = {
            "host": host.name, "interface": interface, "place": view.site, "started_ns": time.time_ns(),
            "files": [], "frames": 0, "dropped": 0, "stopped_ns": 0,
        }  # fmt: skip
        self.captures.append(capture)

    def _silence(self) -> None:
        """End all keepalive and wait until what was sent has arrived: then no probe is counted or captured any more.

        What watches beside the recorders ends first, because it may ask the sockets how they are set.
        """
        for verb in ("stop_companions", "silence"):
            for host in self.hosts.values():
                host.call(verb)
        time.sleep(_SETTLE_S + 2 * self.scenario.way)

    def _stop(self) -> None:
        """Stop every recorder; a host answers for its recorders in the order in which they started."""
        for name, host in self.hosts.items():
            mine = [capture for capture in self.captures if capture["host"] == name]
            for capture, (files, frames, dropped) in zip(mine, host.call("stop_recording"), strict=True):
                capture["files"], capture["frames"], capture["dropped"] = files, frames, dropped
                capture["stopped_ns"] = time.time_ns()

    def _connect(self) -> None:
        """Open a listener for each connection that differs, and connect them all."""
        scenario, addresses = self.scenario, self.network.addresses
        client, server = self.network.hosts["client"], self.network.hosts["server"]
        inherited = scenario.pairs[0].server if scenario.on_listener else None
        for name in {"second" if pair.lost else "server" for pair in scenario.pairs}:
            server.call("listen", f"{name}-listener", addresses[name], net.PORT, inherited, scenario.receive_buffer)
        for number, pair in enumerate(scenario.pairs):
            name = "second" if pair.lost else "server"
            local = (addresses["client"], net.FIRST_CLIENT_PORT + number)
            client.call("connect", f"client-{number}", local, (addresses[name], net.PORT), pair.client)
            own = None if scenario.on_listener else pair.server
            server.call("accept", f"{name}-listener", f"server-{number}", own)
            time.sleep(scenario.spread / len(scenario.pairs))
        self.established_ns = time.time_ns()
        self.tell({"step": "running", "seconds": scenario.seconds})

    def _timeline(self) -> None:
        """Do each event at its time, start late recorders, and stay until the end."""
        start = time.monotonic()
        actions = Actions(self.scenario, self.network)
        late = [(view.since, view) for view in self.scenario.views if view.since is not None]
        steps: list[tuple[float, At | View]] = [(event.seconds, event) for event in self.scenario.events]
        for seconds, step in sorted([*steps, *late], key=lambda pair: pair[0]):
            if self._ended_before(start + seconds):
                return
            if isinstance(step, View):
                self._record(step)
                continue
            self.tell({"step": "event", "at": seconds, "what": str(step)})
            begun_ns = time.time_ns()
            getattr(actions, step.verb)(*step.words)
            self.events.append({"time_ns": begun_ns, "done_ns": time.time_ns(), "what": str(step)})
        self._ended_before(start + self.scenario.seconds)

    def _ended_before(self, moment: float) -> bool:
        """Sleep until ``moment`` (monotonic seconds); True at once when SIGTERM asks for an early end."""
        left = max(0.0, moment - time.monotonic())
        self.ended_early = signal.sigtimedwait({signal.SIGTERM}, left) is not None
        return self.ended_early

    def _write(self, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> None:
        """Gather what the sockets and the kernel say, and write it beside the captures."""
        scenario = self.scenario
        facts: dict[str, truth.SocketFacts] = {}
        for host in self.hosts.values():
            facts |= host.call("facts")
        if scenario.merged:
            self.captures = [merge(self.directory, self.captures)]
        connections = [truth.connection(facts, number) for number in range(len(scenario.pairs))]
        if scenario.table:
            truth.write_table(self.directory / "sockets.csv", connections)
            connections = []
        facts_of_run = self._run_facts() | {
            "capture": self.captures,
            "connection": connections,
            "event": [] if scenario.table else self.events,
            "host": {name: truth.host(before[name], after[name]) for name in self.hosts},
        }
        truth.write(self.directory / "truth.toml", facts_of_run)

    def _run_facts(self) -> dict[str, object]:
        return {
            "scenario": self.scenario.name,
            "happens": self.scenario.happens,
            "then": self.scenario.then,
            "kernel": truth.kernel(),
            "hz": truth.hz(),
            "family": self.scenario.family,
            "topology": self.scenario.topology,
            "faults_by": sorted(self.network.faults_by),
            "not_pinned": self.missing,
            "ended_early": self.ended_early,
            "established_ns": self.established_ns,
        }


def _tell(step: Step) -> None:
    print(json.dumps(step), flush=True)


def main(request: Asked) -> int:
    """Play ``request`` (see ``kacap.lab.runner.Request``); return 0, or 1 after telling what failed."""
    from kacap.lab.population import population
    from kacap.lab.scenarios import find

    parent = request["parent"]
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal: the parent decides
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # taken between two events, see ScenarioRun
    os.environ["PATH"] = search_path()
    try:
        if request["population"]:
            scenario = population(*request["population"])
        else:
            scenario = find(request["scenario"]).with_settings(*request["settings"])
        if request["family"]:
            scenario = scenario.in_family(request["family"])
        if request["where"]:
            scenario = scenario.seen_from(request["where"])
        if own_user_namespace():
            die_with_parent(parent)  # forgotten when the credentials changed
        ScenarioRun(scenario, Path(request["directory"]), _tell, request["companion"]).play()
    except (KacapError, OSError) as error:
        _tell({"step": "failed", "why": str(error)})
        return 1
    _tell({"step": "done"})
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
