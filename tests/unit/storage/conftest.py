from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.databases import make_database

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.records import CustodyMode, KeyRecord, KeyState, Origin, VersionRecord, VersionState
from strongroomd.storage.audit_log import AuditSettings
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import SqlStore, open_store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "strongroom.db"


@pytest.fixture
def url(database: Path) -> str:
    url = f"sqlite:///{database}"
    make_database(url)
    return url


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    store = open_store(StoreSettings(url))
    yield store
    await store.close()


@pytest.fixture
def make_key() -> Callable[..., KeyRecord]:
    def make(key_id: str = "k1", **changes: Any) -> KeyRecord:
        fields: dict[str, Any] = {
            "key_id": key_id,
            "account": "111122223333",
            "spec": KeySpec.SYMMETRIC_DEFAULT,
            "usage": KeyUsage.ENCRYPT_DECRYPT,
            "mode": CustodyMode.WRAPPED,
            "custody_note": "",
            "origin": Origin.HSM,
            "exportable": False,
            "state": KeyState.ENABLED,
            "description": "ä key",
            "created_at": 1_700_000_000_000,
            "deletion_at": 0,
            "current_version": 1,
            "policy": "{}",
            "tags": (("team", "a"), ("z", "")),
        }
        return KeyRecord(**(fields | changes))

    return make


@pytest.fixture
def make_version() -> Callable[..., VersionRecord]:
    def make(key_id: str = "k1", version: int = 1, **changes: Any) -> VersionRecord:
        fields: dict[str, Any] = {
            "key_id": key_id,
            "version": version,
            "state": VersionState.ACTIVE,
            "created_at": 1,
            "kek_id": "aa",
            "hsm_id": "",
            "blob": bytes(range(256)),
            "length": 32,
            "public_key": b"",
            "check_value": b"\x00\x01",
            "recovery_blob": b"",
        }
        return VersionRecord(**(fields | changes))

    return make


@pytest.fixture
def audit_settings(tmp_path: Path) -> AuditSettings:
    return AuditSettings(tmp_path / "audit", "node-a", 0, "0.1.0")
