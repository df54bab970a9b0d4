"""How key material comes to be in the HSM, comes into it, moves within it and leaves it."""

from typing import Protocol

from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.exporting import ExportAlgorithm, Recipient, SharedKey
from strongroomd.domain.importing import WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.keys import NOBODY, Arrival, Audience, BoundVersion, Imported, Material, WrappingPair
from strongroomd.domain.records import CustodyMode
from strongroomd.domain.tokens import MAIN


class KeyMaterial(Protocol):
    """Material of keys, from its birth or arrival to its leaving: what comes out of a token is wrapped."""

    def placement(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode | None,
        *,
        exportable: bool,
        token: str = MAIN,
    ) -> tuple[CustodyMode, str]:
        """Choose how a new key will live in a token, and say why when the caller did not ask for it.

        Raises:
            StrongroomError: UNSUPPORTED_BY_TOKEN naming the mechanism that the token lacks, HSM_UNAVAILABLE.
        """
        ...

    async def generate(  # noqa: PLR0913 - what a birth needs
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode,
        *,
        exportable: bool,
        hsm_id: str,
        deadline: float,
        token: str = MAIN,
        audience: Audience = NOBODY,
    ) -> Material:
        """Make new material in a token.

        Wrapped material is also wrapped, inside the token, for each house of an `audience`:
        `Material.copies`.

        Wrapped: nothing stays in the token. Resident: one token object with CKA_ID `hsm_id`
        (32 hex digits), read back and proved usable before this returns; not idempotent. How symmetric
        material encrypts (`Material.scheme`) is the vault's choice, by its settings and what the token has.
        """
        ...

    async def make_wrapping_pair(
        self, bits: WrappingKeySpec, algorithm: WrappingAlgorithm, *, deadline: float, token: str = MAIN
    ) -> WrappingPair:
        """Make an RSA pair in a token whose private half does nothing but open what was wrapped so.

        Nothing of it stays in the token: the private half comes out wrapped under the sealed KEK only.
        """
        ...

    async def import_material(
        self, pair: WrappingPair, wrapped: bytes, arrival: Arrival, *, deadline: float, token: str = MAIN
    ) -> Imported:
        """Unwrap material that somebody else made, look whether it is what it should be, and keep it wrapped.

        What comes back is as of `generate`, so that it is loaded and used as material that was born here.
        Where the material is in clear meanwhile is `arrival.level`.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for what does not unwrap, always the same; INVALID_FIELD
                (`encrypted_key_material`) for material of another kind or size, or that is weak or does not
                fit together, with the reason; HSM_UNAVAILABLE.
        """
        ...

    @property
    def replica_key(self) -> bytes:
        """Public half (DER SubjectPublicKeyInfo) of the newest replica pair; empty where there is none."""
        ...

    async def receive(
        self,
        version: BoundVersion,
        copy: bytes,
        pair: str,
        *,
        audience: Audience = NOBODY,
        deadline: float,
    ) -> Material:
        """Unwrap a copy that another house made for this one, and keep it as material that was born here.

        All inside the main token. The material is held against the check value of `version` before it is
        wrapped under a KEK of this house, to the recovery public key and for each house of `audience`.

        Args:
            version: what it must be; of its record only what another house can know is looked at.
            copy: one of `Material.copies`.
            pair: which replica pair it was made for: SHA-256 of the public half, hexadecimal.
            audience: as of `generate`; the copy was made under the same binding.
            deadline: monotonic seconds.

        Raises:
            StrongroomError: INVALID_CIPHERTEXT for what does not unwrap, or is bound to something else;
                INCORRECT_KEY_MATERIAL for other material than the version's; NOT_FOUND (`pair`) for a pair
                that is not this house's; UNSUPPORTED_BY_TOKEN; HSM_UNAVAILABLE.
        """
        ...

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """Find an object that was in a token before us, read it and prove what it can do; nothing is changed.

        Raises:
            StrongroomError: NOT_FOUND; INVALID_FIELD (`cka_id` or `label`) when it is not exactly one, the
                daemon's own, or not a key that can be adopted; UNSUPPORTED_BY_TOKEN when it does not let
                AES-GCM be used; HSM_UNAVAILABLE.
        """
        ...

    async def rewrap(self, key: BoundVersion, *, deadline: float) -> Material:
        """Wrap an exportable version anew under the newest exportable KEK of its token, all inside the token.

        The new blob was unwrapped and held against the check value before this returns.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when the blob does not open, is another key's, or its KEK lets
                nothing leave; HSM_UNAVAILABLE.
        """
        ...

    async def export(
        self, key: BoundVersion, recipient: Recipient, algorithm: ExportAlgorithm, *, deadline: float
    ) -> bytes:
        """Wrap an exportable version for a recipient, proved to be the record's; nothing of it stays.

        The material's true length is the record's `length`; what KWP wraps may have zeros behind it.

        Raises:
            StrongroomError: KEY_UNAVAILABLE; UNSUPPORTED_BY_TOKEN for a KEK under which no key can leave, and
                where the shared key of the recipient is not in the token of the key.
        """
        ...

    async def share_wrapping_key(self, public_key: bytes, *, deadline: float) -> SharedKey:
        """Make an AES-256 key that only wraps, in the main token: for exports to the holder of an RSA key."""
        ...
