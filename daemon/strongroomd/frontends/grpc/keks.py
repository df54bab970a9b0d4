"""KekService on the wire: the daemon's own keys, and re-wrap."""

from strongroom.v1 import keks_pb2 as pb
from strongroomd.custody.housekeys import HouseKey, HouseKeys
from strongroomd.custody.rewraps import Rewraps
from strongroomd.domain import names
from strongroomd.domain.records import HouseRecord, RewrapRecord
from strongroomd.domain.tokens import spelled
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class KekServicer:
    """Turns KekService messages into use cases and back.

    Args:
        house: the use cases of house keys.
        rewraps: those of re-wrap.
    """

    def __init__(self, house: HouseKeys, rewraps: Rewraps) -> None:
        self._house = house
        self._rewraps = rewraps

    async def ListHouseKeys(self, _request: pb.ListHouseKeysRequest, call: Call) -> pb.ListHouseKeysResponse:
        """List house keys."""
        found = await self._house.list_keys(call.caller)
        return pb.ListHouseKeysResponse(house_keys=[_house_key(each) for each in found])

    async def RotateHouseKey(
        self, request: pb.RotateHouseKeyRequest, call: Call
    ) -> pb.RotateHouseKeyResponse:
        """Give a role another key."""
        request_id = names.request_id(request.request_id)
        record = await self._house.rotate(call.caller, request.role, request.token, request_id)
        return pb.RotateHouseKeyResponse(house_key=_house_key(HouseKey(record, in_use=True, versions=0)))

    async def StartRewrap(self, request: pb.StartRewrapRequest, call: Call) -> pb.StartRewrapResponse:
        """Start a re-wrap."""
        request_id = names.request_id(request.request_id)
        job = await self._rewraps.start(call.caller, request.token, request.per_second, request_id)
        return pb.StartRewrapResponse(rewrap=_rewrap(job))

    async def GetRewrap(self, request: pb.GetRewrapRequest, call: Call) -> pb.GetRewrapResponse:
        """Say how far a re-wrap is."""
        return pb.GetRewrapResponse(rewrap=_rewrap(await self._rewraps.get(call.caller, request.token)))

    async def CancelRewrap(self, request: pb.CancelRewrapRequest, call: Call) -> pb.CancelRewrapResponse:
        """Stop a re-wrap."""
        request_id = names.request_id(request.request_id)
        job = await self._rewraps.cancel(call.caller, request.token, request_id)
        return pb.CancelRewrapResponse(rewrap=_rewrap(job))


def _house_key(key: HouseKey) -> pb.HouseKey:
    record: HouseRecord = key.record
    return pb.HouseKey(
        role=record.role,
        token=spelled(record.token),
        generation=record.generation,
        house_key_id=record.hsm_id,
        in_use=key.in_use,
        state=record.state.value,
        created_time=convert.timestamp(record.created_at),
        versions=key.versions,
        public_key=record.public_key,
    )


def _rewrap(job: RewrapRecord) -> pb.Rewrap:
    return pb.Rewrap(
        token=spelled(job.token),
        target_house_key_id=job.target,
        state=job.state.value,
        total=job.total,
        rewrapped=job.rewrapped,
        failed=job.failed,
        per_second=job.per_second,
        start_time=convert.timestamp(job.started_at),
        end_time=convert.timestamp(job.ended_at),
        started_by=job.started_by,
    )
