"""Drives a survey: looks at new files, decodes chunks in parallel, and lets each sensor's chain go on as they come."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, TypeVar

from kacap.errors import KacapError
from kacap.survey import work
from kacap.survey.notebook import Chunk, Notebook, opened
from kacap.survey.places import Entry, listed, remove, safe, write_bytes
from kacap.survey.summary import Part, Summary, merged, page_of, text_of

CHUNK_BYTES, CHUNK_FILES = 64 << 20, 500  # of one task; what is compressed counts as so many times its size
COMPRESSED = 6
LOOKS = 64  # files that one task looks at
AHEAD = 3  # chunks of a sensor that are decoded before their turn, where there are workers for that
RETRIES = 3  # of a task whose worker died or whose storage failed
ASK_S = 1.0  # between two questions how many workers there are
# Dask lets glibc's malloc give back all that is freed: the arrays of each chunk would cost as much to map as to fill.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": 256 << 20, "MALLOC_MMAP_THRESHOLD_": 32 << 20}  # the most that it once took

Step = Callable[[int, int], None]  # files done, bytes done
Result = TypeVar("Result", covariant=True)
Task = TypeVar("Task")


# What is used of Dask, which brings no types.
class Future(Protocol[Result]):
    """A task on the cluster."""

    key: str

    def result(self) -> Result:
        """Wait, and return what the task returned; raise what it raised."""


class Closeable(Protocol):
    """Something that has to be left."""

    def close(self) -> None:
        """Leave it."""


class Steps(Protocol):
    """Tasks under way, each yielded when it is done."""

    def add(self, future: Future[object]) -> None:
        """Take one more."""

    def __iter__(self) -> Iterator[Future[work.Done]]: ...


class Client(Protocol):
    """What hands tasks to a cluster; ``cluster`` is what was made for it, None where there was one."""

    cluster: Closeable | None

    def submit(self, task: Callable[..., Task], *given: object, pure: bool, retries: int) -> Future[Task]:
        """Hand over a task."""

    def nthreads(self) -> dict[str, int]:
        """Return how many tasks each worker does at a time."""

    def close(self) -> None:
        """Leave it."""


@dataclass(slots=True)
class Outcome:
    """What a survey came to: the summary, its text, and what went wrong, one line each."""

    summary: Summary
    text: str
    files: int  # that were new or changed
    troubles: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Chain:
    """What is still to be done of one sensor."""

    notebook: Notebook
    chunks: list[Chunk]
    first: int  # index of the first of their files among those of the sensor
    began: int  # chunks of the notebook before them
    at: int = 0  # the chunk that is classified next
    decoded: dict[int, Future[work.Decoded]] = field(default_factory=dict)  # by the number of their chunk

    @property
    def open(self) -> bool:
        """Whether chunks are left."""
        return self.at < len(self.chunks)

    def index(self, chunk: int) -> int:
        """Return the index of a chunk's first file among those of the sensor."""
        return self.first + sum(len(each.files) for each in self.chunks[:chunk])

    def undecoded(self, chunk: int) -> work.Undecoded:
        """Return what is to be decoded of a chunk."""
        return work.Undecoded([entry.url for entry, _ in self.chunks[chunk].files], self.index(chunk))


def survey(client: Client, urls: Sequence[str], results: str, sensor: str | None, step: Step) -> Outcome:
    """Survey the captures at ``urls`` with a Dask client; write below ``results``, and go on from what is there.

    ``step`` is told of progress. An interrupt leaves what was done; the next survey goes on from it.
    """
    run = SurveyRun(client, results, step)
    by_sensor: dict[str, list[Entry]] = {}
    for entry in listed(urls, sensor):
        by_sensor.setdefault(entry.sensor, []).append(entry)
    notebooks = {name: opened(name, results) for name in by_sensor}
    orders = run.in_order(by_sensor, notebooks)
    chains = [run.chain(notebooks[name], orders[name]) for name in by_sensor]
    files = sum(len(chunk.files) for chain in chains for chunk in chain.chunks)
    run.work_on(chains)
    run.finish([chain.notebook for chain in chains])
    parts = [notebook.summary for notebook in notebooks.values() if notebook.summary is not None]
    return run.told(parts, files)


class SurveyRun:
    """One survey under way."""

    def __init__(self, client: Client, results: str, step: Step) -> None:
        self._client, self._results, self._step = client, results.rstrip("/"), step
        self.troubles: list[str] = []
        self._threads, self._asked = 0, -math.inf

    def in_order(
        self, by_sensor: dict[str, list[Entry]], notebooks: dict[str, Notebook]
    ) -> dict[str, list[tuple[Entry, int]]]:
        """Return the files of each sensor that hold frames, with the time of the first one, in order of it."""
        known = {name: notebooks[name].known() for name in by_sensor}
        new = [each for name, entries in by_sensor.items() for each in entries if each.identity not in known[name]]
        groups = [new[first : first + LOOKS] for first in range(0, len(new), LOOKS)]
        futures = [self._submit(work.look, [each.url for each in group]) for group in groups]
        for group, future in zip(groups, futures, strict=True):
            for entry, found in zip(group, future.result(), strict=True):
                known[entry.sensor][entry.identity] = found.first_ns
                if found.first_ns is None:
                    notebooks[entry.sensor].others.append((entry, found.failure))
        for name, entries in by_sensor.items():
            here = {entry.identity for entry in entries}
            others = [row for row in notebooks[name].others if row[0].identity in here]
            notebooks[name].others = others
            self.troubles += [f"{entry.url}: {failure}" for entry, failure in others if failure]
        return {
            name: sorted(
                ((each, first_ns) for each in entries if (first_ns := known[name][each.identity]) is not None),
                key=lambda pair: (pair[1], pair[0].url),
            )
            for name, entries in by_sensor.items()
        }

    def chain(self, notebook: Notebook, order: list[tuple[Entry, int]]) -> Chain:
        """Return what is to be done of a sensor, after what is done."""
        rest = notebook.rely_on(order, self._results)
        return Chain(notebook, list(_chunks(rest)), len(order) - len(rest), len(notebook.chunks))

    def work_on(self, chains: Sequence[Chain]) -> None:
        """Decode and classify all chunks; a chain that fails stops, and is reported."""
        steps: Steps = import_module("distributed").as_completed()
        of: dict[str, Chain] = {}
        going = [chain for chain in chains if chain.open]
        for chain in going:
            self._advance(chain, steps, of, len(going))
        for future in steps:
            chain = of.pop(future.key)
            try:
                done = future.result()
            except Exception as error:  # whatever failed for good, the other sensors go on
                self.troubles.append(f"{chain.notebook.sensor}: not finished: {error}")
                chain.decoded.clear()
                continue
            self.note(chain, done)
            if chain.open:
                self._advance(chain, steps, of, len(of) + 1)

    def _advance(self, chain: Chain, steps: Steps, of: dict[str, Chain], left: int) -> None:
        """Let the next chunk of a chain, of ``left``, be classified; idle workers decode the ones behind it."""
        if left < self._at_a_time():
            for number in range(chain.at, min(chain.at + AHEAD, len(chain.chunks))):
                if number not in chain.decoded:
                    chain.decoded[number] = self._submit(work.decode_chunk, chain.undecoded(number))
        number = chain.at
        following = chain.chunks[number + 1] if number + 1 < len(chain.chunks) else None
        until = work.END if following is None else (following.first_ns, chain.index(number + 1))
        before = chain.notebook.chunks[-1].checkpoint if chain.notebook.chunks else ""
        name = f"part-{chain.began + number:06}"
        sensor = safe(chain.notebook.sensor)
        chain.chunks[number].checkpoint = f"checkpoints/{sensor}/{name}"
        chain.chunks[number].ended = following is None
        going_on = self._submit(
            work.go_on,
            f"{self._results}/{before}" if before else None,
            chain.decoded.get(number) or chain.undecoded(number),
            until,
            self._results,
            (sensor, name, f"{self._results}/checkpoints/{sensor}/{name}"),
        )
        of[going_on.key] = chain
        steps.add(going_on)

    def _at_a_time(self) -> int:
        """Return how many tasks the cluster does at a time; workers come and go."""
        if time.monotonic() - self._asked > ASK_S:
            self._threads, self._asked = sum(self._client.nthreads().values()), time.monotonic()
        return self._threads

    def note(self, chain: Chain, done: work.Done) -> None:
        """Remember that a chunk is done."""
        chunk = chain.chunks[chain.at]
        chunk.parts, chunk.last_ns = done.parts, done.last_ns
        chain.notebook.chunks.append(chunk)
        chain.notebook.summary = None
        chain.notebook.keep(self._results)
        chain.decoded.pop(chain.at, None)
        chain.at += 1
        for old in chain.notebook.chunks[:-2]:  # two are kept: the last may have to be done again
            if old.checkpoint:
                remove(f"{self._results}/{old.checkpoint}")
                old.checkpoint = ""
        self._step(len(chunk.files), sum(entry.size for entry, _ in chunk.files))

    def finish(self, notebooks: Sequence[Notebook]) -> None:
        """Sum up the sensors that have something new."""
        futures = {}
        for notebook in notebooks:
            if notebook.summary is None and notebook.chunks:
                checkpoint = f"{self._results}/{notebook.chunks[-1].checkpoint}"
                sensor = safe(notebook.sensor)
                futures[notebook.sensor] = self._submit(work.end, checkpoint, self._results, sensor, notebook.sensor)
        for notebook in notebooks:
            if notebook.sensor in futures:
                try:
                    summary, parts = futures[notebook.sensor].result()
                except Exception as error:
                    self.troubles.append(f"{notebook.sensor}: not summed up: {error}")
                    continue
                for name in set(notebook.last_parts) - set(parts):
                    remove(f"{self._results}/{name}")
                notebook.last_parts, notebook.summary = parts, summary
                notebook.keep(self._results)

    def told(self, parts: list[Part], files: int) -> Outcome:
        """Write the summary as text, HTML and JSON."""
        summary = merged(parts)
        text = text_of(summary)
        write_bytes(f"{self._results}/summary.json", json.dumps(summary, indent=1).encode())
        write_bytes(f"{self._results}/summary.txt", text.encode())
        write_bytes(f"{self._results}/summary.html", page_of(summary).encode())
        self.troubles += [damage for part in parts for damage in part["damages"]]
        return Outcome(summary, text, files, self.troubles)

    def _submit(self, task: Callable[..., Task], *given: object) -> Future[Task]:
        """Hand a task to the cluster; it may be done again where a worker dies."""
        return self._client.submit(task, *given, pure=False, retries=RETRIES)


def _chunks(files: list[tuple[Entry, int]]) -> Iterator[Chunk]:
    """Yield consecutive files by chunks of about one size."""
    rows: list[tuple[Entry, int]] = []
    size = 0
    for entry, first_ns in files:
        rows.append((entry, first_ns))
        size += entry.size * (COMPRESSED if entry.url.endswith((".gz", ".zst")) else 1)
        if size >= CHUNK_BYTES or len(rows) >= CHUNK_FILES:
            yield Chunk(rows)
            rows, size = [], 0
    if rows:
        yield Chunk(rows)


def connected(scheduler: str | None, workers: int | None) -> Client:
    """Return a Dask client: of the cluster at an address, or of worker processes on this machine. Raises KacapError."""
    try:
        dask = import_module("distributed")
    except ImportError as error:
        raise KacapError("Dask is not installed: pip install 'kacap[cluster]'") from error
    if scheduler is None:
        config, spawned = import_module("dask").config, "distributed.nanny.pre-spawn-environ"
        profiled, ticks = "distributed.worker.profile.enabled", "distributed.admin.tick.interval"
        with config.set({spawned: config.get(spawned) | MALLOC, profiled: False, ticks: "500ms"}):
            cluster = dask.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        client: Client = dask.Client(cluster)
        return client
    try:
        client = dask.Client(scheduler, timeout="10s")
        return client
    except (OSError, ValueError, TimeoutError) as error:
        raise KacapError(f"--scheduler {scheduler}: no scheduler answers there: {error}") from error
