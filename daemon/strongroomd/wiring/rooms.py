"""From the configuration to each room's own settings."""

import time
from pathlib import Path

from strongroomd import __version__
from strongroomd.config import Address, Settings, TokenPlan, WorkerPlace, token_plans
from strongroomd.custody.admission import Lane
from strongroomd.custody.directory import Directory
from strongroomd.custody.quotas import Rate
from strongroomd.custody.xks.health import Fleet
from strongroomd.domain.algorithms import QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.names import Realm
from strongroomd.domain.principals import Principal, parse_principal
from strongroomd.frontends.grpc.door import Deadlines
from strongroomd.frontends.grpc.identity import Identities, IdentityRule
from strongroomd.frontends.grpc.server import Certificates, ServerSettings
from strongroomd.frontends.xks.server import ServerSettings as XksServerSettings
from strongroomd.frontends.xks.tls import Tls, TlsFiles
from strongroomd.frontends.xks.tls import load as load_tls
from strongroomd.hsm.pin import PinSource
from strongroomd.hsm.recovery import read_recovery_key
from strongroomd.hsm.settings import HsmSettings
from strongroomd.storage.audit_log import AuditSettings
from strongroomd.storage.database import StoreSettings


def hsm_settings(settings: Settings, plan: TokenPlan | None = None, *, wary: bool = False) -> HsmSettings:
    """Which token (the main one if none is given), within which bounds: those of [hsm] hold for each."""
    hsm, token = settings.hsm, plan or token_plans(settings)[0]
    return HsmSettings(
        module=token.module,
        state=token.state,
        token_serial=token.token_serial,
        token_label=token.token_label,
        softhsm_conf=token.softhsm_conf,
        sessions=hsm.sessions,
        slow_threads=hsm.slow_threads,
        slow_queue=hsm.slow_queue,
        quick_threads=hsm.quick_threads,
        birth_threads=hsm.birth_threads,
        birth_queue=hsm.birth_queue,
        handles=hsm.handles,
        handle_seconds=hsm.handle_seconds,
        subkeys=hsm.subkeys,
        symmetric=token.symmetric,
        lock_seconds=hsm.lock_seconds,
        recovery_public_key=read_recovery_key(token.recovery_public_key)
        if token.recovery_public_key
        else b"",
        name=token.name,
        wary=wary,
    )


def pin_source(settings: Settings, inherited: int | None = None, plan: TokenPlan | None = None) -> PinSource:
    """Where a token's PIN comes from; `inherited` is the descriptor that the supervisor passed on."""
    token = plan or token_plans(settings)[0]
    descriptor = inherited if inherited is not None else token.pin_fd
    return PinSource(file=token.pin_file, descriptor=descriptor, credential=token.pin_credential or "")


def store_settings(settings: Settings) -> StoreSettings:
    """Which database."""
    return StoreSettings(url=store_url(settings))


def store_url(settings: Settings) -> str:
    """The database's URL."""
    return f"sqlite:///{settings.store_path}"


def audit_settings(settings: Settings, worker: int) -> AuditSettings:
    """Where this worker's chain goes."""
    return AuditSettings(
        directory=settings.audit_directory,
        node=settings.daemon.node,
        worker=worker,
        version=__version__,
        rotate_at=settings.audit.max_file_bytes,
    )


def quota_defaults(settings: Settings) -> dict[QuotaClass, Rate]:
    """Each class's limit for every account."""
    quota = settings.quota
    sections = {
        QuotaClass.SYMMETRIC: quota.symmetric,
        QuotaClass.RSA: quota.rsa,
        QuotaClass.ECC: quota.ecc,
        QuotaClass.MANAGEMENT: quota.management,
    }
    return {class_: Rate(section.per_second, section.burst) for class_, section in sections.items()}


def lane_bounds(settings: Settings) -> dict[Lane, int]:
    """How many calls may be inside each lane."""
    hsm = settings.hsm
    return {
        Lane.QUICK: settings.grpc.max_in_flight + _xks_calls(settings),
        Lane.RSA: hsm.slow_threads + hsm.slow_queue,
        Lane.BIRTH: hsm.birth_threads + hsm.birth_queue,
    }


def lane_room(settings: Settings) -> dict[Lane, int]:
    """How many calls of a lane do good inside at once: its threads, and one that is ready to be next.

    Quick calls run on the loop until a token's pace says otherwise; births queue in lanes of the vault's own.
    """
    return {Lane.RSA: settings.hsm.slow_threads + 1}


def quick_room(settings: Settings, *, inline: bool) -> int | None:
    """The same of quick calls, by where they run.

    As many again wait in the lane as run: a busy loop takes as long as a call to hear that one is done.
    """
    return None if inline else 2 * settings.hsm.quick_threads


def most_calls(settings: Settings) -> int:
    """How many native calls may be inside: every lane of every token full, so that none starves another."""
    return (sum(lane_bounds(settings).values()) - _xks_calls(settings)) * len(token_plans(settings))


def _xks_calls(settings: Settings) -> int:
    return 0 if settings.xks.address is None else settings.xks.max_in_flight


def realm(settings: Settings) -> Realm:
    """Region and default account."""
    return Realm(settings.daemon.region, settings.daemon.account)


def identity_rules(settings: Settings) -> list[IdentityRule]:
    """Which certificates speak for whom."""
    administrators, operators = set(settings.access.administrators), set(settings.access.operators)
    return [
        IdentityRule(
            principal=parse_principal(
                entry.arn,
                "arn",
                administrator=entry.arn in administrators,
                operator=entry.arn in operators,
            ),
            uri=entry.uri or "",
            subject=entry.subject or "",
            issuer_spki_sha256=entry.issuer_spki_sha256 or "",
        )
        for entry in settings.identities
    ]


def identities(settings: Settings, certificates: Certificates, directory: Directory) -> Identities:
    """Whom client certificates speak for: the configuration's identities first, then the directory's."""
    return Identities(identity_rules(settings), certificates.client_ca, time.time, directory)


def principal(settings: Settings, arn: str) -> Principal:
    """A principal that the configuration names, with the rights that it gives."""
    return parse_principal(arn, "principal", administrator=arn in settings.access.administrators)


def event_source(settings: Settings) -> str:
    """The CloudEvents source of this installation."""
    return f"/strongroom/{settings.daemon.region}/{settings.daemon.account}"


def fleet(settings: Settings) -> Fleet:
    """What health answers of an external key store say of this daemon."""
    return Fleet(settings.xks.fleet_size, settings.daemon.node, f"strongroomd {__version__}")


def deadlines(settings: Settings) -> Deadlines:
    """Longest times of calls."""
    grpc = settings.grpc
    return Deadlines(grpc.crypto_deadline_ms / 1000, grpc.management_deadline_ms / 1000)


def server_settings(settings: Settings, place: WorkerPlace) -> ServerSettings:
    """How the gRPC server listens."""
    grpc = settings.grpc
    return ServerSettings(
        address=str(place.grpc),
        max_streams=grpc.max_streams,
        handshake_seconds=grpc.handshake_seconds,
        idle_seconds=grpc.idle_seconds,
        max_age_seconds=grpc.max_age_seconds,
        age_grace_seconds=grpc.age_grace_seconds,
        reflection=grpc.reflection,
    )


def certificates(settings: Settings) -> Certificates:
    """Read the server's certificate, key and client CAs, and see that they can be served with.

    Raises:
        StrongroomError: CONFIGURATION naming the file's setting.
    """
    grpc = settings.grpc
    read = Certificates(
        chain=_read(grpc.certificate_file, "grpc.certificate_file"),
        key=_read(grpc.key_file, "grpc.key_file"),
        client_ca=_read(grpc.client_ca_file, "grpc.client_ca_file"),
    )
    read.check()
    return read


def xks_server(settings: Settings, address: Address) -> XksServerSettings:
    """How the XKS door listens."""
    return XksServerSettings(address.host, address.port, settings.xks.max_connections)


def xks_tls(settings: Settings) -> Tls | None:
    """Read what the XKS door serves with; None for plain HTTP, or where it is closed.

    Raises:
        StrongroomError: CONFIGURATION naming the file's setting.
    """
    xks = settings.xks
    if xks.address is None or xks.certificate_file is None or xks.key_file is None:
        return None
    return load_tls(
        TlsFiles(xks.certificate_file, xks.key_file, xks.client_ca_file, frozenset(xks.client_names))
    )


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise StrongroomError(Reason.CONFIGURATION, "the file cannot be read", field=field) from None
