"""Key material made, brought in, moved and let out: each on the lane that it holds up, none on the loop.

RSA generation has a lane of its own, so that it never blocks signing; resident keys are made where token
objects are changed (objects.py).
"""

from collections.abc import Sequence
from typing import Final

from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.exporting import ExportAlgorithm, Recipient, SharedKey
from strongroomd.domain.importing import WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.keys import NOBODY, Arrival, Audience, BoundVersion, Imported, Material, WrappingPair
from strongroomd.domain.records import CustodyMode
from strongroomd.domain.tokens import MAIN, demand_main
from strongroomd.hsm.birth import Cradle, Guest, audience_of
from strongroomd.hsm.device import Device
from strongroomd.hsm.dock import Dock
from strongroomd.hsm.exports import Departures
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.leaving import release_pair
from strongroomd.hsm.loading import unusable
from strongroomd.hsm.mechanisms import Offer
from strongroomd.hsm.objects import TokenObjects
from strongroomd.hsm.replicas import Receiver

_NOT_MOVED: Final = frozenset({Fault.DATA, Fault.DOUBTFUL, Fault.REQUEST})


class Deliveries:
    """The methods of `ports.Vault` by which key material comes and goes.

    Args:
        cradle: makes keys.
        offer: what the token can do.
        departures: wraps what leaves.
        device: over the session pool.
        objects: makes resident keys.
        slow: the lane of what takes milliseconds.
        birth: the lane of what takes seconds.
    """

    def __init__(
        self,
        cradle: Cradle,
        offer: Offer,
        departures: Departures,
        device: Device,
        objects: TokenObjects,
        slow: Lane,
        birth: Lane,
    ) -> None:
        self._cradle = cradle
        self._offer = offer
        self._departures = departures
        self._device = device
        self._objects = objects
        self._slow = slow
        self._birth = birth
        self._observer = device.observer
        self._dock = Dock(cradle, device, device.observer)
        self._receiver = Receiver(cradle, device, device.observer)

    def placement(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode | None,
        *,
        exportable: bool,
        token: str = MAIN,
    ) -> tuple[CustodyMode, str]:
        """See `Vault.placement`."""
        demand_main(token)
        return self._offer.placement(spec, usage, mode, exportable=exportable)

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
        """See `Vault.generate`."""
        self.placement(spec, usage, mode, exportable=exportable, token=token)
        if mode is CustodyMode.RESIDENT:
            lane = self._birth if SPECS[spec].family is KeyFamily.RSA else self._objects.lane
            return await lane.run(deadline, self._objects.make_resident, self._cradle, spec, usage, hsm_id)
        houses = audience_of(audience, self._offer)
        return await self._lane_of_birth(spec).run(
            deadline, self._make_wrapped, spec, usage, exportable, houses
        )

    async def make_wrapping_pair(
        self, bits: WrappingKeySpec, algorithm: WrappingAlgorithm, *, deadline: float, token: str = MAIN
    ) -> WrappingPair:
        """See `Vault.make_wrapping_pair`."""
        demand_main(token)
        return await self._birth.run(deadline, self._dock.make_pair, bits, algorithm)

    async def import_material(
        self, pair: WrappingPair, wrapped: bytes, arrival: Arrival, *, deadline: float, token: str = MAIN
    ) -> Imported:
        """See `Vault.import_material`."""
        demand_main(token)
        lane = self._lane_of_birth(arrival.spec)
        return await lane.run(deadline, self._dock.bring_in, pair, wrapped, arrival)

    async def receive(
        self,
        version: BoundVersion,
        copy: bytes,
        pair: str,
        *,
        audience: Audience = NOBODY,
        deadline: float,
    ) -> Material:
        """See `Vault.receive`."""
        return await self._birth.run(deadline, self._receiver.receive, version, copy, pair, audience)

    async def rewrap(self, key: BoundVersion, *, deadline: float) -> Material:
        """See `Vault.rewrap`."""
        return await self._slow.run(deadline, self._rewrap, key)

    async def export(
        self, key: BoundVersion, recipient: Recipient, algorithm: ExportAlgorithm, *, deadline: float
    ) -> bytes:
        """See `Vault.export`."""
        return await self._slow.run(deadline, self._export, key, recipient, algorithm)

    async def share_wrapping_key(self, public_key: bytes, *, deadline: float) -> SharedKey:
        """See `Vault.share_wrapping_key`."""
        return await self._slow.run(deadline, self._share, public_key)

    async def data_key_pair(self, spec: KeySpec, *, deadline: float) -> tuple[bytearray, bytes]:
        """See `Vault.data_key_pair`."""
        return await self._lane_of_birth(spec).run(deadline, self._release_pair, spec)

    # --- work of the lanes ---

    def _lane_of_birth(self, spec: KeySpec) -> Lane:
        return self._birth if SPECS[spec].family is KeyFamily.RSA else self._slow

    def _make_wrapped(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        exportable: bool,  # noqa: FBT001
        audience: Sequence[Guest],
    ) -> Material:
        work = self._cradle.wrapped
        material = self._device.run("birth", work, spec, usage, exportable=exportable, audience=audience)
        self._observer.leaked(4 + len(audience) * 3)
        return material

    def _rewrap(self, key: BoundVersion) -> Material:
        try:
            material = self._device.run_doubtful("rewrap", self._cradle.moved, key)
        except Refused as refused:
            if refused.kind in _NOT_MOVED:
                raise unusable(f"it cannot be moved to another KEK ({refused.detail})") from refused
            raise
        self._observer.leaked(2)
        return material

    def _export(self, key: BoundVersion, recipient: Recipient, algorithm: ExportAlgorithm) -> bytes:
        blob = self._device.run_doubtful("export", self._departures.wrap, key, recipient, algorithm)
        self._observer.leaked(3)
        return blob

    def _share(self, public_key: bytes) -> SharedKey:
        shared = self._device.run("export", self._departures.share, public_key)
        self._observer.leaked(3)
        return shared

    def _release_pair(self, spec: KeySpec) -> tuple[bytearray, bytes]:
        pair = self._device.run("birth", release_pair, spec)
        self._observer.leaked(2)
        return pair
