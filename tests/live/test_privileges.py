"""What is given up once the device is open, tried in processes of their own, as there is no way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kacap.capture.privileges import FOR_SOCKETS, User, whom_to_become
from kacap.capture.rights import CAPABILITIES
from kacap.errors import UsageError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
START = "import json, os; from kacap.capture import privileges as p; from kacap.capture.rights import effective\n"


def tell(script: str, **environment):
    """Run a script in a process of its own and return the JSON that it prints."""
    done = subprocess.run([sys.executable, "-c", START + script], capture_output=True, text=True, check=False,
                          env=os.environ | environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@as_root
def test_a_dropped_root_is_somebody_else_without_a_way_back():
    script = """
p.drop(p.user_named("nobody"))
try: os.setuid(0)
except PermissionError: back = False
else: back = True
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), effective(), back]))
"""
    uids, gids, groups, rights, back = tell(script)
    assert len(set(uids)) == len(set(gids)) == 1
    assert 0 not in {*uids, *gids, *groups}
    assert (rights, back) == (0, False)


@as_root
def test_only_what_the_reader_of_sockets_needs_can_be_kept():
    script = """
p.drop(p.user_named("nobody"), p.FOR_SOCKETS)
lines = open("/proc/self/status").read().splitlines()
print(json.dumps({line.split()[0]: line.split()[1] for line in lines if line.startswith(("Cap", "NoNew"))}))
"""
    status = tell(script)
    kept = sum(1 << CAPABILITIES[name] for name in FOR_SOCKETS)
    assert int(status["CapEff:"], 16) == int(status["CapPrm:"], 16) == kept
    assert int(status["CapInh:"], 16) == int(status["CapAmb:"], 16) == 0
    assert status["NoNewPrivs:"] == "1"


@as_root
def test_acting_as_somebody_makes_his_files_and_comes_back(tmp_path):
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    script = f"""
user = p.user_named("nobody")
groups = os.getgroups()
with p.acting_as(user):
    inside = [os.geteuid(), os.environ["HOME"]]
    open({str(tmp_path / "x")!r}, "w").close()
print(json.dumps([inside, os.getresuid(), os.getresgid(), os.getgroups() == groups, effective() != 0]))
"""
    inside, uids, gids, same_groups, rights = tell(script, HOME="/root")
    user = tell('u = p.user_named("nobody"); print(json.dumps([u.uid, u.home]))')
    assert inside == user
    assert (uids, gids, same_groups, rights) == ([0, 0, 0], [0, 0, 0], True, True)
    assert (tmp_path / "x").stat().st_uid == user[0]


@as_root
def test_with_sudo_it_goes_on_as_its_caller(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "nobody")
    found = whom_to_become(None)
    assert isinstance(found, User) and found.name == "nobody"
    monkeypatch.setenv("SUDO_USER", "root")
    assert whom_to_become(None) is None
    assert whom_to_become("root") is None


def test_an_unknown_user_is_refused_by_name():
    with pytest.raises(UsageError, match="-Z no-such-user: no such user"):
        whom_to_become("no-such-user")
