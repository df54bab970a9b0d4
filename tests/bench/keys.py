"""Records of a new key, for benchmarks that need many without calling for each."""

import time
import uuid

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.policy import default_policy
from strongroomd.domain.records import (
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    Record,
    VersionRecord,
    VersionState,
)
from strongroomd.ports import Vault

ACCOUNT = "111122223333"


async def records(vault: Vault, spec: KeySpec, usage: KeyUsage) -> list[Record]:
    """Make material and the two records of a wrapped key."""
    made = await vault.generate(
        spec, usage, CustodyMode.WRAPPED, exportable=False, hsm_id="", deadline=time.monotonic() + 60
    )
    key_id, now = str(uuid.uuid4()), time.time_ns() // 1_000_000
    policy = default_policy(f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/admin")
    key = KeyRecord(
        key_id, ACCOUNT, spec, usage, CustodyMode.WRAPPED, "", Origin.HSM, False, KeyState.ENABLED, "", now, 0, 1,
        policy, (),
    )  # fmt: skip
    version = VersionRecord(
        key_id, 1, VersionState.ACTIVE, now, made.kek_id, "", made.blob, made.length, made.public_key,
        made.check_value, made.recovery_blob, made.scheme,
    )  # fmt: skip
    return [key, version]
