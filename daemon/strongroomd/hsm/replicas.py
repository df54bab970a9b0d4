"""Where copies of material from other houses come in: by the replica pair, whose private half only unwraps.

A copy has two parts: a head, which is a one-time AES root under the pair's public half (OAEP with SHA-1), and
a tail, which is the material (AES-KWP) under the key that the root derives from the binding. The pair is the
whole house's: by the binding a copy opens as the account's key that it was made as, and as nothing else. All
steps happen in the token, and the material stays there no longer than it takes to wrap it under a KEK.
"""

from collections.abc import Sequence
from typing import Final

from pkcs11.mechanisms import Mechanism

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Audience, BoundVersion, Material
from strongroomd.hsm import handles
from strongroomd.hsm.birth import Cradle, Guest, audience_of
from strongroomd.hsm.device import Device
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.housebirth import REPLICA_BITS
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.templates import CARRIER, COPY_CARRIER, Life, customer_template

_HEAD: Final = REPLICA_BITS // 8
_BAD_DATA: Final = (Fault.DATA, Fault.DOUBTFUL, Fault.REQUEST)


class Receiver:
    """Brings in copies; on the calling thread.

    Args:
        cradle: wraps and proves what stays; its house has the pairs.
        device: the token.
        observer: hears of session objects, each of which leaks a little in SoftHSM.
    """

    def __init__(self, cradle: Cradle, device: Device, observer: Observer) -> None:
        self._cradle = cradle
        self._device = device
        self._observer = observer

    def receive(self, bound: BoundVersion, copy: bytes, pair: str, audience: Audience) -> Material:
        """See `Vault.receive`."""
        private = self._cradle.house.replicas.get(pair)
        if private is None:
            raise StrongroomError(
                Reason.NOT_FOUND, "the copy is for a replica pair of another house", field="pair"
            )
        offer = self._cradle.offer
        if offer.scheme(bound.spec) is not bound.record.scheme or not offer.has(
            Mechanism.AES_ECB_ENCRYPT_DATA
        ):
            text = "the token cannot use the key as the house that made it: it lacks CKM_AES_ECB_ENCRYPT_DATA"
            raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, text)
        guests = audience_of(audience, offer)
        self._observer.leaked(6 + len(guests) * 3)
        try:
            return self._device.run_doubtful(
                "import", self._land, private, bound, copy, audience.binding, guests
            )
        except Refused as refused:
            if refused.kind in _BAD_DATA:
                raise StrongroomError(Reason.INVALID_CIPHERTEXT, "a copy does not unwrap") from refused
            raise
        except StrongroomError as error:
            if error.reason is Reason.KEY_UNAVAILABLE:
                raise StrongroomError(Reason.INCORRECT_KEY_MATERIAL, detail=error.detail) from error
            raise

    def _land(
        self,
        session: Session,
        private: int,
        bound: BoundVersion,
        copy: bytes,
        binding: bytes,
        guests: Sequence[Guest],
    ) -> Material:
        root = handles.unwrap_oaep(session, private, copy[:_HEAD], COPY_CARRIER)
        try:
            carrier = handles.derive_blocks(session, root.handle, binding, CARRIER)
        finally:
            root.destroy()
        try:
            born = customer_template(bound.spec, bound.usage, Life.BORN, bound.record.scheme)
            held = handles.unwrap(session, carrier.handle, copy[_HEAD:], born)
        finally:
            carrier.destroy()
        try:
            return self._cradle.rewrapped(session, held.handle, bound, guests)
        finally:
            held.destroy()
