"""What a key has done so far, to be held against what it does later: nothing acknowledged may be undone."""

import random
from dataclasses import dataclass, field

from strongroom import Client
from strongroom.errors import NotGenuine

CONTEXT = {"soak": "strongroom"}
USAGES = {
    "SYMMETRIC_DEFAULT": "ENCRYPT_DECRYPT",
    "HMAC_256": "GENERATE_VERIFY_MAC",
    "ECC_NIST_P256": "SIGN_VERIFY",
    "ECC_NIST_EDWARDS25519": "SIGN_VERIFY",
    "RSA_2048": "SIGN_VERIFY",
}
_ALGORITHMS = {"HMAC_256": "HMAC_SHA_256", "RSA_2048": "RSASSA_PSS_SHA_256"}


class WrongResult(Exception):  # noqa: N818 - a verdict, not a failure of the test program
    """The daemon's answer is not what it must be."""


@dataclass(frozen=True)
class Proof:
    """A message, what the key made of it, and the version that did."""

    message: bytes
    made: bytes
    version: int


@dataclass
class Promise:
    """One acknowledged key and its proofs."""

    key: str
    spec: str
    versions: int = 1
    proofs: dict[int, Proof] = field(default_factory=dict)

    def prove(self, client: Client) -> Proof:
        """Use the key for its purpose, check the answer at once and remember it."""
        message = random.randbytes(random.randint(1, 200))
        proof = self._make(client, message)
        self.check(client, proof)
        self.proofs.setdefault(proof.version, proof)
        return proof

    def check_all(self, client: Client) -> None:
        """What each version of the key made first must still be good."""
        for proof in self.proofs.values():
            self.check(client, proof)

    def check_one(self, client: Client) -> None:
        """Check one earlier proof, whichever."""
        if self.proofs:
            self.check(client, random.choice(list(self.proofs.values())))

    def _make(self, client: Client, message: bytes) -> Proof:
        match USAGES[self.spec]:
            case "ENCRYPT_DECRYPT":
                sealed = client.encrypt(self.key, message, context=CONTEXT)
                return Proof(message, sealed.ciphertext, sealed.key_version)
            case "GENERATE_VERIFY_MAC":
                mac = client.generate_mac(self.key, message, algorithm=self._algorithm)
                return Proof(message, mac.mac, mac.key_version)
            case _:
                signed = client.sign(self.key, message, algorithm=self._algorithm)
                return Proof(message, signed.signature, signed.key_version)

    def check(self, client: Client, proof: Proof) -> None:
        """Open, or verify, one proof.

        Raises:
            WrongResult: it opens to something else or does not verify.
        """
        try:
            self._check(client, proof)
        except NotGenuine as refusal:
            raise WrongResult(f"{self.spec} {self.key} version {proof.version}: {refusal.reason}") from None

    def _check(self, client: Client, proof: Proof) -> None:
        match USAGES[self.spec]:
            case "ENCRYPT_DECRYPT":
                opened = client.decrypt(proof.made, context=CONTEXT)
                if opened.plaintext != proof.message or opened.key_version != proof.version:
                    raise WrongResult(f"{self.key}: decrypted to something else")
            case "GENERATE_VERIFY_MAC":
                client.verify_mac(
                    self.key,
                    proof.message,
                    proof.made,
                    algorithm=self._algorithm,
                    key_version=proof.version,
                )
            case _:
                client.verify(
                    self.key,
                    proof.message,
                    proof.made,
                    algorithm=self._algorithm,
                    key_version=proof.version,
                )

    @property
    def _algorithm(self) -> str:
        return _ALGORITHMS.get(self.spec, "")


def new_key(client: Client, spec: str, mode: str, description: str, request_id: str | None = None) -> Promise:
    """Create a key and promise that it works."""
    made = client.create_key(
        spec=spec, usage=USAGES[spec], custody_mode=mode, description=description, request_id=request_id
    )
    return Promise(made.key_id, spec)
