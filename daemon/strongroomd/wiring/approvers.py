"""Who may approve, as a store has it."""

import dataclasses
from collections.abc import Collection, Iterable

from strongroomd.config import Settings
from strongroomd.custody.inventory import all_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.accounts import PrincipalRecord, PrincipalState
from strongroomd.domain.approvalrecords import ApproverRecord, QuorumRecord
from strongroomd.domain.approvals import DEFAULT_QUORUM, Enrolled
from strongroomd.ports import Store

Found = tuple[dict[str, Enrolled], int]


def configured_in(settings: Settings) -> frozenset[str]:
    """Name the principals (ARNs) that a configuration knows, which need no record."""
    return frozenset(entry.arn for entry in settings.identities)


async def approvers_of(ledger: Ledger, account: str, configured: Collection[str]) -> Found:
    """Give the enrolled approvers by their ids, and the account's quorum, all verified.

    Args:
        ledger: the state that is asked.
        account: whose quorum, 12 digits.
        configured: ARNs of principals that need no record to be known.
    """
    keys = [record async for record in all_records(ledger, ApproverRecord)]
    principals = [record async for record in all_records(ledger, PrincipalRecord)]
    quorum = await ledger.read(QuorumRecord, account)
    return _of(keys, principals, configured), DEFAULT_QUORUM if quorum is None else quorum.quorum


async def approvers_in(store: Store, account: str, configured: Collection[str]) -> Found:
    """Give the same of a store whose bytes the house signed, and whose MACs nobody can verify any more."""
    keys = [stored.record for stored in await store.all(ApproverRecord)]
    principals = [stored.record for stored in await store.all(PrincipalRecord)]
    quorum = await store.get(QuorumRecord, account)
    return _of(keys, principals, configured), DEFAULT_QUORUM if quorum is None else quorum.record.quorum


def _of(
    keys: Iterable[ApproverRecord], principals: Iterable[PrincipalRecord], configured: Collection[str]
) -> dict[str, Enrolled]:
    """Say of each key whether its principal may call: no record tells so, and no state forbids it."""
    states = {record.arn: record.state for record in principals}
    known = {arn for arn, state in states.items() if state is not PrincipalState.DISABLED}
    known.update(arn for arn in configured if arn not in states)
    return {
        key.approver_id: dataclasses.replace(key.enrolled, admitted=key.principal in known) for key in keys
    }
