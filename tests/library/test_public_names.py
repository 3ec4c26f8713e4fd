"""The library as its users meet it: its public names, each explained by an example that runs."""

import ast
import doctest
import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import kacap
from kacap.capture import display_filters

ROOT = Path(__file__).resolve().parents[2]
CUT_OFF = ROOT / "captures/lab/cut-off/capture.pcapng"
PROMISED = {
    "Analysis", "Connection", "Episode", "Expectation", "Finding", "KacapError", "Keepalive", "Probe", "Prober",
    "Verdict", "live", "read",
}  # fmt: skip


def test_what_dir_lists_is_the_public_interface_and_nothing_else():
    assert dir(kacap) == sorted(kacap.__all__)
    assert set(kacap.__all__) >= PROMISED
    assert all(getattr(kacap, name) is not None for name in dir(kacap))


@pytest.mark.parametrize("name", kacap.__all__)
def test_every_public_name_is_explained_by_an_example_that_runs(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    named = getattr(kacap, name)
    (found,) = doctest.DocTestFinder(recurse=False).find(named, name, module=inspect.getmodule(named))
    assert found.examples
    assert doctest.DocTestRunner(verbose=False).run(found).failed == 0


def test_examples_beside_the_public_names_run_as_well():
    assert doctest.testmod(display_filters).failed == 0


@pytest.mark.slow
def test_importing_the_library_loads_nothing_heavy():
    heavy = ["numpy", "numba", "click", "matplotlib"]
    code = f"import sys, kacap; dir(kacap); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_type_checkers_see_the_names_that_are_imported_when_asked_for():
    tree = ast.parse(Path(kacap.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported >= set(kacap.__all__)


def test_options_are_frozen_and_each_can_be_given_by_name():
    options = kacap.Options(keep_all=True, segments="all")
    with pytest.raises(AttributeError):
        options.keep_all = False
    assert kacap.Options().changed(keep_all=True, segments="all") == options
    assert {field.name for field in fields(options)} >= {"expect", "system", "limits", "marks", "engine", "frames"}


@pytest.mark.parametrize(
    "wrong",
    [{"bogus": 1}, {"system": "amiga"}, {"segments": "some"}, {"engine": "x"}, {"expect": 60}, {"expect": "idle"},
     {"expect": "idle=0"}, {"frames": 0}],
)  # fmt: skip
def test_an_option_that_cannot_be_meant_is_refused_in_one_line_before_anything_is_read(wrong):
    with pytest.raises(kacap.KacapError) as raised:
        kacap.read("missing.pcap", **wrong)
    assert "missing.pcap" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_expected_may_be_a_text_wherever_it_may_be_an_expectation():
    settings = "idle=2,interval=1,count=3"
    stated = [kacap.read(CUT_OFF, expect=expect) for expect in (settings, kacap.Expectation(2, 1, 3))]
    verdicts = [
        [getattr(a.connections[0].probers[0], name).verdict for name in ("idle", "interval", "count")] for a in stated
    ]
    assert verdicts == [["ok", "ok", "ok"]] * 2


@pytest.mark.parametrize(
    ("given", "seconds"), [("2m", 120), ("60", 60), ("60s", 60), ("1500ms", None), ("x", None), (2.5, None)]
)
def test_an_expectation_given_as_a_text_means_what_its_unit_says_or_fails_at_once(given, seconds):
    if seconds is None:
        with pytest.raises(kacap.KacapError, match=r"^Expectation: idle"):
            kacap.Expectation(idle=given)
    else:
        assert kacap.Expectation(idle=given).idle == seconds


def test_a_connection_shows_itself_in_one_line():
    connection = kacap.read(CUT_OFF).connections[0]
    assert repr(connection) == ("<connection 1, 10.1.0.2:40000 - 10.2.0.2:12345: " + connection.verdict.sentence + ">")
    assert repr(connection.probers[0]).startswith("<prober 10.1.0.2:40000 of 10.2.0.2:12345: 3 probes, 0 answered")


@pytest.mark.slow
def test_a_watch_is_over_when_its_block_is_left():
    with kacap.live(stream=str(CUT_OFF)) as watch:
        assert next(watch).prober is not None
    assert watch.analysis is not None
    assert list(watch) == []


def test_a_chart_of_a_small_capture_has_its_resets_without_being_asked():
    restarted = kacap.read(ROOT / "captures/lab/restarted/capture.pcapng")
    assert len(restarted.marks)
    assert not len(kacap.read(ROOT / "captures/lab/restarted/capture.pcapng", marks=False).marks)
