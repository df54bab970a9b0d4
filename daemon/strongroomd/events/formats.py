"""Events as bytes: CloudEvents 1.0 in the JSON event format, and the signature of a webhook's request."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

import orjson

from strongroomd.domain.events import Event, cloud_event

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SIGNATURE_HEADER: Final = "Strongroom-Signature"


def structured(event: Event, source: str) -> bytes:
    """Give an event in structured content mode."""
    moment = datetime.fromtimestamp(event.time / 1000, UTC)
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps(cloud_event(event, source, time))


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """Give the value of the signature header: `t=<seconds>,v1=<hex>`.

    v1 is HMAC-SHA-256 under the shared secret over the decimal seconds, a full stop and the body. A receiver
    compares it in constant time, and refuses a `t` that is more than five minutes away from its clock.
    """
    made = hmac.new(secret, b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={made}"
