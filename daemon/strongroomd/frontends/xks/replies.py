"""From results to bodies (specification, "Response")."""

from base64 import b64encode

import orjson

from strongroomd.custody.xks.health import Health
from strongroomd.custody.xks.proxy import KeyMetadata
from strongroomd.domain.xks.layout import SealedParts


def health(told: Health) -> bytes:
    """Answer GetHealthStatus."""
    details = [{"id": hsm.id, "model": hsm.model, "healthStatus": hsm.status} for hsm in told.fleet]
    return orjson.dumps(
        {
            "xksProxyFleetSize": told.fleet_size,
            "xksProxyVendor": told.vendor,
            "xksProxyModel": told.model,
            "ekmVendor": told.ekm_vendor,
            "ekmFleetDetails": details,
        }
    )


def metadata(key: KeyMetadata) -> bytes:
    """Answer GetKeyMetadata."""
    status = "ENABLED" if key.enabled else "DISABLED"
    return orjson.dumps({"keySpec": key.spec, "keyUsage": key.usages, "keyStatus": status})


def encrypted(parts: SealedParts) -> bytes:
    """Answer Encrypt; members that are optional are there when they have a value."""
    answer = {
        "ciphertext": _text(parts.ciphertext),
        "initializationVector": _text(parts.iv),
        "authenticationTag": _text(parts.tag),
    }
    if parts.metadata:
        answer["ciphertextMetadata"] = _text(parts.metadata)
    if parts.integrity:
        answer["ciphertextDataIntegrityValue"] = _text(parts.integrity)
    return orjson.dumps(answer)


def decrypted(plaintext: bytes) -> bytes:
    """Answer Decrypt."""
    return orjson.dumps({"plaintext": _text(plaintext)})


def _text(value: bytes) -> str:
    return b64encode(value).decode()
