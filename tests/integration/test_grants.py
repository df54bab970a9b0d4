"""Grants on a real daemon: whom they let in, under which constraints, and how they end."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import (
    ADMIN,
    OTHER,
    SERVICE,
    Daemon,
    allow,
    fresh_id,
    make_folder,
    refused,
    running,
    wait_until,
    within,
)

from strongroom import Client
from strongroom.errors import StrongroomError

CONTEXT = {"tenant": "7"}


@pytest.fixture(scope="module")
def other(daemon: Daemon) -> Iterator[Client]:
    """A principal of another account."""
    with daemon.client("other", timeout=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def crowd(daemon: Daemon) -> Iterator[list[Client]]:
    """Eight connections of the grantee: with two workers, all on one once in 128 runs."""
    clients = [daemon.client("service") for _ in range(8)]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def key(admin: Client) -> str:
    return admin.create_key().key_id


def reason(call: object, *args: object, **fields: object) -> str:
    try:
        call(*args, **fields)  # type: ignore[operator]
    except StrongroomError as error:
        return error.reason
    return "OK"


def test_a_grant_lets_its_grantee_do_what_it_lends_and_no_more(
    admin: Client, service: Client, key: str
) -> None:
    assert reason(service.encrypt, key, b"x") == "ACCESS_DENIED"

    made = admin.create_grant(key, SERVICE, ["Encrypt", "DescribeKey"])

    sealed = service.encrypt(key, b"x", grant_tokens=[made.grant_token]).ciphertext
    assert service.describe_key(key, grant_tokens=[made.grant_token]).key_id == key
    assert reason(service.decrypt, sealed) == "ACCESS_DENIED"
    assert reason(service.get_key_policy, key) == "ACCESS_DENIED"
    assert reason(service.disable_key, key) == "ACCESS_DENIED"
    assert admin.decrypt(sealed).plaintext == b"x"


def test_a_grant_is_for_its_grantee_alone(admin: Client, other: Client, key: str) -> None:
    made = admin.create_grant(key, SERVICE, ["Encrypt"])
    arn = made.grant.key_arn

    assert reason(other.encrypt, arn, b"x", grant_tokens=[made.grant_token]) == "ACCESS_DENIED"


def test_a_token_counts_at_once_on_every_worker(admin: Client, crowd: list[Client]) -> None:
    for _ in range(5):
        key = admin.create_key().key_id
        token = admin.create_grant(key, SERVICE, ["Encrypt"]).grant_token

        assert {reason(each.encrypt, key, b"x", grant_tokens=[token]) for each in crowd} == {"OK"}


@pytest.mark.timed
def test_without_a_token_a_grant_counts_everywhere_within_a_second(
    admin: Client, crowd: list[Client]
) -> None:
    key = admin.create_key().key_id
    assert {reason(each.encrypt, key, b"x") for each in crowd} == {"ACCESS_DENIED"}

    admin.create_grant(key, SERVICE, ["Encrypt"])

    assert wait_until(lambda: {reason(c.encrypt, key, b"x") for c in crowd} == {"OK"}, 5.0) < within(1.0)


def test_an_explicit_deny_stands_against_a_grant(admin: Client, service: Client) -> None:
    policy = allow(SERVICE, "kms:Encrypt").replace(
        '"Statement": [',
        '"Statement": [{"Effect": "Deny", "Principal": {"AWS": "' + SERVICE + '"}, '
        '"Action": "kms:Decrypt", "Resource": "*"}, ',
    )
    key = admin.create_key(policy=policy).key_id
    token = admin.create_grant(key, SERVICE, ["Decrypt"]).grant_token
    sealed = service.encrypt(key, b"x").ciphertext

    assert reason(service.decrypt, sealed, grant_tokens=[token]) == "ACCESS_DENIED"


@pytest.mark.parametrize(
    ("constraint", "context", "expected"),
    [
        ("context_equals", CONTEXT, "OK"),
        ("context_equals", CONTEXT | {"more": "x"}, "ACCESS_DENIED"),
        ("context_equals", {"tenant": "8"}, "ACCESS_DENIED"),
        ("context_equals", {}, "ACCESS_DENIED"),
        ("context_subset", CONTEXT, "OK"),
        ("context_subset", CONTEXT | {"more": "x"}, "OK"),
        ("context_subset", {"tenant": "8"}, "ACCESS_DENIED"),
        ("context_subset", {"Tenant": "7"}, "ACCESS_DENIED"),
        ("context_subset", {}, "ACCESS_DENIED"),
    ],
)
def test_the_encryption_context_is_held_against_the_constraint(
    admin: Client, service: Client, key: str, constraint: str, context: dict[str, str], expected: str
) -> None:
    operations = ["Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyPairWithoutPlaintext"]
    made = admin.create_grant(key, SERVICE, operations, **{constraint: CONTEXT})  # type: ignore[arg-type]
    sealed = admin.encrypt(key, b"x", context=context).ciphertext
    tokens = [made.grant_token]

    assert {
        reason(service.encrypt, key, b"x", context=context, grant_tokens=tokens),
        reason(service.decrypt, sealed, context=context, grant_tokens=tokens),
        reason(service.generate_data_key, key, context=context, grant_tokens=tokens),
        reason(
            service.generate_data_key_pair_without_plaintext,
            key,
            "ECC_NIST_P256",
            context=context,
            grant_tokens=tokens,
        ),
    } == {expected}


def test_re_encryption_is_held_against_each_side_s_own_context(
    admin: Client, service: Client, key: str
) -> None:
    source = admin.create_grant(key, SERVICE, ["ReEncryptFrom"], context_equals={"side": "a"})
    target = admin.create_grant(key, SERVICE, ["ReEncryptTo"], context_equals={"side": "b"})
    tokens = [source.grant_token, target.grant_token]
    sealed = admin.encrypt(key, b"x", context={"side": "a"}).ciphertext

    def re_encrypt(from_: str, to: str) -> str:
        return reason(
            service.re_encrypt,
            sealed,
            key,
            source_context={"side": from_},
            destination_context={"side": to},
            grant_tokens=tokens,
        )

    assert re_encrypt("a", "b") == "OK"
    assert re_encrypt("a", "a") == "ACCESS_DENIED"
    assert re_encrypt("b", "b") == "ACCESS_DENIED"


def test_each_item_of_a_batch_is_judged_by_its_own_context(admin: Client, service: Client, key: str) -> None:
    made = admin.create_grant(key, SERVICE, ["Encrypt", "Decrypt"], context_subset=CONTEXT)
    tokens = [made.grant_token]
    items = [(b"a", CONTEXT), (b"b", {"tenant": "8"}), (b"", {"tenant": "8"}), (b"", CONTEXT)]

    results = service.batch_encrypt(key, items, grant_tokens=tokens)

    assert [getattr(r, "reason", "OK") for r in results] == [
        *("OK", "ACCESS_DENIED", "ACCESS_DENIED", "INVALID_FIELD")
    ]
    sealed = [(admin.encrypt(key, b"x", context=c).ciphertext, c) for c in (CONTEXT, {"tenant": "8"})]
    opened = service.batch_decrypt(sealed, grant_tokens=tokens)
    assert [getattr(r, "reason", "OK") for r in opened] == ["OK", "ACCESS_DENIED"]


def test_a_batch_without_an_allowed_item_is_refused_as_for_an_unknown_key(
    admin: Client, service: Client, key: str
) -> None:
    made = admin.create_grant(key, SERVICE, ["Encrypt"], context_subset=CONTEXT)
    answers = []
    for name in (key, str(uuid.uuid4())):
        with pytest.raises(StrongroomError) as caught:
            service.batch_encrypt(name, [(b"a", {}), (b"", {})], grant_tokens=[made.grant_token])
        answers.append((caught.value.reason, caught.value.message, caught.value.field))

    assert answers[0] == answers[1] == ("ACCESS_DENIED", answers[0][1], "")


def altered(token: str) -> Iterator[str]:
    """Tokens that the daemon did not make."""
    for place in (0, 5, 20, 60, len(token) - 1):
        yield token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    yield from (token[:-4], token + "AAAA", token + "=", token.swapcase(), "", "x", "A" * 108, "A" * 300, "é")


def test_a_token_that_the_daemon_did_not_make_is_an_error_even_for_the_administrator(
    admin: Client, service: Client, key: str
) -> None:
    token = admin.create_grant(key, SERVICE, ["Encrypt"]).grant_token
    admin.encrypt(key, b"x", grant_tokens=[token])

    for wrong in altered(token):
        with refused("INVALID_GRANT_TOKEN", "grant_tokens"):
            admin.encrypt(key, b"x", grant_tokens=[wrong])
        with refused("INVALID_GRANT_TOKEN", "grant_tokens"):
            service.batch_decrypt([b"x"], grant_tokens=[token, wrong])
        if wrong:
            with refused("INVALID_GRANT_TOKEN", "grant_token"):
                admin.retire_grant(wrong)


def test_at_most_ten_tokens_are_taken(admin: Client, key: str) -> None:
    token = admin.create_grant(key, SERVICE, ["Encrypt"]).grant_token

    admin.encrypt(key, b"x", grant_tokens=[token] * 10)
    with refused("FIELD_TOO_LARGE", "grant_tokens"):
        admin.encrypt(key, b"x", grant_tokens=[token] * 11)


def test_a_stream_takes_tokens_with_each_request(admin: Client, service: Client, key: str) -> None:
    token = admin.create_grant(key, SERVICE, ["Encrypt"]).grant_token

    with service.stream() as stream:
        good = stream.encrypt(key, b"x", grant_tokens=[token])
        bad = stream.encrypt(key, b"x", grant_tokens=["x"])

        assert good.result().key_version == 1
        with refused("INVALID_GRANT_TOKEN", "grant_tokens"):
            bad.result()


@pytest.mark.timed
def test_a_revoked_grant_stops_at_once_and_everywhere_within_a_second(
    admin: Client, crowd: list[Client]
) -> None:
    key = admin.create_key().key_id
    made = admin.create_grant(key, SERVICE, ["Encrypt"])
    assert {reason(c.encrypt, key, b"x", grant_tokens=[made.grant_token]) for c in crowd} == {"OK"}

    admin.revoke_grant(key, made.grant.grant_id)

    def answers(tokens: list[str]) -> set[str]:
        return {reason(each.encrypt, key, b"x", grant_tokens=tokens) for each in crowd}

    assert wait_until(lambda: answers([]) == {"ACCESS_DENIED"}, 5.0) < within(1.0)
    assert answers([made.grant_token]) == {"ACCESS_DENIED"}
    with refused("NOT_FOUND", "grant_id"):
        admin.revoke_grant(key, made.grant.grant_id)


def test_who_may_retire_a_grant(admin: Client, service: Client, other: Client, key: str) -> None:
    by_maker = admin.create_grant(key, OTHER, ["Encrypt"])
    by_named = admin.create_grant(key, OTHER, ["Encrypt"], retiring_principal=SERVICE)
    by_grantee = admin.create_grant(key, OTHER, ["Encrypt", "RetireGrant"])
    arn = by_maker.grant.key_arn

    for made in (by_maker, by_named):
        assert reason(other.retire_grant, made.grant_token) == "ACCESS_DENIED"
        assert reason(other.retire_grant, key=arn, grant_id=made.grant.grant_id) == "ACCESS_DENIED"
    assert reason(service.retire_grant, by_maker.grant_token) == "ACCESS_DENIED"
    assert reason(service.retire_grant, by_grantee.grant_token) == "ACCESS_DENIED"
    assert reason(service.retire_grant, by_named.grant_token, dry_run=True) == "DRY_RUN_SUCCEEDED"

    service.retire_grant(by_named.grant_token)
    other.retire_grant(key=arn, grant_id=by_grantee.grant.grant_id)
    admin.retire_grant(by_maker.grant_token)

    assert admin.list_grants(key).items == ()
    assert reason(admin.retire_grant, by_maker.grant_token) == "ACCESS_DENIED"


def test_no_policy_gives_the_right_to_retire(admin: Client, service: Client) -> None:
    key = admin.create_key(policy=allow(SERVICE, "kms:RetireGrant")).key_id
    made = admin.create_grant(key, OTHER, ["Encrypt"])

    assert reason(service.retire_grant, made.grant_token) == "ACCESS_DENIED"


def test_a_grant_is_named_by_token_or_by_key_and_id(admin: Client, key: str) -> None:
    made = admin.create_grant(key, SERVICE, ["Encrypt"])

    with refused("INVALID_FIELD", "grant_token"):
        admin.retire_grant()
    with refused("INVALID_FIELD", "grant_token"):
        admin.retire_grant(made.grant_token, key=key, grant_id=made.grant.grant_id)
    with refused("INVALID_FIELD", "grant_id"):
        admin.retire_grant(key=key)
    with refused("ACCESS_DENIED"):
        admin.retire_grant(key=admin.create_key().key_id, grant_id=made.grant.grant_id)


def test_a_child_grant_is_equal_or_stricter_and_outlives_its_parent(
    admin: Client, service: Client, other: Client, key: str
) -> None:
    parent = admin.create_grant(key, SERVICE, ["Encrypt", "Decrypt", "CreateGrant"], context_subset=CONTEXT)
    tokens, arn = [parent.grant_token], parent.grant.key_arn

    for operations, constraints in [
        (["Encrypt", "DescribeKey"], {"context_subset": CONTEXT}),
        (["Encrypt"], {}),
        (["Encrypt"], {"context_subset": {"tenant": "8"}}),
        (["Encrypt"], {"context_equals": {"more": "x"}}),
    ]:
        denied = reason(service.create_grant, key, OTHER, operations, grant_tokens=tokens, **constraints)
        assert denied == "ACCESS_DENIED"

    child = service.create_grant(
        key, OTHER, ["Encrypt"], context_equals=CONTEXT | {"more": "x"}, grant_tokens=tokens
    )
    assert (child.grant.parent_grant_id, child.grant.issuing_principal) == (parent.grant.grant_id, SERVICE)

    admin.revoke_grant(key, parent.grant.grant_id)
    context = CONTEXT | {"more": "x"}
    assert reason(other.encrypt, arn, b"x", context=context, grant_tokens=[child.grant_token]) == "OK"
    assert reason(other.encrypt, arn, b"x", context=CONTEXT) == "ACCESS_DENIED"
    assert wait_until(
        lambda: reason(service.encrypt, key, b"x", context=CONTEXT) == "ACCESS_DENIED", 1.0
    ) < within(1.0)
    admin.revoke_grant(key, child.grant.grant_id)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"operations": []}, "operations"),
        ({"operations": ["CreateGrant"]}, "operations"),
        ({"operations": ["encrypt"]}, "operations"),
        ({"operations": ["Sign"]}, "operations"),
        ({"operations": ["PutKeyPolicy"]}, "operations"),
        ({"grantee_principal": "user/service"}, "grantee_principal"),
        ({"grantee_principal": ""}, "grantee_principal"),
        ({"retiring_principal": "*"}, "retiring_principal"),
        ({"context_equals": CONTEXT, "context_subset": CONTEXT}, "constraints"),
        ({"context_equals": {f"k{n}": "" for n in range(9)}}, "constraints.encryption_context_equals"),
        ({"context_subset": {"k": "x" * 385}}, "constraints.encryption_context_subset"),
        ({"context_subset": {"": "x"}}, "constraints.encryption_context_subset"),
        ({"source_arn": "x"}, "constraints.source_arn"),
        ({"source_arn": "arn:aws:s3:::buck*"}, "constraints.source_arn"),
        ({"source_arn": "arn:aws:s3::bucket"}, "constraints.source_arn"),
        ({"source_arn": "arn:" + "x" * 2048}, "constraints.source_arn"),
        ({"source_account": "1"}, "constraints.source_account"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\0b"}, "name"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    admin: Client, key: str, fields: dict[str, object], field: str
) -> None:
    wanted = {"grantee_principal": SERVICE, "operations": ["Encrypt"]} | fields

    with pytest.raises(StrongroomError) as caught:
        admin.create_grant(key, **wanted)  # type: ignore[arg-type]

    assert (caught.value.reason in {"INVALID_FIELD", "FIELD_TOO_LARGE"}, caught.value.field) == (True, field)


def test_a_name_makes_the_same_request_answer_the_same_grant(
    admin: Client, service: Client, key: str
) -> None:
    def create(**fields: object) -> tuple[str, str]:
        wanted = {
            "grantee_principal": SERVICE,
            "operations": ["Encrypt", "CreateGrant"],
            "name": "n",
        } | fields
        made = admin.create_grant(key, **wanted)  # type: ignore[arg-type]
        return made.grant.grant_id, made.grant_token

    first, again = create(), create()
    assert first[0] == again[0]
    assert first[1] != again[1]
    assert {reason(service.encrypt, key, b"x", grant_tokens=[token]) for _, token in (first, again)} == {"OK"}

    others = [
        create(grantee_principal=OTHER),
        create(operations=["Encrypt"]),
        create(retiring_principal=SERVICE),
        create(context_equals=CONTEXT),
        create(context_subset=CONTEXT),
        create(source_account="111122223333"),
        create(name="m"),
        create(name=""),
        create(name=""),
    ]
    assert len({first[0], *(grant_id for grant_id, _ in others)}) == 10

    admin.revoke_grant(key, first[0])
    assert create()[0] != first[0]


def test_a_request_id_is_answered_once(admin: Client, key: str) -> None:
    token = fresh_id()
    first = admin.create_grant(key, SERVICE, ["Encrypt"], request_id=token)
    again = admin.create_grant(key, SERVICE, ["Encrypt"], request_id=token)
    assert first.grant == again.grant
    with refused("REQUEST_ID_REUSED", "request_id"):
        admin.create_grant(key, SERVICE, ["Decrypt"], request_id=token)

    second = admin.create_grant(key, SERVICE, ["Encrypt"])
    revoking, retiring = fresh_id(), fresh_id()
    for _ in range(2):
        admin.revoke_grant(key, first.grant.grant_id, request_id=revoking)
        admin.retire_grant(second.grant_token, request_id=retiring)
    with refused("REQUEST_ID_REUSED", "request_id"):
        admin.revoke_grant(key, second.grant.grant_id, request_id=revoking)


def test_a_dry_run_makes_and_ends_nothing(admin: Client, service: Client, key: str) -> None:
    with refused("DRY_RUN_SUCCEEDED"):
        admin.create_grant(key, SERVICE, ["Encrypt"], dry_run=True)
    with refused("ACCESS_DENIED"):
        service.create_grant(key, SERVICE, ["Encrypt"], dry_run=True)
    with refused("INVALID_FIELD", "operations"):
        admin.create_grant(key, SERVICE, ["Sign"], dry_run=True)
    made = admin.create_grant(key, SERVICE, ["Encrypt"])
    with refused("DRY_RUN_SUCCEEDED"):
        admin.revoke_grant(key, made.grant.grant_id, dry_run=True)
    with refused("DRY_RUN_SUCCEEDED"):
        admin.retire_grant(made.grant_token, dry_run=True)

    assert [each.grant_id for each in admin.list_grants(key).items] == [made.grant.grant_id]


def test_lists_are_filtered_and_paged(admin: Client, service: Client, key: str) -> None:
    made = [
        admin.create_grant(key, who, ["Encrypt"], retiring_principal=OTHER) for who in (SERVICE, OTHER) * 4
    ]
    ids = {each.grant.grant_id for each in made}

    assert {g.grant_id for g in admin.pages(admin.list_grants, key, page_size=3)} == ids
    to_service = list(admin.pages(admin.list_grants, key, grantee_principal=SERVICE, page_size=3))
    assert {g.grantee_principal for g in to_service} == {SERVICE}
    assert len(to_service) == 4
    assert [g.grant_id for g in admin.list_grants(key, grant_id=made[0].grant.grant_id).items] == [
        made[0].grant.grant_id
    ]
    token = admin.list_grants(key, page_size=3).next_page_token
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        admin.list_grants(key, grantee_principal=SERVICE, page_token=token)
    with refused("ACCESS_DENIED"):
        service.list_grants(key)


def test_retirable_grants_are_shown_to_their_principal_and_its_administrator(
    admin: Client, service: Client, other: Client, key: str
) -> None:
    made = [admin.create_grant(key, OTHER, ["Encrypt"], retiring_principal=SERVICE) for _ in range(3)]
    ids = {each.grant.grant_id for each in made}

    listed = {g.grant_id for g in service.pages(service.list_retirable_grants, SERVICE, page_size=2)}
    assert listed >= ids
    assert {g.grant_id for g in admin.pages(admin.list_retirable_grants, SERVICE)} == listed
    for client, whose in ((other, SERVICE), (service, ADMIN), (admin, OTHER)):
        with refused("ACCESS_DENIED"):
            client.list_retirable_grants(whose)
    with refused("INVALID_FIELD", "retiring_principal"):
        service.list_retirable_grants("")
    for each in made:
        service.retire_grant(each.grant_token)
    left = {g.grant_id for g in service.pages(service.list_retirable_grants, SERVICE)}
    assert left == listed - ids


def test_states_of_the_key_bind_grants(admin: Client, service: Client, key: str) -> None:
    token = admin.create_grant(key, SERVICE, ["Encrypt"]).grant_token
    admin.disable_key(key)
    assert admin.create_grant(key, SERVICE, ["Decrypt"]).grant.operations == ("Decrypt",)
    wait_until(lambda: reason(service.encrypt, key, b"x", grant_tokens=[token]) == "KEY_DISABLED", 1.0)
    admin.schedule_key_deletion(key)
    with refused("KEY_PENDING_DELETION"):
        admin.create_grant(key, SERVICE, ["Decrypt"])

    for each in admin.list_grants(key).items:
        admin.revoke_grant(key, each.grant_id)


def test_an_account_shares_a_key_and_takes_it_back(admin: Client, other: Client) -> None:
    """Acceptance 4: A encrypts a data key, B re-encrypts it under its own, A revokes, B is refused."""
    shared = admin.create_key()
    data_key = admin.generate_data_key_without_plaintext(shared.arn).ciphertext
    with pytest.raises(StrongroomError):
        other.decrypt(data_key)
    operations = ["DescribeKey", "Decrypt", "ReEncryptFrom"]
    made = admin.create_grant(shared.arn, OTHER, operations)
    tokens = [made.grant_token]

    assert other.describe_key(shared.arn, grant_tokens=tokens).account == "111122223333"
    assert len(other.decrypt(data_key, grant_tokens=tokens).plaintext) == 32
    admin.revoke_grant(shared.arn, made.grant.grant_id)

    assert wait_until(
        lambda: reason(other.decrypt, data_key, grant_tokens=tokens) == "ACCESS_DENIED", 5
    ) < within(1.0)


def test_the_audit_record_says_how_it_was_decided(admin: Client, service: Client, key: str) -> None:
    made = admin.create_grant(key, SERVICE, ["Encrypt"])
    service.encrypt(key, b"x", grant_tokens=[made.grant_token])
    admin.encrypt(key, b"x")
    with refused("ACCESS_DENIED"):
        service.decrypt(admin.encrypt(key, b"x").ciphertext)

    records = list(admin.pages(admin.list_audit_records, key=made.grant.key_arn))
    decided = {
        (r.principal, r.action, r.outcome): r.canonical_json.decode().partition('"decision":')[2][:140]
        for r in records
    }
    assert made.grant.grant_id in decided[SERVICE, "kms:Encrypt", "OK"]
    assert "grant-allow" in decided[SERVICE, "kms:Encrypt", "OK"]
    assert "key-policy-allow" in decided[ADMIN, "kms:Encrypt", "OK"]
    assert "no-identity-policy" in decided[SERVICE, "kms:Decrypt", "ACCESS_DENIED"]


@pytest.mark.timed
def test_a_revocation_reaches_all_of_four_workers_within_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "four"
    folder.mkdir()
    with running(make_folder(folder, workers=4)) as daemon, daemon.client() as admin:
        key = admin.create_key().key_id
        crowd = [daemon.client("service") for _ in range(24)]
        for _ in range(3):
            made = admin.create_grant(key, SERVICE, ["Encrypt"])
            assert {reason(c.encrypt, key, b"x", grant_tokens=[made.grant_token]) for c in crowd} == {"OK"}

            admin.revoke_grant(key, made.grant.grant_id)

            took = wait_until(lambda: all(reason(c.encrypt, key, b"x") == "ACCESS_DENIED" for c in crowd), 5)
            assert took < within(1.0)
        for client in crowd:
            client.close()
