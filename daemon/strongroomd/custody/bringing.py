"""What each use case knows of its request, for conditions and grants: one function a kind of action.

Each is given to a claim unevaluated (`functools.partial`), and is called with the key only where a policy or
grant depends on it. It brings all that its action has, with None for what this request lacks, and raises
nothing: what is wrong with a request is told to those only who may make it.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from strongroomd.custody.asking import NOTHING_BROUGHT, Brought, pairs
from strongroomd.custody.catalog import Entry
from strongroomd.domain import grants as granting
from strongroomd.domain.algorithms import (
    AgreementAlgorithm,
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    MessageType,
    SigningAlgorithm,
    mac_algorithms,
    signing_algorithms,
)
from strongroomd.domain.approvals import GuardedAction
from strongroomd.domain.context import Context
from strongroomd.domain.exporting import ExportLevel
from strongroomd.domain.grants import Grant, NewGrant
from strongroomd.domain.importing import (
    LEVELS,
    ExpirationModel,
    ImportLevel,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from strongroomd.domain.policy.circumstances import ORIGINS
from strongroomd.domain.records import Origin
from strongroomd.domain.replicastatements import Bundle
from strongroomd.domain.replication import MultiRegion

if TYPE_CHECKING:
    from strongroomd.domain.policy.request import Value

BYPASS: Final = "kms:bypasspolicylockoutsafetycheck"
_POLICY: Final = "default"
"""The one name that a key policy has (AWS: PolicyName)."""


def nothing(_entry: Entry) -> Brought:
    """Bring nothing: the action has no facts of its own."""
    return NOTHING_BROUGHT


def encryption(algorithm: EncryptionAlgorithm | None, context: Context, _entry: Entry) -> Brought:
    """Bring what Encrypt, Decrypt and data keys have."""
    chosen = algorithm or EncryptionAlgorithm.SYMMETRIC_DEFAULT
    return Brought({"kms:encryptionalgorithm": chosen.value}, pairs(context))


def lent_encryption(_entry: Entry) -> Brought:
    """Bring what calls through a key store have: they have no encryption context that is told apart."""
    return Brought({"kms:encryptionalgorithm": EncryptionAlgorithm.SYMMETRIC_DEFAULT.value}, {})


def re_encryption(
    algorithm: EncryptionAlgorithm | None,
    context: Context,
    same_key: bool,  # noqa: FBT001
    entry: Entry,
) -> Brought:
    """Bring what either side of ReEncrypt has."""
    brought = encryption(algorithm, context, entry)
    brought.facts["kms:reencryptonsamekey"] = same_key
    return brought


def data_key_pair(spec: KeySpec, context: Context, entry: Entry) -> Brought:
    """Bring what data key pairs have."""
    brought = encryption(None, context, entry)
    brought.facts["kms:datakeypairspec"] = spec.value
    return brought


def signing(algorithm: SigningAlgorithm | None, kind: MessageType, entry: Entry) -> Brought:
    """Bring what Sign and Verify have; a key with one algorithm needs not be told which."""
    allowed = signing_algorithms(entry.key.spec, entry.key.usage)
    chosen = algorithm or (allowed[0] if len(allowed) == 1 else None)
    return Brought({"kms:signingalgorithm": chosen.value if chosen else None, "kms:messagetype": kind.value})


def mac(algorithm: MacAlgorithm | None, entry: Entry) -> Brought:
    """Bring what GenerateMac and VerifyMac have."""
    chosen = algorithm or next(iter(mac_algorithms(entry.key.spec, entry.key.usage)), None)
    return Brought({"kms:macalgorithm": chosen.value if chosen else None})


def agreement(_entry: Entry) -> Brought:
    """Bring what DeriveSharedSecret has."""
    return Brought({"kms:keyagreementalgorithm": AgreementAlgorithm.ECDH.value})


def policy_name(_entry: Entry) -> Brought:
    """Bring what GetKeyPolicy has."""
    return Brought({"kms:policyname": _POLICY})


def new_policy(bypass: bool, _entry: Entry) -> Brought:  # noqa: FBT001 - bound by partial, by position
    """Bring what PutKeyPolicy has."""
    return of_policy(bypass=bypass)


def of_policy(*, bypass: bool) -> Brought:
    """Bring what PutKeyPolicy has."""
    return Brought({"kms:policyname": _POLICY, BYPASS: bypass})


def new_key(
    spec: KeySpec,
    usage: KeyUsage,
    tags: Iterable[tuple[str, str]],
    *,
    bypass: bool,
    origin: Origin = Origin.HSM,
    multi_region: bool = False,
) -> Brought:
    """Bring what CreateKey has: the key that is to be."""
    facts: dict[str, Value | None] = {
        "kms:keyspec": spec.value,
        "kms:keyusage": usage.value,
        "kms:keyorigin": ORIGINS[origin],
        "kms:multiregion": multi_region,
        "kms:multiregionkeytype": MultiRegion.PRIMARY.value if multi_region else None,
        "kms:policyname": _POLICY,
        BYPASS: bypass,
    }
    return Brought(facts, request_tags=dict(tags))


def replication(region: str | None, _entry: Entry) -> Brought:
    """Bring what ReplicateKey has; policy and tags of a replica are said where it is brought in."""
    return Brought({"kms:replicaregion": region, BYPASS: None}, request_tags={})


def primary_region(region: str, _entry: Entry) -> Brought:
    """Bring what UpdatePrimaryRegion has."""
    return Brought({"kms:primaryregion": region})


def new_replica(bundle: Bundle | None, tags: Iterable[tuple[str, str]], *, bypass: bool) -> Brought:
    """Bring what ImportReplica has: the key as its bundle has it; nothing of what is no bundle."""
    facts: dict[str, Value | None] = {
        "kms:keyspec": bundle.spec.value if bundle else None,
        "kms:keyusage": bundle.usage.value if bundle else None,
        "kms:keyorigin": ORIGINS[Origin.HSM],
        "kms:multiregion": True,
        "kms:multiregionkeytype": MultiRegion.REPLICA.value,
        "kms:primaryregion": bundle.primary if bundle else None,
        "kms:policyname": _POLICY,
        BYPASS: bypass,
    }
    return Brought(facts, request_tags=dict(tags))


def import_parameters(
    algorithm: WrappingAlgorithm, wrapping_key: WrappingKeySpec, level: ImportLevel | None, _entry: Entry
) -> Brought:
    """Bring what GetParametersForImport has."""
    return Brought(
        {
            "kms:wrappingalgorithm": algorithm.value,
            "kms:wrappingkeyspec": wrapping_key.value,
            "strongroom:importlevel": (level or LEVELS[algorithm][0]).value,
        }
    )


def import_material(
    model: ExpirationModel | None, valid_to: int, level: ImportLevel | None, _entry: Entry
) -> Brought:
    """Bring what ImportKeyMaterial has; the level is None where the import token is not good."""
    return Brought(
        {
            "kms:expirationmodel": (model or ExpirationModel.KEY_MATERIAL_EXPIRES).value,
            "kms:validto": valid_to / 1000 if valid_to else None,
            "strongroom:importlevel": level.value if level else None,
        }
    )


def deletion(days: int, _entry: Entry) -> Brought:
    """Bring what ScheduleKeyDeletion has."""
    return Brought({"kms:schedulekeydeletionpendingwindowindays": days})


def rotation(days: int, _entry: Entry) -> Brought:
    """Bring what EnableKeyRotation has."""
    return Brought({"kms:rotationperiodindays": days})


def export(level: ExportLevel, _entry: Entry) -> Brought:
    """Bring what RequestExport and ExecuteExport have."""
    return Brought({"strongroom:exportlevel": level.value})


def approving(action: GuardedAction, *, own: bool) -> Callable[[Entry], Brought]:
    """Bring what ApproveRequest has: what is to be approved, and whether the caller asked for it."""
    facts: dict[str, Value | None] = {
        "strongroom:guardedaction": action.value,
        "strongroom:approverisrequester": own,
    }
    return lambda _entry: Brought(facts)


def whose_request(*, own: bool) -> Callable[[Entry], Brought]:
    """Bring what a list of a key's requests has: it is about no single one."""
    facts: dict[str, Value | None] = {"strongroom:guardedaction": None, "strongroom:approverisrequester": own}
    return lambda _entry: Brought(facts)


def new_tags(tags: Iterable[tuple[str, str]], _entry: Entry) -> Brought:
    """Bring what TagResource has."""
    return Brought(request_tags=dict(tags))


def old_tags(tag_keys: tuple[str, ...], _entry: Entry) -> Brought:
    """Bring what UntagResource has: keys without values."""
    return Brought({"aws:tagkeys": tag_keys})


def new_grant(wanted: NewGrant, for_service: bool, _entry: Entry) -> Brought:  # noqa: FBT001
    """Bring what CreateGrant has; its encryption context is that of the constraints."""
    constraints = wanted.constraints
    return Brought(
        granting.condition_facts(wanted, for_service=for_service),
        dict(constraints.equals or constraints.subset or ()),
        new_grant=wanted,
    )


def of_service(for_service: bool, _entry: Entry) -> Brought:  # noqa: FBT001
    """Bring what ListGrants and RevokeGrant have."""
    return Brought({"kms:grantisforawsresource": for_service})


def retirement(grant: Grant | None, _entry: Entry) -> Brought:
    """Bring what RetireGrant has: the grant itself, and its constraints."""
    constraints = grant.lent.constraints if grant else granting.UNCONSTRAINED
    kind = constraints.type
    return Brought(
        {"kms:grantconstrainttype": kind.value if kind else None},
        dict(constraints.equals or constraints.subset or ()),
        retired=grant,
    )
