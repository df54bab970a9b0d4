"""CryptoService on the wire: single calls. Batches and the stream are in batches.py."""

from typing import Any

from strongroom.v1 import crypto_pb2 as pb
from strongroomd.custody.crypto import Crypto, DataKey, DataKeyPair, check_length
from strongroomd.custody.sealing import Ciphertext
from strongroomd.custody.signing import Signing, ToSign
from strongroomd.domain.algorithms import (
    AgreementAlgorithm,
    EncryptionAlgorithm,
    KeySpec,
    MacAlgorithm,
    MessageType,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.convert import crc
from strongroomd.frontends.grpc.door import Call

_DEFAULT = EncryptionAlgorithm.SYMMETRIC_DEFAULT


class CryptoMethods:
    """The unary methods of CryptoService that work on one item."""

    def __init__(self, crypto: Crypto, signing: Signing) -> None:
        self._crypto = crypto
        self._signing = signing

    async def Encrypt(self, request: pb.EncryptRequest, call: Call) -> pb.EncryptResponse:
        """Encrypt."""
        plaintext = request.plaintext
        verified = convert.checked(
            plaintext, request.HasField("plaintext_crc32c"), request.plaintext_crc32c, "plaintext"
        )
        sealed = await self._crypto.encrypt(
            call.caller,
            request.key,
            plaintext,
            convert.context(request.encryption_context),
            encryption(request.encryption_algorithm),
            dry_run=request.dry_run,
        )
        return pb.EncryptResponse(
            ciphertext=sealed.ciphertext,
            key_arn=sealed.key_arn,
            key_version=sealed.version,
            encryption_algorithm=convert.to_wire(sealed.algorithm),
            ciphertext_crc32c=crc(sealed.ciphertext),
            verified_plaintext_crc32c=verified,
        )

    async def Decrypt(self, request: pb.DecryptRequest, call: Call) -> pb.DecryptResponse:
        """Decrypt."""
        verified = _ciphertext_checked(request)
        wanted = Ciphertext(
            data=request.ciphertext,
            key=request.key,
            version=request.key_version,
            algorithm=encryption(request.encryption_algorithm),
            context=convert.context(request.encryption_context),
        )
        opened = await self._crypto.decrypt(call.caller, wanted, dry_run=request.dry_run)
        return pb.DecryptResponse(
            plaintext=opened.plaintext,
            key_arn=opened.key_arn,
            key_version=opened.version,
            encryption_algorithm=convert.to_wire(opened.algorithm),
            plaintext_crc32c=crc(opened.plaintext),
            verified_ciphertext_crc32c=verified,
        )

    async def ReEncrypt(self, request: pb.ReEncryptRequest, call: Call) -> pb.ReEncryptResponse:
        """Decrypt and encrypt again."""
        verified = _ciphertext_checked(request)
        source = Ciphertext(
            data=request.ciphertext,
            key=request.source_key,
            version=request.source_key_version,
            algorithm=encryption(request.source_encryption_algorithm, "source_encryption_algorithm"),
            context=convert.context(request.source_encryption_context, "source_encryption_context"),
            prefix="source_",
        )
        made = await self._crypto.re_encrypt(
            call.caller,
            source,
            request.destination_key,
            convert.context(request.destination_encryption_context, "destination_encryption_context"),
            encryption(request.destination_encryption_algorithm, "destination_encryption_algorithm"),
            dry_run=request.dry_run,
        )
        return pb.ReEncryptResponse(
            ciphertext=made.sealed.ciphertext,
            source_key_arn=made.source_arn,
            source_key_version=made.source_version,
            source_encryption_algorithm=convert.to_wire(made.source_algorithm),
            destination_key_arn=made.sealed.key_arn,
            destination_key_version=made.sealed.version,
            destination_encryption_algorithm=convert.to_wire(made.sealed.algorithm),
            ciphertext_crc32c=crc(made.sealed.ciphertext),
            verified_ciphertext_crc32c=verified,
        )

    async def GenerateDataKey(
        self, request: pb.GenerateDataKeyRequest, call: Call
    ) -> pb.GenerateDataKeyResponse:
        """Make a data key."""
        made = await self._crypto.generate_data_key(
            call.caller,
            request.key,
            _data_key_length(request),
            convert.context(request.encryption_context),
            dry_run=request.dry_run,
        )
        return pb.GenerateDataKeyResponse(
            plaintext=made.plaintext, plaintext_crc32c=crc(made.plaintext), **_sealed_key(made)
        )

    async def GenerateDataKeyWithoutPlaintext(
        self, request: pb.GenerateDataKeyWithoutPlaintextRequest, call: Call
    ) -> pb.GenerateDataKeyWithoutPlaintextResponse:
        """Make a data key and give only its ciphertext."""
        made = await self._crypto.generate_data_key_without_plaintext(
            call.caller,
            request.key,
            _data_key_length(request),
            convert.context(request.encryption_context),
            dry_run=request.dry_run,
        )
        return pb.GenerateDataKeyWithoutPlaintextResponse(**_sealed_key(made))

    async def GenerateDataKeyPair(
        self, request: pb.GenerateDataKeyPairRequest, call: Call
    ) -> pb.GenerateDataKeyPairResponse:
        """Make a data key pair."""
        made = await self._crypto.generate_data_key_pair(
            call.caller,
            request.key,
            _pair_spec(request.key_pair_spec),
            convert.context(request.encryption_context),
            dry_run=request.dry_run,
        )
        return pb.GenerateDataKeyPairResponse(
            private_key_plaintext=made.private_key,
            private_key_plaintext_crc32c=crc(made.private_key),
            **_sealed_pair(made, request.key_pair_spec),
        )

    async def GenerateDataKeyPairWithoutPlaintext(
        self, request: pb.GenerateDataKeyPairWithoutPlaintextRequest, call: Call
    ) -> pb.GenerateDataKeyPairWithoutPlaintextResponse:
        """Make a data key pair and give the private key's ciphertext only."""
        made = await self._crypto.generate_data_key_pair_without_plaintext(
            call.caller,
            request.key,
            _pair_spec(request.key_pair_spec),
            convert.context(request.encryption_context),
            dry_run=request.dry_run,
        )
        return pb.GenerateDataKeyPairWithoutPlaintextResponse(**_sealed_pair(made, request.key_pair_spec))

    async def Sign(self, request: pb.SignRequest, call: Call) -> pb.SignResponse:
        """Sign."""
        verified = _message_checked(request)
        made = await self._signing.sign(call.caller, request.key, to_sign(request), dry_run=request.dry_run)
        return pb.SignResponse(
            signature=made.signature,
            key_arn=made.key_arn,
            key_version=made.version,
            signing_algorithm=convert.to_wire(made.algorithm),
            signature_crc32c=crc(made.signature),
            verified_message_crc32c=verified,
        )

    async def Verify(self, request: pb.VerifyRequest, call: Call) -> pb.VerifyResponse:
        """Verify a signature."""
        message_verified = _message_checked(request)
        signature_verified = convert.checked(
            request.signature, request.HasField("signature_crc32c"), request.signature_crc32c, "signature"
        )
        made = await self._signing.verify(
            call.caller, request.key, to_sign(request), request.signature, dry_run=request.dry_run
        )
        return pb.VerifyResponse(
            key_arn=made.key_arn,
            key_version=made.version,
            signing_algorithm=convert.to_wire(made.algorithm),
            verified_message_crc32c=message_verified,
            verified_signature_crc32c=signature_verified,
        )

    async def GenerateMac(self, request: pb.GenerateMacRequest, call: Call) -> pb.GenerateMacResponse:
        """Make a MAC."""
        verified = _message_checked(request)
        made = await self._signing.generate_mac(
            call.caller,
            request.key,
            request.message,
            convert.from_wire(MacAlgorithm, request.mac_algorithm, "mac_algorithm"),
            request.key_version,
            dry_run=request.dry_run,
        )
        return pb.GenerateMacResponse(
            mac=made.mac,
            key_arn=made.key_arn,
            key_version=made.version,
            mac_algorithm=convert.to_wire(made.algorithm),
            mac_crc32c=crc(made.mac),
            verified_message_crc32c=verified,
        )

    async def VerifyMac(self, request: pb.VerifyMacRequest, call: Call) -> pb.VerifyMacResponse:
        """Verify a MAC."""
        message_verified = _message_checked(request)
        mac_verified = convert.checked(request.mac, request.HasField("mac_crc32c"), request.mac_crc32c, "mac")
        made = await self._signing.verify_mac(
            call.caller,
            request.key,
            request.message,
            request.mac,
            convert.from_wire(MacAlgorithm, request.mac_algorithm, "mac_algorithm"),
            request.key_version,
            dry_run=request.dry_run,
        )
        return pb.VerifyMacResponse(
            key_arn=made.key_arn,
            key_version=made.version,
            mac_algorithm=convert.to_wire(made.algorithm),
            verified_message_crc32c=message_verified,
            verified_mac_crc32c=mac_verified,
        )

    async def DeriveSharedSecret(
        self, request: pb.DeriveSharedSecretRequest, call: Call
    ) -> pb.DeriveSharedSecretResponse:
        """Agree on a secret."""
        verified = convert.checked(
            request.public_key, request.HasField("public_key_crc32c"), request.public_key_crc32c, "public_key"
        )
        convert.from_wire(AgreementAlgorithm, request.key_agreement_algorithm, "key_agreement_algorithm")
        made = await self._signing.derive_shared_secret(
            call.caller,
            request.key,
            request.public_key,
            request.key_version,
            dry_run=request.dry_run,
        )
        return pb.DeriveSharedSecretResponse(
            shared_secret=made.secret,
            key_arn=made.key_arn,
            key_version=made.version,
            key_agreement_algorithm=convert.to_wire(AgreementAlgorithm.ECDH),
            shared_secret_crc32c=crc(made.secret),
            verified_public_key_crc32c=verified,
        )

    async def GenerateRandom(
        self, request: pb.GenerateRandomRequest, call: Call
    ) -> pb.GenerateRandomResponse:
        """Give random bytes."""
        made = await self._crypto.generate_random(
            call.caller, request.number_of_bytes, dry_run=request.dry_run
        )
        return pb.GenerateRandomResponse(plaintext=made, plaintext_crc32c=crc(made))


def encryption(number: int, field: str = "encryption_algorithm") -> EncryptionAlgorithm | None:
    """Turn an encryption algorithm's number into the core's value."""
    return convert.from_wire(EncryptionAlgorithm, number, field)


def to_sign(request: Any) -> ToSign:  # noqa: ANN401 - SignRequest, VerifyRequest and BatchSignRequest alike
    """Gather what is to be signed or verified; UNSPECIFIED means the message itself."""
    return ToSign(
        data=getattr(request, "message", b""),
        kind=convert.from_wire(MessageType, request.message_type, "message_type") or MessageType.RAW,
        algorithm=convert.from_wire(SigningAlgorithm, request.signing_algorithm, "signing_algorithm"),
        version=request.key_version,
    )


def _ciphertext_checked(request: Any) -> bool:  # noqa: ANN401 - two requests with the same two fields
    return convert.checked(
        request.ciphertext, request.HasField("ciphertext_crc32c"), request.ciphertext_crc32c, "ciphertext"
    )


def _message_checked(request: Any) -> bool:  # noqa: ANN401 - four requests with the same two fields
    return convert.checked(
        request.message, request.HasField("message_crc32c"), request.message_crc32c, "message"
    )


def _data_key_length(request: Any) -> int:  # noqa: ANN401 - two requests with the same oneof
    which = request.WhichOneof("length")
    if which == "number_of_bytes":
        check_length(request.number_of_bytes)
        return int(request.number_of_bytes)
    if not request.data_key_spec:
        raise invalid("data_key_spec", "must be set, or else number_of_bytes")
    length = convert.DATA_KEY_BYTES.get(request.data_key_spec)
    if length is None:
        raise StrongroomError(Reason.UNKNOWN_ENUM, field="data_key_spec")
    return length


def _pair_spec(number: pb.DataKeyPairSpec.ValueType) -> KeySpec:
    if not number:
        raise invalid("key_pair_spec", "must be set")
    spec = convert.PAIR_SPECS.get(number)
    if spec is None:
        raise StrongroomError(Reason.UNKNOWN_ENUM, field="key_pair_spec")
    return spec


def _sealed_key(made: DataKey) -> dict[str, Any]:
    return {
        "ciphertext": made.sealed.ciphertext,
        "ciphertext_crc32c": crc(made.sealed.ciphertext),
        "key_arn": made.sealed.key_arn,
        "key_version": made.sealed.version,
    }


def _sealed_pair(made: DataKeyPair, spec: int) -> dict[str, Any]:
    return {
        "private_key_ciphertext": made.sealed.ciphertext,
        "private_key_ciphertext_crc32c": crc(made.sealed.ciphertext),
        "public_key": made.public_key,
        "public_key_crc32c": crc(made.public_key),
        "key_pair_spec": spec,
        "key_arn": made.sealed.key_arn,
        "key_version": made.sealed.version,
    }
