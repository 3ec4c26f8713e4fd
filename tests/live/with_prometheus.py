"""Run in a namespace: kacap watches a probing pair, a Prometheus scrapes it, the peer is cut off. Prints JSON.

``python with_prometheus.py DIRECTORY``: answers of Prometheus' API before and after, its alerts, the queries of the
dashboard and what became of them, what the page said, and who else is served.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KACAP, PAGE, API = [sys.executable, "-m", "kacap"], "http://127.0.0.1:9464/metrics", "http://127.0.0.1:9090/api/v1/"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs: [{{job_name: kacap, static_configs: [{{targets: ["127.0.0.1:9464"]}}]}}]
"""
CUT = (
    "add table cut",
    "add chain cut in { type filter hook input priority 0 ; }",
    "add rule cut in tcp dport 12345 drop",
    "add rule cut in tcp sport 12345 drop",
)
END_S = time.monotonic() + 240  # a slow machine compiles for a minute


def page(url: str) -> str:
    """Return what a page says; empty while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def query(expression: str) -> list[dict]:
    """Return the samples that Prometheus has for an expression."""
    answer = page(f"{API}query?{urllib.parse.urlencode({'query': expression})}")
    return json.loads(answer)["data"]["result"] if answer else []


def until(look) -> object:
    """Return what ``look`` finds once it finds something; what it found last when that takes too long."""
    while not (found := look()) and time.monotonic() < END_S:
        time.sleep(0.3)
    return found


def dashboard() -> dict[str, str]:
    """Return the status that Prometheus gives each query of the dashboard."""
    board, found = json.loads((ROOT / "contrib/grafana/kacap.json").read_text()), {}
    for target in (target for panel in board["panels"] for target in panel["targets"]):
        words = target["expr"].replace("$instance", ".*").replace("$destination", ".*")
        answer = page(f"{API}query?{urllib.parse.urlencode({'query': words})}")
        found[target["expr"]] = json.loads(answer)["status"] if answer else "refused"
    return found


def status(url: str) -> int:
    """Return the status of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def watch(directory: Path) -> dict[str, object]:
    """Break a peer and return what could be seen of it."""
    found: dict[str, object] = {"page": until(lambda: "kacap_replies_total" in page(PAGE) and page(PAGE))}
    found["before"] = until(lambda: query("kacap_replies_total > 2"))
    found["missing_before"] = query("kacap_missing_connections")
    for rule in CUT:
        subprocess.run(["nft", rule], check=True)
    found["missing"] = until(lambda: query("kacap_missing_connections > 0"))
    found["left"] = query("kacap_next_verdict_seconds")
    found["dead"] = until(lambda: query('kacap_deaths_total{cause="gave_up"} > 0'))
    found["alerts"] = until(lambda: query('ALERTS{alertname="KeepaliveConnectionDied", alertstate="firing"}'))
    found["dashboard"] = dashboard()
    found["last"], found["elsewhere"] = page(PAGE), [status(PAGE + "x"), status("http://127.0.0.1:9464/")]
    return found


def main() -> None:
    """Start everybody, watch, end everybody."""
    directory = Path(sys.argv[1])
    rules = ROOT / "contrib/prometheus/kacap.rules.yml"
    (directory / "prometheus.yml").write_text(CONFIG.format(rules=rules))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    live = [*KACAP, "live", "-i", "lo", "--metrics", "9464", "--textfile", str(directory / "kacap.prom"), "-Z", "root",
            "--on", "dead", f"tee -a {directory}/told", "--log", str(directory / "log"), "port", "12345"]  # fmt: skip
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    started = [subprocess.Popen(live, stdout=subprocess.DEVNULL, stderr=(directory / "err").open("w"))]
    try:
        until(lambda: "listening" in (directory / "err").read_text())
        started.append(subprocess.Popen([*KACAP, "lab", "pair", "127.0.0.1", "-i", "2", "-c", "4"], **quiet))
        started.append(
            subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory}/prometheus.yml",
                    f"--storage.tsdb.path={directory}/data",
                    "--web.listen-address=127.0.0.1:9090",
                ],
                **quiet,
            )
        )
        print(json.dumps(watch(directory)))
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(30)


if __name__ == "__main__":
    main()
