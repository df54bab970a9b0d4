"""A kit of keys of every usage, and for each RPC a request that an administrator's call succeeds with."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tests.conformance.wire import METHODS, Wire, request
from tests.harness import ACCOUNT, ADMIN, OTHER
from tests.imports import wrapped
from tests.people import new_key

from strongroom import Client, signing
from strongroom.v1 import (
    access_pb2,
    approvals_pb2,
    crypto_pb2,
    key_stores_pb2,
    material_pb2,
    quota_pb2,
    types_pb2,
)
from strongroomd.domain import policy
from strongroomd.domain.importing import WrappingAlgorithm

MESSAGE = b"a message"
ROOT = f"arn:aws:iam::{ACCOUNT}:"
URI = "spiffe://strongroom.dev/kit/"


def _document(**statement: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


ANYTHING = _document(Action="*", Resource="*")
TRUST = _document(Principal={"AWS": ADMIN}, Action="sts:AssumeRole")
KEYLESS = frozenset(
    {
        "CreateKey", "AdoptKey", "ListKeys", "ListAliases", "GenerateRandom", "GetLimit", "PutLimit", "DeleteLimit",
        "ListLimits", "GetQuotaUsage", "ListAuditRecords", "TailAuditRecords", "GetAuditCheckpoint",
        "WatchEvents", "ListSinks", "ListDeadLetters", "RedriveDeadLetter",
        "GetComplianceReport", "ListRetirableGrants", "CheckPolicy", "SimulatePolicy",
        "ListStatementKeys", "GetDestructionCertificate",
        "GetQuotaRequest", "ListQuotaRequests", "AnswerQuotaRequest", "CancelQuotaRequest",
    }
) | {n for n, m in METHODS.items() if m.containing_service.name in {"AccessService", "KeyStoreService", "KekService", "ApprovalService", "ExportService"}} - {"RequestExport"}  # fmt: skip
"""RPCs that no key's policy decides, or not it first: who may AddExternalKey is asked whether they may lend the key.

Who may approve a request, or carry it out, is asked of the key that the request is about.
"""
OF_A_STORE = frozenset(n for n, m in METHODS.items() if "key_store" in m.input_type.fields_by_name)
"""RPCs about one external key store."""
FOR_ANYONE = frozenset(
    {
        *("GenerateRandom", "GetCallerIdentity", "CheckPolicy", "ListQuotaRequests", "ListStatementKeys"),
        *("ListApprovers", "ListApprovals"),  # each their own
    }
)
USES = frozenset(
    name
    for name, method in METHODS.items()
    if method.containing_service.name == "CryptoService" and name not in KEYLESS
) | {"GetPublicKey"}
"""RPCs that need an enabled key."""
MUTATIONS = frozenset(n for n, m in METHODS.items() if "request_id" in m.input_type.fields_by_name)


@dataclass(frozen=True)
class Callers:
    """An account, and in the administrator's account a user and a role with one of everything."""

    account: str
    user: str
    role: str
    uri: str
    access_key: str


@dataclass(frozen=True)
class KeyStores:
    """An external key store with a credential and an external key, and one without any; or none at all."""

    store: str = "xks-0000000000000000"
    access_key: str = "A" * 24
    external_key: str = "nothing"
    empty: str = "xks-0000000000000001"


@dataclass(frozen=True)
class Requests:
    """Approval requests of the administrator, each for one RPC; none at all, until `with_approvals`.

    Attributes:
        waiting: that the administrator may approve, by the key `approver` with `signature`.
        rejected, cancelled: that can be.
        quorum, wrapping, export: that are approved.
        spare: an enrolled key that can be revoked.
    """

    waiting: str = "0" * 32
    rejected: str = "0" * 32
    cancelled: str = "0" * 32
    quorum: str = "0" * 32
    wrapping: str = "0" * 32
    export: str = "0" * 32
    approver: str = "0" * 32
    signature: bytes = bytes(64)
    spare: str = "0" * 32


@dataclass(frozen=True)
class Kit:
    """One key of each usage and what they made while they were enabled."""

    seal: str
    sign: str
    mac: str
    agree: str
    alias: str
    ciphertext: bytes
    signature: bytes
    tag: bytes
    grant: str
    other_grant: str
    callers: Callers
    stores: KeyStores = KeyStores()
    asked: str = "0" * 32
    """The id of a quota request that the administrator may answer; of none, until `with_requests`."""
    mine: str = "0" * 32
    """The id of one that the administrator asked; likewise."""
    external: str = field(default_factory=lambda: str(uuid.uuid4()))
    """A key that waits for its material; none, until `with_import`."""
    import_token: bytes = bytes(57)
    wrapped: bytes = bytes(256)
    """That material, and the token that goes with it; likewise."""
    leaving: str = field(default_factory=lambda: str(uuid.uuid4()))
    """An exportable, protected key; none, until `with_approvals`."""
    requests: Requests = Requests()
    wrapping_key: str = "wk-0000000000000000"
    """A registered wrapping key; likewise."""
    theirs: str = "nobody's"
    """The label of a token object that an operator may adopt; of none, until a test plants one."""

    def key_ids(self) -> tuple[str, ...]:
        """The key ids."""
        return self.seal, self.sign, self.mac, self.agree

    def unknown(self) -> "Kit":
        """The same kit if none of its keys existed."""
        ghost = uuid.uuid4()
        foreign = self.ciphertext[:4] + ghost.bytes + self.ciphertext[20:]
        alias = "alias/" + "x" * (len(self.alias) - 6)
        name, nothing = str(ghost), ghost.hex * 2
        return Kit(
            name, name, name, name, alias, foreign, self.signature, self.tag, nothing, nothing, self.callers
        )


def make_kit(admin: Client) -> Kit:
    """Make a kit whose policies name nobody but the administrator."""
    seal = admin.create_key().key_id
    sign = admin.create_key(spec="ECC_NIST_P256", usage="SIGN_VERIFY").key_id
    mac = admin.create_key(spec="HMAC_256").key_id
    agree = admin.create_key(spec="ECC_NIST_P256", usage="KEY_AGREEMENT").key_id
    alias = f"alias/kit-{uuid.uuid4()}"
    admin.create_alias(alias, seal)
    admin.start_rewrap()
    grants = [admin.create_grant(seal, OTHER, ["Decrypt"]).grant.grant_id for _ in range(2)]
    return Kit(
        seal, sign, mac, agree, alias,
        admin.encrypt(seal, MESSAGE).ciphertext,
        admin.sign(sign, MESSAGE).signature,
        admin.generate_mac(mac, MESSAGE).mac,
        grants[0], grants[1],
        make_callers(admin),
        make_stores(admin, seal),
    )  # fmt: skip


_WRAPPING = {"wrapping_algorithm": "RSAES_OAEP_SHA_1", "wrapping_key_spec": "RSA_2048"}


def with_import(kit: Kit, admin: Client) -> Kit:
    """Make a key whose material waits to be imported, once."""
    key = admin.create_key(origin="EXTERNAL").arn
    given = admin.get_parameters_for_import(key, **_WRAPPING)
    sent = wrapped(b"\x07" * 32, WrappingAlgorithm.RSAES_OAEP_SHA_1, given.public_key)
    return replace(kit, external=key, import_token=given.import_token, wrapped=sent)


def with_requests(kit: Kit, admin: Client, asker: Wire) -> Kit:
    """Have two quota requests asked: by the administrator, and by somebody else for an answer."""
    mine = admin.request_quota("KEY", kit.mac, 100_000)
    made: Any = asker.call("RequestQuota", request("RequestQuota", scope=_CLASS, subject="RSA", per_second=5))
    assert made.ok, made
    return replace(kit, asked=made.reply.quota_request.id, mine=mine.id)


def make_callers(admin: Client) -> Callers:
    """Make an account and principals with one of everything that can be attached to them."""
    name = uuid.uuid4().hex
    callers = Callers(fresh_account(), f"{ROOT}user/{name}", f"{ROOT}role/{name}", f"{URI}{name}", "")
    admin.create_account(callers.account)
    admin.put_guard_rail(callers.account, "kit", ANYTHING)
    admin.create_principal(callers.user, tags={"team": "blue"})
    admin.create_principal(callers.role, trust_policy=TRUST)
    admin.put_identity_policy(callers.user, "kit", ANYTHING)
    admin.add_identity(callers.user, uri=callers.uri)
    made = admin.create_access_key(callers.user)
    return replace(callers, access_key=made.access_key.access_key_id)


def make_stores(admin: Client, key: str) -> KeyStores:
    """Make key stores, one of them with one of everything."""
    store, empty = (admin.create_key_store().key_store_id for _ in range(2))
    credential = admin.create_key_store_credential(store).credential
    external = admin.add_external_key(store, "kit", key)
    return KeyStores(store, credential.access_key_id, external.external_key_id, empty)


def fresh_account() -> str:
    """A number that no account has."""
    return str(uuid.uuid4().int % 9 * 10**11 + uuid.uuid4().int % 10**11).zfill(12)


PEER = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
)
_POLICY = policy.default_policy(ADMIN)
_AES = crypto_pb2.DATA_KEY_SPEC_AES_256
_P256 = crypto_pb2.DATA_KEY_PAIR_SPEC_ECC_NIST_P256
_CLASS = quota_pb2.LIMIT_SCOPE_CLASS
_FIRST_USE = key_stores_pb2.PINNING_FIRST_USE
_LIMIT = key_stores_pb2.RequestLimit(per_second=1_800, burst=3_600)
_LIMITS = {"policy": "", "limit": _LIMIT, "key_limit": _LIMIT, "principal_limit": _LIMIT}


def _external(kit: "Kit") -> dict[str, Any]:
    return {"key_store": kit.stores.store, "external_key_id": kit.stores.external_key}


def _enrolment(arn: str) -> dict[str, Any]:
    """Enrol a key of somebody's; no key can be enrolled twice."""
    private, public = new_key()
    proof = signing.sign(private, signing.enrolment_file(ACCOUNT, arn, public))
    return {"principal": arn, "public_key": public, "proof": proof}


RECIPIENT = (
    rsa.generate_private_key(65_537, 2_048)
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
)
_OAEP = types_pb2.WRAPPING_ALGORITHM_RSAES_OAEP_SHA_1
_FIELDS: dict[str, Callable[[Kit], dict[str, Any]]] = {
    "CreateKey": lambda kit: {},
    **dict.fromkeys(("GetPeerStatement", "ListPeers"), lambda kit: {}),
    "RegisterPeer": lambda kit: {
        "statement": b"{}",
        "signature": b"x",
        "statement_key": b"x",
        "approval_id": "0" * 32,
    },
    "RemovePeer": lambda kit: {"region": "local-2"},
    "ImportReplica": lambda kit: {"bundle": b"{}", "signature": b"x"},
    "AcknowledgeReplica": lambda kit: {"key": kit.seal, "receipt": b"{}", "signature": b"x"},
    "MoveLostPrimary": lambda kit: {"key": kit.seal, "region": "local-2", "approval_id": "0" * 32},
    **dict.fromkeys(
        ("ReplicateKey", "GetReplicaBundle", "RemoveReplica", "UpdatePrimaryRegion"),
        lambda kit: {"key": kit.seal, "region": "local-2"},
    ),
    "AdoptKey": lambda kit: {"label": kit.theirs},
    "EnrolApprover": lambda kit: _enrolment(kit.callers.user),
    "RevokeApprover": lambda kit: {"approver_id": kit.requests.spare},
    "PutQuorum": lambda kit: {"quorum": 2, "approval_id": kit.requests.quorum},
    **dict.fromkeys(
        ("ListApprovers", "GetQuorum", "ListApprovals", "ListWrappingKeys", "ListStatementKeys"),
        lambda kit: {},
    ),
    "AskApproval": lambda kit: {
        "key_deletion": approvals_pb2.KeyDeletion(key=kit.leaving, pending_window_days=7),
        "purpose": "words",
    },
    "DescribeApproval": lambda kit: {"approval_id": kit.requests.waiting},
    "ApproveRequest": lambda kit: {
        "approval_id": kit.requests.waiting,
        "approver_id": kit.requests.approver,
        "signature": kit.requests.signature,
    },
    "RejectRequest": lambda kit: {"approval_id": kit.requests.rejected},
    "CancelRequest": lambda kit: {"approval_id": kit.requests.cancelled},
    "RequestExport": lambda kit: {"key": kit.leaving, "public_key": RECIPIENT, "purpose": "words"},
    "ExecuteExport": lambda kit: {"approval_id": kit.requests.export},
    "RegisterWrappingKey": lambda kit: {
        "name": "kit",
        "kind": approvals_pb2.WRAPPING_KEY_KIND_RSA,
        "public_key": RECIPIENT,
        "approval_id": kit.requests.wrapping,
    },
    "RemoveWrappingKey": lambda kit: {"wrapping_key_id": kit.wrapping_key},
    "GetParametersForImport": lambda kit: {
        "key": kit.external,
        "wrapping_algorithm": _OAEP,
        "wrapping_key_spec": material_pb2.WRAPPING_KEY_SPEC_RSA_2048,
    },
    "ImportKeyMaterial": lambda kit: {
        "key": kit.external,
        "import_token": kit.import_token,
        "encrypted_key_material": kit.wrapped,
        "expiration_model": types_pb2.EXPIRATION_MODEL_KEY_MATERIAL_EXPIRES,
        "valid_to": Timestamp(seconds=int(time.time()) + 86_400),
    },
    "DeleteImportedKeyMaterial": lambda kit: {"key": kit.external},
    "ListKeys": lambda kit: {},
    "ListAliases": lambda kit: {},
    "UpdateKeyDescription": lambda kit: {"key": kit.seal, "description": "words"},
    "GetPublicKey": lambda kit: {"key": kit.sign},
    "CreateAlias": lambda kit: {"key": kit.seal, "alias": f"alias/{uuid.uuid4()}"},
    "UpdateAlias": lambda kit: {"key": kit.seal, "alias": kit.alias},
    "DeleteAlias": lambda kit: {"alias": kit.alias},
    "TagKey": lambda kit: {"key": kit.seal, "tags": [types_pb2.Tag(key="team", value="blue")]},
    "UntagKey": lambda kit: {"key": kit.seal, "tag_keys": ["team"]},
    "PutKeyPolicy": lambda kit: {"key": kit.seal, "policy": _POLICY},
    "Encrypt": lambda kit: {"key": kit.seal, "plaintext": MESSAGE},
    "Decrypt": lambda kit: {"ciphertext": kit.ciphertext},
    "ReEncrypt": lambda kit: {"ciphertext": kit.ciphertext, "destination_key": kit.seal},
    "GenerateDataKey": lambda kit: {"key": kit.seal, "data_key_spec": _AES},
    "GenerateDataKeyWithoutPlaintext": lambda kit: {"key": kit.seal, "data_key_spec": _AES},
    "GenerateDataKeyPair": lambda kit: {"key": kit.seal, "key_pair_spec": _P256},
    "GenerateDataKeyPairWithoutPlaintext": lambda kit: {"key": kit.seal, "key_pair_spec": _P256},
    "Sign": lambda kit: {"key": kit.sign, "message": MESSAGE},
    "Verify": lambda kit: {"key": kit.sign, "message": MESSAGE, "signature": kit.signature},
    "GenerateMac": lambda kit: {"key": kit.mac, "message": MESSAGE},
    "VerifyMac": lambda kit: {"key": kit.mac, "message": MESSAGE, "mac": kit.tag},
    "DeriveSharedSecret": lambda kit: {"key": kit.agree, "public_key": PEER},
    "GenerateRandom": lambda kit: {"number_of_bytes": 16},
    "BatchEncrypt": lambda kit: {"key": kit.seal, "items": [crypto_pb2.BatchEncryptItem(plaintext=MESSAGE)]},
    "BatchDecrypt": lambda kit: {"items": [crypto_pb2.BatchDecryptItem(ciphertext=kit.ciphertext)]},
    "BatchSign": lambda kit: {"key": kit.sign, "items": [crypto_pb2.BatchSignItem(message=MESSAGE)]},
    "Operate": lambda kit: {"encrypt": crypto_pb2.EncryptRequest(key=kit.seal, plaintext=MESSAGE)},
    "CreateGrant": lambda kit: {"key": kit.seal, "grantee_principal": OTHER, "operations": ["Encrypt"]},
    "ListRetirableGrants": lambda kit: {"retiring_principal": ADMIN},
    "RetireGrant": lambda kit: {"key": kit.seal, "grant_id": kit.grant},
    "CheckPolicy": lambda _: {"policy": _POLICY},
    "SimulatePolicy": lambda _: {"action": "kms:Encrypt", "principal": ADMIN, "policy": _POLICY},
    "RevokeGrant": lambda kit: {"key": kit.seal, "grant_id": kit.other_grant},
    "GetLimit": lambda kit: {"scope": _CLASS, "subject": "RSA"},
    "PutLimit": lambda kit: {"scope": _CLASS, "subject": "RSA", "per_second": 100_000},
    "DeleteLimit": lambda kit: {"scope": _CLASS, "subject": "RSA"},
    "ListLimits": lambda kit: {},
    "RequestQuota": lambda kit: {
        "scope": quota_pb2.LIMIT_SCOPE_KEY,
        "subject": kit.seal,
        "per_second": 100_000,
        "justification": "words",
    },
    "GetQuotaRequest": lambda kit: {"quota_request_id": kit.mine},
    "ListQuotaRequests": lambda kit: {},
    "AnswerQuotaRequest": lambda kit: {
        "quota_request_id": kit.asked,
        "decision": quota_pb2.QUOTA_DECISION_DENY,
        "note": "words",
    },
    "CancelQuotaRequest": lambda kit: {"quota_request_id": kit.mine},
    "GetQuotaUsage": lambda kit: {"scope": _CLASS, "subject": "RSA"},
    "ListAuditRecords": lambda kit: {"page_size": 1},
    "TailAuditRecords": lambda kit: {},
    "GetAuditCheckpoint": lambda kit: {},
    "GetCallerIdentity": lambda kit: {},
    "AssumeRole": lambda kit: {"role": kit.callers.role, "session_name": "kit"},
    "CreateAccount": lambda kit: {"account": fresh_account(), "description": "words"},
    "DescribeAccount": lambda kit: {"account": kit.callers.account},
    "ListAccounts": lambda kit: {},
    "PutGuardRail": lambda kit: {"account": kit.callers.account, "name": "kit", "policy": ANYTHING},
    "GetGuardRail": lambda kit: {"account": kit.callers.account, "name": "kit"},
    "ListGuardRails": lambda kit: {"account": kit.callers.account},
    "DeleteGuardRail": lambda kit: {"account": kit.callers.account, "name": "kit"},
    "CreatePrincipal": lambda kit: {
        "principal": f"{ROOT}user/{uuid.uuid4()}",
        "tags": [types_pb2.Tag(key="team", value="blue")],
    },
    "ListPrincipals": lambda kit: {"kind": access_pb2.PRINCIPAL_KIND_USER},
    "TagPrincipal": lambda kit: {
        "principal": kit.callers.user,
        "tags": [types_pb2.Tag(key="team", value="blue")],
    },
    "UntagPrincipal": lambda kit: {"principal": kit.callers.user, "tag_keys": ["team"]},
    "PutIdentityPolicy": lambda kit: {"principal": kit.callers.user, "name": "kit", "policy": ANYTHING},
    "GetIdentityPolicy": lambda kit: {"principal": kit.callers.user, "name": "kit"},
    "DeleteIdentityPolicy": lambda kit: {"principal": kit.callers.user, "name": "kit"},
    "PutTrustPolicy": lambda kit: {"principal": kit.callers.role, "policy": TRUST},
    "RevokeRoleSessions": lambda kit: {"principal": kit.callers.role},
    "AddIdentity": lambda kit: {"principal": kit.callers.user, "uri": f"{URI}{uuid.uuid4()}"},
    "RemoveIdentity": lambda kit: {"principal": kit.callers.user, "uri": kit.callers.uri},
    "ActivateAccessKey": lambda kit: {
        "principal": kit.callers.user,
        "access_key_id": kit.callers.access_key,
    },
    "DeactivateAccessKey": lambda kit: {
        "principal": kit.callers.user,
        "access_key_id": kit.callers.access_key,
    },
    "DeleteAccessKey": lambda kit: {"principal": kit.callers.user, "access_key_id": kit.callers.access_key},
    "CreateKeyStore": lambda _: {"uri_prefix": f"/{uuid.uuid4()}", **_LIMITS},
    "ListKeyStores": lambda _: {},
    "UpdateKeyStore": lambda kit: {"key_store": kit.stores.store, "description": "words", **_LIMITS},
    "DeleteKeyStore": lambda kit: {"key_store": kit.stores.empty},
    "DeleteKeyStoreCredential": lambda kit: {
        "key_store": kit.stores.store,
        "access_key_id": kit.stores.access_key,
    },
    "AddExternalKey": lambda kit: {
        "key_store": kit.stores.store,
        "external_key_id": str(uuid.uuid4()),
        "key": kit.seal,
        "pinning": _FIRST_USE,
    },
    "UpdateExternalKey": lambda kit: {**_external(kit), "pinning": _FIRST_USE},
    "ListHouseKeys": lambda kit: {},
    "RotateHouseKey": lambda kit: {"role": "health"},
    **dict.fromkeys(("StartRewrap", "GetRewrap", "CancelRewrap"), lambda kit: {}),
    "WatchEvents": lambda kit: {},
    "ListSinks": lambda kit: {},
    "ListDeadLetters": lambda kit: {},
    "RedriveDeadLetter": lambda kit: {},
    "GetComplianceReport": lambda kit: {},
}


BY_KEY = frozenset(
    {
        *(
            "DescribeKey",
            "EnableKey",
            "DisableKey",
            "ScheduleKeyDeletion",
            "CancelKeyDeletion",
            "GetKeyPolicy",
        ),
        *("RotateKey", "EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "ListKeyRotations"),
        *("ListKeyVersions", "GetKeyUsage", "ListTags", "ListGrants", "GetKeyAttestation"),
        "GetDestructionCertificate",
    }
)
BY_PRINCIPAL = frozenset(
    {
        *("DescribePrincipal", "EnablePrincipal", "DisablePrincipal", "DeletePrincipal"),
        *("ListIdentityPolicies", "ListIdentities", "CreateAccessKey", "ListAccessKeys"),
    }
)
BY_STORE = frozenset(
    {
        *("DescribeKeyStore", "BlockKeyStore", "UnblockKeyStore"),
        *("CreateKeyStoreCredential", "ListKeyStoreCredentials"),
        *(
            "DescribeExternalKey",
            "ListExternalKeys",
            "BlockExternalKey",
            "UnblockExternalKey",
            "RemoveExternalKey",
        ),
    }
)
ROWS = frozenset({*_FIELDS, *BY_KEY, *BY_PRINCIPAL, *BY_STORE})
"""RPCs that the kit has a request for: those with a row of their own, and those that need a name and no more."""


OF_TWO_HOUSES = frozenset(n for n, m in METHODS.items() if m.containing_service.name == "ReplicaService")
"""RPCs that succeed only where another house is: whom they refuse is tried with two (tests/replicas)."""


def valid(name: str, kit: Kit) -> Message:
    """Make a request that succeeds for an administrator while the kit's keys are enabled.

    Those of `OF_TWO_HOUSES` are well-formed, and are refused for what they name.

    Raises:
        KeyError: for an RPC that nobody has made a row for.
    """
    if name in BY_KEY:
        return request(name, key=kit.seal)
    if name in BY_PRINCIPAL:
        return request(name, principal=kit.callers.user)
    if name in BY_STORE:
        return request(name, **_external(kit))
    return request(name, **_FIELDS[name](kit))
