"""Statements are signed in the token by a key of their own, and openssl alone can verify them."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from tests.hsmkeys import OpenedVault
from tests.softhsm import TokenFactory

from strongroomd.cli import dev
from strongroomd.config import load
from strongroomd.custody.clock import Clock
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.records import HouseRecord, HouseState
from strongroomd.domain.statements import parse_statement
from strongroomd.hsm import ceremony
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.statements import HouseSigner, key_id, statement_keys
from strongroomd.hsm.templates import House

pytestmark = pytest.mark.softhsm
HOUSE = "/strongroom/eu-test-1/111122223333"


def openssl_verifies(folder: Path, stated: SignedStatement, spki: bytes) -> bool:
    pem = load_der_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {"pub.pem": pem, "signature": stated.signature.signature, "payload": stated.payload}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "signature", "payload"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    return (done.returncode, done.stdout) == (0, "Verified OK\n")


async def test_openssl_verifies_what_the_house_states(opened: OpenedVault, tmp_path: Path) -> None:
    notary = Notary(HouseSigner(opened.vault), HOUSE, Clock())

    stated = await notary.state("trial", {"n": 1})

    (known, spki) = next(iter(statement_keys(opened.house).items()))
    assert openssl_verifies(tmp_path, stated, spki)
    assert stated.signature.key_id == known == key_id(opened.vault.statement_key)
    assert stated.signature.algorithm == "ECDSA_SHA_256"
    assert parse_statement(stated.payload).claims == {"n": 1}


def test_a_key_that_is_only_announced_or_was_given_up_signs_nothing(opened: OpenedVault) -> None:
    unmade = [
        HouseRecord(House.STATEMENT.value, f"{number:032x}", b"", b"", generation=number, state=state)
        for number, state in enumerate((HouseState.INTENT, HouseState.FAILED), 1)
    ]

    assert statement_keys([*opened.house, *unmade]) == statement_keys(opened.house)


async def test_the_keys_of_logs_and_of_statements_are_two(opened: OpenedVault, tmp_path: Path) -> None:
    stated = await Notary(HouseSigner(opened.vault), HOUSE, Clock()).state("trial", {})
    checkpoint = next(r.public_key for r in opened.house if r.role == House.CHECKPOINT.value)
    by_checkpoint = await opened.vault.sign_checkpoint(stated.payload)

    assert not openssl_verifies(tmp_path, stated, checkpoint)
    forged = SignedStatement(
        stated.payload,
        type(stated.signature)(stated.signature.key_id, stated.signature.algorithm, by_checkpoint),
    )
    assert not openssl_verifies(tmp_path, forged, opened.vault.statement_key)


def test_wrong_statement_public_key_is_refused(opened: OpenedVault, fresh_token: TokenFactory) -> None:
    token = fresh_token()
    other = opened.vault.statement_key
    house = [
        dataclasses.replace(r, public_key=other) if r.role == House.STATEMENT.value else r
        for r in ceremony.initialise(token.settings, token.pin)
    ]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.INTEGRITY_FAILURE


UPGRADE = """
import sys
from typer.testing import CliRunner
from strongroomd.cli.app import app
from strongroomd.hsm import ceremony, opening
from strongroomd.hsm.templates import House, roles_in

def run(verb):
    done = CliRunner().invoke(app, [verb, "--config", sys.argv[1]])
    print(verb, done.exit_code, done.output.splitlines()[-1])

before = tuple(role for role in roles_in("") if role is not House.STATEMENT)
ceremony.roles_in = opening.roles_in = lambda token: roles_in(token) if token else before
run("init")
ceremony.roles_in = opening.roles_in = roles_in
run("migrate")
run("migrate")
"""
"""A house is founded by a release that has no statement key, and brought up to this one, twice."""


def test_migrate_makes_the_key_in_a_house_that_was_founded_without_it(tmp_path: Path) -> None:
    config = dev.prepare(tmp_path, port=0, ops_port=0, workers=1)
    command = [sys.executable, "-c", UPGRADE, str(config)]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    founded, first, second = done.stdout.splitlines()
    assert founded.startswith("init 0 ")
    assert first == "migrate 0 house keys made in the token: 1"
    assert second.startswith("migrate 0 ")
    assert "house keys" not in second
    assert load(config).statement_public_key.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")


def test_a_house_without_the_key_does_not_open_and_says_what_to_run(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    house = [r for r in ceremony.initialise(token.settings, token.pin) if r.role != House.STATEMENT.value]

    with pytest.raises(StrongroomError) as refusal:
        open_vault(token.settings, token.pin, house)

    assert refusal.value.reason is Reason.CONFIGURATION
    assert "run strongroomd migrate" in str(refusal.value.detail)


def test_keys_are_added_to_no_token_but_the_houses_own(
    opened: OpenedVault, fresh_token: TokenFactory
) -> None:
    token = fresh_token()
    ceremony.initialise(token.settings, token.pin)
    others = [r for r in opened.house if r.role != House.STATEMENT.value]

    with pytest.raises(StrongroomError) as refusal:
        ceremony.complete(token.settings, token.pin, others)

    assert refusal.value.reason is Reason.CONFIGURATION
