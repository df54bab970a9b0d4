"""The settings themselves: one frozen model for each table of the file, with defaults and bounds."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from strongroomd.domain import limits
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.principals import parse_principal
from strongroomd.domain.tokens import MAX_FURTHER, PATTERN, SPELLED_MAIN

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+", re.ASCII)


class Address(NamedTuple):
    """An IP address and a TCP port; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    match = (
        re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", value)
        if isinstance(value, str)
        else None
    )
    if match is None or int(match[3]) > 65_535:
        raise ValueError("must be an IP address and a port, such as 127.0.0.1:7443 or [::1]:7443")
    try:
        return Address(str(ipaddress.ip_address(match[1] or match[2])), int(match[3]))
    except ValueError as error:
        raise ValueError("must begin with a valid IP address") from error


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file or folder")
    if any(ord(c) < 0x20 or 0xD800 <= ord(c) <= 0xDFFF for c in value) or len(value) > 4_096:
        raise ValueError("must be a path without control characters or lone surrogates")
    base = info.context["base"] if info.context else Path.cwd()
    return Path(os.path.normpath(base / value))


def plain(value: str) -> str:
    """Refuse text with control characters."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise ValueError("must not hold control characters")
    return value


def _spiffe(value: str) -> str:
    if not _SPIFFE.fullmatch(value) or any(part in {".", ".."} for part in value.split("/")):
        raise ValueError("must be a SPIFFE ID such as spiffe://example.org/service")
    return value


def _arn(value: str) -> str:
    try:
        principal = parse_principal(value, "arn")
    except StrongroomError as error:
        raise ValueError(error.message) from error
    if principal.arn.endswith(":root"):
        raise ValueError("must not be an account's root: certificates speak for users, roles and services")
    return value


Bind = Annotated[Address, BeforeValidator(_address)]
Location = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(plain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Arn = Annotated[str, AfterValidator(_arn)]


class Section(BaseModel):
    """One table of the file: strictly typed, frozen, closed, and silent about what was written in it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class DaemonSection(Section):
    """[daemon]: who and where this daemon is."""

    account: Annotated[str, Field(pattern=r"^[0-9]{12}$")]
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")] = "local-1"
    node: Name = "node-1"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    state_dir: Location = Path("/var/lib/strongroom")
    run_dir: Location = Path("/run/strongroom")
    drain_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    allow_root: bool = False


class GrpcSection(Section):
    """[grpc]: the native door."""

    certificate_file: Location
    key_file: Location
    client_ca_file: Location
    address: Bind = Address("127.0.0.1", 7443)
    reflection: bool = False
    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    crypto_deadline_ms: Annotated[int, Field(ge=10, le=60_000)] = 2_000
    management_deadline_ms: Annotated[int, Field(ge=100, le=300_000)] = 5_000
    handshake_seconds: Annotated[int, Field(ge=1, le=120)] = 5
    idle_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    max_age_seconds: Annotated[int, Field(ge=10, le=86_400)] = 3_600
    age_grace_seconds: Annotated[int, Field(ge=1, le=3_600)] = 30


class XksSection(Section):
    """[xks]: the door of external key stores, which AWS KMS calls; closed without an address."""

    address: Bind | None = None
    certificate_file: Location | None = None
    key_file: Location | None = None
    client_ca_file: Location | None = None
    client_names: Annotated[tuple[Text, ...], Field(strict=False, max_length=50)] = ()
    plain_http: bool = False
    deadline_ms: Annotated[int, Field(ge=10, le=240)] = 200
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 256
    max_connections: Annotated[int, Field(ge=10, le=20_000)] = 1_000
    fleet_size: Annotated[int, Field(ge=1, le=1_000)] = 1


class OpsSection(Section):
    """[ops]: metrics and health over plain HTTP, for the node's own agents."""

    address: Bind = Address("127.0.0.1", 9464)


class TokenSection(Section):
    """One [[hsm.tokens]] entry: a further token, and what it does not share with the main one."""

    name: Annotated[str, Field(pattern=PATTERN)]
    module: Location | None = None
    token_label: Annotated[str, Field(max_length=32), AfterValidator(plain)] = ""
    token_serial: Annotated[str, Field(max_length=16), AfterValidator(plain)] = ""
    pin_file: Location | None = None
    pin_fd: Annotated[int, Field(ge=3, le=1_023)] | None = None
    pin_credential: Name | None = None
    softhsm_conf: Location | None = None
    recovery_public_key: Location | None = None
    symmetric: Literal["auto", "xaes", "aes-gcm"] | None = None


class HsmSection(Section):
    """[hsm]: which token, how to log in, how much to hold of it."""

    module: Location
    token_label: Annotated[str, Field(max_length=32), AfterValidator(plain)] = ""
    token_serial: Annotated[str, Field(max_length=16), AfterValidator(plain)] = ""
    pin_file: Location | None = None
    pin_fd: Annotated[int, Field(ge=3, le=1_023)] | None = None
    pin_credential: Name | None = None
    softhsm_conf: Location | None = None
    recovery_public_key: Location | None = None
    sessions: Annotated[int, Field(ge=4, le=1_024)] = 8
    slow_threads: Annotated[int, Field(ge=1, le=64)] = 2
    slow_queue: Annotated[int, Field(ge=1, le=100_000)] = 256
    quick_threads: Annotated[int, Field(ge=1, le=256)] = 4
    birth_threads: Annotated[int, Field(ge=1, le=16)] = 1
    birth_queue: Annotated[int, Field(ge=1, le=10_000)] = 32
    symmetric: Literal["auto", "xaes", "aes-gcm"] = "auto"
    handles: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    handle_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    subkeys: Annotated[int, Field(ge=1, le=1_000_000)] = 4_096
    lock_seconds: Annotated[int, Field(ge=1, le=20)] = 20  # the supervisor's patience is 30 s
    default_token: Annotated[str, Field(pattern=PATTERN)] = SPELLED_MAIN
    tokens: Annotated[tuple[TokenSection, ...], Field(strict=False, max_length=MAX_FURTHER)] = ()


class StoreSection(Section):
    """[store]: the database of keys, which is useless without the token and refused without its MACs."""

    path: Location | None = None


class AuditSection(Section):
    """[audit]: the append-only record of every decision."""

    directory: Location | None = None
    max_file_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 256 << 20
    plain_context_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=512), AfterValidator(plain)], ...],
        Field(strict=False, max_length=64),
    ] = ()


class Rate(Section):
    """A quota: cost units granted each second, and how many may be spent at once."""

    per_second: Annotated[int, Field(ge=1, le=limits.MAX_PER_SECOND)]
    burst: Annotated[int, Field(ge=1, le=limits.MAX_BURST)]


class QuotaSection(Section):
    """[quota]: what each account may spend in each class until an administrator sets another limit."""

    symmetric: Rate = Rate(per_second=5_500, burst=5_500)
    rsa: Rate = Rate(per_second=500, burst=500)
    ecc: Rate = Rate(per_second=300, burst=300)
    management: Rate = Rate(per_second=15, burst=30)


class LimitsSection(Section):
    """[limits]: sizes that an operator may raise."""

    max_plaintext: Annotated[int, Field(ge=1, le=limits.MAX_PLAINTEXT_CEILING)] = limits.MAX_PLAINTEXT


class WorkersSection(Section):
    """[workers]: when a worker is replaced by a fresh one; 0 means never for that reason."""

    max_unwraps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000_000
    max_rss_bytes: Annotated[int, Field(ge=0, le=1 << 40)] = 1 << 30
    max_age_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 86_400


class TelemetrySection(Section):
    """[telemetry]: how much is logged."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class AccessSection(Section):
    """[access]: who may make the calls that name no key, and who in every account."""

    administrators: Annotated[tuple[Arn, ...], Field(strict=False, max_length=1_000)] = ()
    operators: Annotated[tuple[Arn, ...], Field(strict=False, max_length=1_000)] = ()


def _networks(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError("must be a network such as 10.1.0.0/16 or fd00::/8") from error
    return value


Words = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(plain)]
Patterns = Annotated[tuple[Words, ...], Field(strict=False, max_length=50)]


class SinkSection(Section):
    """One [[events.sinks]] entry: somebody who wants events."""

    name: Name
    kind: Literal["webhook", "nats"]
    types: Patterns = ("*",)
    url: Text | None = None
    secret_file: Location | None = None
    allow_networks: Annotated[
        tuple[Annotated[str, AfterValidator(_networks)], ...], Field(strict=False, max_length=50)
    ] = ()
    allow_plain_http: bool = False
    servers: Patterns = ()
    subject: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=128)] = (
        "strongroom"
    )
    token_file: Location | None = None
    ca_file: Location | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=60)] = 5
    max_tries: Annotated[int, Field(ge=1, le=1_000)] = 20
    max_age_hours: Annotated[int, Field(ge=1, le=8_760)] = 72


class RuleSection(Section):
    """One [[events.rules]] entry: what is done about some events."""

    name: Name
    types: Annotated[tuple[Words, ...], Field(strict=False, min_length=1, max_length=50)]
    subjects: Patterns = ()
    data: Annotated[dict[Words, Words], Field(max_length=50)] = Field(default_factory=dict)
    action: Literal["enable_key", "disable_key", "notify"]
    principal: Arn | None = None
    sink: Name | None = None
    max_per_hour: Annotated[int, Field(ge=1, le=1_000)] = 4


class EventsSection(Section):
    """[events]: who hears of what happens, and what is done about it."""

    retention_hours: Annotated[int, Field(ge=1, le=8_760)] = 168
    dead_letter_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    sinks: Annotated[tuple[SinkSection, ...], Field(strict=False, max_length=20)] = ()
    rules: Annotated[tuple[RuleSection, ...], Field(strict=False, max_length=100)] = ()


class ComplianceSection(Section):
    """[compliance]: when all keys are judged, and by what."""

    every_hours: Annotated[int, Field(ge=0, le=8_760)] = 24
    unused_days: Annotated[int, Field(ge=0, le=3_650)] = 90


class ServiceKeysSection(Section):
    """[service_keys]: the keys that services have of their own."""

    rotation_days: Annotated[int, Field(ge=90, le=2_560)] = 365


class ApprovalsSection(Section):
    """[approvals]: dual control, where no key's policy says how."""

    requester_counts: bool = True


class ExportSection(Section):
    """[export]: how exportable keys may leave."""

    least_level: Literal["token", "host-ephemeral", "host"] = "token"


class MaterialSection(Section):
    """[material]: keys whose material comes from outside."""

    least_import_level: Literal["token", "host-ephemeral", "host"] = "host"


class BackupSection(Section):
    """[backup]: where `strongroomd backup` puts its sets, and who can open them."""

    directory: Location | None = None
    recipients_file: Location | None = None


class Identity(Section):
    """One [[identities]] entry: the certificates that speak for a principal."""

    arn: Arn
    uri: Annotated[str, Field(max_length=2_048), AfterValidator(_spiffe)] | None = None
    subject: Text | None = None
    issuer_spki_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Settings(Section):
    """The whole configuration, every path absolute."""

    source: Path
    daemon: DaemonSection
    grpc: GrpcSection
    xks: XksSection
    ops: OpsSection
    hsm: HsmSection
    store: StoreSection
    audit: AuditSection
    quota: QuotaSection
    limits: LimitsSection
    workers: WorkersSection
    telemetry: TelemetrySection
    access: AccessSection
    events: EventsSection
    compliance: ComplianceSection
    service_keys: ServiceKeysSection
    approvals: ApprovalsSection
    export: ExportSection
    material: MaterialSection
    backup: BackupSection
    identities: tuple[Identity, ...]

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return self.store.path or self.daemon.state_dir / "strongroom.sqlite"

    @property
    def store_url(self) -> str:
        """The same, as the store room wants it."""
        return f"sqlite:///{self.store_path}"

    @property
    def checkpoint_public_key(self) -> Path:
        """Where `init` leaves the checkpoint key's public half (PEM), for whoever verifies the audit log."""
        return self.daemon.state_dir / "checkpoint-public-key.pem"

    @property
    def statement_public_key(self) -> Path:
        """Where the public half (PEM) of the statement key in use is, for those who verify."""
        return self.daemon.state_dir / "statement-public-key.pem"

    def retired_statement_key(self, key_id: str) -> Path:
        """Where that of one that was replaced is, by its id: what it signed is still verified with it."""
        return self.daemon.state_dir / f"statement-public-key.retired-{key_id}.pem"

    @property
    def last_backup(self) -> Path:
        """What `strongroomd backup` says of the newest set that it finished (JSON)."""
        return self.daemon.state_dir / "last-backup.json"

    @property
    def audit_directory(self) -> Path:
        """The folder of the audit files."""
        return self.audit.directory or self.daemon.state_dir / "audit"


SECTIONS: Final[dict[str, type[Section]]] = {
    "daemon": DaemonSection,
    "grpc": GrpcSection,
    "xks": XksSection,
    "ops": OpsSection,
    "hsm": HsmSection,
    "store": StoreSection,
    "audit": AuditSection,
    "quota": QuotaSection,
    "limits": LimitsSection,
    "workers": WorkersSection,
    "telemetry": TelemetrySection,
    "access": AccessSection,
    "events": EventsSection,
    "compliance": ComplianceSection,
    "service_keys": ServiceKeysSection,
    "approvals": ApprovalsSection,
    "export": ExportSection,
    "material": MaterialSection,
    "backup": BackupSection,
}
