"""What the calls answer: frozen values with plain Python fields.

Fields that hold a secret have no repr, so that printing, logging or a traceback does not show them. Times are
aware datetimes in UTC. Names of specs, states and algorithms are strings, see `strongroom.names`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from strongroom.errors import StrongroomError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list; an empty `next_page_token` means that it is the last one."""

    items: tuple[Item, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class AdoptedObject:
    """What a token said of an object when it was adopted, in PKCS#11's words; see types.proto.

    Attributes:
        cka_id: in hexadecimal digits.
        spec: kind and length of the key, e.g. AES_256.
        uses: what the token lets it be used for, e.g. ENCRYPT.
        proved: whether another key put in its place would be noticed.
        warnings: what the token does not prevent, each in a sentence.
    """

    cka_id: str
    label: str
    object_class: str
    spec: str
    uses: tuple[str, ...]
    sensitive: bool
    always_sensitive: bool
    extractable: bool
    never_extractable: bool
    private: bool
    local: bool
    proved: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """Everything about a key that is not secret; see KeyMetadata in types.proto.

    Attributes:
        adopted_object: of an adopted key, from `adopt_key` and `describe_key`: the current version's object.
        token: where it lives: `main` or another token's name; empty from daemons that know one token only.
    """

    key_id: str
    arn: str
    account: str
    spec: str
    usage: str
    custody_mode: str
    custody_note: str
    origin: str
    exportable: bool
    state: str
    enabled: bool
    description: str
    created_time: datetime | None
    deletion_time: datetime | None
    current_version: int
    etag: str
    encryption_algorithms: tuple[str, ...]
    signing_algorithms: tuple[str, ...]
    mac_algorithms: tuple[str, ...]
    key_agreement_algorithms: tuple[str, ...]
    key_manager: str = ""
    token: str = ""
    adopted_object: AdoptedObject | None = None


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key's material, from 1; `current` marks the one that encrypts and signs now.

    Attributes:
        ciphertext_format: of what a symmetric version makes: 1 XAES-256-GCM, 2 AES-256-GCM; 0 for other keys.
        adopted_object: of an adopted key: the object that this version is.
    """

    version: int
    created_time: datetime | None
    current: bool
    ciphertext_format: int = 0
    adopted_object: AdoptedObject | None = None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key version, as SubjectPublicKeyInfo in DER and PEM."""

    key_arn: str
    key_version: int
    public_key: bytes
    public_key_pem: str
    spec: str
    usage: str
    encryption_algorithms: tuple[str, ...]
    signing_algorithms: tuple[str, ...]
    key_agreement_algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alias:
    """A second name of a key."""

    name: str
    arn: str
    key_arn: str
    created_time: datetime | None
    updated_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class Tags:
    """All tags of a key; `etag` is the key's, and empty where only the tags were read."""

    tags: Mapping[str, str]
    etag: str = ""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A key's policy, as JSON text, with the key's etag."""

    policy: str
    etag: str


@dataclass(frozen=True, slots=True)
class UsageReport:
    """When a key was last used, and how often each operation succeeded since `tracking_start_time`."""

    key_arn: str
    last_used_time: datetime | None
    last_operation: str
    tracking_start_time: datetime | None
    operation_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A ciphertext and the key version that made it."""

    ciphertext: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Decrypted:
    """A plaintext and the key version that opened it."""

    plaintext: bytes = field(repr=False)
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class ReEncrypted:
    """A new ciphertext, the key version that made it, and the one that opened the old ciphertext."""

    ciphertext: bytes
    key_arn: str
    key_version: int
    algorithm: str
    source_key_arn: str
    source_key_version: int
    source_algorithm: str


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in clear and encrypted. Use the plaintext, then forget it."""

    plaintext: bytes = field(repr=False)
    ciphertext: bytes
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class SealedDataKey:
    """A data key that only Decrypt can open."""

    ciphertext: bytes
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class DataKeyPair:
    """A key pair: the private half (PKCS#8 DER) in clear and encrypted, the public half in DER."""

    private_key: bytes = field(repr=False)
    sealed_private_key: bytes
    public_key: bytes
    spec: str
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class SealedDataKeyPair:
    """A key pair whose private half only Decrypt can open."""

    sealed_private_key: bytes
    public_key: bytes
    spec: str
    key_arn: str
    key_version: int


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and the key version that made it."""

    signature: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature or MAC that is valid: one that is not raises NotGenuine."""

    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Mac:
    """A MAC and the key version that made it."""

    mac: bytes
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """The raw ECDH secret: put it through a key derivation function before use."""

    secret: bytes = field(repr=False)
    key_arn: str
    key_version: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class RandomBytes:
    """Random bytes from the HSM."""

    data: bytes = field(repr=False)


EncryptResult = Encrypted | StrongroomError
DecryptResult = Decrypted | StrongroomError
SignResult = Signature | StrongroomError
"""What became of one item of a batch: its answer, or why it has none (returned, not raised)."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit: cost admitted per second in the long run, and at once after a rest."""

    scope: str
    subject: str
    per_second: int
    burst: int
    is_default: bool
    etag: str


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """One thing that is suspicious about a policy: how bad (error, warning, note), which rule, and where."""

    severity: str
    code: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class PolicyTrace:
    """What one statement had to say; `failed` is what did not match.

    `delegates` says that it only lets the account's identity policies decide; `near_miss` that nothing but
    conditions or the resource kept it from applying.
    """

    source: str
    policy: str
    statement: str
    effect: str
    applies: bool
    delegates: bool
    failed: tuple[str, ...]
    near_miss: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """How a request would be decided: by which rule, by which statement of which policy."""

    allowed: bool
    basis: str
    ground: str
    policy: str
    traces: tuple[PolicyTrace, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key lends to one principal; of the two context constraints at most one has pairs."""

    grant_id: str
    key_arn: str
    grantee_principal: str
    operations: tuple[str, ...]
    retiring_principal: str
    context_equals: Mapping[str, str]
    context_subset: Mapping[str, str]
    source_arn: str
    source_account: str
    name: str
    issuing_principal: str
    parent_grant_id: str
    created_time: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedGrant:
    """A new grant, and a token, no secret, with which it counts at once on every worker."""

    grant: Grant
    grant_token: str


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """A limit and the cost that would be admitted now."""

    limit: Limit
    available: int


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """A wish for a limit and what became of it.

    `answered_time`, `answered_by`: also of who cancelled it. The limit in force when it was asked and the one
    that an approval set are 0 where there was none.
    """

    id: str
    scope: str
    subject: str
    account: str
    per_second: int
    burst: int
    justification: str
    principal: str
    state: str
    created_time: datetime | None
    answered_time: datetime | None
    answered_by: str
    note: str
    in_force_per_second: int
    in_force_burst: int
    granted_per_second: int
    granted_burst: int
    etag: str


@dataclass(frozen=True, slots=True)
class AuditDecision:
    """What allowed or denied a call: a rule, its statement or grant, the policy (empty: the key's)."""

    basis: str
    ground: str
    policy: str


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record of the audit log; `canonical_json` is the record as it stands in the file.

    `strongroom.cloudtrail.event` gives it in the shape of CloudTrail's events.
    """

    origin: str
    sequence: int
    time: datetime | None
    kind: str
    action: str
    principal: str
    key_arn: str
    outcome: str
    request_id: str
    hash: bytes
    canonical_json: bytes
    identity: str = ""
    session: str = ""
    session_source: str = ""
    via_service: str = ""
    caller_account: str = ""
    source_principal: str = ""
    source_arn: str = ""
    source_account: str = ""
    source_address: str = ""
    door: str = ""
    decision: AuditDecision | None = None
    other_key_arns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of one audit chain at the time of a checkpoint."""

    origin: str
    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed checkpoint: `signature` is over `canonical_json`, by `public_key` (DER)."""

    canonical_json: bytes
    signature: bytes
    public_key: bytes
    signing_algorithm: str
    number: int
    time: datetime | None
    chain_heads: tuple[ChainHead, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the daemon takes the caller for."""

    principal_arn: str
    account: str
    certificate_sha256: str
    administrator: bool
    daemon_version: str
    region: str
    identity: str = ""
    operator: bool = False
    trusted: bool = False
    session_arn: str = ""
    session_source_arn: str = ""
    session_expire_time: datetime | None = None
    via_service: str = ""
    caller_account: str = ""
    source_principal: str = ""
    source_arn: str = ""
    source_account: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant."""

    account: str
    description: str
    created_time: datetime | None
    root_arn: str
    guard_rails: tuple[str, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, role or service, or an account's root."""

    arn: str
    account: str
    kind: str
    unique_id: str
    enabled: bool
    trusted: bool
    description: str
    created_time: datetime | None
    tags: Mapping[str, str]
    identity_policies: tuple[str, ...]
    trust_policy: str
    max_session_seconds: int
    etag: str


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """An identity policy or guard rail as it was put, and the etag of what it is attached to."""

    policy: str
    etag: str


@dataclass(frozen=True, slots=True)
class PolicyNames:
    """Names of attached policies, and the etag of what they are attached to."""

    names: tuple[str, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """A fact of certificates that speaks for a principal: one of uri, dns, and subject with its issuer."""

    principal: str
    uri: str
    dns: str
    subject: str
    issuer_spki_sha256: str
    created_time: datetime | None


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key without its secret."""

    access_key_id: str
    principal: str
    active: bool
    created_time: datetime | None
    last_used_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """A new access key and its secret, which is not shown again; empty where the answer is a repeated one."""

    access_key: AccessKey
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoleSession:
    """A role session; its token works with the certificate that it was given to."""

    session_token: str = field(repr=False)
    expire_time: datetime | None
    session_arn: str
    role_arn: str


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """Requests let through each second, and at once (0: as many as in a second); both 0 for no limit."""

    per_second: int = 0
    burst: int = 0

    def __str__(self) -> str:
        if not self.per_second:
            return "none"
        return f"{self.per_second:,} a second, {self.burst or self.per_second:,} at once"


@dataclass(frozen=True, slots=True)
class KeyStore:
    """An external key store of AWS KMS; `arn` is the principal under which it uses keys."""

    key_store_id: str
    arn: str
    account: str
    uri_prefix: str
    description: str
    blocked: bool
    policy: str
    limit: RequestLimit
    key_limit: RequestLimit
    principal_limit: RequestLimit
    created_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class KeyStoreCredential:
    """What AWS KMS signs a store's requests with, without its secret."""

    access_key_id: str
    key_store: str
    created_time: datetime | None
    last_used_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewKeyStoreCredential:
    """A new credential and its secret, which is not shown again; empty where the answer is a repeated one."""

    credential: KeyStoreCredential
    uri_prefix: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """An external key id of a store, and the key it stands for; `key_arn` is empty where that is damaged."""

    key_store: str
    external_key_id: str
    key_arn: str
    key_id: str
    blocked: bool
    encrypts: bool
    decrypts: bool
    pinning: str
    kms_key_arn: str
    compatible: bool
    created_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the attributes of CloudEvents 1.0; `sequence` counts the events of its subject."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime | None
    sequence: int
    principal: str
    request_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WatchedEvent:
    """An event of a stream, and the cursor behind which a later stream may begin."""

    event: Event
    cursor: str


@dataclass(frozen=True, slots=True)
class Sink:
    """How a sink of events is doing."""

    name: str
    configured: bool
    backlog: int
    waiting: int
    dead_letters: int
    last_success_time: datetime | None
    last_error_time: datetime | None
    last_error: str
    next_try_time: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up at a sink."""

    sink: str
    event: Event
    tries: int
    error: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a compliance run found about a key."""

    key_arn: str
    check: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class ComplianceReport(Page[Finding]):
    """One page of what the newest compliance run found; `time` is None before the first."""

    time: datetime | None
    keys: int
    checks_not_offered: tuple[str, ...]
