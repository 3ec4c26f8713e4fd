"""Commands as a shell, tcpdump and Wireshark have taught people to use them."""

import os
import subprocess
import sys
import tarfile
from xml.etree import ElementTree

import pytest
from forked import run

import kacap
from kacap.capture.display_filters import FIELDS, advice, is_display_filter, translated
from kacap.capture.filters import compile_filter
from kacap.commands import COMMANDS
from kacap.errors import FilterError

PROGRAM = [sys.executable, "-m", "kacap"]
ETHERNET = 1


@pytest.fixture(scope="module")
def cut_off(captures):
    return captures / "lab" / "cut-off" / "capture.pcapng"


def completed(words: str, current: int) -> list[str]:
    env = os.environ | {"_KACAP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(current)}
    return run(env=env).stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_each_shell_calls_the_program(shell):
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_KACAP_COMPLETE" in done.stdout


@pytest.mark.slow
@pytest.mark.tool("bash")
def test_bash_takes_the_completion_script_as_it_is():
    done = run("completion", "bash")
    checked = subprocess.run(["bash", "-n"], input=done.stdout, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_commands_options_choices_and_files_are_completed():
    assert {f"plain,{name}" for name in COMMANDS if name.startswith("re")} <= set(completed("kacap re", 1))
    assert "file,inc" in completed("kacap inc", 1)
    assert completed("kacap read --eng", 2) == ["plain,--engine"]
    assert completed("kacap read --engine ", 3) == ["plain,auto", "plain,kacap", "plain,tshark"]
    assert completed("kacap read cap", 2) == ["file,cap"]
    assert completed("kacap report x.pcap -o r", 4) == ["file,r"]


@pytest.mark.slow
def test_a_capture_in_place_of_a_command_is_read(cut_off):
    assert run(cut_off, "-q").stdout == run("read", cut_off, "-q").stdout
    missing = run("missing.pcap")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("kacap: missing.pcap: no such file")


@pytest.mark.slow
def test_a_number_of_packets_and_an_output_mean_what_tcpdump_means_by_them(cut_off, tmp_path):
    out = tmp_path / "part.pcap"
    done = run("read", cut_off, "tcp", "-c", "6", "-w", out)
    assert done.returncode == 0
    whole, part = (kacap.read(path, "tcp").capture for path in (cut_off, out))
    assert (part.frames, part.first_ns) == (6, whole.first_ns)
    assert run("read", cut_off, "tcp", "-c", "6", "--json").stdout.count('"type":"segment"') <= 6
    assert "6 frames" in run("read", out, "-q").stdout


@pytest.mark.slow
def test_packets_go_to_standard_output_and_the_report_aside(cut_off):
    done = run("read", cut_off, "-w", "-", "-q", text=False)
    assert done.stdout[:4] == bytes.fromhex("4d3cb2a1")
    assert b"gave up on" in done.stderr
    again = subprocess.run([*PROGRAM, "read", "-", "-q"], input=done.stdout, capture_output=True, check=False)
    assert again.stdout.splitlines()[0] == done.stderr.splitlines()[0]


@pytest.mark.slow
def test_an_empty_selection_is_a_capture_without_frames(cut_off, tmp_path):
    out = tmp_path / "none.pcap"
    assert run("read", cut_off, "port 1", "-w", out).returncode == 0
    assert kacap.read(out).capture.frames == 0


@pytest.mark.slow
def test_packets_are_not_written_over_what_is_read(cut_off, tmp_path):
    copy = tmp_path / "copy.pcapng"
    copy.write_bytes(cut_off.read_bytes())
    done = run("read", copy, "-w", copy)
    assert (done.returncode, copy.read_bytes()) == (2, cut_off.read_bytes())


@pytest.mark.parametrize("limit", [1, 5, 9, 100])
def test_so_many_frames_are_read_as_the_filter_accepts(cut_off, limit):
    assert kacap.read(cut_off, "tcp", frames=limit).capture.segments == min(limit, 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shown", "bpf"),
    [
        ("tcp.port == 5432", "tcp port 5432"),
        ("tcp.port eq 5432 and ip.addr == 10.0.0.1", "tcp port 5432 and host 10.0.0.1"),
        ("!(ip.src==10.0.0.0/8) || tcp.dstport==443", "not (src net 10.0.0.0/8) or tcp dst port 443"),
        ("ipv6.addr == fd00::1", "host fd00::1"),
        ("tcp.port in {80, 443, 8000..8080}", "(tcp port 80 or tcp port 443 or tcp portrange 8000-8080)"),
        ("ip.addr != 10.0.0.1", "not host 10.0.0.1"),
        ("tcp.flags.reset == 1", "tcp[tcpflags] & tcp-rst != 0"),
        ("frame.len >= 100 && tcp", "len >= 100 and tcp"),
        ("eth.addr == 00:11:22:33:44:55", "ether host 00:11:22:33:44:55"),
        ("vlan.id == 5", "vlan 5"),
    ],
)
def test_a_display_filter_is_said_again_as_bpf_that_libpcap_accepts(cut_off, shown, bpf):
    assert translated(shown) == bpf
    assert len(compile_filter(bpf, ETHERNET))
    with pytest.raises(FilterError, match="is a Wireshark display filter") as raised:
        kacap.read(cut_off, shown)
    assert bpf in str(raised.value)
    done = run("read", cut_off, *shown.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert bpf in done.stderr


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_field_of_the_table_has_bpf_that_libpcap_accepts(field):
    values = {"port": "80", "id": "7", "proto": "6"}
    value = next((v for name, v in values.items() if field.endswith(name)), "10.0.0.1")
    value = "00:11:22:33:44:55" if field.startswith("eth") else "fd00::1" if field.startswith("ipv6") else value
    assert len(compile_filter(translated(f"{field} == {value}"), ETHERNET))


@pytest.mark.slow
@pytest.mark.parametrize("field", ["tcp.stream eq 3", "tcp.analysis.keep_alive", "frame.number == 5", "http.host == x"])
def test_what_bpf_has_nothing_for_is_named_with_what_to_do(cut_off, field):
    done = run("read", cut_off, *field.split())
    assert done.returncode == 2
    assert f"has nothing for {field.split()[0]}" in done.stderr


@pytest.mark.parametrize("word", ["tcp", "port 80", "ip host 1.2.3.4", "tcp[13] & 4 != 0", "frame.pcap", "ip.pcapng"])
def test_neither_bpf_nor_a_file_name_is_taken_for_a_display_filter(word):
    assert not is_display_filter(word)
    assert word.endswith(("pcap", "pcapng")) or advice(word) is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_archive_is_named_as_such(cut_off, tmp_path, mode):
    archive = tmp_path / "incident.tar"
    with tarfile.open(archive, mode) as tar:
        tar.add(cut_off, "capture.pcapng")
    done = run(archive)
    assert done.returncode == 1
    assert done.stderr == f"kacap: {archive}: is a tar archive; unpack it first: tar xf {archive}\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", ["--frames 8-10", "--frame 8,9-10", "frames 8-10", "frame 8,9,10"])
def test_each_of_several_frames_is_explained(cut_off, words):
    singly = [run("explain", cut_off, "--frame", number).stdout for number in (8, 9, 10)]
    assert run("explain", cut_off, *words.split()).stdout == "\n".join(singly)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["10-8", "0-3", "8-", "x", "1-9999", ""])
def test_a_range_that_is_none_is_refused(cut_off, words):
    done = run("explain", cut_off, "--frames", words)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
def test_junit_names_are_the_same_whatever_port_the_system_chose(captures):
    done = run("check", captures / "lab/many/capture.pcapng", "--idle", "2", "--format", "junit")
    cases = [(case.get("classname"), case.get("name")) for case in ElementTree.fromstring(done.stdout)]
    assert {name for name, _ in cases} == {
        "10.1.0.2 -> 10.2.0.2:12345",
        "10.1.0.2 -> 10.2.0.3:12345",
        "10.2.0.2:12345 -> 10.1.0.2",
    }
    assert len(set(cases)) == len(cases)
    assert "10.1.0.2:40000 -&gt; 10.2.0.2:12345" in done.stdout


@pytest.mark.slow
def test_a_command_that_cannot_be_started_exits_unlike_one_that_does_not_meet_its_expectation():
    done = run("check", "--idle", "5", "--run", "--", "/no/such/program")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot start /no/such/program" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.pcap", "X.PCAP", "x.cap"])
def test_annotate_says_that_comments_need_pcapng(cut_off, tmp_path, name):
    done = run("annotate", cut_off, "-o", tmp_path / name)
    assert done.returncode == 2
    assert "comments need pcapng" in done.stderr
    assert f"{tmp_path / name.split('.')[0]}.pcapng" in done.stderr
    assert not (tmp_path / name).exists()
