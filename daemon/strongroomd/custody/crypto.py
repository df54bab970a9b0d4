"""Cryptographic use cases: encrypt, decrypt, re-encrypt, data keys.

Signatures, MACs and agreement are in signing.py; batches in batches.py. Every limit of what a caller may send
is checked before the HSM is asked; every failed decryption is one and the same error.
"""

from dataclasses import dataclass, field
from functools import partial

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.asking import Brought
from strongroomd.custody.catalog import Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.judging import Bring
from strongroomd.custody.passage import Passage
from strongroomd.custody.sealing import (
    SYMMETRIC,
    Ciphertext,
    Opened,
    Sealed,
    Sealer,
    check_capacity,
    check_context,
    check_oaep,
    choose_encryption,
    require_usage,
)
from strongroomd.custody.servicekeys import ServiceKeys
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import (
    SPECS,
    EncryptionAlgorithm,
    KeyFamily,
    KeySpec,
    KeyUsage,
)
from strongroomd.domain.context import EMPTY, Context
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import MAX_RANDOM

PAIR_COSTS = {
    KeySpec.RSA_2048: 20,
    KeySpec.RSA_3072: 60,
    KeySpec.RSA_4096: 200,
    KeySpec.ECC_NIST_P256: 5,
    KeySpec.ECC_NIST_P384: 5,
    KeySpec.ECC_NIST_P521: 5,
    KeySpec.ECC_SECG_P256K1: 5,
    KeySpec.ECC_NIST_EDWARDS25519: 5,
}
"""What making a data key pair costs of the pair's class, in the units of which a signature costs one."""


@dataclass(frozen=True, slots=True)
class ReSealed:
    """A new ciphertext, and what the old one was made with."""

    sealed: Sealed
    source_arn: str
    source_version: int
    source_algorithm: EncryptionAlgorithm


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in both forms; `plaintext` is empty when it was not asked for."""

    plaintext: bytes = field(repr=False)
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class DataKeyPair:
    """A data key pair; `private_key` (PKCS#8 DER) is empty when it was not asked for."""

    private_key: bytes = field(repr=False)
    public_key: bytes
    spec: KeySpec
    sealed: Sealed


class Crypto(UseCases):
    """Encrypt, decrypt, re-encrypt, data keys and random bytes."""

    def __init__(self, gate: Gate, sealer: Sealer, service_keys: ServiceKeys) -> None:
        super().__init__(gate)
        self._sealer = sealer
        self._service_keys = service_keys
        self._vault = sealer.vault

    @gated(Action.ENCRYPT)
    async def encrypt(
        self,
        passage: Passage,
        key: str,
        plaintext: bytes,
        context: Context = EMPTY,
        algorithm: EncryptionAlgorithm | None = None,
        *,
        dry_run: bool = False,
    ) -> Sealed:
        """Encrypt up to the configured number of bytes (RSA: what OAEP leaves)."""
        self._sealer.check_plaintext(plaintext)
        bring = partial(bringing.encryption, algorithm, context)
        await self._service_keys.prepare(passage, key, passage.action, bring, dry_run=dry_run)
        passage.under(self._sealer.contexts.noting(context))
        entry = await passage.claim(key, bring=bring)
        chosen = choose_encryption(entry, algorithm)
        check_capacity(entry, chosen, plaintext, context)
        await self._sealer.require_encryption(entry)
        passage.proceed(dry_run=dry_run)
        return await self._sealer.seal(passage, entry, plaintext, context, chosen)

    @gated(Action.DECRYPT)
    async def decrypt(self, passage: Passage, wanted: Ciphertext, *, dry_run: bool = False) -> Opened:
        """Decrypt under the key that the ciphertext names; a key that the caller names must be the same."""
        source = await self._sealer.claim(passage, wanted, Action.DECRYPT)
        passage.proceed(dry_run=dry_run)
        return await self._sealer.open(passage, source)

    @gated(Action.RE_ENCRYPT_FROM)
    async def re_encrypt(
        self,
        passage: Passage,
        wanted: Ciphertext,
        destination: str,
        context: Context = EMPTY,
        algorithm: EncryptionAlgorithm | None = None,
        *,
        dry_run: bool = False,
    ) -> ReSealed:
        """Decrypt and encrypt again under another key or context; the plaintext stays in the daemon."""
        field_name = "destination_key"

        async def bring(entry: Entry) -> Brought:
            same = await passage.means(destination, entry, field_name)
            return bringing.re_encryption(wanted.algorithm, wanted.context, same, entry)

        source = await self._sealer.claim(passage, wanted, Action.RE_ENCRYPT_FROM, bring)

        def bring_target(entry: Entry) -> Brought:
            same = entry.key.key_id == source.entry.key.key_id
            return bringing.re_encryption(algorithm, context, same, entry)

        to = Action.RE_ENCRYPT_TO
        await self._service_keys.prepare(passage, destination, to, bring_target, dry_run=dry_run)
        passage.under(self._sealer.contexts.noting(context, "destination_context"))
        target = await passage.claim(destination, action=to, field=field_name, bring=bring_target)
        chosen = choose_encryption(target, algorithm, "destination_encryption_algorithm")
        check_context(chosen, context, "destination_encryption_context")
        await self._sealer.require_encryption(target)
        passage.proceed(dry_run=dry_run)
        opened = await self._sealer.open(passage, source)
        passage.facts["source_version"] = opened.version
        check_oaep(target, chosen, opened.plaintext, "ciphertext")
        sealed = await self._sealer.seal(passage, target, opened.plaintext, context, chosen)
        return ReSealed(sealed, opened.key_arn, opened.version, opened.algorithm)

    @gated(Action.GENERATE_DATA_KEY)
    async def generate_data_key(
        self, passage: Passage, key: str, length: int, context: Context = EMPTY, *, dry_run: bool = False
    ) -> DataKey:
        """Make a data key of 1 to 1,024 bytes and give it in both forms."""
        return await self._data_key(passage, key, length, context, dry_run=dry_run)

    @gated(Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT)
    async def generate_data_key_without_plaintext(
        self, passage: Passage, key: str, length: int, context: Context = EMPTY, *, dry_run: bool = False
    ) -> DataKey:
        """Make a data key and give only its ciphertext."""
        made = await self._data_key(passage, key, length, context, dry_run=dry_run)
        return DataKey(b"", made.sealed)

    async def _data_key(
        self, passage: Passage, key: str, length: int, context: Context, *, dry_run: bool
    ) -> DataKey:
        check_length(length)
        bring = partial(bringing.encryption, SYMMETRIC, context)
        entry = await self._claim_symmetric(passage, key, context, bring, dry_run=dry_run)
        plaintext = await self._vault.random(length)
        return DataKey(plaintext, await self._sealer.seal(passage, entry, plaintext, context, SYMMETRIC))

    async def _claim_symmetric(
        self, passage: Passage, key: str, context: Context, bring: Bring, *, dry_run: bool
    ) -> Entry:
        await self._service_keys.prepare(passage, key, passage.action, bring, dry_run=dry_run)
        passage.under(self._sealer.contexts.noting(context))
        entry = await passage.claim(key, bring=bring)
        require_symmetric(entry)
        await self._sealer.require_encryption(entry)
        passage.proceed(dry_run=dry_run)
        return entry

    @gated(Action.GENERATE_DATA_KEY_PAIR)
    async def generate_data_key_pair(
        self, passage: Passage, key: str, spec: KeySpec, context: Context = EMPTY, *, dry_run: bool = False
    ) -> DataKeyPair:
        """Make a data key pair: the private key in both forms, and the public key."""
        return await self._data_key_pair(passage, key, spec, context, dry_run=dry_run)

    @gated(Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT)
    async def generate_data_key_pair_without_plaintext(
        self, passage: Passage, key: str, spec: KeySpec, context: Context = EMPTY, *, dry_run: bool = False
    ) -> DataKeyPair:
        """Make a data key pair and give the private key's ciphertext and the public key."""
        made = await self._data_key_pair(passage, key, spec, context, dry_run=dry_run)
        return DataKeyPair(b"", made.public_key, made.spec, made.sealed)

    async def _data_key_pair(
        self, passage: Passage, key: str, spec: KeySpec, context: Context, *, dry_run: bool
    ) -> DataKeyPair:
        bring = partial(bringing.data_key_pair, spec, context)
        entry = await self._claim_symmetric(passage, key, context, bring, dry_run=dry_run)
        caller = passage.caller.principal
        self.gate.quotas.spend(caller, "", SPECS[spec].quota, PAIR_COSTS[spec])
        job = self._vault.data_key_pair(spec, deadline=passage.deadline)
        private, public = await passage.work(Lane.BIRTH, job)
        try:
            sealed = await self._sealer.seal(passage, entry, bytes(private), context, SYMMETRIC)
            return DataKeyPair(bytes(private), public, spec, sealed)
        finally:
            private[:] = bytes(len(private))

    @gated(Action.GENERATE_RANDOM)
    async def generate_random(self, passage: Passage, length: int, *, dry_run: bool = False) -> bytes:
        """Give 1 to 1,024 random bytes."""
        check_length(length)
        passage.claim_keyless(class_=SPECS[KeySpec.SYMMETRIC_DEFAULT].quota)
        passage.proceed(dry_run=dry_run)
        return await passage.work(Lane.QUICK, self._vault.random(length))


def check_length(length: int, field_name: str = "number_of_bytes") -> None:
    """Refuse a number of bytes outside 1 to 1,024."""
    if not 1 <= length <= MAX_RANDOM:
        raise invalid(field_name, f"must be from 1 to {MAX_RANDOM}")


def require_symmetric(entry: Entry) -> None:
    """Refuse a key that cannot seal data keys."""
    require_usage(entry, KeyUsage.ENCRYPT_DECRYPT)
    if SPECS[entry.key.spec].family is not KeyFamily.AES:
        raise StrongroomError(Reason.INVALID_KEY_USAGE, "only symmetric keys make data keys")
