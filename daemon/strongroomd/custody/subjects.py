"""What can be asked to be approved but for exports: the changes that dual control guards.

Whoever asks must have the right to the change itself, and what it says must be right as far as can be known
now: approvers shall not sign for what will be refused anyway.
"""

from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, guarded
from strongroomd.custody.catalog import Entry
from strongroomd.custody.dualcontrol import DualControl, Wanted
from strongroomd.custody.gate import Gate
from strongroomd.custody.importedkeys import is_there, no_material, require_imported
from strongroomd.custody.keyforms import check_window
from strongroomd.custody.keypolicies import settle_policy
from strongroomd.custody.passage import Passage
from strongroomd.custody.peercards import NewPeer, of_peer
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.exporting import WrappingKeyKind
from strongroomd.domain.importing import ExpirationModel, ImportLevel, settle_expiry
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.limits import MAX_VERSIONS
from strongroomd.domain.policy.circumstances import Target
from strongroomd.domain.records import VersionRecord, protection_of
from strongroomd.domain.replication import check_region


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A new key policy that is to be approved."""

    key: str
    policy: str
    bypass: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that is to be approved."""

    key: str
    days: int


@dataclass(frozen=True, slots=True)
class MaterialDeletion:
    """A deletion of imported material that is to be approved; version 0 is the current one."""

    key: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class MaterialExpiry:
    """An end of imported material that is to be approved.

    Attributes:
        version: 0 is the current one; the next one that there is not yet is that of new material.
        valid_to: ms since the Unix epoch; 0 where it is not said.
    """

    key: str
    version: int
    valid_to: int


@dataclass(frozen=True, slots=True)
class Registration:
    """A wrapping key that is to be approved; checked."""

    name: str
    kind: WrappingKeyKind
    public_key: bytes


@dataclass(frozen=True, slots=True)
class QuorumChange:
    """Another quorum of the caller's account that is to be approved; checked."""

    quorum: int


@dataclass(frozen=True, slots=True)
class LostPrimary:
    """That a key's primary is in another region from now on, which is to be approved."""

    key: str
    region: str


Subject = (
    PolicyChange
    | Deletion
    | MaterialDeletion
    | MaterialExpiry
    | Registration
    | QuorumChange
    | NewPeer
    | LostPrimary
)


class Subjects:
    """Claims the right to a change, and says what it is.

    Args:
        gate: the one way in.
        control: quora.
    """

    def __init__(self, gate: Gate, control: DualControl) -> None:
        self._gate = gate
        self._control = control

    async def claim(self, passage: Passage, subject: Subject) -> Wanted:
        """Claim the right to a change, and say what it is.

        Raises:
            StrongroomError: ACCESS_DENIED; INVALID_FIELD, `key` for a key that is not protected; the refusal
                of the key's state; INVALID_KEY_USAGE for a key that has no imported material.
        """
        match subject:
            case PolicyChange():
                return await self._policy(passage, subject)
            case Deletion():
                return await self._deletion(passage, subject)
            case MaterialDeletion():
                return await self._material_deletion(passage, subject)
            case MaterialExpiry():
                return await self._material_expiry(passage, subject)
            case Registration() | QuorumChange() | NewPeer() | LostPrimary():
                return await self._of_account(passage, subject)

    async def _of_account(
        self, passage: Passage, subject: Registration | QuorumChange | NewPeer | LostPrimary
    ) -> Wanted:
        """Claim the right to what the account's people approve, whatever a key's policy says."""
        match subject:
            case Registration():
                return await self._registration(passage, subject)
            case QuorumChange():
                return await self._quorum(passage, subject)
            case NewPeer():
                return await self._peer(passage, subject)
            case LostPrimary():
                return await self._lost_primary(passage, subject)

    async def _policy(self, passage: Passage, subject: PolicyChange) -> Wanted:
        bring = partial(bringing.new_policy, subject.bypass)
        entry = await passage.claim(subject.key, Act.POLICY, action=Action.PUT_KEY_POLICY, bring=bring)
        _require_protected(entry)
        brought = bringing.of_policy(bypass=subject.bypass)
        settle_policy(self._gate.judge, passage.caller, subject.policy, Target(entry.arn, entry.key), brought)
        return guarded.policy_change(entry.key, entry.arn, subject.policy, bypass=subject.bypass)

    async def _deletion(self, passage: Passage, subject: Deletion) -> Wanted:
        bring = partial(bringing.deletion, check_window(subject.days))
        action = Action.SCHEDULE_KEY_DELETION
        entry = await passage.claim(subject.key, Act.SCHEDULE_DELETION, action=action, bring=bring)
        _require_protected(entry)
        return guarded.deletion(entry.key, entry.arn, subject.days)

    async def _material_deletion(self, passage: Passage, subject: MaterialDeletion) -> Wanted:
        action = Action.DELETE_KEY_MATERIAL
        entry = await passage.claim(subject.key, Act.DELETE_MATERIAL, action=action)
        require_imported(entry.key)
        _require_protected(entry)
        version = subject.version or entry.key.current_version
        held = await self._control.mutations.ledger.read(VersionRecord, f"{entry.key.key_id}/{version}")
        if not is_there(held):
            raise no_material()
        return guarded.material_deletion(entry.key, entry.arn, version)

    async def _material_expiry(self, passage: Passage, subject: MaterialExpiry) -> Wanted:
        # The level is the strictest: at which the material comes in, the import itself is asked.
        model = ExpirationModel.KEY_MATERIAL_EXPIRES
        bring = partial(bringing.import_material, model, subject.valid_to, ImportLevel.TOKEN)
        action = Action.IMPORT_KEY_MATERIAL
        entry = await passage.claim(subject.key, Act.IMPORT, action=action, bring=bring)
        require_imported(entry.key)
        _require_protected(entry)
        expires_at = settle_expiry(model, subject.valid_to, self._control.mutations.clock.wall_ms())
        version = subject.version or entry.key.current_version
        if not 1 <= version <= MAX_VERSIONS:
            raise no_material()
        return guarded.material_expiry(entry.key, entry.arn, version, expires_at)

    async def _registration(self, passage: Passage, subject: Registration) -> Wanted:
        _require_right(passage, Action.REGISTER_WRAPPING_KEY)
        account = passage.caller.principal.account
        quorum = await self._control.quorum_of(account)
        return guarded.wrapping_key(account, quorum, subject.name, subject.kind, subject.public_key)

    async def _quorum(self, passage: Passage, subject: QuorumChange) -> Wanted:
        _require_right(passage, Action.PUT_QUORUM)
        account = passage.caller.principal.account
        return guarded.quorum_change(account, await self._control.quorum_of(account), subject.quorum)

    async def _peer(self, passage: Passage, subject: NewPeer) -> Wanted:
        _require_right(passage, Action.REGISTER_PEER)
        account = passage.caller.principal.account
        return of_peer(account, await self._control.quorum_of(account), subject)

    async def _lost_primary(self, passage: Passage, subject: LostPrimary) -> Wanted:
        bring = partial(bringing.primary_region, subject.region)
        action = Action.UPDATE_PRIMARY_REGION
        entry = await passage.claim(subject.key, Act.READ, action=action, bring=bring)
        quorum = await self._control.quorum_of(entry.key.account)
        return guarded.lost_primary(entry.key, quorum, entry.arn, check_region(subject.region))


def _require_right(passage: Passage, action: Action) -> None:
    if not passage.may(action):
        raise StrongroomError(Reason.ACCESS_DENIED, "only an administrator may do this")


def _require_protected(entry: Entry) -> None:
    if not protection_of(entry.key):
        raise invalid("key", "is not protected: what is asked for needs no approval")
