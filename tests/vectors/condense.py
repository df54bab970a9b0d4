"""Make the subset of Wycheproof that the tests use: `python condense.py PATH_OF_A_WYCHEPROOF_CHECKOUT`.

Keeps the fields that the tests read, of the groups that the daemon offers, one gzip file for each vector file.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "wycheproof"
OFFERED = {"sha": ("SHA-256", "SHA-384", "SHA-512")}
FILES: dict[str, dict] = {
    "aes_gcm_test": {"ivSize": 96, "keySize": 256, "tagSize": 128},
    "aes_kwp_test": {"keySize": 256},
    "hmac_sha224_test": {},
    "hmac_sha256_test": {},
    "hmac_sha384_test": {},
    "hmac_sha512_test": {},
    "rsa_oaep_2048_sha1_mgf1sha1_test": {},
    "rsa_oaep_2048_sha256_mgf1sha256_test": {},
    "rsa_oaep_3072_sha256_mgf1sha256_test": {},
    "rsa_oaep_4096_sha256_mgf1sha256_test": {},
    "rsa_pkcs1_2048_sig_gen_test": OFFERED,
    "rsa_pkcs1_3072_sig_gen_test": OFFERED,
    "rsa_pkcs1_4096_sig_gen_test": OFFERED,
    "rsa_pss_2048_sha256_mgf1_32_test": {},
    "rsa_pss_2048_sha384_mgf1_48_test": {},
    "rsa_pss_4096_sha512_mgf1_64_test": {},
    "ecdh_secp256r1_ecpoint_test": {},
    "ecdh_secp384r1_ecpoint_test": {},
    "ecdh_secp521r1_ecpoint_test": {},
    "ecdsa_secp256r1_sha256_test": {},
    "ecdsa_secp384r1_sha384_test": {},
    "ecdsa_secp521r1_sha512_test": {},
    "ecdsa_secp256k1_sha256_test": {},
    "ed25519_test": {},
}
GROUP_FIELDS = ("sha", "keySize", "tagSize", "privateKeyPkcs8", "publicKeyDer", "curve")
TEST_FIELDS = (
    "tcId",
    "key",
    "iv",
    "aad",
    "msg",
    "ct",
    "tag",
    "label",
    "sig",
    "public",
    "private",
    "shared",
    "result",
)


def condense(vectors: dict, wanted: dict) -> dict:
    groups = []
    for group in vectors["testGroups"]:
        if all(group[name] == value or group[name] in _tuple(value) for name, value in wanted.items()):
            kept = {name: group[name] for name in GROUP_FIELDS if name in group}
            kept["tests"] = [{name: t[name] for name in TEST_FIELDS if name in t} for t in group["tests"]]
            groups.append(kept)
    return {"algorithm": vectors.get("algorithm"), "testGroups": groups}


def _tuple(value: object) -> tuple:
    return value if isinstance(value, tuple) else ()


def main() -> None:
    checkout = sys.argv[1]
    git = ["git", "-C", checkout]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    HERE.mkdir(exist_ok=True)
    for name, wanted in FILES.items():
        raw = subprocess.run(
            [*git, "show", f"HEAD:testvectors_v1/{name}.json"], capture_output=True, check=False
        )
        if raw.returncode:
            sys.stderr.write(f"absent: {name}\n")
            continue
        small = json.dumps(condense(json.loads(raw.stdout), wanted), separators=(",", ":"))
        (HERE / f"{name}.json.gz").write_bytes(gzip.compress(small.encode(), 9, mtime=0))
    sys.stdout.write(f"commit {commit}")


main()
