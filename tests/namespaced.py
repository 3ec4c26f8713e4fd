"""Runs shell scripts inside a network namespace of their own, with a probing pair on lo and nobody else's packets."""

from __future__ import annotations

import os
import subprocess
import sys

import forked

KACAP = " ".join(forked.KACAP)
STARTED = f"{sys.executable} -m kacap"  # where the start itself is looked at, or a terminal is needed
PAIR = """
ip link set lo up
{kacap} lab pair 127.0.0.1 {settings} >/dev/null 2>&1 & pair=$!
trap 'kill $pair' EXIT
until ss -Htn state established sport = :12345 | grep -q .; do sleep 0.05; done
sleep 0.2
"""


def inside(
    script: str, *, pair: str | None = None, timeout: float = 120, env: dict[str, str] | None = None, **more
) -> subprocess.CompletedProcess[str]:
    """Run a bash script in a new network namespace; ``pair`` gives the settings of a pair that probes on lo."""
    options = ["--net"] if os.geteuid() == 0 else ["--net", "--user", "--map-root-user"]
    before = "" if pair is None else PAIR.format(kacap=KACAP, settings=pair)
    words = ["unshare", *options, "bash", "-c", f'kacap() {{ {KACAP} "$@"; }}\n{before}\n{script}']
    env = dict(env or os.environ) | forked.door()
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout, env=env, **more)
