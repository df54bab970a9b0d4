"""What stands in the way of an edit of a key, inside its transaction: approvals that dual control wants."""

from strongroomd.custody import guarded
from strongroomd.custody.copies import refuse_replicated
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.keyedits import Guard
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.domain.names import Realm
from strongroomd.domain.policy.loosening import loosens
from strongroomd.domain.records import KeyRecord, protection_of


class KeyGuards:
    """Makes the guards of edits; each spends the approval that it asks for.

    Args:
        control: dual control over protected keys.
        realm: names keys.
    """

    def __init__(self, control: DualControl, realm: Realm) -> None:
        self._control = control
        self._realm = realm

    def deletion(self, days: int, approval_id: str) -> Guard:
        """Guard a deletion: a primary that has replicas stays, a protected key needs an approval."""

        async def guard(passage: Passage, change: Change, current: KeyRecord) -> None:
            await refuse_replicated(change, current)
            if protection_of(current):
                wanted = guarded.deletion(current, self._arn_of(current), days)
                await self._control.spend(passage, change, approval_id, wanted)

        return guard

    def policy(self, text: str, approval_id: str, *, bypass: bool) -> Guard:
        """Guard a new policy: one that may be looser than a protected key's needs an approval."""

        async def guard(passage: Passage, change: Change, current: KeyRecord) -> None:
            if protection_of(current) and loosens(current.policy, text):
                wanted = guarded.policy_change(current, self._arn_of(current), text, bypass=bypass)
                await self._control.spend(passage, change, approval_id, wanted)

        return guard

    def _arn_of(self, key: KeyRecord) -> str:
        return self._realm.key_arn(key.key_id, key.account)
