"""Events of a real daemon: to webhooks that are there, away or unwilling, to a stream, and to rules."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import ACCOUNT, ADMIN, Daemon, allow, make_folder, refused, running, wait_until, within
from tests.receiver import SECRET, Receiver, in_order, receiving

from strongroom import Client

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]
GUARD = f"arn:aws:iam::{ACCOUNT}:role/key-guard"


def sink(name: str, url: str, *more: str) -> str:
    """A webhook on loopback, which the configuration has to allow."""
    lines = [
        "[[events.sinks]]",
        f'name = "{name}"',
        'kind = "webhook"',
        f'url = "{url}"',
        'secret_file = "webhook-secret"',
        'allow_networks = ["127.0.0.0/8"]',
        "allow_plain_http = true",
        "timeout_seconds = 2",
        *more,
    ]
    return "\n".join(lines) + "\n"


def make_eventful(folder: Path, text: str, workers: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    secret = folder.parent / f"{folder.name}-secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    text = text.replace('"webhook-secret"', json.dumps(str(secret)))
    return make_folder(folder, workers, lambda config: config + "\n" + text)


RULES = f"""
[[events.rules]]
name = "keep-enabled"
types = ["strongroom.key.disabled"]
data = {{ account = "{ACCOUNT}" }}
action = "enable_key"
principal = "{GUARD}"
max_per_hour = 2

[[events.rules]]
name = "tell-security"
types = ["strongroom.key.disabled"]
action = "notify"
sink = "security"
"""


@pytest.fixture(scope="module")
def everything() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def security() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def eventful(
    tmp_path_factory: pytest.TempPathFactory, everything: Receiver, security: Receiver
) -> Iterator[Daemon]:
    text = sink("everything", everything.url) + sink("security", security.url, "types = []") + RULES
    with running(make_eventful(tmp_path_factory.mktemp("eventful") / "daemon", text)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def root(eventful: Daemon) -> Iterator[Client]:
    with eventful.client("admin", timeout=30.0) as client:
        yield client


def types_of(receiver: Receiver, subject: str) -> list[str]:
    found = [event for event in receiver.firsts() if event["subject"] == subject]
    return [event["type"].removeprefix("strongroom.") for event in found]


def test_a_disabled_key_is_enabled_again_and_the_security_team_is_called(
    root: Client, eventful: Daemon, security: Receiver
) -> None:
    key = root.create_key(policy=allow(GUARD, "kms:EnableKey"))

    root.disable_key(key.key_id)

    wait_until(lambda: root.describe_key(key.key_id).enabled, 10.0)
    wait_until(lambda: any(event["subject"] == key.arn for event in security.firsts()), 10.0)
    called = next(event for event in security.firsts() if event["subject"] == key.arn)
    assert (called["type"], called["principal"]) == ("strongroom.key.disabled", ADMIN)
    assert types_of(security, key.arn) == ["key.disabled"], "it hears of nothing else"
    told = [
        r for r in root.list_audit_records(principal=GUARD, page_size=1_000).items if r.key_arn == key.arn
    ]
    assert [(record.kind, record.action, record.outcome) for record in told] == [
        ("intent", "kms:EnableKey", "PENDING"),
        ("outcome", "kms:EnableKey", "OK"),
    ]
    assert json.loads(told[1].canonical_json)["door"] == "rule"
    # The rule is held back when it is played with.
    for _ in range(2):
        wait_until(lambda: root.describe_key(key.key_id).enabled, 10.0)
        root.disable_key(key.key_id)
    wait_until(lambda: 'outcome="suppressed",rule="keep-enabled"' in eventful.metrics(), 10.0)
    assert not root.describe_key(key.key_id).enabled


def test_a_rule_whose_principal_the_key_does_not_allow_changes_nothing(
    root: Client, everything: Receiver
) -> None:
    key = root.create_key()

    root.disable_key(key.key_id)

    def failed() -> bool:
        return any(event["data"]["key"] == key.arn for event in everything.of_type("strongroom.rule.failed"))

    wait_until(failed, 10.0)
    assert not root.describe_key(key.key_id).enabled


def test_every_change_of_a_key_is_an_event_in_order(root: Client, everything: Receiver) -> None:
    key = root.create_key(tags={"a": "b"})
    root.rotate_key(key.key_id)
    root.update_key_description(key.key_id, "a secret description")
    root.tag_key(key.key_id, {"team": "a secret tag"})
    root.put_key_policy(key.key_id, allow(ADMIN, "kms:Encrypt"))
    root.create_alias(f"alias/{key.key_id}", key.key_id)
    root.delete_alias(f"alias/{key.key_id}")
    root.put_limit("KEY", key.key_id, 10)
    root.delete_limit("KEY", key.key_id)
    root.schedule_key_deletion(key.key_id, pending_window_days=7)
    root.cancel_key_deletion(key.key_id)

    wait_until(lambda: len(types_of(everything, key.arn)) >= 11, 10.0)

    assert types_of(everything, key.arn) == [
        "key.created", "key.rotated", "key.description_changed", "key.tags_changed", "key.policy_changed",
        "alias.created", "alias.deleted", "limit.changed", "limit.deleted", "key.deletion_scheduled",
        "key.deletion_cancelled",
    ]  # fmt: skip
    assert in_order(everything.firsts())
    first = next(event for event in everything.firsts() if event["subject"] == key.arn)
    assert first["specversion"] == "1.0"
    assert first["source"] == f"/strongroom/local-1/{ACCOUNT}"
    assert first["sequence"] == "00000000000000000001"
    assert first["data"]["spec"] == "SYMMETRIC_DEFAULT"
    assert "a secret" not in json.dumps(everything.firsts())


def test_grants_tell_of_their_lives_in_the_order_of_their_key(root: Client, everything: Receiver) -> None:
    key = root.create_key()
    made = root.create_grant(key.key_id, GUARD, ["Encrypt"], context_subset={"tenant": "a secret"}, name="n")
    root.create_grant(key.key_id, GUARD, ["Encrypt"], context_subset={"tenant": "a secret"}, name="n")
    second = root.create_grant(key.key_id, ADMIN, ["Decrypt"])
    root.retire_grant(second.grant_token)
    root.disable_key(key.key_id)
    root.revoke_grant(key.key_id, made.grant.grant_id)

    wait_until(lambda: "grant.revoked" in types_of(everything, key.arn), 10.0)

    assert types_of(everything, key.arn) == [
        "key.created", "grant.created", "grant.created", "grant.retired", "key.disabled", "grant.revoked",
    ]  # fmt: skip
    told = [event["data"] for event in everything.firsts() if event["subject"] == key.arn]
    assert [told[n]["grant_id"] for n in (1, 3, 5)] == [
        made.grant.grant_id, second.grant.grant_id, made.grant.grant_id,
    ]  # fmt: skip
    assert (told[1]["grantee"], told[1]["context_keys"], told[1]["account"]) == (GUARD, ["tenant"], ACCOUNT)
    assert "a secret" not in json.dumps(told)


def test_callers_tell_of_their_lives_in_order(root: Client, everything: Receiver) -> None:
    account = str(time.time_ns())[-12:]
    tenant, role = f"arn:aws:iam::{account}:root", f"arn:aws:iam::{account}:role/ops"
    user = f"arn:aws:iam::{account}:user/alice"
    anything = json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    trust = {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "sts:AssumeRole"}
    root.create_account(account)
    root.put_guard_rail(account, "rail", anything)
    root.create_principal(user, description="a secret", tags={"team": "a secret"})
    root.add_identity(user, uri=f"spiffe://example.org/{account}")
    root.tag_principal(user, {"team": "another secret"})
    root.put_identity_policy(user, "reads", anything)
    first, second = (root.create_access_key(user).access_key.access_key_id for _ in range(2))
    root.deactivate_access_key(user, first)
    root.activate_access_key(user, first)
    root.delete_access_key(user, first)
    root.disable_principal(user)
    root.enable_principal(user)
    root.enable_principal(user)
    root.delete_principal(user)
    root.create_principal(role)
    root.put_trust_policy(role, json.dumps({"Statement": [trust]}))
    root.revoke_role_sessions(role)

    wait_until(lambda: "principal.sessions_revoked" in types_of(everything, role), 10.0)

    assert types_of(everything, tenant) == [
        "account.created",
        "principal.created",
        "account.guard_rails_changed",
    ]
    assert types_of(everything, user) == [
        "principal.created", "identity.added", "principal.tags_changed", "principal.policies_changed",
        "access_key.created", "access_key.created", "access_key.disabled", "access_key.enabled",
        "access_key.deleted", "principal.disabled", "principal.enabled", "identity.removed", "access_key.deleted",
        "principal.deleted",
    ]  # fmt: skip
    assert types_of(everything, role) == [
        "principal.created", "principal.trust_policy_changed", "principal.sessions_revoked",
    ]  # fmt: skip
    ours = [event for event in everything.firsts() if event["subject"] in (tenant, user, role)]
    assert {(event["principal"], event["data"]["account"]) for event in ours} == {(ADMIN, account)}
    assert second in json.dumps(ours)
    assert "secret" not in json.dumps(ours)
    assert in_order(everything.firsts())


def test_what_changes_nothing_is_no_event(root: Client, everything: Receiver) -> None:
    key = root.create_key()
    root.enable_key(key.key_id)
    root.encrypt(key.key_id, b"x")
    with refused("INVALID_KEY_STATE"):
        root.cancel_key_deletion(key.key_id)
    root.rotate_key(key.key_id, request_id="once-" + key.key_id)
    root.rotate_key(key.key_id, request_id="once-" + key.key_id)
    root.create_key()

    time.sleep(1.0)

    assert types_of(everything, key.arn) == ["key.created", "key.rotated"]


def test_events_can_be_watched_from_now_and_from_a_cursor(root: Client, eventful: Daemon) -> None:
    seen: list[tuple[str, str]] = []
    key = root.create_key()

    def follow() -> None:
        with eventful.client("admin") as client:
            for watched in client.watch_events(types=["strongroom.key.*"], subjects=[key.arn]):
                seen.append((watched.event.type, watched.cursor))
                if len(seen) == 3:
                    return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    time.sleep(0.7)
    for _ in range(3):
        root.rotate_key(key.key_id)
    follower.join(10.0)

    assert [kind for kind, _ in seen] == ["strongroom.key.rotated"] * 3
    oldest = next(root.watch_events(cursor="0"))
    assert oldest.cursor == "1"
    again = root.watch_events(subjects=[key.arn], cursor=seen[0][1])
    assert [next(again).cursor, next(again).cursor] == [seen[1][1], seen[2][1]]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"types": ["nothing"]}, "types[0]"),
        ({"types": [""]}, "types[0]"),
        ({"subjects": ["a*b"]}, "subjects[0]"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "9" * 17}, "cursor"),
        ({"types": ["strongroom.*"] * 51}, "types"),
    ],
)
def test_a_watch_that_could_see_nothing_is_refused(
    root: Client, arguments: dict[str, object], field: str
) -> None:
    reason = "FIELD_TOO_LARGE" if field == "types" else "INVALID_FIELD"
    with refused(reason, field):
        next(root.watch_events(**arguments))  # type: ignore[arg-type]


def test_nobody_but_administrators_sees_events(eventful: Daemon) -> None:
    with eventful.client("service") as client:
        for call in (client.list_sinks, client.list_dead_letters, client.get_compliance_report):
            with refused("ACCESS_DENIED"):
                call()
        with refused("ACCESS_DENIED"):
            client.redrive_dead_letter()
        with refused("ACCESS_DENIED"):
            next(client.watch_events())


def test_the_compliance_report_speaks_of_open_policies(root: Client, everything: Receiver) -> None:
    report = root.get_compliance_report()

    assert report.checks_not_offered == ("ROTATION_OFF",)
    with refused("INVALID_PAGE_TOKEN"):
        root.get_compliance_report(page_token="AAAAAAAAAAAAAAAAAAAA")


def test_metrics_and_the_command_line_tell_of_sinks(eventful: Daemon, root: Client) -> None:
    root.create_key()
    wait_until(lambda: any(each.last_success_time for each in root.list_sinks()), 15.0)
    states = {each.name: each for each in root.list_sinks()}

    assert set(states) == {"everything", "security"}
    assert all(each.configured for each in states.values())
    wait_until(lambda: 'strongroom_events_backlog{sink="everything"} 0.0' in eventful.metrics(), 15.0)
    assert 'strongroom_events_emitted_total{type="strongroom.key.created"}' in eventful.metrics()


def test_a_poisonous_event_holds_back_its_own_key_only_and_can_be_redriven(tmp_path: Path) -> None:
    with receiving() as receiver:
        poison: set[str] = set()
        receiver.judge = lambda event: (422 if event["subject"] in poison else 204, {})
        folder = make_eventful(tmp_path / "poison", sink("hook", receiver.url, "max_tries = 2"), 1)
        with running(folder) as daemon, daemon.client() as client:
            bad, good = client.create_key(), client.create_key()
            wait_until(lambda: types_of(receiver, bad.arn) == ["key.created"], 10.0)
            poison.add(bad.arn)
            client.rotate_key(bad.key_id)
            client.disable_key(bad.key_id)
            client.rotate_key(good.key_id)

            wait_until(lambda: types_of(receiver, good.arn) == ["key.created", "key.rotated"], 10.0)
            wait_until(lambda: len(client.list_dead_letters().items) == 2, 20.0)
            letters = client.list_dead_letters(sink="hook").items
            assert [letter.event.type for letter in letters] == [
                "strongroom.key.rotated",
                "strongroom.key.disabled",
            ]
            assert {(letter.tries, letter.error) for letter in letters} == {(2, "status 422")}
            with refused("NOT_FOUND", "event_id"):
                client.redrive_dead_letter(sink="hook", event_id="none")
            with refused("NOT_FOUND", "sink"):
                client.list_dead_letters(sink="none")
            poison.clear()
            assert client.redrive_dead_letter(sink="hook", event_id=letters[0].event.id) == 1
            assert client.redrive_dead_letter() == 1
            wait_until(lambda: len(types_of(receiver, bad.arn)) == 3, 10.0)
            assert in_order(receiver.firsts())
            assert client.list_dead_letters().items == ()


def test_an_address_that_is_not_allowed_is_never_connected_to(tmp_path: Path) -> None:
    with receiving() as receiver:
        text = sink("hook", receiver.url).replace('allow_networks = ["127.0.0.0/8"]\n', "")
        with running(make_eventful(tmp_path / "private", text, 1)) as daemon, daemon.client() as client:
            client.create_key()

            wait_until(lambda: client.list_sinks()[0].last_error != "", 10.0)

            assert client.list_sinks()[0].last_error == "the name resolves to an address that is not allowed"
            assert receiver.requests == []
            assert client.list_sinks()[0].backlog >= 1


def test_the_command_line_watches(eventful: Daemon, root: Client) -> None:
    tls = eventful.tls("admin")
    options = [word for name, path in tls.items() for word in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "strongroom.cli", "--endpoint", eventful.endpoint, *options]
    following = [*command, "events", "watch", "--json", "--type", "strongroom.key.created"]
    with subprocess.Popen(following, stdout=subprocess.PIPE) as watching:
        output = watching.stdout
        assert output is not None
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.append(output.readline()), daemon=True)
        reader.start()
        deadline = time.monotonic() + within(20)
        while not lines and time.monotonic() < deadline:
            root.create_key()
            reader.join(0.5)
        watching.kill()

    assert json.loads(lines[0])["event"]["type"] == "strongroom.key.created"


def test_sinks_and_rules_are_taken_over_by_a_reload(tmp_path: Path) -> None:
    with receiving() as receiver:
        folder = make_eventful(tmp_path / "reload", sink("first", receiver.url), 1)
        with running(folder) as daemon, daemon.client() as client, receiving() as later:
            before = client.create_key()
            wait_until(lambda: types_of(receiver, before.arn) == ["key.created"], 10.0)
            text = daemon.config.read_text()

            daemon.config.write_text(
                text.replace('name = "first"', 'name = "second"').replace(receiver.url, later.url)
            )
            wait_until(
                lambda: (
                    {s.name: s.configured for s in client.list_sinks()} == {"first": False, "second": True}
                ),
                10.0,
            )
            after = client.create_key()

            wait_until(lambda: types_of(later, after.arn) == ["key.created"], 10.0)
            assert types_of(later, before.arn) == [], "a new sink begins with what happens from then on"
            assert types_of(receiver, after.arn) == []
            daemon.config.write_text(
                text.replace("max_tries", "max_trials").replace('kind = "webhook"', 'kind = "fax"')
            )
            wait_until(lambda: "configuration refused" in daemon.log, 10.0)
            another = client.create_key()
            wait_until(lambda: types_of(later, another.arn) == ["key.created"], 10.0)


def test_a_worker_starts_although_a_sink_lost_its_secret(tmp_path: Path) -> None:
    with receiving() as receiver, receiving() as other:
        text = sink("broken", receiver.url) + sink("other", other.url).replace(
            "webhook-secret", "other-secret"
        )
        (tmp_path / "other-secret").write_bytes(SECRET)
        (tmp_path / "other-secret").chmod(0o600)
        text = text.replace("other-secret", str(tmp_path / "other-secret"))
        with running(make_eventful(tmp_path / "lost", text, 1)) as daemon, daemon.client() as client:
            secret = tmp_path / "lost-secret"
            kept = secret.read_bytes()
            secret.unlink()
            before = daemon.workers()

            os.kill(before[0], signal.SIGKILL)
            wait_until(
                lambda: daemon.workers() not in ([], before) and daemon.state["state"] == "ready", 20.0
            )
            key = client.create_key()

            wait_until(lambda: types_of(other, key.arn) == ["key.created"], 10.0)
            assert types_of(receiver, key.arn) == []
            assert "this sink gets nothing before" in daemon.log
            secret.write_bytes(kept)
            secret.chmod(0o600)
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: types_of(receiver, key.arn) == ["key.created"], 20.0)
