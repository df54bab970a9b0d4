"""How keys come into being.

In the token, wrapped there, proved, and gone from it again; or resident for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Audience, BoundVersion, Material
from strongroomd.hsm import handles
from strongroomd.hsm.checks import check_value, matches
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.house import Household
from strongroomd.hsm.mechanisms import CURVES, GENERATION, Offer
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key, public_key_of
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.templates import (
    COPY_ROOT,
    COPY_WRAPPER,
    EPHEMERAL,
    PUBLIC_HALF,
    Life,
    customer_template,
)

PUBLIC_EXPONENT: Final = b"\x01\x00\x01"  # 65537, FIPS 186-5 5.1
MIN_RECOVERY_BITS: Final = 3_072  # it guards keys for decades: NIST SP 800-57 part 1, table 4, beyond 2030
_PAIRS: Final = (KeyFamily.RSA, KeyFamily.EC, KeyFamily.EDWARDS)


@dataclass(frozen=True, slots=True)
class Newborn:
    """A key just generated.

    Attributes:
        held: secret or private key object.
        public_key: DER SubjectPublicKeyInfo, empty for secrets.
    """

    held: TokenObject
    public_key: bytes


def generate(session: Session, spec: KeySpec, template: Packed) -> Newborn:
    """Generate a key under a ready template; the public half of a pair does not stay."""
    facts = SPECS[spec]
    key_type, mechanism = GENERATION[facts.family]
    if facts.family not in _PAIRS:
        held = session.generate_key(
            key_type, facts.bits, capabilities=0, mechanism=mechanism, template=template
        )
        return Newborn(held, b"")
    public, private = session._generate_keypair(  # noqa: SLF001 - the public method refuses EC without parameters
        key_type,
        facts.bits if facts.family is KeyFamily.RSA else None,
        capabilities=0,
        mechanism=mechanism,
        public_template=_public_template(spec),
        private_template=template,
    )
    try:
        return Newborn(private, public_key_of(spec, public))
    finally:
        public.destroy()


def _public_template(spec: KeySpec) -> Packed:
    if SPECS[spec].family is KeyFamily.RSA:
        return {**PUBLIC_HALF, **pack({Attribute.PUBLIC_EXPONENT: PUBLIC_EXPONENT})}
    return {**PUBLIC_HALF, **pack({Attribute.EC_PARAMS: CURVES[spec]})}


@dataclass(frozen=True, slots=True)
class Guest:
    """Another house that a key is wrapped for: its pair's public half, and what the copy is bound to."""

    public_key: Packed
    binding: bytes


@dataclass(frozen=True, slots=True)
class Cradle:
    """What births need.

    Attributes:
        house: the KEKs.
        quirks: what cannot be read back.
        recovery: template that creates the recovery public key as a session object; None without recovery.
        offer: chooses the scheme of new material.
    """

    house: Household
    quirks: Quirks
    recovery: Packed | None
    offer: Offer

    def wrapped(
        self,
        session: Session,
        spec: KeySpec,
        usage: KeyUsage,
        *,
        exportable: bool,
        audience: Sequence[Guest] = (),
    ) -> Material:
        """Make material that lives in the store; nothing of it stays in the token.

        It is wrapped for each of an audience besides.

        Raises:
            StrongroomError: INTERNAL when the blob does not load as what was made.
        """
        scheme = self.offer.scheme(spec)
        born = generate(session, spec, customer_template(spec, usage, Life.BORN, scheme))
        return self.keep(session, born, spec, usage, scheme, exportable=exportable, audience=audience)

    def keep(
        self,
        session: Session,
        born: Newborn,
        spec: KeySpec,
        usage: KeyUsage,
        scheme: Scheme,
        *,
        exportable: bool,
        audience: Sequence[Guest] = (),
    ) -> Material:
        """Wrap a key for the store, take it out of the token whatever happens, and prove the blob.

        Raises:
            StrongroomError: INTERNAL when the blob does not load as what was wrapped.
        """
        kek_id = self.house.exportable if exportable else self.house.sealed
        kek = self.house.keks[kek_id]
        try:
            check = check_value(session, born.held.handle, spec, born.public_key, scheme)
            blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, born.held.handle)
            recovery = self._recovery_blob(session, born.held.handle)
            copies = _copies(session, audience, born.held.handle)
        finally:
            born.held.destroy()
        length = true_length(spec)
        made = Material(kek_id, "", blob, length, born.public_key, check, recovery, scheme, copies)
        self._prove(session, made, spec, usage, exportable=exportable)
        return made

    def rewrapped(
        self, session: Session, handle: int, bound: BoundVersion, audience: Sequence[Guest] = ()
    ) -> Material:
        """Wrap a version's material once more, as at its birth, under the newest KEK for it.

        Args:
            session: any.
            handle: the material, in the token for a moment under the template of its birth.
            bound: what it must be.
            audience: whom it is wrapped for besides, as at its birth.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when it is another key, INTERNAL when the blob does not load.
            PKCS11Error: the same, for keys of scheme AES_GCM; or the token fails.
        """
        record, spec, usage, scheme = bound.record, bound.spec, bound.usage, bound.record.scheme
        if not matches(session, handle, spec, usage, record.public_key, record.check_value, scheme):
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail="other material than the record's")
        kek_id = self.house.exportable if bound.exportable else self.house.sealed
        blob = handles.wrap(session, self.house.keks[kek_id], Mechanism.AES_KEY_WRAP_PAD, handle)
        recovery = self._recovery_blob(session, handle) or record.recovery_blob
        copies = _copies(session, audience, handle)
        made = Material(
            kek_id, "", blob, record.length, record.public_key, record.check_value, recovery, scheme, copies
        )
        self._prove(session, made, spec, usage, exportable=bound.exportable)
        return made

    def moved(self, session: Session, bound: BoundVersion) -> Material:
        """Bring an exportable version from an older KEK to the newest, all inside the token.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when its KEK is not here or it is another key.
            PKCS11Error: the blob does not open, or its KEK lets nothing leave; or the token fails.
        """
        kek = self.house.keks.get(bound.record.kek_id)
        if kek is None:
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail="its KEK is not in this token")
        leaving = customer_template(bound.spec, bound.usage, Life.LEAVING, bound.record.scheme)
        held = handles.unwrap(session, kek, bound.record.blob, leaving)
        try:
            return self.rewrapped(session, held.handle, bound)
        finally:
            held.destroy()

    def resident(self, session: Session, spec: KeySpec, usage: KeyUsage, hsm_id: str) -> Material:
        """Make a token object that never leaves, read it back and prove it.

        Raises:
            StrongroomError: ALREADY_EXISTS when an object has this id, INTERNAL when it is not as asked for.
        """
        identity = pack({Attribute.ID: bytes.fromhex(hsm_id)})
        if handles.find(session, identity):
            raise StrongroomError(Reason.ALREADY_EXISTS, detail="an object with this CKA_ID is in the token")
        scheme = self.offer.scheme(spec)
        template = {**identity, **customer_template(spec, usage, Life.RESIDENT, scheme)}
        born = generate(session, spec, template)
        try:
            check = check_value(session, born.held.handle, spec, born.public_key, scheme)
            self.compare(born.held, template)
            _demand(matches(session, born.held.handle, spec, usage, born.public_key, check, scheme))
        except BaseException:
            born.held.destroy()
            raise
        return Material("", hsm_id, b"", true_length(spec), born.public_key, check, b"", scheme)

    def _prove(
        self, session: Session, made: Material, spec: KeySpec, usage: KeyUsage, *, exportable: bool
    ) -> None:
        """Load the blob once as later uses will, before anybody relies on it."""
        life = Life.EXPORTABLE if exportable else Life.SEALED
        template = customer_template(spec, usage, life, made.scheme)
        loaded = handles.unwrap(session, self.house.keks[made.kek_id], made.blob, template)
        try:
            self.compare(loaded, template)
            handle, check = loaded.handle, made.check_value
            _demand(matches(session, handle, spec, usage, made.public_key, check, made.scheme))
        finally:
            loaded.destroy()

    def compare(self, held: TokenObject, template: Packed) -> None:
        """Hold a new object against its template. Raises INTERNAL for one that differs."""
        if wrong := handles.deviations(held, template, self.quirks.unreadable):
            raise _useless(f"has wrong attributes: {', '.join(wrong)}")

    def _recovery_blob(self, session: Session, handle: int) -> bytes:
        """Wrap a key to the recovery public key."""
        return b"" if self.recovery is None else wrap_under_rsa(session, self.recovery, handle)


def _copies(session: Session, audience: Sequence[Guest], handle: int) -> tuple[bytes, ...]:
    """Wrap a key for each of an audience."""
    return tuple(_wrap_bound(session, guest, handle) for guest in audience)


def _wrap_bound(session: Session, guest: Guest, handle: int) -> bytes:
    """Wrap a key for another house: OAEP-SHA1 of a one-time root, then AES-KWP under what it derives.

    What the root is given to derive from is the binding: who says another one does not open the copy.
    """
    held = [session.create_object(guest.public_key)]
    try:
        root = session.generate_key(
            KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=COPY_ROOT
        )
        held.append(root)
        head = handles.wrap(session, held[0].handle, Mechanism.RSA_PKCS_OAEP, root.handle)
        carrier = handles.derive_blocks(session, root.handle, guest.binding, COPY_WRAPPER)
        held.append(carrier)
        return head + handles.wrap(session, carrier.handle, Mechanism.AES_KEY_WRAP_PAD, handle)
    finally:
        for each in held:
            each.destroy()


def wrap_under_rsa(session: Session, public_key: Packed, handle: int) -> bytes:
    """Wrap a key to an RSA public key: OAEP-SHA1 of a one-time AES key, then AES-KWP of the material.

    The layout is that of CKM_RSA_AES_KEY_WRAP (PKCS#11 v2.40, 2.1.22); every step happens in the token.
    """
    public = session.create_object(public_key)
    ephemeral = None
    try:
        ephemeral = session.generate_key(
            KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=EPHEMERAL
        )
        head = handles.wrap(session, public.handle, Mechanism.RSA_PKCS_OAEP, ephemeral.handle)
        return head + handles.wrap(session, ephemeral.handle, Mechanism.AES_KEY_WRAP_PAD, handle)
    finally:
        public.destroy()
        if ephemeral is not None:
            ephemeral.destroy()


def true_length(spec: KeySpec) -> int:
    """Length of a secret in bytes, 0 for pairs; SoftHSM pads odd lengths when it wraps."""
    facts = SPECS[spec]
    return 0 if facts.family in _PAIRS else facts.bits // 8


def recovery_template(public_key: bytes) -> Packed | None:
    """Prepare the recovery public key; None when there is none.

    Raises:
        StrongroomError: CONFIGURATION when it is no RSA key of at least 3,072 bits.
    """
    if not public_key:
        return None
    try:
        key = load_public_key(public_key)
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RECOVERY_BITS:
        raise StrongroomError(
            Reason.CONFIGURATION,
            f"an RSA public key of at least {MIN_RECOVERY_BITS:,} bits is needed",
            field="hsm.recovery_public_key",
        )
    return rsa_wrapping_template(key)


def audience_of(audience: Audience, offer: Offer) -> list[Guest]:
    """Prepare what it takes to wrap material for other houses.

    Raises:
        StrongroomError: UNSUPPORTED_BY_TOKEN where copies cannot be bound; INTERNAL for what is no RSA key of
            at least 3,072 bits: they were checked before.
    """
    if not audience.houses:
        return []
    if not offer.has(Mechanism.AES_ECB_ENCRYPT_DATA):
        text = "the token cannot wrap for other houses: it lacks CKM_AES_ECB_ENCRYPT_DATA"
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, text, field="multi_region")
    found = [load_public_key(each) for each in audience.houses]
    if not all(isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RECOVERY_BITS for key in found):
        raise StrongroomError(Reason.INTERNAL, detail="a peer's public key is not what was registered")
    templates = [rsa_wrapping_template(key) for key in found if isinstance(key, rsa.RSAPublicKey)]
    return [Guest(each, audience.binding) for each in templates]


def rsa_wrapping_template(key: rsa.RSAPublicKey) -> Packed:
    """Give the template of a public key as a session object that does nothing but wrap."""
    numbers = key.public_numbers()
    return pack(
        {
            Attribute.CLASS: int(ObjectClass.PUBLIC_KEY),
            Attribute.KEY_TYPE: int(KeyType.RSA),
            Attribute.TOKEN: False,
            Attribute.PRIVATE: False,
            Attribute.ENCRYPT: False,
            Attribute.VERIFY: False,
            Attribute.WRAP: True,
            Attribute.MODULUS: numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"),
            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big"),
            Attribute.MODIFIABLE: False,
        }
    )


def _demand(proved: bool) -> None:  # noqa: FBT001 - an assertion's only argument
    if not proved:
        raise _useless("fails its own check")


def _useless(what: str) -> StrongroomError:
    return StrongroomError(Reason.INTERNAL, detail=f"a new key {what}")
