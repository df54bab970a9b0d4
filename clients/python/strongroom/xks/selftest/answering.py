"""Health, metadata, and what a proxy must tolerate."""

from typing import Final

from strongroom.xks import wire
from strongroom.xks.link import Reply
from strongroom.xks.selftest.findings import Check, Doubt, Failure
from strongroom.xks.selftest.probe import Probe

_HEALTH_OPERATIONS: Final = (
    "CreateCustomKeyStore",
    "ConnectCustomKeyStore",
    "UpdateCustomKeyStore",
    "OneOfTomorrow",
)
_MAX_ARN: Final = 2_048


def _health(probe: Probe) -> str:
    health = probe.client.health()
    states = ", ".join(f"{each.id} {each.health_status}" for each in health.managers)
    unwell = [each for each in health.managers if each.health_status != "ACTIVE"]
    if all(each.health_status == "UNAVAILABLE" for each in health.managers):
        raise Failure(f"KMS would not connect: {states}")
    if unwell:
        raise Doubt(states)
    return f"{health.proxy_vendor} {health.proxy_model}, fleet of {health.fleet_size}; {states}"


def _health_operations(probe: Probe) -> str:
    for operation in _HEALTH_OPERATIONS:
        probe.client.health(operation=operation)
    return "all, and one that it cannot know"


def _metadata(probe: Probe) -> str:
    found = probe.client.metadata(probe.key)
    if found.spec != "AES_256":
        raise Failure(f"keySpec is {found.spec}: KMS takes AES_256 only")
    if not {"ENCRYPT", "DECRYPT"} <= set(found.usage):
        raise Failure(f"keyUsage is {', '.join(found.usage) or 'empty'}: KMS wants ENCRYPT and DECRYPT")
    if found.status != "ENABLED":
        raise Failure(f"keyStatus is {found.status}")
    return f"{found.spec}, {', '.join(found.usage)}, {found.status}"


def _unknown_fields(probe: Probe) -> str:
    said = probe.origin(awsSourceVpc="vpc-1", awsSourceVpce="vpce-1", kmsViaService="ebs", tomorrows="field")
    return _tolerated(probe.post(probe.path("encrypt"), probe.encryption(requestMetadata=said)))


def _unknown_operation(probe: Probe) -> str:
    return _tolerated(
        probe.post(probe.path("encrypt"), probe.encryption(requestMetadata=probe.origin("OneOfTomorrow")))
    )


def _empty_request_id(probe: Probe) -> str:
    said = probe.origin(kmsRequestId="")
    return _tolerated(probe.post(probe.path("encrypt"), probe.encryption(requestMetadata=said)))


def _long_arn(probe: Probe) -> str:
    arn = "arn:aws:sts::111122223333:assumed-role/".ljust(_MAX_ARN, "r")
    said = probe.origin(awsPrincipalArn=arn)
    return _tolerated(probe.post(probe.path("encrypt"), probe.encryption(requestMetadata=said)))


def _tolerated(reply: Reply) -> str:
    if reply.status == 200:
        wire.answer_of(reply)
        return "tolerated"
    name = wire.error_name(reply)
    if name == "AccessDeniedException":
        raise Doubt("refused by the store's policy before it could show")
    raise Failure(f"{reply.status} {name}")


ANSWERING: Final = (
    Check("answers", "health", _health, gate=True),
    Check("answers", "health for each kmsOperation", _health_operations),
    Check("answers", "key metadata", _metadata, gate=True),
    Check("answers", "further fields of requestMetadata", _unknown_fields),
    Check("answers", "unknown kmsOperation", _unknown_operation),
    Check("answers", "empty kmsRequestId", _empty_request_id),
    Check("answers", "ARN of 2,048 characters", _long_arn),
)
