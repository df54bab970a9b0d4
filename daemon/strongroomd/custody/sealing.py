"""Sealing and opening for keys that passed the gate; shared by single calls, batches and data keys.

Every limit of what a caller may send is checked before the HSM is asked; every failed decryption is one and
the same error.
"""

from dataclasses import dataclass, field
from functools import partial

from strongroomd.custody import bringing, publickeys
from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.contextnotes import ContextNotes, Note
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.judging import Bring
from strongroomd.custody.passage import Passage
from strongroomd.domain import context as contexts
from strongroomd.domain import envelope
from strongroomd.domain.actions import Action
from strongroomd.domain.adoption import Use
from strongroomd.domain.algorithms import (
    SPECS,
    EncryptionAlgorithm,
    KeyFamily,
    KeyUsage,
    Scheme,
    encryption_algorithms,
    oaep_limit,
)
from strongroomd.domain.context import EMPTY, Context
from strongroomd.domain.envelope import FORMATS, Envelope
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.limits import MAX_CIPHERTEXT
from strongroomd.domain.records import CustodyMode
from strongroomd.ports import Vault

SYMMETRIC = EncryptionAlgorithm.SYMMETRIC_DEFAULT


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext and the key version that made it."""

    ciphertext: bytes
    key_arn: str
    version: int
    algorithm: EncryptionAlgorithm


@dataclass(frozen=True, slots=True)
class Opened:
    """A plaintext and the key version that opened it."""

    plaintext: bytes = field(repr=False)
    key_arn: str
    version: int
    algorithm: EncryptionAlgorithm


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """What a caller wants opened: an envelope, or raw RSA ciphertext with the key's name.

    Attributes:
        data: the bytes.
        key: names the key; empty if an envelope does.
        version: key version for raw RSA ciphertext, 0 for the current one.
        algorithm: None for the symmetric default.
        context: the caller's pairs, symmetric only.
        prefix: what the request's fields about the source begin with, for errors.
    """

    data: bytes
    key: str = ""
    version: int = 0
    algorithm: EncryptionAlgorithm | None = None
    context: Context = EMPTY
    prefix: str = ""


class Sealer:
    """Seals and opens for keys that passed the gate; shared by single calls, batches and data keys.

    Args:
        vault: the HSM.
        catalog: finds key versions.
        max_plaintext: longest plaintext in bytes.
        invocations: counts what AES-GCM keys encrypt.
        contexts: makes notes for the audit log.
    """

    def __init__(
        self,
        vault: Vault,
        catalog: Catalog,
        max_plaintext: int,
        invocations: Invocations,
        contexts: ContextNotes,
    ) -> None:
        self.vault = vault
        self.invocations = invocations
        self.catalog = catalog
        self.max_plaintext = max_plaintext
        self.contexts = contexts

    def check_plaintext(self, plaintext: bytes) -> None:
        """Refuse an empty or over-long plaintext."""
        if not plaintext:
            raise invalid("plaintext", "must not be empty")
        if len(plaintext) > self.max_plaintext:
            raise too_large("plaintext", self.max_plaintext)

    def check_ciphertext(self, ciphertext: bytes) -> None:
        """Refuse an empty ciphertext, or one longer than any configuration allows: old ones must open."""
        if not ciphertext:
            raise invalid("ciphertext", "must not be empty")
        if len(ciphertext) > MAX_CIPHERTEXT:
            raise too_large("ciphertext", MAX_CIPHERTEXT)

    async def require_encryption(self, entry: Entry) -> None:
        """Refuse a key whose current version may not encrypt, for dry runs too. Raises INVALID_KEY_USAGE."""
        if entry.key.mode is CustodyMode.ADOPTED:
            require_use(await self.catalog.version(entry), Use.ENCRYPT)

    async def seal(
        self,
        passage: Passage,
        entry: Entry,
        plaintext: bytes,
        context: Context,
        algorithm: EncryptionAlgorithm,
    ) -> Sealed:
        """Encrypt under the key's current version; the caller has checked what the algorithm can carry."""
        bound = await self.catalog.version(entry)
        passage.facts["version"] = bound.version
        job = self.seal_bound(passage, bound, plaintext, context, algorithm)
        return Sealed(
            await passage.work(Lane.QUICK, job, entry.key.token), entry.arn, bound.version, algorithm
        )

    async def seal_bound(
        self,
        passage: Passage,
        bound: BoundVersion,
        plaintext: bytes,
        context: Context,
        algorithm: EncryptionAlgorithm,
    ) -> bytes:
        """Seal into an envelope of the version's format; for RSA, encrypt in software under the public half.

        Raises:
            StrongroomError: KEY_EXHAUSTED when an AES-GCM version has encrypted as often as it may;
                INVALID_KEY_USAGE when an adopted one may not encrypt.
        """
        if algorithm is not SYMMETRIC:
            return publickeys.oaep_encrypt(bound.record.public_key, algorithm, plaintext)
        require_use(bound, Use.ENCRYPT)
        scheme = bound.record.scheme
        if scheme is Scheme.AES_GCM:
            await self.invocations.take(bound)
        head = envelope.header(FORMATS[scheme], bound.key_id, bound.version)
        aad = contexts.aad(head, context)
        return head + await self.vault.seal(bound, plaintext, aad, deadline=passage.deadline)

    async def claim(
        self,
        passage: Passage,
        wanted: Ciphertext,
        action: Action,
        bring: Bring | None = None,
        note: Note | None = None,
    ) -> "Source":
        """Claim the key of a ciphertext: named by its envelope, or for RSA by the caller.

        Args:
            passage: the call.
            wanted: the ciphertext.
            action: what for.
            bring: what policies may ask, if that is more than algorithm and context.
            note: what the audit log is told of the context, if not all.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for what is no envelope; KEY_MISMATCH when the caller names
                another key than the envelope; and whatever `Passage.claim` refuses.
        """
        self.check_ciphertext(wanted.data)
        passage.under(note or self.contexts.noting(wanted.context, f"{wanted.prefix}context"))
        bring = bring or partial(bringing.encryption, wanted.algorithm, wanted.context)
        if (wanted.algorithm or SYMMETRIC) is not SYMMETRIC:
            return await self._claim_rsa(passage, wanted, action, bring)
        if wanted.version:
            raise invalid(f"{wanted.prefix}key_version", "must be 0: the ciphertext names its version")
        parsed = envelope.parse(wanted.data)
        entry = await passage.claim_id(parsed.key_id, action=action, bring=bring)
        key_field = f"{wanted.prefix}key"
        if wanted.key and not await passage.means(wanted.key, entry, key_field):
            raise StrongroomError(Reason.KEY_MISMATCH, field=key_field)
        require_usage(entry, KeyUsage.ENCRYPT_DECRYPT)
        bound = await self._named_version(entry, parsed)
        require_use(bound, Use.DECRYPT)
        return Source(entry, wanted, SYMMETRIC, parsed, bound)

    async def _claim_rsa(
        self, passage: Passage, wanted: Ciphertext, action: Action, bring: Bring
    ) -> "Source":
        prefix = wanted.prefix
        if not wanted.key:
            raise invalid(f"{prefix}key", "must name the key: RSA ciphertexts do not")
        if wanted.context:
            raise invalid(f"{prefix}encryption_context", "works with symmetric keys only")
        entry = await passage.claim(wanted.key, action=action, field=f"{prefix}key", bring=bring)
        algorithm = choose_encryption(entry, wanted.algorithm, f"{prefix}encryption_algorithm")
        bound = await self.catalog.version(entry, wanted.version, f"{prefix}key_version")
        return Source(entry, wanted, algorithm, None, bound)

    async def _named_version(self, entry: Entry, parsed: Envelope) -> BoundVersion:
        """Find the version; one that only an envelope knows of is a bad ciphertext, not a bad field.

        So is an envelope of another format than the version writes.
        """
        try:
            bound = await self.catalog.version(entry, parsed.version)
        except StrongroomError as error:
            if error.reason is Reason.INVALID_FIELD:
                raise StrongroomError(Reason.INVALID_CIPHERTEXT) from None
            raise
        if parsed.format is not FORMATS[bound.record.scheme]:
            raise StrongroomError(Reason.INVALID_CIPHERTEXT)
        return bound

    async def open(self, passage: Passage, source: "Source") -> Opened:
        """Decrypt a claimed ciphertext. Raises INVALID_CIPHERTEXT, for every cause the same."""
        bound, token = source.bound, source.entry.key.token
        passage.facts["version"] = bound.version
        wanted, deadline = source.wanted, passage.deadline
        if source.parsed is None:
            job = self.vault.rsa_decrypt(bound, source.algorithm, wanted.data, deadline=deadline)
            plaintext = await passage.work(Lane.RSA, job, token)
        else:
            aad = contexts.aad(source.parsed.header, wanted.context)
            job = self.vault.open(bound, source.parsed.sealed, aad, deadline=deadline)
            plaintext = await passage.work(Lane.QUICK, job, token)
        return Opened(plaintext, source.entry.arn, bound.version, source.algorithm)


@dataclass(frozen=True, slots=True)
class Source:
    """A ciphertext whose key passed the gate; `parsed` is None for raw RSA ciphertext."""

    entry: Entry
    wanted: Ciphertext
    algorithm: EncryptionAlgorithm
    parsed: Envelope | None
    bound: BoundVersion


def require_usage(entry: Entry, usage: KeyUsage) -> None:
    """Refuse a key whose usage is another. Raises INVALID_KEY_USAGE."""
    if entry.key.usage is not usage:
        raise StrongroomError(Reason.INVALID_KEY_USAGE)


def require_use(bound: BoundVersion, use: Use) -> None:
    """Refuse what the token would: an adopted key may lack a use. Raises INVALID_KEY_USAGE."""
    if bound.mode is CustodyMode.ADOPTED and use not in bound.uses:
        raise StrongroomError(Reason.INVALID_KEY_USAGE, "the key's object in the token may not do this")


def choose_encryption(
    entry: Entry, asked: EncryptionAlgorithm | None, field_name: str = "encryption_algorithm"
) -> EncryptionAlgorithm:
    """Settle the algorithm: the one asked for if the key supports it; the default is the symmetric one."""
    require_usage(entry, KeyUsage.ENCRYPT_DECRYPT)
    if asked is None and SPECS[entry.key.spec].family is KeyFamily.RSA:
        raise invalid(field_name, "must be set: RSA keys have two schemes")
    chosen = asked or SYMMETRIC
    if chosen not in encryption_algorithms(entry.key.spec, entry.key.usage):
        raise StrongroomError(Reason.UNSUPPORTED_ALGORITHM, field=field_name)
    return chosen


def check_capacity(entry: Entry, algorithm: EncryptionAlgorithm, plaintext: bytes, context: Context) -> None:
    """Refuse what the algorithm cannot carry: with RSA a context, or more bytes than the padding leaves."""
    check_context(algorithm, context, "encryption_context")
    check_oaep(entry, algorithm, plaintext, "plaintext")


def check_context(algorithm: EncryptionAlgorithm, context: Context, field_name: str) -> None:
    """Refuse an encryption context that the algorithm cannot bind."""
    if context and algorithm is not SYMMETRIC:
        raise invalid(field_name, "works with symmetric keys only")


def check_oaep(entry: Entry, algorithm: EncryptionAlgorithm, plaintext: bytes, field_name: str) -> None:
    """Refuse more bytes than OAEP's padding leaves; symmetric encryption has no limit of its own."""
    if algorithm is SYMMETRIC:
        return
    limit = oaep_limit(entry.key.spec, algorithm)
    if len(plaintext) > limit:
        raise too_large(field_name, limit, "bytes of plaintext")
