"""Who may have an older state restored: people enrolled in it by a daemon, who sign files; nothing here is made up."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.harness import ACCOUNT, ADMIN, running
from tests.houses import House, make_house, told
from tests.people import new_key

from strongroom import Client, signing

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
BOB, CAROL, DAN, EVE = (f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("bob", "carol", "dan", "eve"))


@dataclass(frozen=True)
class Saved:
    """A house with an older set, in which people are enrolled; dan is disabled and eve's key is revoked.

    Attributes:
        keys: private keys by ARN.
    """

    house: House
    older: Path
    keys: dict[str, bytes]

    def in_place(self, folder: Path) -> Path:
        """A target whose token is the living one; store and audit log are lost. Gives its configuration."""
        config = self.house.target(folder)
        shutil.rmtree(folder / "token" / "tokens")
        shutil.copytree(self.house.tokens, folder / "token" / "tokens")
        return config


def enrol(admin: Client, arn: str) -> tuple[bytes, str]:
    private, public = new_key()
    proof = signing.sign(private, signing.enrolment_file(ACCOUNT, arn, public))
    return private, admin.enrol_approver(arn, public, proof).approver_id


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    house = make_house(tmp_path_factory.mktemp("approvals") / "house")
    with running(house.folder) as daemon, daemon.client(timeout=30.0) as admin:
        for arn in (BOB, CAROL, DAN, EVE):
            admin.create_principal(arn)
        enrolled = {arn: enrol(admin, arn) for arn in (ADMIN, BOB, CAROL, DAN, EVE)}
        admin.disable_principal(DAN)
        admin.revoke_approver(enrolled[EVE][1])
        older = house.backup("--with-tls-keys")
        admin.create_alias("alias/later", admin.create_key().key_id)
        time.sleep(1.5)  # the anchor follows
        house.backup()
        daemon.stop()
    return Saved(house, older, {arn: private for arn, (private, _) in enrolled.items()})


@pytest.fixture
def config(saved: Saved, tmp_path: Path) -> Path:
    return saved.in_place(tmp_path / "target")


def asked(saved: Saved, config: Path, requester: str) -> tuple[Path, str]:
    """Ask for the older set; gives where the request is written, and what was said."""
    request = config.parent / "request.json"
    ask = ("--request-approval", str(request), "--requester", requester, "--purpose", "the store is lost")
    done = saved.house.restore(saved.older, config, *ask)
    assert done.returncode != 0
    return request, done.stderr


def signed(saved: Saved, request: Path, *people: str) -> list[str]:
    """Have people sign a request; gives the options that bring it."""
    options = ["--approval-request", str(request)]
    for number, arn in enumerate(people):
        file = request.with_name(f"{number}.sig")
        file.write_bytes(signing.sign(saved.keys[arn], request.read_bytes()))
        options += ["--approval", str(file)]
    return options


def nothing_is_there(config: Path) -> bool:
    return not (config.parent / "state" / "strongroom.sqlite").exists()


@pytest.mark.parametrize("who", ["whoever", f"arn:aws:iam::{ACCOUNT}:user/nobody", DAN, EVE])
def test_who_cannot_approve_cannot_ask(saved: Saved, config: Path, who: str) -> None:
    request, said = asked(saved, config, who)

    assert "INVALID_FIELD" in said
    assert not request.exists()


TOO_FEW: dict[str, tuple[str, ...]] = {
    "who asked": (BOB,),
    "somebody else": (CAROL,),
    "the same twice": (CAROL, CAROL),
    "one who is disabled": (BOB, DAN),
    "one whose key is revoked": (CAROL, EVE),
}


def test_too_few_people_who_count_restore_nothing(saved: Saved, config: Path) -> None:
    request, said = asked(saved, config, BOB)
    assert "APPROVAL_REQUIRED" in said

    for people in TOO_FEW.values():
        done = saved.house.restore(saved.older, config, *signed(saved, request, *people))
        assert (done.returncode != 0, "APPROVAL_REQUIRED" in done.stderr) == (True, True), people
    edited = request.with_name("edited.json")
    edited.write_bytes(request.read_bytes().replace(BOB.encode(), DAN.encode()))
    done = saved.house.restore(saved.older, config, *signed(saved, edited, CAROL, ADMIN))
    assert "INVALID_FIELD" in done.stderr
    assert nothing_is_there(config)


def test_two_people_who_count_restore_it_one_of_whom_may_have_asked(saved: Saved, config: Path) -> None:
    request, _ = asked(saved, config, BOB)

    report = told(saved.house.restore(saved.older, config, *signed(saved, request, BOB, ADMIN)))

    assert report["approved_by"] == sorted([ADMIN, BOB])
    assert report["rolled_back"] > 0
    with running(config.parent) as daemon, daemon.client(timeout=30.0) as admin:
        assert admin.list_aliases().items == (), "what came later is forgotten"
        daemon.stop()


def test_where_the_configuration_wants_others_only_who_asked_does_not_count(
    saved: Saved, config: Path
) -> None:
    config.write_text(config.read_text() + "\n[approvals]\nrequester_counts = false\n")
    request, _ = asked(saved, config, BOB)

    done = saved.house.restore(saved.older, config, *signed(saved, request, BOB, CAROL))
    assert "APPROVAL_REQUIRED" in done.stderr
    assert nothing_is_there(config)
    report = told(saved.house.restore(saved.older, config, *signed(saved, request, BOB, CAROL, ADMIN)))
    assert report["approved_by"] == sorted([ADMIN, CAROL])


def test_the_recovery_token_is_attached_as_people_who_count_have_signed(saved: Saved, tmp_path: Path) -> None:
    """The lost token's MACs verify nothing any more: who counts is read of the set that the house signed."""
    config = saved.house.target(tmp_path / "target", fresh=True)
    request = config.parent / "request.json"
    ask = ("--request-approval", str(request), "--purpose", "the token is lost")
    assert "INVALID_FIELD" in saved.house.recover(saved.older, config, *ask, "--requester", DAN).stderr
    done = saved.house.recover(saved.older, config, *ask, "--requester", BOB)
    assert "APPROVAL_REQUIRED" in done.stderr

    done = saved.house.recover(saved.older, config, *signed(saved, request, BOB, DAN))
    assert "APPROVAL_REQUIRED" in done.stderr
    assert nothing_is_there(config)
    report = told(saved.house.recover(saved.older, config, *signed(saved, request, BOB, CAROL)))
    assert report["approved_by"] == sorted([BOB, CAROL])
