"""ops/runbooks/ExportKey.md, run as it stands: two people let a key out, and the recipient uses it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.people import Cast, arn

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

RUNBOOK = Path(__file__).parents[2] / "ops" / "runbooks" / "ExportKey.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)
(PREPARE, ENROL, CREATE, ASK, APPROVE, OFFLINE, EXECUTE, UNWRAP) = BLOCKS


@pytest.fixture
def desk(house: Cast, tmp_path: Path) -> "Desk":
    return Desk(house, tmp_path)


class Desk:
    """A folder in which people run what stands in the runbook."""

    def __init__(self, house: Cast, folder: Path) -> None:
        self.house = house
        self.folder = folder
        (public,) = house.daemon.folder.rglob("statement-public-key.pem")
        (folder / "statement-public-key.pem").write_bytes(public.read_bytes())

    def run(self, who: str, block: str, **variables: str) -> str:
        tls = {f"STRONGROOM_{name.upper()}": str(path) for name, path in self.house.daemon.tls(who).items()}
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "STRONGROOM_ENDPOINT": self.house.daemon.endpoint,
            **tls,
            **variables,
        }
        command = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


def test_two_people_let_a_key_out(desk: Desk) -> None:
    policy = json.loads(desk.house.policy("ana", "ben"))
    policy["Statement"][0]["Principal"]["AWS"].append(arn("ana"))
    (desk.folder / "payroll-policy.json").write_text(json.dumps(policy))
    for who in ("ben", "ana"):
        desk.run(who, PREPARE.replace("ben", who))
        desk.run("admin", ENROL.replace("ben", who))
    desk.run("admin", CREATE.replace("--exportable", "--exportable --spec HMAC_224"))
    desk.run(
        "admin",
        "openssl genrsa -out recipient.pem 2048; openssl pkey -in recipient.pem -pubout -out recipient.pub",
    )

    desk.run("ana", ASK)
    (asked,) = json.loads(desk.run("ana", "strongroom approvals list --own --json"))
    number = asked["approval_id"]
    shown = desk.run("ben", APPROVE, ID=number)
    assert number in shown
    assert "It waits for" not in shown  # that is for people, on standard error
    desk.run("ana", OFFLINE, ID=number)
    desk.run("ana", EXECUTE, ID=number)
    desk.run("admin", UNWRAP)

    length = json.loads((desk.folder / "payroll.receipt.json").read_bytes())["claims"]["length"]
    key = (desk.folder / "payroll.key").read_bytes()
    assert (length, len(key)) == (28, 32)
    theirs = desk.run(
        "admin",
        f"printf message | openssl dgst -sha224 -mac HMAC -macopt hexkey:{key[:length].hex()}",
    )
    ours = desk.house.admin.generate_mac("alias/payroll", b"message").mac
    assert theirs.split()[-1] == ours.hex()
