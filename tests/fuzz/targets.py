"""What is fuzzed beside the RPCs: parsers and command lines. Each target takes a seed and raises what is wrong."""

import io
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import typer.main

from strongroom.cli.main import app as client_app
from strongroom.cli.main import main as client_main
from strongroomd.cli.app import app as daemon_app
from strongroomd.cli.app import main as daemon_main
from strongroomd.config import ConfigurationErrors, load
from strongroomd.domain import accounts, context, envelope, names, policy
from strongroomd.domain.audit import genesis, link
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.names import Realm
from strongroomd.domain.principals import parse_principal
from strongroomd.frontends.grpc.claims import read_claims
from strongroomd.storage.audit_reader import verify

_REALM = Realm("local-1", "111122223333")
_WORDS = (
    *("Version", "Id", "Statement", "Sid", "Effect", "Allow", "Principal", "AWS", "Action", "kms:*", "*"),
    *("Condition", "StringEquals", "ForAllValues:StringLike", "Null", "kms:ViaService", "${aws:username}"),
)
_POINTS = (
    0,
    0x0A,
    0x1B,
    0x20,
    0x22,
    0x27,
    0x2F,
    0x30,
    0x41,
    0x5B,
    0x5C,
    0x7B,
    0x7F,
    0xE9,
    0x2028,
    0xD800,
    0xDFFF,
    0x1F600,
)


def text(source: random.Random, longest: int = 60) -> str:
    """Make a text that may hold anything, lone surrogates included."""
    return "".join(
        chr(source.choice((*_POINTS, source.randrange(0x250)))) for _ in range(source.randint(0, longest))
    )


def fuzz_envelope(source: random.Random) -> None:
    """Any bytes are an envelope that says what it says, or one refusal."""
    data = b"SR" * source.randint(0, 1) + source.randbytes(source.randint(0, 120))
    if source.random() < 0.5:
        data = b"SR" + bytes([source.randint(0, 3), source.randint(0, 2)]) + data
    try:
        parsed = envelope.parse(data)
    except StrongroomError as error:
        expect(error.reason is Reason.INVALID_CIPHERTEXT, "one refusal")
    else:
        expect(parsed.header + parsed.sealed == data, "nothing is lost")
        expect(envelope.header(parsed.format, parsed.key_id, parsed.version) == parsed.header, "one form")


def json_value(source: random.Random, depth: int = 0) -> object:
    """Make what JSON can say, in the words of policies."""
    kind = source.randrange(8 if depth < 5 else 5)
    if kind < 2:
        return source.choice(_WORDS)
    if kind < 5:
        return source.choice((None, True, 0, -1, 1e300, "", text(source, 8), "2012-10-17", "111122223333"))
    if kind == 5:
        return [json_value(source, depth + 1) for _ in range(source.randint(0, 3))]
    return {
        source.choice((*_WORDS, text(source, 4))): json_value(source, depth + 1)
        for _ in range(source.randint(0, 5))
    }


def fuzz_policy(source: random.Random) -> None:
    """Any text is a policy, or is refused with its place."""
    body = json.dumps(json_value(source)) if source.random() < 0.8 else text(source, 200)
    if source.random() < 0.3:
        place = source.randint(0, len(body))
        body = body[:place] + text(source, 3) + body[place + source.randint(0, 3) :]
    try:
        policy.parse(body)
    except StrongroomError as error:
        expect(error.reason in {Reason.MALFORMED_POLICY, Reason.FIELD_TOO_LARGE}, "a policy's refusal")
        expect(str(error.field).startswith("policy"), "a place")


def fuzz_names(source: random.Random) -> None:
    """Any text is a name, or is refused; so are contexts."""
    for parse in (
        lambda t: _REALM.parse_key(t, _REALM.account),
        names.alias_name,
        names.request_id,
        names.description,
        lambda t: context.parse_context({t: text(source)}),
    ):
        try:
            parse(text(source))
        except StrongroomError as error:
            expect(error.field is not None, "a field")


def fuzz_callers(source: random.Random) -> None:
    """Any text is a fact of certificates, a name of a caller or an assertion about one, or is refused."""
    said = ("session", "via-service", "caller-account", "source-arn", "source-account", "")
    keys = tuple(f"strongroom-{each}" for each in said)
    for parse in (
        accounts.uri_fact,
        accounts.dns_fact,
        lambda t: accounts.subject_fact(t, text(source)),
        accounts.policy_name,
        accounts.session_name,
        accounts.access_key_id,
        lambda t: parse_principal(t, "principal"),
        lambda t: read_claims([(source.choice(keys) + text(source, 3), t)]),
    ):
        try:
            parse(text(source))
        except StrongroomError as error:
            expect(error.field is not None, "a field")


_GOOD_CONFIG = """
[daemon]
account = "111122223333"
[grpc]
certificate_file = "a"
key_file = "b"
client_ca_file = "c"
[hsm]
module = "/m"
token_label = "t"
pin_file = "p"
[access]
administrators = ["arn:aws:iam::111122223333:user/admin"]
"""


def fuzz_config(source: random.Random) -> None:
    """Any bytes are a configuration, or all its mistakes are named; nothing of it is quoted."""
    body = bytearray(_GOOD_CONFIG.encode())
    for _ in range(source.randint(1, 6)):
        place = source.randint(0, len(body))
        body[place : place + source.randint(0, 5)] = source.choice(
            (
                b'"',
                b"=",
                b"[",
                b"]",
                b"\n",
                b"1e999",
                b"-1",
                b"true",
                b"\x00",
                b"\xff",
                b"\\ud800",
                b"[[x]]\n",
                b"{}",
            )
        )
    try:
        load(Path("/nowhere/strongroomd.toml"), bytes(body), check_files=False)
    except ConfigurationErrors as errors:
        expect(bool(errors.mistakes), "a mistake")


def fuzz_audit(source: random.Random) -> None:
    """A verifier that is given anything reports; a damaged chain is never found in order."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        origin = "node-1.0.1700000000000"
        digest, lines = genesis(origin), []
        for number in range(source.randint(0, 5)):
            body = json.dumps({"seq": number + 1, "event": "x", "n": source.randint(0, 9)}).encode()
            digest = link(digest, body)
            lines.append(digest.hex().encode() + b" " + body + b"\n")
        data = bytearray(b"".join(lines))
        for _ in range(source.randint(0, 3)):
            if data:
                data[source.randrange(len(data))] = source.randrange(256)
        (folder / f"{origin}.jsonl").write_bytes(bytes(data))
        (folder / "checkpoints.jsonl").write_bytes(source.randbytes(source.randint(0, 80)))
        verify(folder, lambda _message, _signature: False)


def _verbs(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [path]
    return [verb for name, sub in inner.items() for verb in _verbs(sub, (*path, name))]


_LONG = {("serve",), ("dev",), ("worker",)}
_VERBS: list[tuple[Callable[[], object], tuple[str, ...]]] = []
_VERBS += [(client_main, verb) for verb in _verbs(typer.main.get_command(client_app))]
_VERBS += [(daemon_main, verb) for verb in _verbs(typer.main.get_command(daemon_app)) if verb not in _LONG]
_FLAGS = ("--help", "--json", "--profile", "--config", "--key", "-x", "--", "--endpoint", "-", "--no-such")


def fuzz_argv(source: random.Random) -> None:
    """Any arguments end in an exit code, never in a traceback."""
    main, verb = source.choice(_VERBS)
    more = [_word(source) for _ in range(source.randint(0, 4))]
    words = ["fuzz", *verb, *more]
    try:
        with ExitStack() as stack:
            _enter_another_process(stack, words)
            main()
    except SystemExit:
        pass
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__} for {words!a}") from error


def _word(source: random.Random) -> str:
    return source.choice(_FLAGS) if source.random() < 0.4 else text(source, 12) or "x"


def _enter_another_process(stack: ExitStack, words: list[str]) -> None:
    """Put folder, environment, arguments and streams in place, as a process would find them."""
    stack.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    place = stack.enter_context(tempfile.TemporaryDirectory())
    stack.enter_context(chdir(place))
    environment = {"STRONGROOM_ENDPOINT": "127.0.0.1:1", "HOME": place, "STRONGROOM_TIMEOUT": "0.05"}
    stack.enter_context(mock.patch.dict(os.environ, environment))
    stack.enter_context(mock.patch.object(sys, "argv", words))
    stack.enter_context(mock.patch.object(sys, "stdin", _stream("strict")))
    stack.enter_context(redirect_stdout(_stream("strict")))
    stack.enter_context(redirect_stderr(_stream("backslashreplace")))


def _stream(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors)


def expect(good: bool, what: str) -> None:
    """Raise what is wrong."""
    if not good:
        raise AssertionError(what)


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "envelope": fuzz_envelope,
    "policy": fuzz_policy,
    "names": fuzz_names,
    "callers": fuzz_callers,
    "config": fuzz_config,
    "audit": fuzz_audit,
    "argv": fuzz_argv,
}
