"""What is given up once the device is open, tried in processes of their own, as there is no way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import analysing
import pytest
from namespaced import STARTED, inside

from kacap.capture.privileges import FOR_SOCKETS, NOBODIES, User, whom_to_become
from kacap.capture.rights import CAPABILITIES
from kacap.errors import UsageError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
START = "import json, os; from kacap.capture import privileges as p; from kacap.capture.rights import effective\n"


def tell(script: str, **environment):
    """Run a script in a process of its own and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@as_root
def test_root_keeps_nothing_whoever_it_becomes():
    for user in ("None", 'p.user_named("nobody")'):
        script = f"""
p.drop({user})
print(json.dumps({{name: sorted(values) for name, values in p.rights_of_threads().items()}}))
"""
        status = tell(script)
        assert {name: [int(value, 16) for value in values] for name, values in status.items()} == {
            "CapInh": [0],
            "CapPrm": [0],
            "CapEff": [0],
            "CapBnd": [0],
            "CapAmb": [0],
            "NoNewPrivs": [1],
        }


@pytest.mark.slow
@as_root
def test_where_another_thread_keeps_its_rights_it_refuses_to_go_on():
    script = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
try: p.drop(p.user_named("nobody"))
except p.CaptureError as error: print(json.dumps(str(error)), flush=True)
"""
    assert "refusing to go on" in tell(script)


@pytest.mark.slow
@as_root
def test_a_thread_that_is_about_to_end_is_waited_for():
    script = """
import threading, time
threading.Thread(target=time.sleep, args=(0.3,), daemon=True).start()
p.drop(p.user_named("nobody"))
print(json.dumps(sorted(p.rights_of_threads()["CapPrm"])), flush=True)
"""
    assert [int(value, 16) for value in tell(script)] == [0]


@as_root
@pytest.mark.namespaces
def test_root_of_a_namespace_that_knows_nobody_else_stays_and_has_nothing():
    script = "print(json.dumps([p.whom_to_become(None) is None, p.drop(None) is None, effective(), os.geteuid()]))"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", START + script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert json.loads(done.stdout) == [True, True, 0, 0], done.stderr


@pytest.mark.slow
@as_root
def test_by_default_root_becomes_a_user_without_rights_whoever_called_sudo(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "root")
    found = whom_to_become(None)
    assert isinstance(found, User) and found.name in NOBODIES and found.uid
    assert whom_to_become("root") is None
    assert whom_to_become("nobody").name == "nobody"


PEOPLE = """
ip link set lo up
{kacap} live -i lo {words} --duration 30 port 12345 > {out}/out 2> {out}/err & live=$!
until grep -q listening {out}/err; do sleep 0.1; kill -0 $live || break; done
sleep 0.5
for pid in $live $(pgrep -P $live); do
  case $(readlink /proc/$pid/exe) in *python*) ;; *) continue; esac
  for task in /proc/$pid/task/*; do echo $((pid == live)) $(grep -E '^(Uid|Cap|NoNew)' $task/status); done
done > {out}/status
kill -INT $live; wait $live
"""


@as_root
@pytest.mark.namespaces
@pytest.mark.tool("pgrep")
@pytest.mark.parametrize("words", ["", "-Z nobody", "-Z root", "--engine scapy", "--engine dumpcap", "--top -w x"])
def test_what_parses_packets_has_no_rights_and_what_reads_sockets_has_what_it_needs(words, tmp_path):
    done = inside(PEOPLE.format(kacap=STARTED, words=words.replace(" x", f" {tmp_path}/x"), out=tmp_path))
    assert done.returncode == 0, done.stderr + (tmp_path / "err").read_text()
    nothing = {"CapInh:": 0, "CapPrm:": 0, "CapEff:": 0, "CapBnd:": 0, "CapAmb:": 0, "NoNewPrivs:": 1}
    kept = sum(1 << CAPABILITIES[name] for name in FOR_SOCKETS)
    parsing = []
    for line in (tmp_path / "status").read_text().splitlines():
        parses, _, *told = line.split()
        values = {name: int(value, 16) for name, value in zip(told[4::2], told[5::2], strict=True)}
        parsing.append(parses == "1")
        assert values == (nothing if parses == "1" else nothing | {"CapPrm:": kept, "CapEff:": kept})
        assert (set(told[:4]) == {"0"}) is (parses == "1" and "root" in words)
    assert parsing.count(False) == 1 and parsing.count(True) == (2 if "dumpcap" in words else 1)


@as_root
@pytest.mark.namespaces
def test_files_that_rotate_are_refused_where_the_user_may_not_make_them(tmp_path):
    done = inside(f"ip link set lo up; kacap live -i lo -G 1 -w {tmp_path}/x --duration 1")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2
    assert "who may not make files there" in done.stderr


def test_an_unknown_user_is_refused_by_name():
    with pytest.raises(UsageError, match="-Z no-such-user: no such user"):
        whom_to_become("no-such-user")


IMPORTED = """
import atexit, sys
from kacap.commands import live_run, program
give_up, late = live_run.drop, []
class Looking:
    find_spec = staticmethod(lambda name, path=None, target=None: late.append(name))
def dropped(user):
    give_up(user)
    sys.meta_path.insert(0, Looking)
live_run.drop = dropped
atexit.register(lambda: print("imported late:", late, file=sys.stderr))
program()
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", ["-v", "--json", "--log log --metrics 0", "--until verdict --on dead /bin/true"])
def test_nothing_is_imported_once_rights_are_gone_for_python_may_be_roots_alone(words, tmp_path):
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    capture = analysing.files_of("lab/cut-off")[0]
    options = words.replace(" log", f" {tmp_path}/log").split()
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "live", "-r", str(capture), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1) and "unexpected" not in done.stderr
    assert done.stderr.splitlines()[-1] == "imported late: []"
