"""Rules between the settings of sinks and rules."""

import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from strongroomd.config.mistakes import Mistake
from strongroomd.config.sections import EventsSection, RuleSection, SinkSection
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.events import check_pattern, check_type_pattern

LEAST_SECRET: Final = 16  # bytes
_WEBHOOKS_OWN: Final = ("url", "secret_file", "allow_networks", "allow_plain_http")
_NATS_OWN: Final = ("servers", "subject", "token_file")


def event_conflicts(events: EventsSection) -> Iterator[Mistake]:
    """Find settings of sinks and rules that are each valid but not together."""
    yield from _repeated("sinks", [sink.name for sink in events.sinks])
    yield from _repeated("rules", [rule.name for rule in events.rules])
    for number, sink in enumerate(events.sinks, start=1):
        yield from _sink(f"[events] sinks.#{number}", sink)
    sinks = {sink.name for sink in events.sinks}
    for number, rule in enumerate(events.rules, start=1):
        yield from _rule(f"[events] rules.#{number}", rule, sinks)


def event_files(events: EventsSection) -> Iterator[tuple[str, Path, str]]:
    """Give each file that sinks name: where, which, and the setting's name."""
    for number, sink in enumerate(events.sinks, start=1):
        for name in ("secret_file", "token_file", "ca_file"):
            path = getattr(sink, name)
            if path is not None:
                yield f"[events] sinks.#{number}.{name}", path, name


def event_content(place: str, path: Path, name: str) -> Iterator[Mistake]:
    """Look into a file that a sink names, which is there and readable."""
    try:
        if name == "secret_file" and len(secret_in(path)) < LEAST_SECRET:
            yield Mistake(place, f"must hold at least {LEAST_SECRET} bytes")
        if name == "ca_file":
            ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        yield Mistake(place, "must hold certificates in PEM")
    except OSError as error:
        yield Mistake(place, f"cannot be read: {error.strerror}")


def secret_in(path: Path) -> bytes:
    """Read a secret from its file, without the line's end. Raises OSError."""
    return path.read_bytes().rstrip(b"\r\n")


def _repeated(what: str, names: Sequence[str]) -> Iterator[Mistake]:
    if any(count > 1 for count in Counter(names).values()):
        yield Mistake(f"[events] {what}", "must have different names")


def _sink(place: str, sink: SinkSection) -> Iterator[Mistake]:
    yield from _patterns(f"{place}.types", sink.types, of_types=True)
    foreign = _NATS_OWN if sink.kind == "webhook" else _WEBHOOKS_OWN
    for name in foreign:
        if getattr(sink, name) != SinkSection.model_fields[name].default:
            yield Mistake(f"{place}.{name}", f"is no setting of a {sink.kind}")
    yield from _webhook(place, sink) if sink.kind == "webhook" else _nats(place, sink)


def _webhook(place: str, sink: SinkSection) -> Iterator[Mistake]:
    if sink.secret_file is None:
        yield Mistake(f"{place}.secret_file", "is required")
    if sink.url is None:
        yield Mistake(f"{place}.url", "is required")
        return
    parts = _split(sink.url)
    schemes = {"https", "http"} if sink.allow_plain_http else {"https"}
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        also = " or http://" if sink.allow_plain_http else ""
        yield Mistake(f"{place}.url", f"must be an absolute URL that begins with https://{also}")
    elif "@" in parts.netloc or parts.fragment:
        yield Mistake(f"{place}.url", "must hold no user, password or fragment")


def _nats(place: str, sink: SinkSection) -> Iterator[Mistake]:
    if not sink.servers:
        yield Mistake(f"{place}.servers", "is required")
    for number, server in enumerate(sink.servers, start=1):
        parts = _split(server)
        good = parts is not None and parts.scheme in {"nats", "tls"} and parts.hostname
        if not good or parts is None or "@" in parts.netloc or parts.path or parts.query:
            yield Mistake(
                f"{place}.servers.#{number}", "must be nats://HOST:PORT or tls://HOST:PORT, without a user"
            )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None


def _rule(place: str, rule: RuleSection, sinks: set[str]) -> Iterator[Mistake]:
    yield from _patterns(f"{place}.types", rule.types, of_types=True)
    yield from _patterns(f"{place}.subjects", rule.subjects, of_types=False)
    yield from _patterns(f"{place}.data", tuple(rule.data.values()), of_types=False)
    if rule.action == "notify":
        if rule.principal is not None:
            yield Mistake(f"{place}.principal", "is no setting of notify")
        if rule.sink not in sinks:
            yield Mistake(f"{place}.sink", "must be the name of a sink")
        return
    if rule.principal is None:
        yield Mistake(f"{place}.principal", "is required: the action is its, under the key's policy")
    if rule.sink is not None:
        yield Mistake(f"{place}.sink", "is a setting of notify only")


def _patterns(place: str, patterns: Sequence[str], *, of_types: bool) -> Iterator[Mistake]:
    check = check_type_pattern if of_types else check_pattern
    for number, pattern in enumerate(patterns, start=1):
        try:
            check(pattern, "pattern")
        except StrongroomError as error:
            yield Mistake(f"{place}.#{number}", error.message)
