"""``kacap doctor``: what works on this machine, what does not, and the command that fixes it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from kacap.errors import EXIT_DONE


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(as_json: bool) -> int:
    """Say what works on this machine, what does not, and what fixes it.

    Opens the loopback interface for a moment, with each engine that `kacap live` could use; changes nothing.
    """
    from kacap.commands.doctor_checks import checks

    found = checks()
    if as_json:
        click.echo(json.dumps({"v": 1, "type": "doctor", "checks": [asdict(check) for check in found]}))
        return EXIT_DONE
    width = max(len(check.name) for check in found)
    for check in found:
        sign = "ok" if check.works else "--"
        click.echo(f"{sign}  {check.name:<{width}}  {check.found}")
        if check.fix:
            click.echo(f"{'':<{width + 6}}fix: {check.fix}")
    return EXIT_DONE
