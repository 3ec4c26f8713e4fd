"""What is shipped beside the package, each tried or checked by its own tool: rules, dashboard, unit, container."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from namespaced import inside

from kacap import __version__
from kacap.kernel_cache import CACHE

NOBODY = 65534
ROOT = Path(__file__).resolve().parent.parent.parent
CONTRIB = ROOT / "contrib"
DUTY = (ROOT / "docs" / "duty.md").read_text(encoding="utf-8")


def checked(*words: str, cwd: Path = CONTRIB, **more) -> str:
    """Return what a checker says, which must be content."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.tool("promtool")
def test_the_alert_rules_are_valid_and_fire_when_they_should():
    assert "SUCCESS: 8 rules found" in checked("promtool", "check", "rules", "prometheus/kacap.rules.yml")
    assert "SUCCESS" in checked("promtool", "test", "rules", "kacap.rules.test.yml", cwd=CONTRIB / "prometheus")


def test_every_alert_has_a_summary_and_a_description_in_sentences():
    text = (CONTRIB / "prometheus/kacap.rules.yml").read_text()
    alerts = text.split("- alert: ")[1:]
    for alert in alerts:
        assert "summary:" in alert and "description:" in alert and "severity:" in alert
        assert alert.split("alert: ")[0].splitlines()[0] in DUTY


@pytest.mark.slow
def test_the_dashboard_meets_the_schema_of_grafana():
    cog = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    from grafana_foundation_sdk.models.dashboard import Dashboard

    board = json.loads((CONTRIB / "grafana/kacap.json").read_text())
    again = json.loads(cog.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    assert not list(differences(board, again))
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def differences(one, other, path="dashboard"):
    """Yield where what Grafana's types keep differs from what is written."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name, value in one.items():
            yield from differences(value, other.get(name), f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}[{number}]")
    elif one != other:
        yield f"{path}: {one!r}, kept as {other!r}"


def test_rules_and_dashboard_name_only_series_that_there_are():
    from kacap.report import metrics

    counters = [f"kacap_{name}_total" for name, *_ in metrics.COUNTERS]
    histograms = [f"kacap_{name}_{part}" for name, *_ in metrics.HISTOGRAMS for part in ("bucket", "sum", "count")]
    gauges = [f"kacap_{name}" for name, *_ in metrics.GAUGES]
    others = [
        "kacap_deaths_total",
        "kacap_next_verdict_seconds",
        "kacap_sockets",
        "kacap_build_info",
        "kacap_frames_captured_total",
        "kacap_frames_dropped_total",
    ]
    known = {*counters, *histograms, *gauges, *others}
    for file in ("prometheus/kacap.rules.yml", "prometheus/kacap.rules.test.yml", "grafana/kacap.json"):
        named = set(re.findall(r"\bkacap_\w+", (CONTRIB / file).read_text()))
        assert named <= known, file
    documented = set(re.findall(r"\bkacap_\w+", DUTY))
    assert documented == {name for name in known if not name.endswith(("_bucket", "_sum", "_count"))} | {
        f"kacap_{name}" for name, *_ in metrics.HISTOGRAMS
    }


@pytest.mark.slow
@pytest.mark.tool("systemd-analyze")
def test_the_unit_is_as_closed_as_the_documentation_says():
    said = checked("systemd-analyze", "security", "--offline=true", "--no-pager", "systemd/kacap-live.service")
    level = re.search(r"Overall exposure level for kacap-live.service: ([\d.]+)", said)
    figure = re.search(r"exposure level of ([\d.]+)", DUTY)
    assert level and figure and float(level[1]) <= float(figure[1])


def test_the_unit_asks_for_one_capability_and_a_user_of_its_own():
    text = (CONTRIB / "systemd/kacap-live.service").read_text()
    assert "\nDynamicUser=yes\n" in text
    assert re.findall(r"^AmbientCapabilities=(.*)$", text, re.M) == ["CAP_NET_RAW"]
    assert re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.M) == ["CAP_NET_RAW"]
    from kacap.commands.live import live

    command = re.search(r"^ExecStart=/usr/bin/kacap live (.*)$", text, re.M)
    assert command
    with live.make_context("live", command[1].replace("$FILTER", "tcp").split()) as context:
        assert context.params["metrics"] == "9464"


@pytest.mark.namespaces
@pytest.mark.tool("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "who",
    [f"--reuid={NOBODY} --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw", ""],
    ids=["the unit", "the container"],
)
def test_one_capability_is_enough_to_watch(tmp_path, who):
    own = tmp_path / CACHE.directory().name
    shutil.copytree(CACHE.directory(), own)
    for path in (tmp_path, own, *own.iterdir()) if who else ():
        os.chown(path, NOBODY, NOBODY)
    for parent in list(tmp_path.parents)[:3]:  # below /tmp, with a directory for each worker
        parent.chmod(parent.stat().st_mode | 0o011)
    words = f"setpriv --no-new-privs {who} --bounding-set=-all,+net_raw env KACAP_CACHE={tmp_path}"
    if who:  # the tests' own directory may be closed to others
        python = [*f"setpriv {who} env {sys.executable} -c".split(), "import kacap.commands"]
        if subprocess.run(python, check=False, cwd=ROOT, capture_output=True).returncode:
            pytest.skip("this Python cannot be run by another user")
    script = f"{words} {sys.executable} -m kacap live -i lo --metrics 0 -c 4 port 12345"
    done = inside(script, pair="", timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "metrics at http://127.0.0.1:" in done.stderr
    assert "127.0.0.1:12345 probe" in done.stdout
    assert "compil" not in done.stderr


@pytest.mark.slow
def test_the_containerfile_passes_its_linter():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("needs hadolint, which is made for Linux")
    checked(str(hadolint), "container/Containerfile")


@pytest.mark.slow
def test_the_manifests_meet_the_schema_of_kubernetes():
    validate = pytest.importorskip("kubernetes_validate")
    yaml = pytest.importorskip("yaml")
    daemonset = yaml.safe_load((CONTRIB / "kubernetes/daemonset.yaml").read_text())
    validate.validate(daemonset, "1.30", strict=True)
    security = daemonset["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_RAW"]}
    partial = yaml.safe_load((CONTRIB / "kubernetes/ephemeral-container.yaml").read_text())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {
            "containers": [{"name": "a", "image": "a"}],
            "ephemeralContainers": [{"name": "debugger", "image": "kacap", **partial}],
        },
    }
    validate.validate(pod, "1.30", strict=True)


def test_the_image_is_that_of_this_version():
    named = re.findall(r"/kacap:([\d.]+)", "".join(path.read_text() for path in (CONTRIB / "kubernetes").iterdir()))
    assert named == [__version__] * 2


def test_the_lines_for_containers_are_lines_that_kacap_takes():
    from kacap.commands.live import live

    lines = [
        line.split("kacap live", 1)[1]
        for path in ("kubernetes/ephemeral-container.yaml", "kubernetes/daemonset.yaml", "container/Containerfile")
        for line in (CONTRIB / path).read_text().splitlines()
        if "kacap live" in line
    ]
    assert lines
    for line in lines:
        live.make_context("live", line.split())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which Debian does not have")
def test_the_options_of_the_ephemeral_container_line_are_those_of_kubectl():
    line = next(x for x in (CONTRIB / "kubernetes/ephemeral-container.yaml").read_text().splitlines() if "debug" in x)
    help_text = subprocess.run(["kubectl", "debug", "--help"], capture_output=True, text=True, check=False).stdout
    options = re.findall(r"(--[a-z]+)=", line.split(" -- ")[0])
    assert options and all(f"{option}=" in help_text for option in options)
