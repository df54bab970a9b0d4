"""The same work on the same token through python-pkcs11 alone, one thread, keys held as session objects.

Run as `python raw.py MODULE LABEL PIN_FILE`, SOFTHSM2_CONF set. It serves rounds: each line on standard input is
`OPERATION SECONDS`, each line on standard output the operations done and the seconds.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import KeyType, MechanismFlag
from pkcs11.mechanisms import Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

PLAINTEXT = bytes(32)
XKS_PLAINTEXT, XKS_AAD = bytes(96), bytes(60)  # of KMS's sizes; the AAD with what frames it
DIGEST = hashlib.sha256(b"message").digest()
PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo of SHA-256 (RFC 8017, 9.2)


def operations(session: Any) -> dict[str, Callable[[], object]]:
    """Make the keys and name the operations."""
    aes = session.generate_key(KeyType.AES, 256, capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT)
    iv = os.urandom(12)
    sealed = aes.encrypt(PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=pkcs11.GCMParams(iv))
    rsa = session.generate_keypair(KeyType.RSA, 2048)[1]
    curve = session.create_domain_parameters(
        KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    ecc = curve.generate_keypair()[1]

    def encrypt() -> object:
        return aes.encrypt(
            PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=pkcs11.GCMParams(os.urandom(12))
        )

    def decrypt() -> object:
        return aes.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=pkcs11.GCMParams(iv))

    sealed_apart = aes.encrypt(
        XKS_PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=pkcs11.GCMParams(iv, XKS_AAD)
    )

    def xks_decrypt() -> object:
        given = pkcs11.GCMParams(iv, XKS_AAD)
        return aes.decrypt(sealed_apart, mechanism=Mechanism.AES_GCM, mechanism_param=given)

    def xks_encrypt() -> object:
        given = pkcs11.GCMParams(os.urandom(12), XKS_AAD)
        made = aes.encrypt(XKS_PLAINTEXT, mechanism=Mechanism.AES_GCM, mechanism_param=given)
        return aes.decrypt(made, mechanism=Mechanism.AES_GCM, mechanism_param=given)  # as CDIV wants it

    def data_key() -> object:
        session.generate_random(256)
        return encrypt()

    return {
        "encrypt": encrypt,
        "decrypt": decrypt,
        "data_key": data_key,
        "xks_encrypt": xks_encrypt,
        "xks_decrypt": xks_decrypt,
        "sign_rsa": lambda: rsa.sign(PREFIX + DIGEST, mechanism=Mechanism.RSA_PKCS),
        "sign_ecc": lambda: ecc.sign(DIGEST, mechanism=Mechanism.ECDSA),
    }


def main(module: str, label: str, pin_file: str) -> None:
    """Serve rounds until standard input ends."""
    token = pkcs11.lib(module).get_token(token_label=label)
    with token.open(user_pin=Path(pin_file).read_text().strip(), rw=True) as session:
        known = operations(session)
        print("ready", flush=True)
        for line in sys.stdin:
            name, seconds = line.split()
            work, done, start = known[name], 0, time.perf_counter()
            while (took := time.perf_counter() - start) < float(seconds):
                for _ in range(10):
                    work()
                done += 10
            print(done, took, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
