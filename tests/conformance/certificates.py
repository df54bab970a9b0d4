"""Certificates that must not be accepted, one fault each, and a few that must."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from tests.conformance.wire import Wire
from tests.harness import Daemon

ADMIN_URI = "spiffe://strongroom.dev/admin"
_NOW = dt.datetime.now(dt.UTC)
_DAY = dt.timedelta(days=1)
_CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)


@dataclass(frozen=True)
class Recipe:
    """What to put into a certificate; the defaults make a good one of the administrator."""

    uris: tuple[str, ...] = (ADMIN_URI,)
    common_name: str = "admin"
    others: tuple[x509.GeneralName, ...] = ()
    purposes: tuple[ObjectIdentifier, ...] | None = _CLIENT
    begins: dt.datetime = _NOW - _DAY
    ends: dt.datetime = _NOW + _DAY
    authority: bool = False
    usage: str | None = "digital_signature"
    issuer: str = "trusted"
    raw: tuple[tuple[ObjectIdentifier, bytes, bool], ...] = field(default=())


_SAN = ObjectIdentifier("2.5.29.17")


def _uri_bytes(*uris: bytes) -> bytes:
    names = b"".join(b"\x86" + bytes([len(uri)]) + uri for uri in uris)
    return b"\x30" + bytes([len(names)]) + names


BAD: dict[str, Recipe] = {
    "expired": Recipe(begins=_NOW - 3 * _DAY, ends=_NOW - _DAY),
    "expired a minute ago": Recipe(ends=_NOW - dt.timedelta(minutes=1)),
    "not valid yet": Recipe(begins=_NOW + _DAY, ends=_NOW + 2 * _DAY),
    "untrusted authority": Recipe(issuer="stranger"),
    "authority of the same name": Recipe(issuer="impostor"),
    "self-signed": Recipe(issuer="self"),
    "issued by a client certificate": Recipe(issuer="client"),
    "purpose server": Recipe(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)),
    "purpose code signing": Recipe(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)),
    "no URI, configured common name": Recipe(uris=()),
    "no URI, URI as common name": Recipe(uris=(), common_name=ADMIN_URI),
    "URI as DNS name": Recipe(uris=(), others=(x509.DNSName(ADMIN_URI),)),
    "URI as e-mail address": Recipe(uris=(), others=(x509.RFC822Name("admin@strongroom.dev"),)),
    "two URIs": Recipe(uris=(ADMIN_URI, "spiffe://strongroom.dev/service")),
    "two URIs, the other first": Recipe(uris=("spiffe://strongroom.dev/nobody", ADMIN_URI)),
    "the same URI twice": Recipe(uris=(ADMIN_URI, ADMIN_URI)),
    "unknown principal": Recipe(uris=("spiffe://strongroom.dev/nobody",)),
    "other trust domain": Recipe(uris=("spiffe://strongroom.example/admin",)),
    "other scheme": Recipe(uris=("https://strongroom.dev/admin",)),
    "wildcard": Recipe(uris=("spiffe://strongroom.dev/*",)),
    "path in capitals": Recipe(uris=("spiffe://strongroom.dev/Admin",)),
    "trust domain in capitals": Recipe(uris=("spiffe://STRONGROOM.dev/admin",)),
    "scheme in capitals": Recipe(uris=("SPIFFE://strongroom.dev/admin",)),
    "trailing slash": Recipe(uris=(ADMIN_URI + "/",)),
    "trailing dot": Recipe(uris=(ADMIN_URI + ".",)),
    "trailing space": Recipe(uris=(ADMIN_URI + " ",)),
    "leading space": Recipe(uris=(" " + ADMIN_URI,)),
    "trailing newline": Recipe(uris=(ADMIN_URI + "\n",)),
    "longer path": Recipe(uris=(ADMIN_URI + "/x",)),
    "shorter path": Recipe(uris=(ADMIN_URI[:-1],)),
    "double slash": Recipe(uris=("spiffe://strongroom.dev//admin",)),
    "dots in the path": Recipe(uris=("spiffe://strongroom.dev/x/../admin",)),
    "percent-encoded": Recipe(uris=("spiffe://strongroom.dev/%61dmin",)),
    "query": Recipe(uris=(ADMIN_URI + "?x",)),
    "fragment": Recipe(uris=(ADMIN_URI + "#x",)),
    "port": Recipe(uris=("spiffe://strongroom.dev:443/admin",)),
    "user": Recipe(uris=("spiffe://x@strongroom.dev/admin",)),
    "NUL and more": Recipe(uris=(), raw=((_SAN, _uri_bytes(ADMIN_URI.encode() + b"\0.example"), False),)),
    "URI that is not ASCII": Recipe(uris=(), raw=((_SAN, _uri_bytes(ADMIN_URI.encode() + b"\xff"), False),)),
    "SAN that is no list of names": Recipe(uris=(), raw=((_SAN, b"\x04\x02hi", False),)),
    "SAN of an unsupported kind": Recipe(uris=(), raw=((_SAN, b"\x30\x04\xa3\x02\x30\x00", False),)),
    "a certificate authority": Recipe(authority=True, usage="key_cert_sign"),
    "key usage of an authority": Recipe(usage="key_cert_sign"),
    "key usage without signatures": Recipe(usage="key_encipherment"),
    "unknown critical extension": Recipe(raw=((ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00", True),)),
}  # fmt: skip
GOOD: dict[str, Recipe] = {
    "plain": Recipe(),
    "no extended key usage": Recipe(purposes=None),
    "client and server": Recipe(purposes=(ExtendedKeyUsageOID.SERVER_AUTH, *_CLIENT)),
    "another common name": Recipe(common_name="somebody"),
    "DNS names beside the URI": Recipe(others=(x509.DNSName("admin.example"),)),
}


class Forge:
    """Makes certificates by recipe; has the trusted authority's key, a stranger's and an impostor's."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.authority is not None
        self._daemon = daemon
        trusted = daemon.authority
        self.ca = trusted.certificate
        name = trusted._certificate.subject
        self._issuers: dict[str, tuple[x509.Name, ec.EllipticCurvePrivateKey]] = {
            "trusted": (name, trusted._key),
            "stranger": (_name("Some other CA"), ec.generate_private_key(ec.SECP256R1())),
            "impostor": (name, ec.generate_private_key(ec.SECP256R1())),
        }

    def wire(self, name: str) -> Wire:
        """Connect with a bad certificate, or with none."""
        if name == "no certificate":
            return Wire.connect(self._daemon, None)
        return self.connect((BAD | GOOD)[name])

    def connect(self, recipe: Recipe) -> Wire:
        """Connect with a certificate made by a recipe."""
        certificate, key = self.make(recipe)
        return Wire.with_credentials(self._daemon, self.ca, certificate, key)

    def make(self, recipe: Recipe) -> tuple[bytes, bytes]:
        """Make a certificate (with its chain where it has one) and its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject, chain = _name(recipe.common_name), b""
        match recipe.issuer:
            case "self":
                issuer, signer = subject, key
            case "client":
                chain, signing = self.make(Recipe())
                issuer = x509.load_pem_x509_certificate(chain).subject
                loaded = serialization.load_pem_private_key(signing, None)
                assert isinstance(loaded, ec.EllipticCurvePrivateKey)
                signer = loaded
            case named:
                issuer, signer = self._issuers[named]
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(recipe.begins).not_valid_after(recipe.ends)
        for value, critical in _extensions(recipe):
            builder = builder.add_extension(value, critical)
        certificate = builder.sign(signer, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM) + chain
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return pem, private


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _extensions(recipe: Recipe) -> list[tuple[Any, bool]]:
    found: list[tuple[Any, bool]] = [(x509.BasicConstraints(recipe.authority, None), True)]
    if recipe.usage is not None:
        found.append((x509.KeyUsage(**{name: name == recipe.usage for name in _USAGES}), True))
    if recipe.purposes is not None:
        found.append((x509.ExtendedKeyUsage(recipe.purposes), False))
    names = [x509.UniformResourceIdentifier(uri) for uri in recipe.uris] + list(recipe.others)
    if names:
        found.append((x509.SubjectAlternativeName(names), False))
    found += [(x509.UnrecognizedExtension(oid, value), critical) for oid, value, critical in recipe.raw]
    return found


Make = Callable[[Recipe], tuple[bytes, bytes]]
