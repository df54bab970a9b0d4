"""What a proxy must refuse, with which status and errorName."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from strongroom.errors import StrongroomError
from strongroom.xks import sigv4, wire
from strongroom.xks.credential import Credential
from strongroom.xks.link import Reply
from strongroom.xks.selftest.findings import Check, Doubt, Failure, Moot
from strongroom.xks.selftest.probe import AAD, Probe

_UNAUTHENTICATED: Final = ("AuthenticationFailedException",)
_INVALID: Final = ("ValidationException",)
_FORGED: Final = ("InvalidCiphertextException",)
_EITHER: Final = (*_INVALID, *_FORGED)
_UNKNOWN_KEY: Final = ("KeyNotFoundException",)
_UNKNOWN_PATH: Final = ("InvalidUriPathException",)
_MINUTES: Final = 60.0
_HUGE: Final = 1 << 20  # bytes; the largest legal body has about 21,000
_NO_KEY: Final = "strongroom-selftest-no-such-key"

Ask = Callable[[Probe], Reply]


@dataclass(frozen=True, slots=True)
class Case:
    """A call and its refusal.

    Attributes:
        ask: makes the call.
        names: the errorNames that are right; the status follows from the name.
        strict: whether taking the call is a fault, and not only a doubt.
    """

    title: str
    names: tuple[str, ...]
    ask: Ask
    strict: bool = True

    def __call__(self, probe: Probe) -> str:
        """Make the call and judge the answer."""
        reply = self.ask(probe)
        if reply.status == 200:
            raise (Failure if self.strict else Doubt)("answered as if all were well")
        name = wire.error_name(reply)
        if name not in self.names:
            raise Failure(f"{reply.status} {name}, wanted {' or '.join(self.names)}")
        return f"{reply.status} {name}"


def _health(*, base: str = "", credential: Credential | None = None, shift: float = 0.0) -> Ask:
    """Ask for health in a way that may not be right."""

    def ask(probe: Probe) -> Reply:
        body = {"requestMetadata": probe.client.origin.metadata("KmsHealthCheck", of_key=False)}
        return probe.post("/health", body, base=base, credential=credential, shift=shift)

    return ask


def _with_secret(probe: Probe) -> Reply:
    return _health(credential=Credential(probe.client.credential.access_key_id, "W" * 43))(probe)


def _with_id(access_key_id: str, probe: Probe) -> Reply:
    return _health(credential=Credential(access_key_id, probe.client.credential.secret))(probe)


def _unsigned(probe: Probe) -> Reply:
    request = probe.request("/health", {"requestMetadata": probe.origin("KmsHealthCheck")})
    return probe.client.send(request, {"Host": request.authority})


def _altered(probe: Probe) -> Reply:
    """Sign one body and send another."""
    signed = probe.request(probe.path("encrypt"), probe.encryption())
    headers = sigv4.headers(signed, probe.client.credential, probe.client.region, probe.moment())
    other = dataclasses.replace(signed, body=signed.body.replace(b'"AES_GCM"', b' "AES_GCM"'))
    return probe.client.send(other, headers)


def _other_scope(probe: Probe, *, day: str = "", service: str = sigv4.SERVICE) -> Reply:
    """Sign rightly, but for another day or service than the request's."""
    moment = probe.moment()
    scope = sigv4.Scope(day or f"{moment:%Y%m%d}", probe.client.region, service)
    request = probe.request("/health", {"requestMetadata": probe.origin("KmsHealthCheck")})
    headers = sigv4.headers(request, probe.client.credential, probe.client.region, moment, scope=scope)
    return probe.client.send(request, headers)


def _key(call: str, body: Callable[[Probe], wire.Json | bytes], key: str = "") -> Ask:
    return lambda probe: probe.post(probe.path(call, key), body(probe))


def _encrypt(**changed: object) -> Ask:
    return _key("encrypt", lambda probe: probe.encryption(**changed))


def _decrypt(**changed: object) -> Ask:
    return _key("decrypt", lambda probe: probe.decryption(**changed))


def _tampered(field: str, part: str) -> Ask:
    """Change one bit of a part; an absent metadata becomes one of one byte."""

    def body(probe: Probe) -> wire.Json:
        good: bytes = getattr(probe.sealed, part)
        bad = bytes([good[0] ^ 1]) + good[1:] if good else b"\1"
        return probe.decryption(**{field: wire.b64(bad)})

    return _key("decrypt", body)


def _moved(probe: Probe) -> wire.Json:
    """Move the metadata into the AAD: where neither's length is under the tag, it goes unseen."""
    if not probe.sealed.metadata:
        raise Moot("the proxy gives no ciphertextMetadata")
    aad = wire.b64(AAD + probe.sealed.metadata)
    return probe.decryption(additionalAuthenticatedData=aad, ciphertextMetadata=None)


def _unknown_prefix(probe: Probe) -> Reply:
    return _health(base="/strongroom-selftest-no-such-prefix/kms/xks/v1")(probe)


def _gets(probe: Probe) -> str:
    for path in ("/health", *(probe.path(call) for call in ("metadata", "encrypt", "decrypt"))):
        reply = probe.post(path, b"", method="GET")
        if reply.status != 405:
            raise Failure(f"{reply.status} for {path.rpartition('/')[2]}, wanted 405")
    return "405, on all four"


def _oversize(probe: Probe) -> str:
    body = json.dumps(probe.encryption(plaintext="A" * _HUGE)).encode()
    try:
        reply = probe.post(probe.path("encrypt"), body)
    except StrongroomError:
        return "it closes the connection"
    finally:
        probe.client.close()  # what is left of the body would be taken for a request
    if reply.status == 200:
        raise Doubt("a body of 1 MiB is taken: whoever is not yet authenticated can fill its memory")
    if reply.status not in {400, 413, 501}:
        raise Failure(f"{reply.status}, wanted 400, 413 or 501")
    return str(reply.status)


def _near_clock(probe: Probe) -> str:
    for shift in (-4 * _MINUTES, 4 * _MINUTES):
        wire.answer_of(_health(shift=shift)(probe))
    return "taken"


CASES: Final = (
    Case("wrong secret", _UNAUTHENTICATED, _with_secret),
    Case("unknown access key id", _UNAUTHENTICATED, partial(_with_id, "STRONGROOMSELFTESTNOSUCHID")),
    Case("illegal access key id", _UNAUTHENTICATED, partial(_with_id, "no-legal-access-key-id-of-any-store")),
    Case("no signature", _UNAUTHENTICATED, _unsigned),
    Case("body changed after signing", _UNAUTHENTICATED, _altered),
    Case("clock 6 minutes behind", _UNAUTHENTICATED, _health(shift=-6 * _MINUTES)),
    Case("clock 6 minutes ahead", _UNAUTHENTICATED, _health(shift=6 * _MINUTES)),
    Case("signed for another day", _UNAUTHENTICATED, partial(_other_scope, day="20200101")),
    Case("signed for another service", _UNAUTHENTICATED, partial(_other_scope, service="kms")),
    Case("unknown prefix", _UNKNOWN_PATH, _unknown_prefix),
    Case("unknown call", _UNKNOWN_PATH, _key("sign", Probe.encryption)),
    Case("metadata of an unknown key", _UNKNOWN_KEY, _key("metadata", Probe.encryption, _NO_KEY)),
    Case("encrypt under an unknown key", _UNKNOWN_KEY, _key("encrypt", Probe.encryption, _NO_KEY)),
    Case("decrypt under an unknown key", _UNKNOWN_KEY, _key("decrypt", Probe.decryption, _NO_KEY)),
    Case("changed ciphertext", _FORGED, _tampered("ciphertext", "ciphertext")),
    Case("changed tag", _FORGED, _tampered("authenticationTag", "tag")),
    Case("changed IV", _FORGED, _tampered("initializationVector", "iv")),
    Case("changed ciphertextMetadata", _EITHER, _tampered("ciphertextMetadata", "metadata")),
    Case("changed AAD", _FORGED, _decrypt(additionalAuthenticatedData=wire.b64(AAD[::-1]))),
    Case("missing AAD", _FORGED, _decrypt(additionalAuthenticatedData=None)),
    Case("metadata moved into the AAD", _EITHER, _key("decrypt", _moved)),
    Case("tag of 15 bytes", _EITHER, _decrypt(authenticationTag=wire.b64(bytes(15)))),
    Case("tag of 12 bytes", _EITHER, _decrypt(authenticationTag=wire.b64(bytes(12)))),
    Case("IV of 0 bytes", _EITHER, _decrypt(initializationVector="")),
    Case("IV of 13 bytes", _EITHER, _decrypt(initializationVector=wire.b64(bytes(13)))),
    Case("ciphertextMetadata of 21 bytes", _EITHER, _decrypt(ciphertextMetadata=wire.b64(bytes(21)))),
    Case("no JSON", _INVALID, _key("encrypt", lambda _: b'{"requestMetadata":')),
    Case("JSON, but no object", _INVALID, _key("encrypt", lambda _: b"[]")),
    Case("health without requestMetadata", _INVALID, lambda probe: probe.post("/health", {})),
    Case("empty requestMetadata", _INVALID, _encrypt(requestMetadata={})),
    Case("no plaintext", _INVALID, _encrypt(plaintext=None)),
    Case("plaintext that is no text", _INVALID, _encrypt(plaintext=5)),
    Case("unknown encryptionAlgorithm", _INVALID, _encrypt(encryptionAlgorithm="AES_CBC")),
    Case(
        "unknown CDIV algorithm",
        _INVALID,
        _encrypt(ciphertextDataIntegrityValueAlgorithm="SHA_1"),
        strict=False,
    ),
    Case("base64 with other characters", _INVALID, _encrypt(plaintext="QUJD!!!!")),
    Case("base64 of the URL alphabet", _INVALID, _encrypt(plaintext="-_-_QUJD")),
    Case("base64 without padding", _INVALID, _encrypt(plaintext="QUJDRA")),
    Case("base64 with spare bits", _INVALID, _encrypt(plaintext="QUJDRB=="), strict=False),
    Case("base64 with line breaks", _INVALID, _encrypt(plaintext="QUJD\nRA=="), strict=False),
)

REFUSING: Final = (
    Check("refusals", "GET", _gets),
    *(Check("refusals", each.title, each) for each in CASES),
    Check("refusals", "body of 1 MiB", _oversize),
    Check("refusals", "clock 4 minutes off is taken", _near_clock),
)
