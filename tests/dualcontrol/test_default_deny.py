"""Who has no right gets nowhere: every RPC of both services, as a stranger of the account and of another."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness import refused
from tests.people import Cast, arn, new_key

from strongroom import Client, signing
from strongroom.errors import AccessDenied
from strongroom.v1 import approvals_pb2, export_pb2

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

RPCS = {
    method.name
    for module in (approvals_pb2, export_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
OWN = {"ListApprovers", "ListApprovals"}
"""Lists show whoever has no right what is their own: nothing."""


def attempts(key: str, spki: bytes, approval: str) -> dict[str, Callable[[Client], Any]]:
    fresh, public = new_key()
    proof = signing.sign(fresh, signing.enrolment_file("111122223333", arn("bob"), public))
    return {
        "EnrolApprover": lambda c: c.enrol_approver(arn("bob"), public, proof),
        "RevokeApprover": lambda c: c.revoke_approver("0" * 32),
        "ListApprovers": lambda c: c.list_approvers(),
        "GetQuorum": lambda c: c.get_quorum(account="111122223333"),
        "PutQuorum": lambda c: c.put_quorum(1, approval),
        "AskApproval": lambda c: c.ask_key_deletion(key, 7, purpose="x"),
        "DescribeApproval": lambda c: c.describe_approval(approval),
        "ListApprovals": lambda c: c.list_approvals(),
        "ApproveRequest": lambda c: c.approve_request(approval, bytes(64)),
        "RejectRequest": lambda c: c.reject_request(approval),
        "CancelRequest": lambda c: c.cancel_request(approval),
        "RequestExport": lambda c: c.request_export(key, public_key=spki, purpose="x"),
        "ExecuteExport": lambda c: c.execute_export(approval),
        "RegisterWrappingKey": lambda c: c.register_wrapping_key("n", "RSA", spki, approval),
        "ListWrappingKeys": lambda c: c.list_wrapping_keys(),
        "RemoveWrappingKey": lambda c: c.remove_wrapping_key("wk-0123456789abcdef"),
    }


@pytest.mark.parametrize("who", ["dave", "mallory"])
def test_every_rpc_refuses_who_has_no_right(house: Cast, spki: bytes, who: str) -> None:
    key = house.admin.describe_key(house.key()).arn
    asked = house.approved(key, spki)
    account_wide = house.admin.ask_quorum(3, purpose="x")
    with house.daemon.client(who, timeout=30.0) as client:
        heard: dict[str, set[str]] = {}
        for approval in (asked.approval_id, account_wide.approval_id, "0" * 32):
            tried = attempts(key, spki, approval)
            assert tried.keys() == RPCS
            for name in RPCS - OWN:
                with pytest.raises(AccessDenied) as caught:
                    tried[name](client)
                heard.setdefault(name, set()).add(caught.value.message)
        assert {name: words for name, words in heard.items() if len(words) > 1} == {}  # nothing is given away
        assert tried["ListApprovals"](client).items == ()
        own = {each.principal for each in tried["ListApprovers"](client).items}
        assert own <= {arn(who)}
    assert house.admin.describe_approval(asked.approval_id).state == "APPROVED"
    house.admin.cancel_request(account_wide.approval_id)


@pytest.mark.parametrize(
    ("field", "wrong", "reason"),
    [
        ("purpose", {"purpose": " "}, "INVALID_FIELD"),
        ("purpose", {"purpose": "x" * 513}, "FIELD_TOO_LARGE"),
        ("lifetime_seconds", {"lifetime_seconds": 86_401}, "INVALID_FIELD"),
        ("recipient", {"public_key": b""}, "INVALID_FIELD"),
        ("public_key", {"public_key": b"no key"}, "INVALID_FIELD"),
        ("wrapping_key_id", {"public_key": b"", "wrapping_key_id": "not one"}, "INVALID_FIELD"),
        ("key_version", {"key_version": 7}, "INVALID_FIELD"),
    ],
)
def test_a_request_that_is_not_right_names_its_field(
    house: Cast, spki: bytes, field: str, wrong: dict[str, Any], reason: str
) -> None:
    given: dict[str, Any] = {"public_key": spki, "purpose": "x"} | wrong
    with refused(reason, field):
        house.alice.client.request_export(house.key(), **given)
