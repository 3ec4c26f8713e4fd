"""The command: it starts, ends and cleans up as it should, with and without root, however it is ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from played import played

import kacap
from kacap.capture import open_captures
from kacap.lab.runner import Request, play

ROOT = Path(__file__).resolve().parents[2]
KACAP = [sys.executable, "-c", "from kacap.commands import main; main()", "lab"]
NOBODY = 65534


def start(*words: str, **more) -> subprocess.Popen[str]:
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | more
    return subprocess.Popen([*KACAP, *words], **more)


def finish(process: subprocess.Popen[str], number: int | None = None, timeout: float = 30) -> tuple[int, str, str]:
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def wait_for(stream, words: str) -> str:
    heard = ""
    while words not in heard:
        line = stream.readline()
        assert line, f"it ended before {words!r}: {heard}"
        heard += line
    return heard


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def family_of(parent: int) -> set[int]:
    """Return every living descendant of a process."""
    found: set[int] = set()
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    todo = [parent]
    while todo:
        mine = children.get(todo.pop(), [])
        found.update(mine)
        todo.extend(mine)
    return found


def living(pids: set[int]) -> set[int]:
    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    return {pid for pid in pids if alive(pid)}


def named() -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob("*"))


def links() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_and_a_client_tell_their_options_and_end_cleanly(port: int, number: int) -> None:
    server = start("server", "127.0.0.1", str(port), "-d", "5", "-i", "4", "-c", "3")
    wait_for(server.stdout, "listening")
    client = start("client", f"127.0.0.1:{port}", "-d", "7")
    heard = wait_for(client.stdout, "TCP_USER_TIMEOUT")
    assert "TCP_KEEPIDLE     was 7200 s, is 7 s" in heard and "SO_KEEPALIVE     was 0, is 1" in heard
    heard = wait_for(server.stdout, "TCP_USER_TIMEOUT")
    for line in ("TCP_KEEPIDLE     was 7200 s, is 5 s", "TCP_KEEPINTVL    was 75 s, is 4 s", "is 3"):
        assert line in heard
    assert finish(client, number)[0] == 0
    assert "closed" in wait_for(server.stdout, "closed")
    assert finish(server, number)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pair_runs_both_ends_and_ends_cleanly(port: int, number: int) -> None:
    pair = start("pair", "127.0.0.1", "--port", str(port))
    heard = wait_for(pair.stdout, "  TCP_USER_TIMEOUT")
    heard += wait_for(pair.stdout, "  TCP_USER_TIMEOUT")
    assert "server    TCP_KEEPCNT      was 9, is 10" in heard
    assert "client    TCP_KEEPCNT      was 9, is 9" in heard
    both = family_of(pair.pid)
    assert len(both) == 2
    assert finish(pair, number)[0] == 0
    assert not living(both)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_pair_ends_cleanly_when_its_whole_terminal_is_told_to_end(port: int, number: int) -> None:
    pair = start("pair", "127.0.0.1", "--port", str(port), start_new_session=True)
    wait_for(pair.stdout, "client    TCP_USER_TIMEOUT")
    os.killpg(pair.pid, number)
    code, _, err = finish(pair)
    assert code == 0
    assert "Traceback" not in err and "unexpected" not in err


@pytest.mark.slow
@pytest.mark.parametrize(("nth", "name"), [(0, "server"), (1, "client")])
def test_a_pair_of_which_one_end_dies_says_which_and_how(port: int, nth: int, name: str) -> None:
    pair = start("pair", "127.0.0.1", "--port", str(port))
    wait_for(pair.stdout, "client    TCP_USER_TIMEOUT")
    both = sorted(family_of(pair.pid))
    os.kill(both[nth], signal.SIGKILL)
    _, err = pair.communicate(timeout=20)
    assert pair.returncode == 1
    last = err.splitlines()[-1]
    assert last == f"kacap: the {name} of the pair was killed (SIGKILL): there is nobody left to probe or to answer"
    assert not living(both)


@pytest.mark.slow
def test_a_pair_does_not_outlive_a_killed_command(port: int) -> None:
    pair = start("pair", "127.0.0.1", "--port", str(port))
    wait_for(pair.stdout, "client    TCP_USER_TIMEOUT")
    both = family_of(pair.pid)
    finish(pair, signal.SIGKILL)
    time.sleep(0.2)
    assert len(both) == 2 and not living(both)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["client", "127.0.0.1:1"], 1, "start one with: kacap lab server 127.0.0.1 1"),
        (["client", "nonsense"], 2, "is not HOST:PORT"),
        (["server", "192.0.2.1", "12345"], 1, "cannot listen on 192.0.2.1:12345"),
        (["pair", "192.0.2.1"], 1, "cannot listen on 192.0.2.1:12345"),
        (["server", "127.0.0.1", "12345", "-d", "60000"], 2, "looks like milliseconds"),
        (["run", "cutoff"], 2, "did you mean cut-off"),
        (["run", "up", "-c", "200"], 2, "1 to 127 probes"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(words: list[str], code: int, line: str) -> None:
    returned, out, err = finish(start(*words))
    last = err.strip().splitlines()[-1]
    assert (returned, out) == (code, "")
    assert line in last and "Traceback" not in err


@pytest.mark.slow
def test_the_list_names_every_scenario_on_a_line_of_its_own() -> None:
    from kacap.lab.scenarios import SCENARIOS

    returned, out, _ = finish(start("list"))
    assert returned == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == list(SCENARIOS)


@pytest.mark.namespaces
def test_settings_family_and_place_can_be_chosen(namespaces: None, tmp_path: Path) -> None:
    words = ("run", "restarted", "-d", "3", "-6", "--where", "peer", "-o", str(tmp_path))
    returned, out, err = finish(start(*words))
    assert returned == 0, err
    assert "client ECONNRESET" in out and "restarted: runs for 8 s" in err
    told = tomllib.loads((tmp_path / "restarted" / "truth.toml").read_text())
    assert told["family"] == 6 and told["capture"][0]["host"] == "server"
    assert told["connection"][0]["client"]["after"]["tcp_keepidle"] == 3


@pytest.mark.namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_keeps_what_it_has(namespaces: None, tmp_path: Path, number: int) -> None:
    run = start("run", "up", "-o", str(tmp_path))
    wait_for(run.stderr, "send server")
    returned, out, _ = finish(run, number)
    assert returned == 0 and "ended early" in out
    told = tomllib.loads((tmp_path / "up" / "truth.toml").read_text())
    assert told["ended_early"] and told["capture"][0]["frames"] >= 7


@pytest.mark.namespaces
def test_nothing_is_left_behind_when_the_command_is_killed(namespaces: None, tmp_path: Path) -> None:
    before = links(), named()
    run = start("run", "cut-off", "-o", str(tmp_path))
    wait_for(run.stderr, "send client")
    hosts = family_of(run.pid)
    assert len(hosts) == 5  # the scenario run, three hosts and a recorder
    finish(run, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while living(hosts) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living(hosts)
    assert (links(), named()) == before


@pytest.mark.namespaces
def test_nothing_is_left_behind_whenever_the_command_is_killed(namespaces: None, tmp_path: Path) -> None:
    """No process, namespace, link, mount or rule; the moments are drawn by lot, from its start to its end."""
    before, lot = (links(), named(), mounts(), rules()), random.Random(6)
    for number in range(5):
        run = start("run", "cut-off", "-o", str(tmp_path / str(number)))
        time.sleep(lot.uniform(0.1, 3))
        hosts = family_of(run.pid)
        finish(run, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while living(hosts) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not living(hosts)
        assert (links(), named(), mounts(), rules()) == before


def mounts() -> list[str]:
    return sorted(Path("/proc/self/mountinfo").read_text().splitlines())


def rules() -> str:
    words = ["nft", "list", "ruleset"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout if shutil.which("nft") else ""


@pytest.mark.namespaces
def test_two_labs_at_once_do_not_touch_each_others_truth(namespaces: None, tmp_path: Path) -> None:
    """The same addresses and ports at the same time, into directories of their own: each tells what it tells alone."""
    names = ["one", "two"]
    labs = [start("run", "cut-off", "-o", str(tmp_path / name)) for name in names]
    assert [finish(lab, None)[0] for lab in labs] == [0, 0]
    for name in names:
        told = tomllib.loads((tmp_path / name / "cut-off" / "truth.toml").read_text())
        (connection,), (capture,) = told["connection"], told["capture"]
        assert connection["client"]["error"] == "ETIMEDOUT"
        analysis = kacap.read(str(tmp_path / name / "cut-off" / "capture.pcapng"))
        assert analysis.capture.frames == capture["frames"]
        assert [c.ended.how for c in analysis.connections] == ["gave-up"]
        assert len(analysis.probes) == 3


@pytest.mark.namespaces
def test_two_labs_do_not_write_into_one_directory(namespaces: None, tmp_path: Path) -> None:
    first = start("run", "cut-off", "-o", str(tmp_path))
    wait_for(first.stderr, "send client")
    code, _, err = finish(start("run", "cut-off", "-o", str(tmp_path)))
    assert (code, err.splitlines()[-1]) == (
        1,
        f"kacap: {tmp_path / 'cut-off'}: another lab writes there; name another directory with -o",
    )
    assert finish(first)[0] == 0
    assert tomllib.loads((tmp_path / "cut-off" / "truth.toml").read_text())["capture"][0]["frames"] == len(
        [record for record in open_captures([str(tmp_path / "cut-off" / "capture.pcapng")]) for _ in record.frames]
    )


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no-such-program",), "no-such-program cannot be started: No such file"),
        (("sh", "-c", "echo I want eth1 >&2"), "sh does not watch eth0: I want eth1"),
        (("sh", "-c", "echo {interface} >&2; exit 7"), "sh ended with 7: see "),
    ],
)
def test_a_program_that_does_not_start_companion_the_recorder_fails_the_run(
    namespaces: None, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    asked = [Request("restarted", tmp_path, companion=words)]
    assert why in play(asked, 1, lambda *_: None)["restarted"]


@pytest.fixture
def everyones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], Path]]:
    """Yield an interpreter, an environment and a directory that an ordinary user can use."""
    if os.geteuid() != 0:
        yield sys.executable, dict(os.environ), tmp_path_factory.mktemp("own")
        return
    if not shutil.which("setpriv"):
        pytest.skip("setpriv (util-linux) is needed to become an ordinary user")
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="kacap-nobody-"))
    directory.chmod(0o777)
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("-packages"))]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    script = "import subprocess, sys, kacap.lab.scenario_run; subprocess.run([sys.executable, '-V'])"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        probe = subprocess.run(
            [*as_nobody(python), "-c", script], env=environment, cwd=directory, capture_output=True, check=False
        )
        if probe.returncode == 0:
            break
    else:
        pytest.skip("an ordinary user cannot run this Python or read kacap here")
    yield python, environment, directory
    shutil.rmtree(directory)


def as_nobody(python: str) -> list[str]:
    if os.geteuid() != 0:
        return [python]
    return ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps=-all", python]


@pytest.mark.namespaces
@pytest.mark.parametrize("scenario", ["restarted", "nat-forgot-inside", "forged-rst"])
def test_it_works_without_root(everyones: tuple[str, dict[str, str], Path], scenario: str) -> None:
    python, environment, directory = everyones
    command = [*as_nobody(python), "-c", "from kacap.commands import main; main()", "lab", "run", scenario]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, check=False)
    if "user namespaces are forbidden" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    told = tomllib.loads((directory / "kacap-lab" / scenario / "truth.toml").read_text())
    assert told["connection"][0]["client"]["error"] == "ECONNRESET"


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("scenario", "end", "error"),
    [("firewall-resets", "server", "ECONNRESET"), ("output-drop", "client", "ETIMEDOUT")],
)
def test_without_nft_routes_stand_in(namespaces: None, tmp_path: Path, scenario: str, end: str, error: str) -> None:
    done = without_nft(scenario, tmp_path)
    assert done.returncode == 0, done.stdout
    told = tomllib.loads((tmp_path / "truth.toml").read_text())
    assert told["faults_by"] == ["route"]
    assert told["connection"][0][end]["error"] == error


@pytest.mark.namespaces
def test_without_nft_a_translation_says_what_is_missing(namespaces: None, tmp_path: Path) -> None:
    done = without_nft("nat-forgot-inside", tmp_path)
    assert done.returncode == 1
    assert "install the package nftables" in json.loads(done.stdout.splitlines()[-1])["why"]


def without_nft(scenario: str, directory: Path) -> subprocess.CompletedProcess[str]:
    change = (
        "import shutil; real = shutil.which\n"
        "shutil.which = lambda name, **more: None if name == 'nft' else real(name, **more)"
    )
    return played(change, Request(scenario, directory))


@pytest.mark.namespaces
def test_where_namespaces_are_forbidden_it_says_what_to_do(namespaces: None, tmp_path: Path) -> None:
    script = (
        "import errno, os, sys\nfrom kacap.lab import process\n"
        "def refuse(flags): raise PermissionError(errno.EPERM, 'Operation not permitted')\n"
        "process.unshare = refuse\nfrom kacap.errors import KacapError\n"
        "try: process.own_user_namespace()\nexcept KacapError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("user namespaces are forbidden here: run the lab as root, or allow them")
