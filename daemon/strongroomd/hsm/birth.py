"""How keys come into being.

In the token, wrapped there, proved, and gone from it again; or resident for good.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Material
from strongroomd.hsm import handles
from strongroomd.hsm.checks import check_value, matches
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.house import Household
from strongroomd.hsm.mechanisms import CURVES, GENERATION, Offer
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key, public_key_of
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.templates import EPHEMERAL, PUBLIC_HALF, Life, customer_template

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

    def wrapped(self, session: Session, spec: KeySpec, usage: KeyUsage, *, exportable: bool) -> Material:
        """Make material that lives in the store; nothing of it stays in the token.

        Raises:
            StrongroomError: INTERNAL when the blob does not load as what was made.
        """
        kek_id = self.house.exportable if exportable else self.house.sealed
        kek, scheme = self.house.keks[kek_id], self.offer.scheme(spec)
        born = generate(session, spec, customer_template(spec, usage, Life.BORN, scheme))
        try:
            check = check_value(session, born.held.handle, spec, born.public_key, scheme)
            blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, born.held.handle)
            recovery = self._recovery_blob(session, born.held.handle)
        finally:
            born.held.destroy()
        made = Material(kek_id, "", blob, true_length(spec), born.public_key, check, recovery, scheme)
        self._prove(session, made, spec, usage)
        return made

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
            self._compare(born.held, template)
            _demand(matches(session, born.held.handle, spec, usage, born.public_key, check, scheme))
        except BaseException:
            born.held.destroy()
            raise
        return Material("", hsm_id, b"", true_length(spec), born.public_key, check, b"", scheme)

    def _prove(self, session: Session, made: Material, spec: KeySpec, usage: KeyUsage) -> None:
        """Load the blob once as later uses will, before anybody relies on it."""
        life = Life.EXPORTABLE if made.kek_id == self.house.exportable else Life.SEALED
        template = customer_template(spec, usage, life, made.scheme)
        loaded = handles.unwrap(session, self.house.keks[made.kek_id], made.blob, template)
        try:
            self._compare(loaded, template)
            handle, check = loaded.handle, made.check_value
            _demand(matches(session, handle, spec, usage, made.public_key, check, made.scheme))
        finally:
            loaded.destroy()

    def _compare(self, held: TokenObject, template: Packed) -> None:
        if wrong := handles.deviations(held, template, self.quirks.unreadable):
            raise _useless(f"has wrong attributes: {', '.join(wrong)}")

    def _recovery_blob(self, session: Session, handle: int) -> bytes:
        """Wrap a key to the recovery public key: OAEP-SHA1 of an AES key, then AES-KWP of the material.

        The layout is that of CKM_RSA_AES_KEY_WRAP (PKCS#11 v2.40, 2.1.22); every step happens in the token.
        """
        if self.recovery is None:
            return b""
        public = session.create_object(self.recovery)
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
