"""Webhooks: one HTTP POST for each event, CloudEvents in structured mode, signed.

No redirect is followed, no proxy is asked, no cookie kept. The address is checked before each request and
connected to as it was checked, while TLS verifies the name. Time and what is read of the answer are bounded.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.domain.events import Event
from strongroomd.events import formats
from strongroomd.events.addresses import Network, resolve
from strongroomd.ports import Sink

_EVENT_REFUSED: Final = frozenset({400, 409, 410, 411, 413, 414, 415, 422, 431, 500, 501})
"""Statuses that speak of this one event; any other failure is the sink's. 500 is what a handler that stumbles
over one event answers; a sink that fails altogether answers 502, 503, 504 or nothing."""
_MOST_READ: Final = 65_536  # bytes of an answer, so that its connection can be used again


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How a webhook is called.

    Attributes:
        url: `https://...`; `http://` only where the configuration says so.
        secret: the shared secret.
        seconds: for the whole of a request.
        networks: ranges beside the public internet's that its address may be in.
        ca_file: authorities beside the system's (PEM), instead of them.
        source: CloudEvents source.
    """

    url: str
    secret: bytes = field(repr=False)
    seconds: float
    networks: tuple[Network, ...]
    ca_file: Path | None
    source: str


class Webhook(Sink):
    """One webhook.

    Args:
        settings: how it is called.
        clock: seconds since the Unix epoch, for signatures and Retry-After dates.
    """

    def __init__(self, settings: WebhookSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._url = httpx.URL(settings.url)
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=1, keepalive_expiry=30.0)
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.AsyncClient(
            verify=context,
            timeout=settings.seconds,
            limits=limits,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "strongroom"},
        )

    async def send(self, event: Event) -> None:
        """Post one event; any 2xx is its receipt."""
        body = formats.structured(event, self._settings.source)
        try:
            async with asyncio.timeout(self._settings.seconds):
                status, retry_after = await self._post(body)
        except TimeoutError:
            raise Undelivered(Blame.SINK, "no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise Undelivered(Blame.SINK, _reason(error)) from None
        self._judge(status, retry_after)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _post(self, body: bytes) -> tuple[int, str]:
        """Send one request to the checked address; gives the status and Retry-After."""
        url = self._url
        port = url.port or (443 if url.scheme == "https" else 80)
        address = (await resolve(url.host, port, self._settings.networks))[0]
        seconds = int(self._clock())
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": formats.CONTENT_TYPE,
            formats.SIGNATURE_HEADER: formats.signature(self._settings.secret, seconds, body),
        }
        request = self._client.build_request(
            "POST", url.copy_with(host=address), content=body, headers=headers
        )
        request.extensions["sni_hostname"] = url.host
        answer = await self._client.send(request, stream=True)
        try:
            await _skim(answer)
        finally:
            await answer.aclose()
        return answer.status_code, answer.headers.get("retry-after", "")

    def _judge(self, status: int, retry_after: str) -> None:
        if 200 <= status < 300:
            return
        blame = Blame.EVENT if status in _EVENT_REFUSED else Blame.SINK
        error = "a redirect, which is not followed" if 300 <= status < 400 else f"status {status}"
        raise Undelivered(blame, error, _seconds(retry_after, self._clock()))


async def _skim(answer: httpx.Response) -> None:
    """Read an answer's body up to a bound and forget it; raw, since nobody asked for compression."""
    read = 0
    async for piece in answer.aiter_raw():
        read += len(piece)
        if read > _MOST_READ:
            return


def _seconds(retry_after: str, now: float) -> float | None:
    """Read Retry-After: seconds, or an HTTP date (RFC 9110, 10.2.3); None for neither."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, OverflowError):
        return None
    when = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() - now)


def _reason(error: Exception) -> str:
    """Say what went wrong without quoting what the other side sent."""
    cause = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the certificate does not verify"
    name = type(error).__name__
    return f"{name}: {type(cause).__name__}" if cause is not None else name
