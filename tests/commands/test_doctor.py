"""``kacap doctor``: it always answers, and what is missing comes with what fixes it."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

WORDS = [sys.executable, "-m", "kacap", "doctor"]


def doctor(*words, before=()):
    done = subprocess.run([*before, *WORDS, *words], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def checks(**more):
    return {check["name"]: check for check in json.loads(doctor("--json", **more))["checks"]}


def test_the_doctor_names_every_part_and_what_is_found():
    found = checks()
    assert {"engine ring", "engine scapy", "engine dumpcap", "capture rights", "libpcap", "tshark", "kernel cache",
            "python", "numba", "scapy"} <= set(found)  # fmt: skip
    assert found["python"]["found"].startswith(".".join(map(str, sys.version_info[:2])))
    lines = doctor().splitlines()
    assert sum(line.startswith(("ok  ", "--  ")) for line in lines) == len(found)


def test_exactly_one_engine_is_the_one_of_auto_where_any_works():
    found = checks()
    engines = [check for name, check in found.items() if name.startswith("engine ")]
    chosen = [check for check in engines if "--engine auto" in check["found"]]
    assert len(chosen) == any(check["works"] for check in engines)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a right up")
@pytest.mark.tool("setpriv")
def test_without_the_right_to_capture_everything_that_fails_has_a_remedy():
    found = checks(before=["setpriv", "--bounding-set=-net_raw,-sys_ptrace"])
    for name in ("engine ring", "engine scapy", "capture rights", "sockets of others"):
        assert not found[name]["works"]
        assert found[name]["fix"]
    assert "CAP_NET_RAW is not in it" in found["capture rights"]["found"]
    assert not any("setcap" in (check["fix"] or "") for check in found.values())


def test_a_cache_that_cannot_be_kept_is_told():
    found = json.loads(
        subprocess.run(
            [*WORDS, "--json"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"KACAP_CACHE": "/proc/none"},
        ).stdout
    )["checks"]
    (cache,) = (check for check in found if check["name"] == "kernel cache")
    assert cache["works"] is False
    assert "KACAP_CACHE" in cache["fix"]
