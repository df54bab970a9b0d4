"""AttestationService: signed statements about keys."""

from typing import Final

from strongroom import results
from strongroom._rpc import Call, Rpc, check_reply
from strongroom.v1 import attestation_pb2 as pb

_SERVICE: Final = "AttestationService"
_ATTEST: Final = Rpc(_SERVICE, "GetKeyAttestation", pb.GetKeyAttestationRequest, pb.GetKeyAttestationResponse)
_KEYS: Final = Rpc(_SERVICE, "ListStatementKeys", pb.ListStatementKeysRequest, pb.ListStatementKeysResponse)
_CERTIFICATE: Final = Rpc(
    _SERVICE,
    "GetDestructionCertificate",
    pb.GetDestructionCertificateRequest,
    pb.GetDestructionCertificateResponse,
)


def get_key_attestation(key: str, *, nonce: str = "") -> Call[results.SignedStatement]:
    """Have the house state what a key is; `nonce`, text of your own, is repeated in the statement."""
    return _ATTEST.call(_ATTEST.make(key=key, nonce=nonce), _statement)


def list_statement_keys() -> Call[tuple[results.StatementKey, ...]]:
    """Read the public keys that statements verify with, the current one last. Pin one out of band instead."""
    return _KEYS.call(_KEYS.make(), _keys)


def get_destruction_certificate(key: str) -> Call[results.SignedStatement]:
    """Read the signed certificate of a key that was destroyed, named by its id or ARN."""
    return _CERTIFICATE.call(_CERTIFICATE.make(key=key), _statement)


def _statement(
    reply: pb.GetKeyAttestationResponse | pb.GetDestructionCertificateResponse,
) -> results.SignedStatement:
    return read_statement(reply.statement)


def read_statement(found: pb.SignedStatement) -> results.SignedStatement:
    """Read a statement, whose bytes were held against their checksums."""
    check_reply(found)
    return results.SignedStatement(
        payload=found.payload,
        signature=found.signature,
        signing_key_id=found.signing_key_id,
        signing_algorithm=found.signing_algorithm,
    )


def _keys(reply: pb.ListStatementKeysResponse) -> tuple[results.StatementKey, ...]:
    return tuple(
        results.StatementKey(each.key_id, each.public_key, each.public_key_pem, each.current)
        for each in reply.keys
    )
