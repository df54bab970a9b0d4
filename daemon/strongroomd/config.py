"""One TOML file becomes frozen settings; every mistake is reported at once, with its place.

Guarantees: a `Settings` value exists only if every setting in it is valid; a mistake's text names the setting
and states the rule, never the value, so that a misplaced PIN does not reach a terminal or a log. Defaults and
warnings are explained to operators in `ops/config/strongroomd.toml`. Nothing here opens a key, a PIN or a
socket: files are only looked at (`stat`).
"""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from strongroomd.domain import limits
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.principals import parse_principal

_OWNER_ONLY: Final = stat.S_IRWXG | stat.S_IRWXO | stat.S_IXUSR
MAX_FILE: Final = 1 << 20  # bytes of configuration; a real one has a few thousand
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+", re.ASCII)
_MESSAGES: Final[dict[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a known setting",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "string_pattern_mismatch": "is not in the documented form",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "dict_type": "must be a table",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the configuration: where, and which rule it breaks."""

    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


class ConfigurationErrors(Exception):  # noqa: N818 - it holds all of them
    """Every mistake of one configuration file."""

    def __init__(self, path: Path, mistakes: Sequence[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in mistakes))


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


def _plain(value: str) -> str:
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
Text = Annotated[str, Field(min_length=1, max_length=1_024), AfterValidator(_plain)]
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


class OpsSection(Section):
    """[ops]: metrics and health over plain HTTP, for the node's own agents."""

    address: Bind = Address("127.0.0.1", 9464)


class HsmSection(Section):
    """[hsm]: which token, how to log in, how much to hold of it."""

    module: Location
    token_label: Annotated[str, Field(max_length=32), AfterValidator(_plain)] = ""
    token_serial: Annotated[str, Field(max_length=16), AfterValidator(_plain)] = ""
    pin_file: Location | None = None
    pin_fd: Annotated[int, Field(ge=3, le=1_023)] | None = None
    pin_credential: Name | None = None
    softhsm_conf: Location | None = None
    recovery_public_key: Location | None = None
    sessions: Annotated[int, Field(ge=3, le=1_024)] = 8
    slow_threads: Annotated[int, Field(ge=1, le=64)] = 2
    slow_queue: Annotated[int, Field(ge=1, le=100_000)] = 256
    birth_threads: Annotated[int, Field(ge=1, le=16)] = 1
    birth_queue: Annotated[int, Field(ge=1, le=10_000)] = 32
    handles: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    handle_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    subkeys: Annotated[int, Field(ge=1, le=1_000_000)] = 4_096
    lock_seconds: Annotated[int, Field(ge=1, le=300)] = 20


class StoreSection(Section):
    """[store]: the database of keys, which is useless without the token and refused without its MACs."""

    path: Location | None = None


class AuditSection(Section):
    """[audit]: the append-only record of every decision."""

    directory: Location | None = None
    max_file_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 256 << 20


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
    """[access]: who may make the calls that name no key."""

    administrators: Annotated[tuple[Arn, ...], Field(strict=False, max_length=1_000)] = ()


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
    ops: OpsSection
    hsm: HsmSection
    store: StoreSection
    audit: AuditSection
    quota: QuotaSection
    limits: LimitsSection
    workers: WorkersSection
    telemetry: TelemetrySection
    access: AccessSection
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
    def audit_directory(self) -> Path:
        """The folder of the audit files."""
        return self.audit.directory or self.daemon.state_dir / "audit"

    @property
    def hsm_state(self) -> Path:
        """The folder of the login lock and of the copies of token.object; one for each token."""
        return self.daemon.state_dir / "token"


class Beat(Enum):
    """What a worker says to the supervisor each quarter second, one byte a beat."""

    STARTING = b"S"
    READY = b"R"
    DRAINING = b"D"
    TIRED = b"N"  # ready, and wants a successor
    HUNG = b"H"  # a call into the module does not return: kill me


class ExitCode(IntEnum):
    """How a process of the daemon ends; the numbers are those of sysexits(3)."""

    DONE = 0
    CRASHED = 1
    RESTART = 75  # EX_TEMPFAIL: a fresh worker can go on
    REFUSED = 78  # EX_CONFIG: a fresh worker would fail the same way, or do harm (wrong PIN)


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What the supervisor tells one worker about its place among the others.

    Attributes:
        index: the lowest number free among living workers; also names its metric files.
        workers: how many workers the node runs.
        pid: the worker's own process id.
        started_at: milliseconds since the Unix epoch.
        grpc: the address to listen on, its port resolved, shared by SO_REUSEPORT.
        ops: the same for metrics and health.
        pin_fd: a descriptor of its own from which this worker reads the PIN, if the PIN came by descriptor.
        daemon_file: where the supervisor publishes the workers' states (JSON).
        ready: to be called once, when the worker serves.
    """

    index: int
    workers: int
    pid: int
    started_at: int
    grpc: Address
    ops: Address
    pin_fd: int | None
    daemon_file: Path
    ready: Callable[[], None]


_SECTIONS: Final[dict[str, type[Section]]] = {
    "daemon": DaemonSection,
    "grpc": GrpcSection,
    "ops": OpsSection,
    "hsm": HsmSection,
    "store": StoreSection,
    "audit": AuditSection,
    "quota": QuotaSection,
    "limits": LimitsSection,
    "workers": WorkersSection,
    "telemetry": TelemetrySection,
    "access": AccessSection,
}


def daemon_file(settings: Settings) -> Path:
    """Name the file in which a running daemon publishes its ports, workers and states."""
    return settings.daemon.run_dir / "daemon.json"


def read(path: Path) -> bytes:
    """Read a configuration file, at most 1 MiB.

    Raises:
        ConfigurationErrors: it cannot be read, is too large, or everybody may write to it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigurationErrors(path, [Mistake("file", f"cannot be read: {reason}")]) from error
    if len(data) > MAX_FILE:
        raise ConfigurationErrors(path, [Mistake("file", f"must be at most {MAX_FILE} bytes")])
    if mode & stat.S_IWOTH:
        raise ConfigurationErrors(path, [Mistake("file", "must not be writable by everybody (chmod o-w)")])
    return data


def load(path: Path, data: bytes | None = None, *, check_files: bool = True) -> Settings:
    """Turn a configuration file into settings.

    Args:
        path: the file; relative paths in it start at its folder.
        data: its content, if it was read before.
        check_files: also look at the files that it names: present, and secrets not readable by others.

    Raises:
        ConfigurationErrors: holding every mistake, not only the first.
    """
    path = path.absolute()
    tables = _parse(path, read(path) if data is None else data)
    mistakes: list[Mistake] = []
    sections = _validate(tables, path.parent, mistakes)
    identities = _identities(tables.get("identities", []), mistakes)
    mistakes.extend(_unknown(tables))
    mistakes.extend(_conflicts(sections, identities))
    if check_files:
        mistakes.extend(_file_mistakes(sections))
    if mistakes:
        raise ConfigurationErrors(path, mistakes)
    return Settings(source=path, identities=tuple(identities), **sections)  # type: ignore[arg-type]


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationErrors(path, [Mistake(f"line {line}", "is not UTF-8 text")]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationErrors(path, [_syntax(str(error))]) from None


def _syntax(message: str) -> Mistake:
    """Keep the position of a TOML error and drop its wording, which may quote the file."""
    position = re.search(r"at line (\d+), column (\d+)", message)
    place = f"line {position[1]}, column {position[2]}" if position else "end of file"
    twice = ("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")
    return Mistake(
        place, "names a setting or table twice" if message.startswith(twice) else "is not valid TOML"
    )


def _validate(tables: Mapping[str, Any], base: Path, mistakes: list[Mistake]) -> dict[str, Section]:
    sections: dict[str, Section] = {}
    for name, model in _SECTIONS.items():
        try:
            sections[name] = model.model_validate(tables.get(name, {}), context={"base": base})
        except ValidationError as error:
            mistakes.extend(_mistake(f"[{name}]", name, detail) for detail in _details(error))
    return sections


def _identities(entries: object, mistakes: list[Mistake]) -> list[Identity]:
    if not isinstance(entries, list):
        mistakes.append(Mistake("[[identities]]", "must be a list of tables"))
        return []
    identities: list[Identity] = []
    for number, entry in enumerate(entries, start=1):
        place = f"[[identities]] #{number}"
        try:
            identities.append(identity := Identity.model_validate(entry))
            mistakes.extend(_matcher_mistakes(place, identity))
        except ValidationError as error:
            mistakes.extend(_mistake(place, "", detail) for detail in _details(error))
    mistakes.extend(_repeated(identities))
    return identities


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _mistake(place: str, name: str, detail: ErrorDetails) -> Mistake:
    """Spell pydantic's finding as `[hsm] pin_file: rule`, with sub-tables as `[quota.rsa] burst`."""
    keys = [_shown(key) for key in detail["loc"]]
    if len(keys) > 1 and name and isinstance(detail["loc"][1], str):
        place, keys = f"[{name}.{keys[0]}]", keys[1:]
    rule = _MESSAGES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").replace(
        "Input should", "must"
    )
    return Mistake(" ".join([place, ".".join(keys)]) if keys else place, rule[:1].lower() + rule[1:])


def _shown(key: int | str) -> str:
    """Show a key of the file if it looks like a setting's name, else only that it does not."""
    if isinstance(key, int):
        return f"#{key + 1}"
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else "(an unprintable name)"


def _unknown(tables: Mapping[str, Any]) -> Iterator[Mistake]:
    for key in tables.keys() - _SECTIONS.keys() - {"identities"}:
        yield Mistake(f"[{_shown(key)}]", "is not a known section")


def _matcher_mistakes(place: str, identity: Identity) -> Iterator[Mistake]:
    if (identity.subject is None) != (identity.issuer_spki_sha256 is None):
        yield Mistake(place, "needs subject and issuer_spki_sha256 together")
    elif (identity.uri is None) == (identity.subject is None):
        yield Mistake(place, "needs exactly one of uri and subject")


def _repeated(identities: Sequence[Identity]) -> Iterator[Mistake]:
    """Two principals for one certificate would leave to chance which of them it speaks for."""
    seen: set[tuple[str | None, ...]] = set()
    for number, identity in enumerate(identities, start=1):
        matcher = (identity.uri, identity.subject, identity.issuer_spki_sha256)
        if matcher in seen:
            yield Mistake(f"[[identities]] #{number}", "repeats the certificate of an earlier entry")
        seen.add(matcher)


def _conflicts(sections: Mapping[str, Section], identities: Sequence[Identity]) -> Iterator[Mistake]:
    """Find settings that are each valid but not together."""
    match sections.get("daemon"):
        case DaemonSection(allow_root=False) if os.geteuid() == 0:
            yield Mistake(
                "[daemon] allow_root", "must be true to run as root; better, run as a user of its own"
            )
    match sections.get("hsm"):
        case HsmSection() as hsm:
            yield from _hsm_conflicts(hsm)
    match sections.get("access"):
        case AccessSection() as access:
            known = {identity.arn for identity in identities}
            for number, arn in enumerate(access.administrators, start=1):
                if arn not in known:
                    yield Mistake(f"[access] administrators.#{number}", "has no [[identities]] entry")
    match sections.get("grpc"), sections.get("ops"):
        case GrpcSection() as grpc, OpsSection() as ops if grpc.address == ops.address and grpc.address.port:
            yield Mistake("[ops] address", "must differ from [grpc] address")


def _hsm_conflicts(hsm: HsmSection) -> Iterator[Mistake]:
    if [hsm.pin_file, hsm.pin_fd, hsm.pin_credential].count(None) != 2:
        yield Mistake("[hsm]", "needs exactly one of pin_file, pin_fd and pin_credential")
    if not hsm.token_label and not hsm.token_serial:
        yield Mistake("[hsm]", "needs token_label or token_serial, better both")
    if hsm.sessions <= hsm.slow_threads + hsm.birth_threads:
        yield Mistake("[hsm] sessions", "must be more than slow_threads and birth_threads together")


def file_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Look at the files that settings name, as they are now: present, readable, with safe modes."""
    yield from _file_mistakes({"grpc": settings.grpc, "hsm": settings.hsm})


def _file_mistakes(sections: Mapping[str, Section]) -> Iterator[Mistake]:
    match sections.get("grpc"):
        case GrpcSection() as grpc:
            yield from _file("[grpc] certificate_file", grpc.certificate_file, 0)
            yield from _file("[grpc] key_file", grpc.key_file, stat.S_IROTH | stat.S_IWOTH)
            yield from _file("[grpc] client_ca_file", grpc.client_ca_file, stat.S_IWOTH)
    match sections.get("hsm"):
        case HsmSection() as hsm:
            yield from _file("[hsm] module", hsm.module, stat.S_IWOTH)
            if hsm.pin_file is not None:
                yield from _file("[hsm] pin_file", hsm.pin_file, _OWNER_ONLY)
            if hsm.softhsm_conf is not None:
                yield from _file("[hsm] softhsm_conf", hsm.softhsm_conf, stat.S_IWOTH)
            if hsm.recovery_public_key is not None:
                yield from _file("[hsm] recovery_public_key", hsm.recovery_public_key, stat.S_IWOTH)


def _file(place: str, path: Path, forbidden: int) -> Iterator[Mistake]:
    """Check that a file is there, is a file, and grants none of the forbidden mode bits."""
    try:
        status = path.stat()
    except OSError as error:
        yield Mistake(place, f"cannot be read: {error.strerror}")
        return
    if not stat.S_ISREG(status.st_mode):
        yield Mistake(place, "must be a regular file")
    elif status.st_mode & forbidden:
        yield Mistake(place, f"has too open a mode, {stat.S_IMODE(status.st_mode):04o}")
    elif forbidden == _OWNER_ONLY and status.st_uid != os.geteuid():
        yield Mistake(place, "must belong to the daemon's user")
    elif not os.access(path, os.R_OK):
        yield Mistake(place, "cannot be read by this user")
