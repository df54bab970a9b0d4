"""What operators are handed is true: alerts and dashboard speak of metrics that exist, each alert has its runbook
and its test, and the unit file keeps its hardening."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from strongroomd.custody.xks.health import Status
from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.routes import Operation
from strongroomd.telemetry.metrics import Metrics, exported_names
from strongroomd.wiring.meters import XksMetrics

OPS = Path(__file__).resolve().parents[2] / "ops"
RULES = OPS / "alerts" / "strongroom.rules.yml"
TESTS = sorted((OPS / "alerts").glob("*.tests.yml"))
UNIT = OPS / "systemd" / "strongroomd.service"
CONTAINERFILE = OPS / "container" / "Containerfile"
FOREIGN = {"up"}  # Prometheus's own
PROCEDURES = {  # runbooks that no alert leads to
    *("ConnectKeyStore", "ExportKey", "ImportKeyMaterial", "ReplicateKey"),
    *("BackupAndRestore", "Ceremony", "RewrapCeremony"),
}

MUST_PAGE = {
    *("StrongroomRowMacFailure", "StrongroomKeyMissing", "StrongroomObjectResurrected"),
    *(
        "StrongroomAuditChainBroken",
        "StrongroomTokenRepaired",
        "StrongroomPinRefused",
        "StrongroomSentinelLost",
    ),
    *("StrongroomXksErrors", "StrongroomXksSlow", "StrongroomXksTokenUnavailable"),
    *("StrongroomErrorBudgetFastBurn", "StrongroomErrorBudgetSlowBurn", "StrongroomLatencyFastBurn"),
}

HARDENING = (
    *("Type=notify", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "AmbientCapabilities=", "LimitCORE=0"),
    *("ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "PrivateUsers=yes"),
    *("ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectClock=yes"),
    *("ProtectControlGroups=yes", "ProtectHostname=yes", "ProtectProc=invisible", "RestrictNamespaces=yes"),
    *("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "RestrictSUIDSGID=yes", "RestrictRealtime=yes"),
    *("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"),
    *("SystemCallArchitectures=native", "MemoryDenyWriteExecute=yes", "LockPersonality=yes", "UMask=0077"),
    *("MemorySwapMax=0", "User=strongroom", "RestartPreventExitStatus=78"),
)


def alerts() -> dict[str, str]:
    """Alert -> its text in the rules file."""
    parts = re.split(r"^      - alert: (\w+)$", RULES.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def metrics_in(expression: str) -> set[str]:
    """Series that an expression reads: names with our prefix, and `up`."""
    return set(re.findall(r"\b(?:strongroom_\w+|up)\b(?=\{|\[|\s|\)|$)", expression))


def recorded() -> set[str]:
    return set(re.findall(r"- record: (\S+)", RULES.read_text()))


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel.get("targets", [])]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((OPS / "dashboards" / "strongroom.json").read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_every_metric_in_the_rules_is_exported() -> None:
    named = metrics_in(RULES.read_text().split("groups:", 1)[1])

    assert len(named) > 20
    assert named - FOREIGN <= exported_names()


def test_the_alerts_of_key_stores_ask_for_labels_that_the_door_writes() -> None:
    metrics = Metrics()
    for error in ErrorName:
        XksMetrics(metrics).finished(Operation.ENCRYPT.value, "Encrypt", error.wire, 0.1)
    written = {
        sample.labels["type"]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "strongroom_xks_errors_total"
    }
    text = "".join(text for name, text in alerts().items() if name.startswith("StrongroomXks"))
    operations = {
        word for found in re.findall(r'xks_operation!?=~?"(.*?)"', text) for word in found.split("|")
    }

    assert set(re.findall(r'type="(.*?)"', text)) == written
    assert operations - {"Unknown"} == {Operation.ENCRYPT.value, Operation.DECRYPT.value}
    assert set(re.findall(r'state="(.*?)"', text)) == {Status.UNAVAILABLE.value}


def test_every_metric_on_the_dashboard_is_exported() -> None:
    named = metrics_in("\n".join(e for panel in panels() for e in expressions(panel)))
    rules = {
        name for panel in panels() for e in expressions(panel) for name in re.findall(r"strongroom:[\w:]+", e)
    }

    assert len(named) > 30
    assert named <= exported_names()
    assert rules <= recorded()


def test_the_dashboard_shows_every_metric() -> None:
    named = metrics_in("\n".join(e for panel in panels() for e in expressions(panel)))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported_names()}

    assert bases - {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} == set()


def test_each_panel_has_its_place_and_leads_to_a_runbook() -> None:
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])
    for panel in panels():
        runbook = panel["links"][0]["url"].removeprefix("${runbooks}/")
        assert (OPS / "runbooks" / runbook).is_file(), panel["title"]


def test_the_dashboards_variables_choose_instance_and_method() -> None:
    names = {variable["name"] for variable in dashboard()["templating"]["list"]}

    assert names == {"datasource", "instance", "method", "runbooks"}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    written = {path.stem for path in (OPS / "runbooks").glob("*.md")}

    assert written - PROCEDURES == set(alerts())
    for name, text in alerts().items():
        assert f"runbook: ops/runbooks/{name}.md" in text
        assert "summary: " in text


@pytest.mark.parametrize("name", sorted(alerts()))
def test_a_runbook_says_what_it_means_and_what_to_do(name: str) -> None:
    text = (OPS / "runbooks" / f"{name}.md").read_text()

    assert text.startswith(f"# {name}\n")
    for part in ("**What it means.**", "**What callers see.**", "**Look.**", "**Do.**"):
        assert part in text
    for target in re.findall(r"\]\((\w+\.md)\)", text):
        assert (OPS / "runbooks" / target).is_file()


@pytest.mark.parametrize("name", sorted(PROCEDURES))
def test_a_procedure_has_its_title_and_links_to_runbooks_that_are_there(name: str) -> None:
    text = (OPS / "runbooks" / f"{name}.md").read_text()

    assert text.startswith(f"# {name}\n")
    for target in re.findall(r"\]\((\w+\.md)\)", text):
        assert (OPS / "runbooks" / target).is_file()


def test_what_must_wake_somebody_pages() -> None:
    paging = {name for name, text in alerts().items() if "severity: page" in text}

    assert paging >= MUST_PAGE
    assert {re.search(r"severity: (\w+)", text)[1] for text in alerts().values()} == {"page", "ticket"}  # type: ignore[index]


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    tested = "\n".join(path.read_text() for path in TESTS)

    for name in alerts():
        assert f"name: {name} fires" in tested
        assert f"name: {name} stays quiet" in tested


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing: apt-get install prometheus"
    command = [program, *arguments]
    done = subprocess.run(command, check=False, cwd=RULES.parent, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_alerts_tests(path: Path) -> None:
    promtool("test", "rules", path.name)


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", RULES.name)


@pytest.mark.parametrize("line", HARDENING)
def test_the_unit_keeps_its_hardening(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_the_pin_reaches_the_daemon_as_a_credential_only() -> None:
    text = UNIT.read_text()

    assert re.search(r"^LoadCredential=strongroom-pin:", text, re.MULTILINE)
    assert not re.search(r"^(Environment|EnvironmentFile|PassEnvironment|SetCredential)=", text, re.MULTILINE)
    assert "pin" not in re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)[1]  # type: ignore[index]


def test_the_units_exposure_stays_under_two() -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd here: the lines above are checked, the score is not")
    command = [analyse, "security", "--offline=true", "--threshold=20", str(UNIT)]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_the_container_is_nobody_special() -> None:
    text = CONTAINERFILE.read_text()
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)

    assert users[-1] == "10001:10001"
    assert text.rstrip().endswith("FROM daemon"), "a plain build is the one without SoftHSM"
    assert text.count("--require-hashes") == 2
    assert not re.search(r"\b(PIN|pin_env|sudo|setcap)\b", text)
