"""How an exportable key leaves: loaded once more, proved, wrapped for its recipient and destroyed at once.

At level `token` no key of it all is ever outside the token in clear. At `host-ephemeral` the one-time AES key
over the material is made here, because OAEP with SHA-256 is not the token's; at `host` that key also opens
the material here. KWP pads in SoftHSM: 28 bytes come out as 32, PKCS#8 with 3 to 6 zeros behind it.
"""

import os
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from pkcs11.constants import Attribute
from pkcs11.exceptions import TemplateInconsistent
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.algorithms import KeyFamily
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.exporting import ExportAlgorithm, Recipient, SharedKey
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm import handles
from strongroomd.hsm.birth import rsa_wrapping_template, wrap_under_rsa
from strongroomd.hsm.checks import matches
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.house import Household
from strongroomd.hsm.loading import unusable
from strongroomd.hsm.packing import pack
from strongroomd.hsm.publickeys import load_public_key
from strongroomd.hsm.templates import EPHEMERAL, Duty, Life, customer_template, template

_KWP: Final = Mechanism.AES_KEY_WRAP_PAD
_WRAPS: Final = Duty((Attribute.WRAP,), (_KWP,))
_SHARED_BORN: Final = pack(template(KeyFamily.AES, Life.BORN, _WRAPS))
_SHARED_USED: Final = pack(template(KeyFamily.AES, Life.SEALED, _WRAPS))
_EPHEMERAL_BYTES: Final = 32
_OAEP_SHA256: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


@dataclass(frozen=True, slots=True)
class Departures:
    """Wraps keys that leave.

    Attributes:
        house: the KEKs.
    """

    house: Household

    def wrap(
        self, session: Session, bound: BoundVersion, recipient: Recipient, algorithm: ExportAlgorithm
    ) -> bytes:
        """Wrap an exportable version for a recipient.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when the material is not the record's; UNSUPPORTED_BY_TOKEN when
                its KEK lets no key leave.
        """
        held = self._load(session, bound)
        try:
            return self._wrap(session, held, bound, recipient, algorithm)
        finally:
            held.destroy()

    def _wrap(
        self,
        session: Session,
        held: TokenObject,
        bound: BoundVersion,
        recipient: Recipient,
        algorithm: ExportAlgorithm,
    ) -> bytes:
        match algorithm:
            case ExportAlgorithm.RSA_AES_KEY_WRAP_SHA_1:
                public = rsa_wrapping_template(_recipient(recipient.public_key))
                return wrap_under_rsa(session, public, held.handle)
            case ExportAlgorithm.AES_KEY_WRAP_PAD:
                return self._wrap_under_shared(session, recipient, held.handle)
            case ExportAlgorithm.RSA_AES_KEY_WRAP_SHA_256:
                ephemeral, wrapped = _wrap_under_ours(session, held.handle)
                return _recipient(recipient.public_key).encrypt(ephemeral, _OAEP_SHA256) + wrapped
            case ExportAlgorithm.RSAES_OAEP_SHA_256:
                material = _open_here(*_wrap_under_ours(session, held.handle))[: bound.record.length]
                return _recipient(recipient.public_key).encrypt(material, _OAEP_SHA256)

    def _load(self, session: Session, bound: BoundVersion) -> TokenObject:
        """Load a version so that it can be wrapped, and prove that it is the record's."""
        record = bound.record
        kek = self.house.keks.get(record.kek_id)
        if kek is None or not bound.exportable:
            raise unusable("it has no KEK in this token under which keys can leave")
        life = customer_template(bound.spec, bound.usage, Life.LEAVING, record.scheme)
        try:
            held = handles.unwrap(session, kek, record.blob, life)
        except TemplateInconsistent:
            raise StrongroomError(
                Reason.UNSUPPORTED_BY_TOKEN,
                "the version was made under a KEK that lets no key leave: rotate the key first",
            ) from None
        try:
            spec, usage, check = bound.spec, bound.usage, record.check_value
            proved = matches(session, held.handle, spec, usage, record.public_key, check, record.scheme)
        except BaseException:
            held.destroy()
            raise
        if not proved:
            held.destroy()
            raise unusable("its check value does not fit (integrity)")
        return held

    def _wrap_under_shared(self, session: Session, recipient: Recipient, handle: int) -> bytes:
        kek = self.house.keks.get(recipient.kek_id)
        if kek is None:
            raise unusable("the wrapping key's KEK is not in this token")
        shared = handles.unwrap(session, kek, recipient.blob, _SHARED_USED)
        try:
            return handles.wrap(session, shared.handle, _KWP, handle)
        finally:
            shared.destroy()

    def share(self, session: Session, public_key: bytes) -> SharedKey:
        """Make an AES-256 key that does nothing but wrap, for this house and the holder of an RSA key."""
        born = session.generate_key(
            KeyType.AES, 256, capabilities=0, mechanism=Mechanism.AES_KEY_GEN, template=_SHARED_BORN
        )
        try:
            blob = handles.wrap(session, self.house.keks[self.house.sealed], _KWP, born.handle)
            public = rsa_wrapping_template(_recipient(public_key))
            return SharedKey(self.house.sealed, blob, wrap_under_rsa(session, public, born.handle))
        finally:
            born.destroy()


def _recipient(public_key: bytes) -> rsa.RSAPublicKey:
    """Read a recipient's public key, which is checked already."""
    key = load_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise StrongroomError(Reason.INTERNAL, detail="the recipient's key is no RSA key")
    return key


def _wrap_under_ours(session: Session, handle: int) -> tuple[bytes, bytes]:
    """Wrap a key under a one-time AES key that is made here: (that key, the wrapped key)."""
    value = os.urandom(_EPHEMERAL_BYTES)
    ephemeral = session.create_object({**EPHEMERAL, **pack({Attribute.VALUE: value})})
    try:
        return value, handles.wrap(session, ephemeral.handle, _KWP, handle)
    finally:
        ephemeral.destroy()


def _open_here(key: bytes, wrapped: bytes) -> bytes:
    try:
        return aes_key_unwrap_with_padding(key, wrapped)
    except InvalidUnwrap:
        raise StrongroomError(Reason.INTERNAL, detail="the token's KWP does not open") from None
