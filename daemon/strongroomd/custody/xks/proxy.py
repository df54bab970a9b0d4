"""What AWS KMS asks of a key store: encrypt, decrypt, what a key is, whether all is well.

Each is a use case like any other: through the gate, charged, written down. Who may is settled in this order:
the credential (at the door), the store's policy, the external key's pinning and switches, the key's own
policy, which can only deny (adding the key to the store has lent it), the key's state.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.passage import Passage
from strongroomd.custody.sealing import require_use
from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.xks.credentials import USE
from strongroomd.custody.xks.health import Health, HealthBoard
from strongroomd.custody.xks.pins import Pins
from strongroomd.custody.xks.sealing import PartsSealer, check_sizes
from strongroomd.custody.xks.shelf import KeyStore, Shelf, Signer
from strongroomd.domain.actions import Action
from strongroomd.domain.adoption import Use
from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage, QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError, denied
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.records import CustodyMode, KeyState
from strongroomd.domain.tokens import MAIN
from strongroomd.domain.xks.layout import SealedParts
from strongroomd.domain.xks.metadata import RequestMetadata
from strongroomd.domain.xks.policy import Asked, Operation
from strongroomd.domain.xks.records import ExternalKeyRecord
from strongroomd.ports import Charge

_ACTIONS: Final = {
    Operation.ENCRYPT: Action.ENCRYPT,
    Operation.DECRYPT: Action.DECRYPT,
    Operation.GET_KEY_METADATA: Action.DESCRIBE_KEY,
}
_USAGES: Final[dict[KeyUsage, tuple[str, ...]]] = {
    KeyUsage.ENCRYPT_DECRYPT: ("ENCRYPT", "DECRYPT"),
    KeyUsage.SIGN_VERIFY: ("SIGN", "VERIFY"),
    KeyUsage.GENERATE_VERIFY_MAC: ("SIGN", "VERIFY"),
    KeyUsage.KEY_AGREEMENT: ("DERIVE",),
}
_SPECS: Final = {KeySpec.SYMMETRIC_DEFAULT: "AES_256"}
"""Names of specs in the proxy API where they differ from KMS's own."""


@dataclass(frozen=True, slots=True)
class XksCall:
    """One request of KMS.

    Attributes:
        external_key_id: empty for health.
        region: the one that it was signed for.
    """

    store: KeyStore
    external_key_id: str
    metadata: RequestMetadata
    region: str


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """What GetKeyMetadata answers."""

    spec: str
    usages: tuple[str, ...]
    enabled: bool


class Proxy(UseCases):
    """The use cases of the XKS door.

    Args:
        gate: judges, charges, writes down.
        shelf: the stores.
        box: opens the credentials' secrets.
        catalog: finds key versions.
        sealer: encrypts and decrypts.
        pins: binds external keys to KMS keys.
        board: how the tokens are.
    """

    def __init__(
        self,
        gate: Gate,
        shelf: Shelf,
        box: SecretBox,
        catalog: Catalog,
        sealer: PartsSealer,
        pins: Pins,
        board: HealthBoard,
    ) -> None:
        super().__init__(gate)
        self._shelf = shelf
        self._box = box
        self._catalog = catalog
        self._sealer = sealer
        self._pins = pins
        self._board = board

    # --- for the door, before there is a caller

    def store(self, prefix: str) -> KeyStore | None:
        """Find the store of a URI path prefix."""
        return self._shelf.by_prefix(prefix)

    async def secrets(self, store: KeyStore, access_key_id: str) -> Signer | None:
        """Find what a credential signs with; None for an unknown one.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, INTEGRITY_FAILURE, HSM_UNAVAILABLE.
        """
        self._shelf.require_whole(store)
        signer = store.signers.get(access_key_id)
        if signer is not None:
            return signer
        record = self._shelf.credential(store, access_key_id)
        if record is None:
            return None
        secret = await self._box.open(record.sealed_secret, record.record_id)
        signer = Signer(access_key_id, secret, record.created_at)
        if store.credentials.get(access_key_id) is record:
            store.signers[access_key_id] = signer
        return signer

    def used(self, store: KeyStore, access_key_id: str) -> None:
        """Remember that a credential was used now: to be called for a signature that was good."""
        self.gate.usage.count(f"{store.store_id}/{access_key_id}", USE)

    def require_turn(self, store: KeyStore, deadline: float, ahead: int = 0) -> None:
        """Refuse work for a store that no token could do before a deadline, before anybody looks at it.

        So is what a store asks for beyond its own limit, once it was refused so often that the audit log only
        counts it (`refusals`); `ahead` calls of it are waiting to spend what is left.

        Raises:
            StrongroomError: OVERLOADED, QUOTA_EXCEEDED, with a retry hint.
        """
        admission, principal, quotas = self.gate.admission, store.principal, self.gate.quotas
        if any(quotas.is_used_up(charge, ahead) for charge in store.charges):
            self.gate.refusals.require(principal.arn)
        flow = (principal.account, principal.arn)
        *others, last = store.tokens_used() or (MAIN,)
        for token in others:
            with suppress(StrongroomError):
                admission.require_turn(Lane.QUICK, deadline, token, flow)
                return
        admission.require_turn(Lane.QUICK, deadline, last, flow)

    # --- use cases

    @gated(Action.GET_KEY_STORE_HEALTH)
    async def health(self, passage: Passage, call: XksCall) -> Health:
        """Say how the tokens behind a store are; no policy has a say in it."""
        self._enter(passage, call)
        passage.charge(QuotaClass.SYMMETRIC, call.store.charges)
        return self._board.report(call.store.tokens_used())

    @gated(Action.DESCRIBE_KEY)
    async def metadata(self, passage: Passage, call: XksCall) -> KeyMetadata:
        """Say what the key behind an external id is."""
        key, entry = await self._claim(passage, call, Operation.GET_KEY_METADATA)
        bound = await self._catalog.version(entry) if entry.key.state is KeyState.ENABLED else None
        return KeyMetadata(
            _SPECS.get(entry.key.spec, entry.key.spec.value),
            tuple(usage for usage in _USAGES[entry.key.usage] if _may(key, bound, usage)),
            enabled=entry.key.state is KeyState.ENABLED and not key.blocked,
        )

    @gated(Action.ENCRYPT)
    async def encrypt(
        self, passage: Passage, call: XksCall, plaintext: bytes, aad: bytes | None, *, integrity: bool
    ) -> SealedParts:
        """Encrypt under the key's current version.

        Args:
            passage: the call.
            call: the request.
            plaintext: at most 8,192 bytes.
            aad: at most 16,384 bytes; None where the request has no such field.
            integrity: give the integrity value, and decrypt the result before it is believed.

        Raises:
            StrongroomError: KEY_NOT_FOUND, BLOCKED, ACCESS_DENIED, INVALID_KEY_USAGE; what the gate raises.
        """
        check_sizes(plaintext, "plaintext", aad)
        key, entry = await self._claim(passage, call, Operation.ENCRYPT)
        bound = await self._catalog.version(entry)
        _require(key, Use.ENCRYPT)
        require_use(bound, Use.ENCRYPT)
        if integrity:
            _require(key, Use.DECRYPT)
            require_use(bound, Use.DECRYPT)
        sealed = await self._sealer.seal(
            passage, bound, entry.key.token, plaintext, aad or b"", integrity=integrity
        )
        await self._pins.settle(passage, key, call.metadata.kms_key_arn)
        return sealed

    @gated(Action.DECRYPT)
    async def decrypt(self, passage: Passage, call: XksCall, parts: SealedParts, aad: bytes | None) -> bytes:
        """Decrypt under the version that the metadata name. Raises INVALID_CIPHERTEXT, always the same."""
        check_sizes(parts.ciphertext, "ciphertext", aad)
        key, entry = await self._claim(passage, call, Operation.DECRYPT)
        _require(key, Use.DECRYPT)
        plaintext = await self._sealer.open(passage, entry, parts, aad, compatible=key.compatible)
        await self._pins.settle(passage, key, call.metadata.kms_key_arn)
        return plaintext

    # --- who may

    def _enter(self, passage: Passage, call: XksCall) -> None:
        """Write down what is known of a request, and refuse all of a store that is blocked."""
        facts = passage.facts
        facts["key_store"] = call.store.store_id
        if call.external_key_id:
            facts["external_key"] = call.external_key_id
        facts["signing_region"] = call.region
        facts.update(call.metadata.told())
        self._shelf.require_whole(call.store)
        if call.store.record.blocked:
            raise StrongroomError(Reason.BLOCKED, "the key store is blocked")

    async def _claim(
        self, passage: Passage, call: XksCall, operation: Operation
    ) -> tuple[ExternalKeyRecord, Entry]:
        self._enter(passage, call)
        store, looks = call.store, operation is Operation.GET_KEY_METADATA
        asked = Asked(operation, store.store_id, call.external_key_id, call.region, call.metadata)
        verdict = store.policy.decide(asked)
        passage.facts["store_policy"] = verdict.ground
        if not verdict.allowed:
            raise denied(f"the key store's policy: {verdict.ground}")
        key = self._shelf.key(store, call.external_key_id)
        if key.blocked and not looks:
            raise StrongroomError(Reason.BLOCKED, "the external key is blocked")
        self._pins.require(key, call.metadata.kms_key_arn, looks=looks)
        entry = await passage.claim_lent(
            key.key_id,
            _ACTIONS[operation],
            key.record_id,
            Act.READ if looks else Act.USE,
            _charges_of(store, key, call.metadata),
        )
        if not looks:
            _require_symmetric(entry)
        return key, entry


def _charges_of(store: KeyStore, key: ExternalKeyRecord, metadata: RequestMetadata) -> tuple[Charge, ...]:
    """Give what a request costs store, external key and AWS principal, as far as they have limits."""
    record = store.record
    charges = store.charges
    if record.key_per_second:
        bucket = f"XKS_KEY/{key.record_id}"
        charges += (Charge(bucket, 1, record.key_per_second, record.key_burst),)
    if record.principal_per_second:
        who = hashlib.blake2b(metadata.principal_arn.encode(), digest_size=16).hexdigest()
        bucket = f"XKS_PRINCIPAL/{store.store_id}/{who}"
        charges += (Charge(bucket, 1, record.principal_per_second, record.principal_burst),)
    return charges


def _require_symmetric(entry: Entry) -> None:
    if SPECS[entry.key.spec].family is not KeyFamily.AES:
        raise StrongroomError(Reason.INVALID_KEY_USAGE, "the key is not a symmetric one")


def _may(key: ExternalKeyRecord, bound: BoundVersion | None, usage: str) -> bool:
    """Say whether the external key has a usage of its key: the store may use it so, and the token lets it."""
    if not {Use.ENCRYPT: key.encrypts, Use.DECRYPT: key.decrypts}.get(Use(usage), True):
        return False
    return bound is None or bound.mode is not CustodyMode.ADOPTED or usage in bound.uses


def _require(key: ExternalKeyRecord, use: Use) -> None:
    if not _may(key, None, use):
        raise StrongroomError(Reason.INVALID_KEY_USAGE, "the key store may not use the key so")
