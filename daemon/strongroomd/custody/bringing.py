"""What each use case knows of its request, for conditions and grants: one function a kind of action.

Each is given to a claim unevaluated (`functools.partial`), and is called with the key only where a policy or
grant depends on it. It brings all that its action has, with None for what this request lacks, and raises
nothing: what is wrong with a request is told to those only who may make it.
"""

from collections.abc import Iterable
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
from strongroomd.domain.context import Context
from strongroomd.domain.grants import Grant, NewGrant

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


def new_key(spec: KeySpec, usage: KeyUsage, tags: Iterable[tuple[str, str]], *, bypass: bool) -> Brought:
    """Bring what CreateKey has: the key that is to be."""
    facts: dict[str, Value | None] = {
        "kms:keyspec": spec.value,
        "kms:keyusage": usage.value,
        "kms:keyorigin": "AWS_KMS",
        "kms:multiregion": False,
        "kms:multiregionkeytype": None,
        "kms:policyname": _POLICY,
        BYPASS: bypass,
    }
    return Brought(facts, request_tags=dict(tags))


def deletion(days: int, _entry: Entry) -> Brought:
    """Bring what ScheduleKeyDeletion has."""
    return Brought({"kms:schedulekeydeletionpendingwindowindays": days})


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
