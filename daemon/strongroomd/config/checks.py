"""Rules between settings, and rules about the files that they name."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from strongroomd.config.eventchecks import event_conflicts, event_content, event_files
from strongroomd.config.mistakes import Mistake
from strongroomd.config.sections import (
    AccessSection,
    DaemonSection,
    EventsSection,
    GrpcSection,
    HsmSection,
    Identity,
    OpsSection,
    Section,
    Settings,
    TokenSection,
    XksSection,
)
from strongroomd.config.tokens import source_mistakes, token_conflicts
from strongroomd.config.xkschecks import xks_conflicts

_OWNER_ONLY: Final = stat.S_IRWXG | stat.S_IRWXO | stat.S_IXUSR
_TOKEN_FILES: Final = {
    "module": stat.S_IWOTH,
    "pin_file": _OWNER_ONLY,
    "softhsm_conf": stat.S_IWOTH,
    "recovery_public_key": stat.S_IWOTH,
}


def conflicts(sections: Mapping[str, Section], identities: Sequence[Identity]) -> Iterator[Mistake]:
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
            yield from _access_conflicts(access, identities)
    match sections.get("events"):
        case EventsSection() as events:
            yield from event_conflicts(events)
    match sections.get("xks"):
        case XksSection() as xks:
            yield from xks_conflicts(xks, sections)
    match sections.get("grpc"), sections.get("ops"):
        case GrpcSection() as grpc, OpsSection() as ops if grpc.address == ops.address and grpc.address.port:
            yield Mistake("[ops] address", "must differ from [grpc] address")


def _access_conflicts(access: AccessSection, identities: Sequence[Identity]) -> Iterator[Mistake]:
    known = {identity.arn for identity in identities}
    for number, arn in enumerate(access.administrators, start=1):
        if arn not in known:
            yield Mistake(f"[access] administrators.#{number}", "has no [[identities]] entry")
    for number, arn in enumerate(access.operators, start=1):
        if arn not in access.administrators:
            yield Mistake(f"[access] operators.#{number}", "must be one of the administrators, too")


def _hsm_conflicts(hsm: HsmSection) -> Iterator[Mistake]:
    yield from source_mistakes("[hsm]", hsm)
    yield from token_conflicts(hsm)
    if hsm.sessions <= hsm.slow_threads + hsm.quick_threads + hsm.birth_threads:
        text = "must be more than slow_threads, quick_threads and birth_threads together"
        yield Mistake("[hsm] sessions", text)


def file_mistakes(settings: Settings) -> Iterator[Mistake]:
    """Look at the files that settings name, as they are now: present, readable, with safe modes."""
    yield from section_file_mistakes(
        {"grpc": settings.grpc, "xks": settings.xks, "hsm": settings.hsm, "events": settings.events}
    )


def section_file_mistakes(sections: Mapping[str, Section]) -> Iterator[Mistake]:
    """Look at the files that those sections name which are valid."""
    match sections.get("grpc"):
        case GrpcSection() as grpc:
            yield from _file("[grpc] certificate_file", grpc.certificate_file, 0)
            yield from _file("[grpc] key_file", grpc.key_file, stat.S_IROTH | stat.S_IWOTH)
            yield from _file("[grpc] client_ca_file", grpc.client_ca_file, stat.S_IWOTH)
    match sections.get("xks"):
        case XksSection() as xks:
            yield from _xks_files(xks)
    match sections.get("hsm"):
        case HsmSection() as hsm:
            yield from _token_files("[hsm] ", hsm)
            for number, token in enumerate(hsm.tokens, start=1):
                yield from _token_files(f"[hsm] tokens.#{number}.", token)
    match sections.get("events"):
        case EventsSection() as events:
            for place, path, name in event_files(events):
                found = list(_file(place, path, stat.S_IWOTH if name == "ca_file" else _OWNER_ONLY))
                yield from found or event_content(place, path, name)


def _xks_files(xks: XksSection) -> Iterator[Mistake]:
    for name, forbidden in (
        ("certificate_file", 0),
        ("key_file", stat.S_IROTH | stat.S_IWOTH),
        ("client_ca_file", stat.S_IWOTH),
    ):
        path = getattr(xks, name)
        if path is not None:
            yield from _file(f"[xks] {name}", path, forbidden)


def _token_files(prefix: str, token: HsmSection | TokenSection) -> Iterator[Mistake]:
    for name, forbidden in _TOKEN_FILES.items():
        path = getattr(token, name)
        if path is not None:
            yield from _file(f"{prefix}{name}", path, forbidden)


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
