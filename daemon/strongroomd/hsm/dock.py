"""Where material of others comes in: wrapping pairs, and what was wrapped under them.

A wrapping pair is no token object: its private half is kept as any key is, wrapped under the sealed KEK, so
that it outlives restarts and serves in every worker. It can do one thing: unwrap (OAEP with SHA-1), or raw
RSA where the token has no SHA-256 for OAEP, and then what it opens is in this process's memory.

Material arrives as an extractable session object, is looked at, is wrapped under the KEK that its key asks
for, and is gone from the token again; from then on it is as if it had been born here.
"""

import os
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import SPECS, KeyFamily, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import ImportLevel, WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.keys import Arrival, Imported, Material, WrappingPair
from strongroomd.hsm import handles
from strongroomd.hsm.arrivals import examine, parsed
from strongroomd.hsm.birth import Cradle, Newborn, generate
from strongroomd.hsm.device import Device
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.materialtraits import trait_of, trait_of_pair, wrap_trait
from strongroomd.hsm.oaep import Padding, in_range, raw_decrypt
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key
from strongroomd.hsm.templates import (
    ARRIVING_PAIR,
    CARRIER,
    DECRYPTS_RAW,
    UNWRAPS_OAEP,
    Life,
    customer_template,
    template,
)

_BAD_DATA: Final = (Fault.DATA, Fault.DOUBTFUL, Fault.REQUEST)
_CARRIER_BYTES: Final = 32

PAIRS: Final[dict[tuple[bool, Life], Packed]] = {
    (sha256, life): pack(template(KeyFamily.RSA, life, DECRYPTS_RAW if sha256 else UNWRAPS_OAEP))
    for sha256 in (False, True)
    for life in (Life.BORN, Life.SEALED)
}
"""Templates of a wrapping pair's private half, by whether OAEP's hash is SHA-256."""

_ARRIVING_EC: Final = pack(template(KeyFamily.EC, Life.BORN, ARRIVING_PAIR))


class Dock:
    """Makes wrapping pairs, and brings in what was wrapped under them; on the calling thread.

    Args:
        cradle: wraps and proves what stays.
        device: the token.
        observer: hears of session objects, each of which leaks a little in SoftHSM.
    """

    def __init__(self, cradle: Cradle, device: Device, observer: Observer) -> None:
        self._cradle = cradle
        self._device = device
        self._observer = observer
        self._padding = Padding()

    def make_pair(self, bits: WrappingKeySpec, algorithm: WrappingAlgorithm) -> WrappingPair:
        """See `Vault.make_wrapping_pair`."""
        self._observer.leaked(3)
        return self._device.run("birth", self._make_pair, bits, algorithm)

    def bring_in(self, pair: WrappingPair, wrapped: bytes, arrival: Arrival) -> Imported:
        """See `Vault.import_material`."""
        self._observer.leaked(11)
        try:
            return self._device.run_doubtful("import", self._bring_in, pair, wrapped, arrival)
        except Refused as refused:
            if refused.kind in _BAD_DATA:
                raise _closed() from refused
            raise

    # --- pairs ---

    def _make_pair(
        self, session: Session, bits: WrappingKeySpec, algorithm: WrappingAlgorithm
    ) -> WrappingPair:
        house, sha256 = self._cradle.house, algorithm.is_sha256
        born = generate(session, bits.spec, PAIRS[sha256, Life.BORN])
        try:
            blob = handles.wrap(
                session, house.keks[house.sealed], Mechanism.AES_KEY_WRAP_PAD, born.held.handle
            )
        finally:
            born.held.destroy()
        pair = WrappingPair(house.sealed, blob, born.public_key)
        self._prove(session, pair, sha256=sha256)
        return pair

    def _prove(self, session: Session, pair: WrappingPair, *, sha256: bool) -> None:
        """Load the pair as imports will, compare it, and have it open something."""
        private = self._load(session, pair, sha256=sha256)
        try:
            self._cradle.compare(private, PAIRS[sha256, Life.SEALED])
            self._carrier(session, private.handle, pair, _trial(pair, sha256=sha256), sha256=sha256).destroy()
        finally:
            private.destroy()

    def _load(self, session: Session, pair: WrappingPair, *, sha256: bool) -> TokenObject:
        kek = self._cradle.house.keks.get(pair.kek_id)
        if kek is None:
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail="a wrapping pair's KEK is not in this token")
        return handles.unwrap(session, kek, pair.blob, PAIRS[sha256, Life.SEALED])

    # --- arrivals ---

    def _bring_in(self, session: Session, pair: WrappingPair, wrapped: bytes, arrival: Arrival) -> Imported:
        private = self._load(session, pair, sha256=arrival.algorithm.is_sha256)
        try:
            held = self._receive(session, private.handle, pair, wrapped, arrival)
        finally:
            private.destroy()
        try:
            public_key = examine(session, held, arrival.spec, arrival.usage)
        except BaseException:
            held.destroy()
            raise
        born, scheme = Newborn(held, public_key), self._scheme(arrival)
        kept = self._cradle.keep(
            session, born, arrival.spec, arrival.usage, scheme, exportable=arrival.exportable
        )
        trait = self._trait(session, kept, arrival)
        return Imported(kept, trait, wrap_trait(session, self._cradle, trait))

    def _receive(
        self, session: Session, private: int, pair: WrappingPair, wrapped: bytes, arrival: Arrival
    ) -> TokenObject:
        """Unwrap material into a session object, by what its algorithm and level say."""
        form = self._form(arrival)
        if arrival.level is ImportLevel.HOST:
            value = self._opened_here(session, private, pair, wrapped, arrival.algorithm)
            parts = pack(dict(parsed(value, arrival.spec)))
            return session.create_object({**form, **parts})
        if not arrival.algorithm.has_key_wrap:
            return handles.unwrap(session, private, wrapped, form, Mechanism.RSA_PKCS_OAEP)
        head, tail = _halves(pair, wrapped)
        carrier = self._carrier(session, private, pair, head, sha256=arrival.algorithm.is_sha256)
        try:
            return handles.unwrap(session, carrier.handle, tail, form)
        finally:
            carrier.destroy()

    def _form(self, arrival: Arrival) -> Packed:
        if SPECS[arrival.spec].family is KeyFamily.EC:
            return _ARRIVING_EC
        return customer_template(arrival.spec, arrival.usage, Life.BORN, self._scheme(arrival))

    def _scheme(self, arrival: Arrival) -> Scheme:
        return arrival.scheme or self._cradle.offer.scheme(arrival.spec)

    def _carrier(
        self, session: Session, private: int, pair: WrappingPair, head: bytes, *, sha256: bool
    ) -> TokenObject:
        """Get the one-time AES key into the token; with SHA-256 it is in memory here on its way."""
        if not sha256:
            return handles.unwrap(session, private, head, CARRIER, Mechanism.RSA_PKCS_OAEP)
        value = self._unpadded(session, private, pair, head)
        if len(value) != _CARRIER_BYTES:
            raise _closed()
        return session.create_object({**CARRIER, **pack({Attribute.VALUE: value})})

    def _opened_here(
        self, session: Session, private: int, pair: WrappingPair, wrapped: bytes, algorithm: WrappingAlgorithm
    ) -> bytes:
        if not algorithm.has_key_wrap:
            return self._unpadded(session, private, pair, wrapped)
        head, tail = _halves(pair, wrapped)
        try:
            return aes_key_unwrap_with_padding(self._unpadded(session, private, pair, head), tail)
        except (InvalidUnwrap, ValueError):
            raise _closed() from None

    def _unpadded(self, session: Session, private: int, pair: WrappingPair, block: bytes) -> bytes:
        public = _rsa(pair)
        if not in_range(public, block):
            raise _closed()
        opened = self._padding.remove(raw_decrypt(session, private, public, block))
        if opened is None:
            raise _closed()
        return opened

    def _trait(self, session: Session, kept: Material, arrival: Arrival) -> bytes:
        if kept.public_key:
            return trait_of_pair(kept.public_key)
        spec, exportable = arrival.spec, arrival.exportable
        return trait_of(
            session, self._cradle, spec, exportable=exportable, kek_id=kept.kek_id, blob=kept.blob
        )


def _rsa(pair: WrappingPair) -> rsa.RSAPublicKey:
    public = load_public_key(pair.public_key)
    if not isinstance(public, rsa.RSAPublicKey):
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="a wrapping pair is not RSA")
    return public


def _halves(pair: WrappingPair, wrapped: bytes) -> tuple[bytes, bytes]:
    """Part what RSA_AES_KEY_WRAP made: the wrapped AES key, as long as the modulus, and the rest."""
    size = _rsa(pair).key_size // 8
    return wrapped[:size], wrapped[size:]


def _trial(pair: WrappingPair, *, sha256: bool) -> bytes:
    """Wrap a random AES key in software."""
    digest = hashes.SHA256() if sha256 else hashes.SHA1()  # noqa: S303 - OAEP's hash, as the caller chose it
    scheme = padding.OAEP(padding.MGF1(digest), digest, None)
    return _rsa(pair).encrypt(os.urandom(_CARRIER_BYTES), scheme)


def _closed() -> StrongroomError:
    """Make the one answer for what does not unwrap."""
    text = "the wrapped material does not open with the key that the import token belongs to"
    return StrongroomError(Reason.INVALID_CIPHERTEXT, text, field="encrypted_key_material")
