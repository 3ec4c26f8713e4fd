"""``kacap survey``: collections of captures, on this machine or on a cluster."""

from __future__ import annotations

import sys
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import click

from kacap.commands.telling import tell
from kacap.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from rich.progress import Progress


@click.command(no_args_is_help=True)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("-o", "results", required=True, metavar="DIR", help="Write the results below DIR, a path or an address.")
@click.option(
    "--sensor",
    metavar="REGEX",
    help="Regular expression whose first group names the sensor of an address (default: the file's directory).",
)
@click.option("--scheduler", metavar="ADDRESS", help="Use the Dask cluster at ADDRESS, such as tcp://10.0.0.1:8786.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes on this machine (default: its cores).",
)
def survey(urls: tuple[str, ...], results: str, sensor: str | None, scheduler: str | None, workers: int | None) -> int:
    """Survey collections of captures: every sensor's files as one capture, and one summary across all sensors.

    URL is a file, a pattern or a directory, here or at an address that fsspec knows (s3://, gs://, https://, ssh://).
    The results are Parquet tables by sensor and day, and summary.txt, summary.html and summary.json. A further run
    does only what is new or changed. With --scheduler, DIR has to be a place that every worker reaches.

    \b
    kacap survey 'captures/*/*.pcap' -o results/
    kacap survey 's3://lake/edge-*/2026/11/*.pcap.gz' -o s3://lake/keepalive --scheduler tcp://10.0.0.1:8786

    Exit code 0, or 1 when a file was damaged (the rest is still reported), 130 when interrupted.
    """
    from kacap.survey.run import connected
    from kacap.survey.run import survey as run

    with closing(connected(scheduler, workers)) as client, closing(client.cluster) if client.cluster else nullcontext():
        progress = _Progress()
        try:
            with progress:
                outcome = run(client, urls, results, sensor, progress.step)
        except KeyboardInterrupt:
            tell(f"kacap: interrupted: {progress.words()} done, kept in {results}; the same command goes on from there")
            return EXIT_INTERRUPTED
    click.echo(outcome.text, nl=False)
    for trouble in outcome.troubles:
        tell(f"kacap: {trouble}")
    tell(f"kacap: {outcome.files:,} new or changed files; results in {results}")
    return EXIT_FAILED if outcome.troubles else EXIT_DONE


class _Progress:
    """A line on a terminal that says how much is done."""

    def __init__(self) -> None:
        self._files = self._bytes = 0
        self._bar: Progress | None = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("looking at new files")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def words(self) -> str:
        """Return what is done, in words."""
        return f"{self._files:,} files ({self._bytes / 1e9:.2f} GB)"

    def step(self, files: int, size: int) -> None:
        """Count files and bytes that are done."""
        self._files, self._bytes = self._files + files, self._bytes + size
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=self.words())
