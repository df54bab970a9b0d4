"""What all tests of the custody room share."""

import pytest

from strongroomd.storage import audit_log


@pytest.fixture(autouse=True)
def _patient_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log's 200 ms are tested where they are the subject; a busy machine proves nothing here."""
    monkeypatch.setattr(audit_log, "DURABLE_WITHIN", 30.0)
