"""Ciphertexts of key stores: made under a key's current version, opened under the one that they name."""

import hmac

from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.invocations import Invocations
from strongroomd.custody.passage import Passage
from strongroomd.custody.sealing import require_use
from strongroomd.domain.adoption import Use
from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.errors import Reason, StrongroomError, too_large
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.xks import layout
from strongroomd.domain.xks.layout import LAYOUTS, SealedParts
from strongroomd.ports import KeyUse


class PartsSealer:
    """Seals and opens for keys that passed the gate.

    Args:
        vault: the HSM.
        catalog: finds key versions.
        invocations: counts what AES-GCM keys encrypt.
    """

    def __init__(self, vault: KeyUse, catalog: Catalog, invocations: Invocations) -> None:
        self._vault = vault
        self._catalog = catalog
        self._invocations = invocations

    async def seal(
        self,
        passage: Passage,
        bound: BoundVersion,
        token: str,
        plaintext: bytes,
        aad: bytes,
        *,
        integrity: bool,
    ) -> SealedParts:
        """Encrypt; with an integrity value only what decrypts again is given away.

        Raises:
            StrongroomError: KEY_EXHAUSTED when an AES-GCM version has encrypted as often as it may.
        """
        passage.facts["version"] = bound.version
        if bound.record.scheme is Scheme.AES_GCM:
            await self._invocations.take(bound)
        job = self._seal(bound, plaintext, aad, passage.deadline, integrity=integrity)
        return await passage.work(Lane.QUICK, job, token)

    async def _seal(
        self, bound: BoundVersion, plaintext: bytes, aad: bytes, deadline: float, *, integrity: bool
    ) -> SealedParts:
        form = LAYOUTS[bound.record.scheme]

        def aad_of(prefix: bytes) -> bytes:
            return layout.framed(aad, layout.encode_metadata(form, bound.version, prefix))

        sealed = await self._vault.seal_apart(bound, plaintext, aad_of, deadline=deadline)
        prefix, parts = _taken_apart(sealed, bound)
        if not integrity:
            return parts
        # Computed first: a fault between the two must not be vouched for (specification, EncryptWithCDIV).
        value = layout.integrity_value(aad, parts)
        opened = await self._vault.open(bound, sealed, aad_of(prefix), deadline=deadline)
        if not hmac.compare_digest(opened, plaintext):
            raise StrongroomError(Reason.INTERNAL, detail="a fresh ciphertext decrypts to something else")
        return SealedParts(parts.ciphertext, parts.iv, parts.tag, parts.metadata, value)

    async def open(
        self, passage: Passage, entry: Entry, parts: SealedParts, aad: bytes | None, *, compatible: bool
    ) -> bytes:
        """Decrypt.

        Args:
            passage: the call.
            entry: the key.
            parts: of sizes that the door has checked.
            aad: None where the request has no such field.
            compatible: whether what AWS's sample proxy made is opened, too.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT, for every cause the same; INVALID_KEY_USAGE where the token
                does not let the version decrypt.
        """
        job = self._open(passage, entry, parts, aad, compatible=compatible)
        return await passage.work(Lane.QUICK, job, entry.key.token)

    async def _open(
        self, passage: Passage, entry: Entry, parts: SealedParts, aad: bytes | None, *, compatible: bool
    ) -> bytes:
        if len(parts.iv) != layout.IV_BYTES:  # nothing here makes any other
            raise _forged()
        try:
            return await self._open_ours(passage, entry, parts, aad or b"")
        except StrongroomError as error:
            if error.reason is not Reason.INVALID_CIPHERTEXT or not compatible:
                raise
        return await self._open_compatibly(passage, entry, parts, aad)

    async def _open_ours(self, passage: Passage, entry: Entry, parts: SealedParts, aad: bytes) -> bytes:
        made = layout.parse_metadata(parts.metadata)
        if made is None:
            raise _forged()
        bound = await self._version(entry, made.version)
        if LAYOUTS[bound.record.scheme] is not made.layout:
            raise _forged()
        require_use(bound, Use.DECRYPT)
        passage.facts["version"] = bound.version
        sealed = made.prefix + parts.iv + parts.ciphertext + parts.tag
        framed = layout.framed(aad, parts.metadata)
        return await self._vault.open(bound, sealed, framed, deadline=passage.deadline)

    async def _open_compatibly(
        self, passage: Passage, entry: Entry, parts: SealedParts, aad: bytes | None
    ) -> bytes:
        """Open what AWS's sample proxy made: under the key's first version, the object that it used."""
        bound = await self._version(entry, 1)
        if bound.record.scheme is not Scheme.AES_GCM:
            raise _forged()
        require_use(bound, Use.DECRYPT)
        passage.facts |= {"version": 1, "layout": "sample-proxy"}
        sealed = parts.iv + parts.ciphertext + parts.tag
        digested = layout.digested(aad, parts.metadata)
        return await self._vault.open(bound, sealed, digested, deadline=passage.deadline)

    async def _version(self, entry: Entry, number: int) -> BoundVersion:
        """Find a version; one that only the metadata know of is a bad ciphertext."""
        try:
            return await self._catalog.version(entry, number)
        except StrongroomError as error:
            if error.reason is Reason.INVALID_FIELD:
                raise _forged() from None
            raise


def check_sizes(data: bytes, field: str, aad: bytes | None) -> None:
    """Refuse more than is supported. Raises FIELD_TOO_LARGE."""
    if len(data) > layout.MAX_PLAINTEXT:
        raise too_large(field, layout.MAX_PLAINTEXT)
    if aad is not None and len(aad) > layout.MAX_AAD:
        raise too_large("additionalAuthenticatedData", layout.MAX_AAD)


def _taken_apart(sealed: bytes, bound: BoundVersion) -> tuple[bytes, SealedParts]:
    """Take apart what the vault made: the nonce's prefix (empty under AES-GCM), and what KMS stores."""
    form = LAYOUTS[bound.record.scheme]
    at = layout.PREFIX_BYTES if form is layout.Layout.XAES_256_GCM else 0
    prefix, iv = sealed[:at], sealed[at : at + layout.IV_BYTES]
    ciphertext, tag = sealed[at + layout.IV_BYTES : -layout.TAG_BYTES], sealed[-layout.TAG_BYTES :]
    metadata = layout.encode_metadata(form, bound.version, prefix)
    return prefix, SealedParts(ciphertext, iv, tag, metadata)


def _forged() -> StrongroomError:
    return StrongroomError(Reason.INVALID_CIPHERTEXT)
