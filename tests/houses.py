"""Houses that can be saved and restored: a recovery token beside the daemon's, a recipient, and empty targets."""

import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import RUNNER, command, stopped
from tests.harness import make_folder

from strongroomd.cli.rehearsal import DESCRIPTION, make_recovery_pair
from strongroomd.cli.softhsm import find_module, initialise_token
from strongroomd.storage.backup_sets import new_identity

RECOVERY_BITS = 3_072  # makes the recovery pair in a second, not in ten


@dataclass(frozen=True)
class House:
    """A daemon's folder, and what a restore of it takes.

    Attributes:
        folder: the daemon's.
        recovery: the recovery token's folder, its PIN in `pin`.
        identity: the recipient's private key.
    """

    folder: Path
    recovery: Path
    identity: Path

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.folder / "strongroomd.toml"

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"

    @property
    def sets(self) -> Path:
        """Where its sets are."""
        return self.folder / "sets"

    @property
    def tokens(self) -> Path:
        """SoftHSM's token directory."""
        return self.folder / "token" / "tokens"

    @property
    def public_key(self) -> Path:
        """The statement key's public half, as it was kept elsewhere."""
        return self.folder / "kept.pem"

    def keep_public_key(self) -> None:
        """Keep the public halves of the house elsewhere."""
        shutil.copy(self.state / "statement-public-key.pem", self.public_key)
        shutil.copy(self.state / "checkpoint-public-key.pem", self.folder / "kept-checkpoint-key.pem")

    def backup(self, *options: str, meanwhile: tuple[str, Callable[[], object]] | None = None) -> Path:
        """Make a set; gives its folder. `meanwhile`: a step, and what is done each time that it is reached."""
        done = command("backup", *options, "--json", "--config", str(self.config), meanwhile=meanwhile)
        assert done.returncode == 0, done.stderr
        return Path(json.loads(done.stdout)["place"])

    def restore(
        self,
        made: Path,
        config: Path | None = None,
        *options: str,
        step: str = "",
        enrolled: Path | None = None,
        failing: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Restore a set, to this house's own folder unless another configuration is given.

        Args:
            made: the set.
            config: the target's configuration.
            options: further ones; they win over the right keys.
            step: where the command is killed.
            enrolled: says who is an approver (faults/run_commands.py).
            failing: the function of wiring/restoring.py that fails (likewise).
        """
        keys = {"--public-key": self.public_key, "--identity": self.identity}
        given = [str(part) for pair in keys.items() if pair[0] not in options for part in pair]
        arguments = ["restore", str(made), "--config", str(config or self.config), "--json", *given, *options]
        if step:
            return stopped(step, *arguments)
        return RUNNER.run(tuple(arguments), enrolled=enrolled, failing=failing)

    def recover(
        self, made: Path, config: Path | None = None, *options: str, step: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Bring a set's keys into a fresh token."""
        token = ("--recovery-token", str(self.recovery / DESCRIPTION))
        return self.restore(made, config, *token, *options, step=step)

    def wipe(self) -> None:
        """Lose the machine: state and token are gone; configuration, PIN and certificates are not."""
        shutil.rmtree(self.state)
        shutil.rmtree(self.tokens)
        self.tokens.mkdir(mode=0o700)

    def target(self, folder: Path, *, fresh: bool = False) -> Path:
        """Make an empty place to restore to, with a fresh token if asked for; gives its configuration."""
        (folder / "token" / "tokens").mkdir(parents=True)
        for name in ("tls", "recovery.pem", "recipients.txt"):
            source = self.folder / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        conf = (
            (self.folder / "token" / "softhsm2.conf")
            .read_text()
            .replace(str(self.tokens), str(folder / "token" / "tokens"))
        )
        (folder / "token" / "softhsm2.conf").write_text(conf)
        shutil.copy(self.folder / "token" / "pin", folder / "token" / "pin")
        if fresh:
            fresh_token(folder / "token")
        shutil.copy(self.config, folder / "strongroomd.toml")
        return folder / "strongroomd.toml"


def fresh_token(folder: Path) -> None:
    """Initialise an empty token in a token folder, with a PIN of its own."""
    pin = secrets.token_hex(12)
    initialise_token(folder / "softhsm2.conf", "strongroom-dev", secrets.token_hex(12), pin)
    (folder / "pin").unlink(missing_ok=True)
    (folder / "pin").write_text(pin)
    (folder / "pin").chmod(0o400)


def make_house(folder: Path, workers: int = 1) -> House:
    """Make a daemon's folder whose keys have recovery blobs, and which can be backed up."""
    folder.mkdir(parents=True, exist_ok=True)
    recovery, identity = (
        folder.with_name(f"{folder.name}-recovery"),
        folder.with_name(f"{folder.name}-identity"),
    )
    private, recipient = new_identity()
    identity.write_text(f"# offline\n{private}\n")

    def edit(text: str) -> str:
        pin = secrets.token_hex(12)
        pem = make_recovery_pair(
            recovery, find_module(), "recovery", (secrets.token_hex(12), pin), RECOVERY_BITS
        )
        (recovery / "pin").write_text(pin)
        (recovery / "pin").chmod(0o400)
        (folder / "recovery.pem").write_bytes(pem)
        (folder / "recipients.txt").write_text(f"{recipient}\n")
        text = text.replace("_deadline_ms = 20000", "_deadline_ms = 60000")  # births, on a busy machine
        text = text.replace("[hsm]\n", '[hsm]\nrecovery_public_key = "recovery.pem"\n')
        return text + '\n[backup]\ndirectory = "sets"\nrecipients_file = "recipients.txt"\n'

    make_folder(folder, workers, edit)
    house = House(folder, recovery, identity)
    house.keep_public_key()
    return house


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Read the report of a restore that must have worked."""
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
