"""Cryptographic use cases: signatures, MACs and key agreement."""

import hmac
from dataclasses import dataclass, field
from functools import partial

from strongroomd.custody import bringing, publickeys
from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.gate import Gate, UseCases, gated, lane_of
from strongroomd.custody.passage import Passage
from strongroomd.custody.sealing import require_usage
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import (
    DIGEST_BYTES,
    DIGESTS,
    KeyUsage,
    MacAlgorithm,
    MessageType,
    SigningAlgorithm,
    mac_algorithms,
    signing_algorithms,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.limits import MAX_MAC, MAX_MESSAGE, MAX_PUBLIC_KEY, MAX_SIGNATURE
from strongroomd.ports import KeyUse


@dataclass(frozen=True, slots=True)
class ToSign:
    """What a caller wants signed or verified.

    Attributes:
        data: the message (at most 4,096 bytes) or its digest, as `kind` says.
        algorithm: None when the key has only one.
        version: key version, 0 for the current one.
    """

    data: bytes
    kind: MessageType = MessageType.RAW
    algorithm: SigningAlgorithm | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature (DER for ECDSA, raw otherwise) and what made it; empty when it was verified, not made."""

    signature: bytes
    key_arn: str
    version: int
    algorithm: SigningAlgorithm


@dataclass(frozen=True, slots=True)
class Mac:
    """A MAC and what made it; empty when it was verified, not made."""

    mac: bytes
    key_arn: str
    version: int
    algorithm: MacAlgorithm


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """The raw ECDH secret: the x coordinate, as long as the field."""

    secret: bytes = field(repr=False)
    key_arn: str
    version: int


class Signing(UseCases):
    """Sign, verify, make and verify MACs, agree on secrets."""

    def __init__(self, gate: Gate, vault: KeyUse, catalog: Catalog) -> None:
        super().__init__(gate)
        self._vault = vault
        self._catalog = catalog

    @gated(Action.SIGN)
    async def sign(self, passage: Passage, key: str, wanted: ToSign, *, dry_run: bool = False) -> Signature:
        """Sign a message or digest inside the HSM."""
        entry, algorithm, data = await self._claim_signing(passage, key, wanted)
        bound = await self._version(passage, entry, wanted.version)
        passage.proceed(dry_run=dry_run)
        signature = await self.sign_bound(passage, entry, bound, algorithm, data)
        return Signature(signature, entry.arn, bound.version, algorithm)

    async def sign_bound(
        self, passage: Passage, entry: Entry, bound: BoundVersion, algorithm: SigningAlgorithm, data: bytes
    ) -> bytes:
        """Sign checked data under a claimed key."""
        job = self._vault.sign(bound, algorithm, data, deadline=passage.deadline)
        return await passage.work(lane_of(entry), job, entry.key.token)

    @gated(Action.VERIFY)
    async def verify(
        self, passage: Passage, key: str, wanted: ToSign, signature: bytes, *, dry_run: bool = False
    ) -> Signature:
        """Verify a signature in software with the key's public half. Raises INVALID_SIGNATURE."""
        if not signature:
            raise invalid("signature", "must not be empty")
        if len(signature) > MAX_SIGNATURE:
            raise too_large("signature", MAX_SIGNATURE)
        entry, algorithm, data = await self._claim_signing(passage, key, wanted)
        bound = await self._version(passage, entry, wanted.version)
        passage.proceed(dry_run=dry_run)
        publickeys.verify(bound.record.public_key, algorithm, data, signature)
        return Signature(b"", entry.arn, bound.version, algorithm)

    async def _claim_signing(
        self, passage: Passage, key: str, wanted: ToSign
    ) -> tuple[Entry, SigningAlgorithm, bytes]:
        check_message(wanted.data, empty=True)
        entry = await passage.claim(key, bring=partial(bringing.signing, wanted.algorithm, wanted.kind))
        algorithm = choose_signing(entry, wanted.algorithm)
        return entry, algorithm, to_sign(algorithm, wanted.kind, wanted.data)

    @gated(Action.GENERATE_MAC)
    async def generate_mac(
        self,
        passage: Passage,
        key: str,
        message: bytes,
        algorithm: MacAlgorithm | None = None,
        version: int = 0,
        *,
        dry_run: bool = False,
    ) -> Mac:
        """Make a full-length HMAC inside the HSM."""
        entry, chosen, bound = await self._claim_mac(
            passage, key, message, algorithm, version, dry_run=dry_run
        )
        return Mac(
            await self._make_mac(passage, entry, bound, chosen, message), entry.arn, bound.version, chosen
        )

    @gated(Action.VERIFY_MAC)
    async def verify_mac(
        self,
        passage: Passage,
        key: str,
        message: bytes,
        mac: bytes,
        algorithm: MacAlgorithm | None = None,
        version: int = 0,
        *,
        dry_run: bool = False,
    ) -> Mac:
        """Make the HMAC again and compare in constant time. Raises INVALID_MAC."""
        if not mac:
            raise invalid("mac", "must not be empty")
        if len(mac) > MAX_MAC:
            raise too_large("mac", MAX_MAC)
        entry, chosen, bound = await self._claim_mac(
            passage, key, message, algorithm, version, dry_run=dry_run
        )
        if not hmac.compare_digest(await self._make_mac(passage, entry, bound, chosen, message), mac):
            raise StrongroomError(Reason.INVALID_MAC)
        return Mac(b"", entry.arn, bound.version, chosen)

    async def _claim_mac(
        self,
        passage: Passage,
        key: str,
        message: bytes,
        algorithm: MacAlgorithm | None,
        version: int,
        *,
        dry_run: bool,
    ) -> tuple[Entry, MacAlgorithm, BoundVersion]:
        check_message(message, empty=False)
        entry = await passage.claim(key, bring=partial(bringing.mac, algorithm))
        require_usage(entry, KeyUsage.GENERATE_VERIFY_MAC)
        allowed = mac_algorithms(entry.key.spec, entry.key.usage)
        chosen = algorithm or allowed[0]
        if chosen not in allowed:
            raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM, field="mac_algorithm")
        bound = await self._version(passage, entry, version)
        passage.proceed(dry_run=dry_run)
        return entry, chosen, bound

    async def _make_mac(
        self, passage: Passage, entry: Entry, bound: BoundVersion, algorithm: MacAlgorithm, message: bytes
    ) -> bytes:
        job = self._vault.mac(bound, algorithm, message, deadline=passage.deadline)
        return await passage.work(Lane.QUICK, job, entry.key.token)

    @gated(Action.DERIVE_SHARED_SECRET)
    async def derive_shared_secret(
        self,
        passage: Passage,
        key: str,
        public_key: bytes,
        version: int = 0,
        *,
        dry_run: bool = False,
    ) -> SharedSecret:
        """Agree on a secret (ECDH) with a peer's public key, a DER SubjectPublicKeyInfo on the same curve."""
        if len(public_key) > MAX_PUBLIC_KEY:
            raise too_large("public_key", MAX_PUBLIC_KEY)
        entry = await passage.claim(key, bring=bringing.agreement)
        require_usage(entry, KeyUsage.KEY_AGREEMENT)
        peer = publickeys.peer_point(entry.key.spec, public_key)
        bound = await self._version(passage, entry, version)
        passage.proceed(dry_run=dry_run)
        job = self._vault.agree(bound, peer, deadline=passage.deadline)
        return SharedSecret(
            await passage.work(lane_of(entry), job, entry.key.token), entry.arn, bound.version
        )

    async def _version(self, passage: Passage, entry: Entry, version: int) -> BoundVersion:
        bound = await self._catalog.version(entry, version)
        passage.facts["version"] = bound.version
        return bound


def check_message(data: bytes, *, empty: bool, field_name: str = "message") -> None:
    """Refuse an over-long message, or an empty one where that means nothing."""
    if not data and not empty:
        raise invalid(field_name, "must not be empty")
    if len(data) > MAX_MESSAGE:
        raise too_large(field_name, MAX_MESSAGE)


def choose_signing(entry: Entry, asked: SigningAlgorithm | None) -> SigningAlgorithm:
    """Settle the algorithm: the one asked for, or the only one that the key has."""
    require_usage(entry, KeyUsage.SIGN_VERIFY)
    allowed = signing_algorithms(entry.key.spec, entry.key.usage)
    if asked is None and len(allowed) > 1:
        raise invalid("signing_algorithm", "must be set: the key supports several")
    chosen = asked or allowed[0]
    if chosen not in allowed:
        raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM, field="signing_algorithm")
    return chosen


def to_sign(
    algorithm: SigningAlgorithm, kind: MessageType, data: bytes, field_name: str = "message"
) -> bytes:
    """Give the bytes that the HSM signs: the digest, made here or checked for its length.

    Raises:
        StrongroomError: INVALID_FIELD for a digest of the wrong length, or any digest with Ed25519.
    """
    if kind is MessageType.RAW:
        return publickeys.digest(algorithm, data)
    if algorithm not in DIGESTS:
        raise invalid("message_type", "must be RAW: this algorithm signs the message itself")
    length = DIGEST_BYTES[DIGESTS[algorithm]]
    if len(data) != length:
        raise invalid(field_name, f"must be a digest of {length} bytes for this algorithm")
    return data
