"""Plays one scenario with something changed in the process that plays it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from kacap.lab.runner import Request


def played(change: str, request: Request) -> subprocess.CompletedProcess[str]:
    """Play ``request`` after the statements ``change``; what it tells is in ``stdout``, one JSON object a line."""
    script = (
        f"import json, os, sys; from kacap.lab import scenario_run\n{change}\n"
        "sys.exit(scenario_run.main(json.loads(sys.argv[1]) | {'parent': os.getppid()}))"
    )
    asked = asdict(request) | {"directory": str(request.directory)}
    return subprocess.run(
        [sys.executable, "-c", script, json.dumps(asked)], capture_output=True, text=True, check=False
    )
