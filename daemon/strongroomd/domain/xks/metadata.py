"""What AWS KMS says of the call behind a request (requestMetadata), and what can be read from it."""

from dataclasses import dataclass

_ARN_PARTS = 6


@dataclass(frozen=True, slots=True)
class RequestMetadata:
    """One request's metadata, as KMS signed it; empty where it was not sent.

    Nothing here is checked but that it is text of bounded length: the specification gives no form to rely on.

    Attributes:
        kms_request_id: joins with CloudTrail; may be empty.
        kms_operation: the KMS operation behind the request, e.g. `GenerateDataKey`.
        principal_arn: who called KMS: an ARN, a service's name, or `AWS Internal`.
        kms_key_arn: the KMS key.
        source_vpc, source_vpce: the VPC and endpoint that the caller came through.
        via_service: the AWS service that called for the principal.
    """

    kms_request_id: str
    kms_operation: str
    principal_arn: str = ""
    kms_key_arn: str = ""
    source_vpc: str = ""
    source_vpce: str = ""
    via_service: str = ""

    @property
    def principal_account(self) -> str:
        """The caller's account, empty where its name does not tell."""
        return _part(self.principal_arn, 4)

    @property
    def key_account(self) -> str:
        """The KMS key's account, empty where the ARN does not tell."""
        return _part(self.kms_key_arn, 4)

    @property
    def key_region(self) -> str:
        """The KMS key's region, empty where the ARN does not tell."""
        return _part(self.kms_key_arn, 3)

    def told(self) -> dict[str, str]:
        """Give what audit records say of it."""
        facts = {
            "kms_request_id": self.kms_request_id,
            "kms_operation": self.kms_operation,
            "aws_principal": self.principal_arn,
            "kms_key": self.kms_key_arn,
            "source_vpc": self.source_vpc,
            "source_vpce": self.source_vpce,
            "aws_via_service": self.via_service,
        }
        return {name: value for name, value in facts.items() if value}


def _part(arn: str, number: int) -> str:
    """Give one of an ARN's six parts."""
    parts = arn.split(":", _ARN_PARTS - 1)
    return parts[number] if len(parts) == _ARN_PARTS and parts[0] == "arn" else ""
