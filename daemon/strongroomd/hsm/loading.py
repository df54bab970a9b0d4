"""Bringing a key version into the token's memory, or finding a resident or adopted one, and proving it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pkcs11.constants import Attribute

from strongroomd.domain.algorithms import SPECS, KeyFamily, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm import adoption, handles
from strongroomd.hsm.cache import LoadedKey
from strongroomd.hsm.checks import encrypt_block, matches
from strongroomd.hsm.device import Device
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.house import Household
from strongroomd.hsm.packing import Packed, pack
from strongroomd.hsm.publickeys import load_public_key
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.sessions import Keeper
from strongroomd.hsm.templates import Life, customer_template
from strongroomd.hsm.xaes import mask_of

T = TypeVar("T")
_BAD_DATA = (Fault.DATA, Fault.DOUBTFUL)


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads keys; any thread.

    Attributes:
        house: the KEKs.
        quirks: what cannot be read back.
        plain: device over the session pool, for searches.
    """

    house: Household
    quirks: Quirks
    plain: Device

    def load(self, device: Device, bound: BoundVersion) -> LoadedKey:
        """Load a version through `device`, whose session will own the object.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when the material is missing or not the record's,
            HSM_UNAVAILABLE.
        """
        try:
            if bound.mode is CustodyMode.RESIDENT:
                return self.plain.run_doubtful("load", self._find, bound)
            if bound.mode is CustodyMode.ADOPTED:
                return self.plain.run_doubtful("load", self._find_adopted, bound)
            kek = self.house.keks.get(bound.record.kek_id)
            if kek is None:
                raise unusable("its KEK is not in this token")
            return device.run_doubtful("load", self._unwrap, device, kek, bound)
        except Refused as refused:
            if refused.kind in _BAD_DATA:
                raise unusable("its blob or check value does not open (integrity)") from refused
            raise

    def examine(self, bound: BoundVersion, read: Callable[[TokenObject], T]) -> T:
        """Find the object of a resident or adopted version, prove it, and read something of it.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when it is missing or not the record's, HSM_UNAVAILABLE.
        """
        find = self._find_adopted if bound.mode is CustodyMode.ADOPTED else self._find

        def work(session: Session) -> T:
            return read(find(session, bound).held)

        try:
            return self.plain.run_doubtful("load", work)
        except Refused as refused:
            if refused.kind in _BAD_DATA:
                raise unusable("its check value does not open (integrity)") from refused
            raise

    def _unwrap(self, session: Session, device: Device, kek: int, bound: BoundVersion) -> LoadedKey:
        template = customer_template(
            bound.spec,
            bound.usage,
            Life.EXPORTABLE if bound.exportable else Life.SEALED,
            bound.record.scheme,
        )
        held = handles.unwrap(session, kek, bound.record.blob, template)
        try:
            self._compare(held, template)
            return _ready(session, held, bound, device)
        except BaseException:
            held.destroy()
            raise

    def _find(self, session: Session, bound: BoundVersion) -> LoadedKey:
        identity = pack({Attribute.ID: bytes.fromhex(bound.record.hsm_id)})
        found = handles.find(session, identity)
        if len(found) != 1:
            raise unusable(f"the token has {len(found)} objects for it")
        template = customer_template(bound.spec, bound.usage, Life.RESIDENT, bound.record.scheme)
        self._compare(found[0], template)
        return _ready(session, found[0], bound, None)

    def _find_adopted(self, session: Session, bound: BoundVersion) -> LoadedKey:
        held = adoption.find_again(session, self.house.sentinel, bound.record)
        if isinstance(held, str):
            raise unusable(held)
        return LoadedKey(
            bound=bound, held=held, handle=int(held.handle), device=None, epoch=0, born=time.monotonic()
        )

    def _compare(self, held: TokenObject, template: Packed) -> None:
        if wrong := handles.deviations(held, template, self.quirks.unreadable):
            raise unusable(f"attributes {', '.join(wrong)} (integrity)")


def _ready(session: Session, held: TokenObject, bound: BoundVersion, device: Device | None) -> LoadedKey:
    record, scheme = bound.record, bound.record.scheme
    handle = int(held.handle)
    if not matches(session, handle, bound.spec, bound.usage, record.public_key, record.check_value, scheme):
        raise unusable("its check value does not fit (integrity)")
    is_root = SPECS[bound.spec].family is KeyFamily.AES and scheme is Scheme.DEFAULT
    keeper = device.pool if device else None
    return LoadedKey(
        bound=bound,
        held=held,
        handle=handle,
        device=device,
        epoch=keeper.epoch if isinstance(keeper, Keeper) else 0,
        born=time.monotonic(),
        public=load_public_key(record.public_key) if record.public_key else None,
        mask=mask_of(encrypt_block(session, handle, bytes(16))) if is_root else b"",
    )


def unusable(detail: str) -> StrongroomError:
    """Make the error for material that is missing or wrong; the detail stays in the log."""
    return StrongroomError(Reason.KEY_UNAVAILABLE, detail=f"key version cannot be loaded: {detail}")
