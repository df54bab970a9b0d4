"""AttestationService on the wire."""

from strongroom.v1 import attestation_pb2 as pb
from strongroomd.custody.attestation import Attestation
from strongroomd.custody.destructions import Certificates
from strongroomd.custody.notary import SignedStatement
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call


class AttestationServicer:
    """Turns AttestationService messages into use cases and back."""

    def __init__(self, attestation: Attestation, certificates: Certificates) -> None:
        self._attestation = attestation
        self._certificates = certificates

    async def GetKeyAttestation(
        self, request: pb.GetKeyAttestationRequest, call: Call
    ) -> pb.GetKeyAttestationResponse:
        """State what a key is."""
        stated = await self._attestation.attest(call.caller, request.key, request.nonce)
        return pb.GetKeyAttestationResponse(statement=signed_statement(stated))

    async def ListStatementKeys(
        self, _request: pb.ListStatementKeysRequest, call: Call
    ) -> pb.ListStatementKeysResponse:
        """Give the public keys of statements."""
        keys = list((await self._attestation.statement_keys(call.caller)).items())
        return pb.ListStatementKeysResponse(
            keys=[
                pb.StatementKey(
                    key_id=key_id,
                    public_key=spki,
                    public_key_pem=convert.pem(spki),
                    current=number == len(keys),
                )
                for number, (key_id, spki) in enumerate(keys, start=1)
            ]
        )

    async def GetDestructionCertificate(
        self, request: pb.GetDestructionCertificateRequest, call: Call
    ) -> pb.GetDestructionCertificateResponse:
        """Give the certificate of a key that is no more."""
        stated = await self._certificates.certificate(call.caller, request.key)
        return pb.GetDestructionCertificateResponse(statement=signed_statement(stated))


def signed_statement(stated: SignedStatement) -> pb.SignedStatement:
    """Spell a statement."""
    signature = stated.signature
    return pb.SignedStatement(
        payload=stated.payload,
        payload_crc32c=convert.crc(stated.payload),
        signature=signature.signature,
        signature_crc32c=convert.crc(signature.signature),
        signing_key_id=signature.key_id,
        signing_algorithm=signature.algorithm.value,
    )
