"""Sinks and rules in the configuration: every mistake at once, and none quoted."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.events.test_sinks import EVENT
from tests.unit.test_config import GOOD, folder, mistakes, settings, write

from strongroomd.config import load
from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.events.broken import Broken
from strongroomd.frontends.grpc.pki import Authority
from strongroomd.wiring import eventing

__all__ = ["folder"]

HOOK = """
[[events.sinks]]
name = "hook"
kind = "webhook"
url = "https://hooks.example.org/x"
secret_file = "hook-secret"
"""
BUS = """
[[events.sinks]]
name = "bus"
kind = "nats"
servers = ["nats://127.0.0.1:4222"]
"""
RULE = """
[[events.rules]]
name = "keep"
types = ["strongroom.key.disabled"]
action = "enable_key"
principal = "arn:aws:iam::111122223333:role/guard"
"""


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder / "hook-secret"
    path.write_bytes(b"0123456789abcdef\n")
    path.chmod(0o600)
    return path


def test_sinks_and_rules_become_settings(folder: Path, secret: Path) -> None:
    made = settings(folder, GOOD + HOOK + BUS + RULE)

    assert set(eventing.routes(made)) == set(eventing.sinks(made)) == {"hook", "bus"}
    assert made.events.rules[0].max_per_hour == 4
    assert eventing.routes(made)["hook"].patience.tries == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HOOK.replace("https://", "http://"), "[events] sinks.#1.url: must be an absolute URL that begins with https://"),
        (HOOK.replace("https://", "ftp://"), "[events] sinks.#1.url: must be an absolute URL that begins with https://"),
        (HOOK.replace("hooks.", "u:p@hooks."), "[events] sinks.#1.url: must hold no user, password or fragment"),
        (HOOK.replace("/x", "/x#y"), "[events] sinks.#1.url: must hold no user, password or fragment"),
        (HOOK.replace(".org", ".org:99999"), "[events] sinks.#1.url: must be an absolute URL that begins with https://"),
        (HOOK.replace('secret_file = "hook-secret"', ""), "[events] sinks.#1.secret_file: is required"),
        (HOOK + 'servers = ["nats://x:1"]', "[events] sinks.#1.servers: is no setting of a webhook"),
        (HOOK + 'types = ["strongroom.nothing"]', "[events] sinks.#1.types.#1: matches no type of event"),
        (HOOK + 'allow_networks = ["10.0.0.1/8"]', "[events] sinks.#1.allow_networks.#1: must be a network such as 10.1.0.0/16 or fd00::/8"),
        (HOOK + "max_tries = 0", "[events] sinks.#1.max_tries: must be greater than or equal to 1"),
        (HOOK + "retries = 0", "[events] sinks.#1.retries: is not a known setting"),
        (HOOK + HOOK, "[events] sinks: must have different names"),
        (HOOK.replace('"hook"', '"@rules"'), "[events] sinks.#1.name: is not in the documented form"),
        (BUS.replace("nats://", "http://"), "[events] sinks.#1.servers.#1: must be nats://HOST:PORT or tls://HOST:PORT, without a user"),
        (BUS.replace("nats://", "nats://u:p@"), "[events] sinks.#1.servers.#1: must be nats://HOST:PORT or tls://HOST:PORT, without a user"),
        (BUS + 'subject = "a.*"', "[events] sinks.#1.subject: is not in the documented form"),
        (BUS + 'url = "https://x"', "[events] sinks.#1.url: is no setting of a nats"),
        (RULE.replace("enable_key", "delete_key"), "[events] rules.#1.action: must be 'enable_key', 'disable_key' or 'notify'"),
        (RULE.replace("principal", "#"), "[events] rules.#1.principal: is required: the action is its, under the key's policy"),
        (RULE + 'sink = "x"', "[events] rules.#1.sink: is a setting of notify only"),
        (RULE.replace("enable_key", "notify"), "[events] rules.#1.principal: is no setting of notify"),
        (RULE.replace("strongroom.key.disabled", "strongroom.*.x"), "[events] rules.#1.types.#1: must be 1 to 512 characters with a * at its end only"),
        (RULE + 'data = { a = "*b" }', "[events] rules.#1.data.#1: must be 1 to 512 characters with a * at its end only"),
        (RULE + "max_per_hour = 0", "[events] rules.#1.max_per_hour: must be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(folder: Path, secret: Path, text: str, expected: str) -> None:
    assert expected in mistakes(folder, GOOD + text)


def test_a_rule_cannot_notify_a_sink_that_is_not_there(folder: Path) -> None:
    rule = '[[events.rules]]\nname = "x"\ntypes = ["*"]\naction = "notify"\nsink = "none"\n'

    assert mistakes(folder, GOOD + rule) == ["[events] rules.#1.sink: must be the name of a sink"]


def test_several_mistakes_are_reported_together_and_no_value_is(folder: Path) -> None:
    text = HOOK.replace("https://hooks", "http://verysecret") + RULE.replace("principal", "#")

    found = mistakes(folder, GOOD + text)

    assert len(found) == 3, found
    assert "verysecret" not in str(found)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_a_secret_that_others_can_read_is_refused(folder: Path, secret: Path, mode: int) -> None:
    secret.chmod(mode)

    assert mistakes(folder, GOOD + HOOK) == [
        f"[events] sinks.#1.secret_file: has too open a mode, {mode:04o}"
    ]


def test_a_short_secret_is_refused(folder: Path, secret: Path) -> None:
    secret.write_bytes(b"0123456789abcde\n")

    assert mistakes(folder, GOOD + HOOK) == ["[events] sinks.#1.secret_file: must hold at least 16 bytes"]


@pytest.mark.parametrize("sink", [HOOK, BUS])
def test_authorities_that_are_no_pem_are_refused(folder: Path, secret: Path, sink: str) -> None:
    (folder / "authorities").write_bytes(b"no certificate")

    assert mistakes(folder, GOOD + sink + 'ca_file = "authorities"') == [
        "[events] sinks.#1.ca_file: must hold certificates in PEM"
    ]


@pytest.mark.parametrize("damage", ["missing", "short", "authorities", "token"])
async def test_a_sink_that_broke_later_fails_alone(folder: Path, secret: Path, damage: str) -> None:
    text = HOOK + 'ca_file = "authorities"' + BUS.replace("bus", "other") + BUS + 'token_file = "token"'
    made = load(write(folder, GOOD + text), check_files=False)
    break_one(folder, damage)

    with capture_logs() as lines:
        sinks = eventing.sinks(made)

    broken = "bus" if damage == "token" else "hook"
    assert [name for name, sink in sinks.items() if isinstance(sink, Broken)] == [broken]
    with pytest.raises(Undelivered) as caught:
        await sinks[broken].send(EVENT)
    assert caught.value.blame is Blame.SINK
    assert [(line["log_level"], line["sink"], line["cause"]) for line in lines] == [
        ("error", broken, caught.value.error)
    ]
    await sinks[broken].close()


def break_one(folder: Path, damage: str) -> None:
    """Write the files of good sinks, one of them of no use."""
    (folder / "authorities").write_bytes(Authority.make().certificate)
    (folder / "token").write_bytes(b"0123456789abcdef")
    match damage:
        case "missing":
            (folder / "hook-secret").unlink()
        case "short":
            (folder / "hook-secret").write_bytes(b"short")
        case "authorities":
            (folder / "authorities").write_bytes(b"no certificate")
        case "token":
            (folder / "token").unlink()
