"""Metrics have fixed names and labels, and workers' values add up across processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from strongroomd.telemetry.metrics import Metrics, SupervisorCollector, exported_names

WORKER = """
import sys
from strongroomd.telemetry.metrics import Metrics
metrics = Metrics(int(sys.argv[1]))
metrics.rpc("Encrypt").observe("OK", 0.003)
metrics.in_flight.set(2)
metrics.hsm_logged_in.labels("main").set(int(sys.argv[2]))
metrics.keys.labels("Enabled").set(7)
sys.stdout.buffer.write(metrics.exposition())
"""


def samples(text: bytes) -> dict[str, float]:
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True) if sample.labels else ''}": sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def worker(directory: Path, index: int, logged_in: int = 1) -> dict[str, float]:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-c", WORKER, str(index), str(logged_in)]
    return samples(
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60).stdout
    )


def test_a_call_is_counted_once_by_method_and_code() -> None:
    metrics = Metrics()

    metrics.rpc("Encrypt").observe("OK", 0.003)
    metrics.rpc("Encrypt").observe("INVALID_ARGUMENT", 0.3)

    got = samples(metrics.exposition())
    assert got['strongroom_requests_total{"code": "OK", "method": "Encrypt"}'] == 1
    assert got['strongroom_requests_total{"code": "INVALID_ARGUMENT", "method": "Encrypt"}'] == 1
    assert got['strongroom_request_seconds_bucket{"le": "0.005", "method": "Encrypt"}'] == 1
    assert got['strongroom_request_seconds_count{"method": "Encrypt"}'] == 2


def test_the_meter_of_a_method_is_made_once() -> None:
    metrics = Metrics()

    assert metrics.rpc("Sign") is metrics.rpc("Sign")


def test_workers_values_add_up_and_the_worst_state_shows(tmp_path: Path) -> None:
    worker(tmp_path, 0, logged_in=1)

    got = worker(tmp_path, 1, logged_in=0)

    assert got['strongroom_requests_total{"code": "OK", "method": "Encrypt"}'] == 2
    assert got["strongroom_requests_in_flight"] == 4
    assert got['strongroom_hsm_logged_in{"token": "main"}'] == 0
    assert got['strongroom_keys{"state": "Enabled"}'] == 7


def test_a_successor_counts_on_in_its_predecessors_files_and_drops_its_gauges(tmp_path: Path) -> None:
    for _ in range(3):
        got = worker(tmp_path, 0)

    assert got['strongroom_requests_total{"code": "OK", "method": "Encrypt"}'] == 3
    assert got["strongroom_requests_in_flight"] == 2
    assert all(name.stem.endswith("_0") for name in tmp_path.iterdir())


def test_the_supervisors_view_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(
        json.dumps(
            {
                "workers": [{"state": "ready"}, {"state": "starting"}],
                "restarts": {"crash": 2, "hang": 0},
                "refused_reloads": 3,
            }
        )
    )

    got = samples(Metrics().exposition([SupervisorCollector(file)]))

    assert got['strongroom_workers{"state": "ready"}'] == 1
    assert got['strongroom_worker_restarts_total{"cause": "crash"}'] == 2
    assert got["strongroom_config_refused_total"] == 3


def test_a_missing_or_damaged_supervisor_file_costs_only_its_own_series(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"

    for content in (None, "", "[]", "{", '{"workers": 1}', '{"workers": [{}], "restarts": {}}'):
        if content is not None:
            file.write_text(content)
        got = samples(Metrics().exposition([SupervisorCollector(file)]))
        assert "strongroom_audit_queue" in got
        assert not any(name.startswith("strongroom_workers") for name in got)


def test_every_scraped_series_is_among_the_exported_names() -> None:
    metrics = Metrics()
    metrics.rpc("Encrypt").observe("OK", 0.1)

    scraped = {
        name.split("{")[0]
        for name in samples(metrics.exposition())
        if not name.split("{")[0].endswith("_created")
    }

    assert scraped <= exported_names()
    assert all(name.startswith("strongroom_") for name in exported_names())


def test_no_label_can_hold_a_key_or_a_principal() -> None:
    allowed = {
        "method", "code", "outcome", "cause", "function", "ckr", "scope", "class",
        "kind", "state", "certificate", "version", "python", "percent",
        "type", "sink", "blame", "rule", "check", "token", "lane", "role", "generation",
        "xks_operation", "kms_operation", "error", "level",  # closed lists, and names of the configuration
    }  # fmt: skip

    for collector in set(Metrics().registry._names_to_collectors.values()):
        assert set(collector._labelnames) <= allowed  # type: ignore[attr-defined]
