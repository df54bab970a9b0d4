"""Requests at every stage, and somebody besides the administrator to approve them, for the kit."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.certificates import Forge, Recipe
from tests.conformance.kit import RECIPIENT, URI, Kit, Requests
from tests.conformance.wire import PATIENCE, Wire, request
from tests.harness import ACCOUNT, ADMIN, Daemon
from tests.people import new_key

from strongroom import Client, results, signing

_IN_FORCE = 5.0  # seconds; every worker knows of a change after one


@dataclass(frozen=True)
class Second:
    """Somebody of the account who approves what the administrator asks."""

    arn: str
    wire: Wire
    private_key: bytes
    approver_id: str

    def approve(self, asked: results.ApprovalRequest) -> None:
        """Approve a request; again while not every worker knows that it may.

        An approval may count though its answer told of a record that was not durable in time.
        """
        signature = signing.sign(self.private_key, asked.request_file)
        fields = {"approval_id": asked.approval_id, "signature": signature}
        unclear = False
        for _ in range(int(_IN_FORCE / 0.2)):
            outcome = self.wire.call("ApproveRequest", request("ApproveRequest", **fields))
            if outcome.ok or (unclear and outcome.reason == "ALREADY_EXISTS"):
                return
            unclear |= outcome.reason == "AUDIT_UNAVAILABLE"
            time.sleep(0.2)
        raise AssertionError(outcome)


def enrol(admin: Client, arn: str) -> tuple[bytes, str]:
    """Have a new key enrolled as somebody's; gives its private half and its id."""
    private, public = new_key()
    proof = signing.sign(private, signing.enrolment_file(ACCOUNT, arn, public))
    return private, admin.enrol_approver(arn, public, proof).approver_id


def make_second(daemon: Daemon, admin: Client) -> Second:
    """Make a principal with a certificate, an approver's key, and the right to approve."""
    name = uuid.uuid4().hex
    arn, uri = f"arn:aws:iam::{ACCOUNT}:user/{name}", f"{URI}{name}"
    admin.create_principal(arn)
    admin.add_identity(arn, uri=uri)
    allow = {"Effect": "Allow", "Action": "strongroom:ApproveAccountRequest", "Resource": "*"}
    admin.put_identity_policy(arn, "approve", json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    wire = Forge(daemon).connect(Recipe(uris=(uri,)))
    wire.patience = PATIENCE
    return Second(arn, wire, *enrol(admin, arn))


def with_approvals(
    kit: Kit, admin: Client, second: Second, policy: Callable[[], list[dict[str, Any]]] = list
) -> Kit:
    """Make an exportable key, and requests at every stage.

    Args:
        kit: gets them.
        admin: asks.
        second: approves.
        policy: further statements for the key's policy.
    """
    mine = {
        "Effect": "Allow",
        "Principal": {"AWS": ADMIN},
        "Action": ["kms:*", "strongroom:*"],
        "Resource": "*",
    }
    theirs = {**mine, "Principal": {"AWS": second.arn}, "Action": "strongroom:ApproveRequest"}
    text = json.dumps(
        {"Version": "2012-10-17", "Statement": [mine, theirs, *policy()]}, separators=(",", ":")
    )
    leaving = admin.create_key(exportable=True, quorum=2, policy=text).arn
    private, approver = enrol(admin, ADMIN)

    def approved(asked: results.ApprovalRequest) -> str:
        signature = signing.sign(private, asked.request_file)
        admin.approve_request(asked.approval_id, signature, approver_id=approver)
        second.approve(asked)
        return asked.approval_id

    waiting, rejected, cancelled = (admin.ask_key_deletion(leaving, 7, purpose="kit") for _ in range(3))
    first = approved(admin.ask_wrapping_key("first", "RSA", RECIPIENT, purpose="kit"))
    requests = Requests(
        waiting.approval_id,
        rejected.approval_id,
        cancelled.approval_id,
        approved(admin.ask_quorum(2, purpose="kit")),
        approved(admin.ask_wrapping_key("kit", "RSA", RECIPIENT, purpose="kit")),
        approved(admin.request_export(leaving, public_key=RECIPIENT, purpose="kit")),
        approver,
        signing.sign(private, waiting.request_file),
        enrol(admin, kit.callers.user)[1],
    )
    wrapping_key = admin.register_wrapping_key("first", "RSA", RECIPIENT, first).wrapping_key_id
    return replace(kit, leaving=leaving, requests=requests, wrapping_key=wrapping_key)
