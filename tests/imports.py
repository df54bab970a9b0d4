"""Material of others for tests: made and wrapped by the very commands of ops/runbooks/ImportKeyMaterial.md."""

import os
import re
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from strongroomd.domain.importing import WrappingAlgorithm

MANUAL = Path(__file__).parent.parent / "ops" / "runbooks" / "ImportKeyMaterial.md"
_RECIPE = re.compile(r"^```sh\n# ([A-Z0-9_]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipes() -> dict[str, str]:
    """The manual's commands by the name in their first line: a key spec, or a wrapping algorithm."""
    found = _RECIPE.findall(MANUAL.read_text())
    assert len(dict(found)) == len(found)
    return dict(found)


def cook(folder: Path, name: str) -> None:
    """Run a recipe of the manual in a folder."""
    command = ["bash", "-euo", "pipefail", "-c", recipes()[name]]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def wrapped_by_openssl(folder: Path, algorithm: str, public_key: bytes) -> bytes:
    """Wrap `material.bin` of a folder as the manual says."""
    (folder / "wrapping-key.der").write_bytes(public_key)
    cook(folder, algorithm)
    return (folder / "wrapped.bin").read_bytes()


def wrapped(material: bytes, algorithm: WrappingAlgorithm, public_key: bytes, carrier: bytes = b"") -> bytes:
    """The same in this process, of any bytes."""
    public = load_der_public_key(public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    digest = hashes.SHA256() if algorithm.is_sha256 else hashes.SHA1()  # noqa: S303 - OAEP's
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    if not algorithm.has_key_wrap:
        return public.encrypt(material, oaep)
    once = carrier or os.urandom(32)
    return public.encrypt(once, oaep) + aes_key_wrap_with_padding(once, material)
