"""One ceremony: what is made, in which order, and what the transcript says of it."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from strongroomd import __version__
from strongroomd.cli.common import say
from strongroomd.cli.founding import found
from strongroomd.cli.rehearsal import make_recovery_pair, rehearse
from strongroomd.cli.softhsm import initialise_token
from strongroomd.config import Settings
from strongroomd.config.ceremony import CeremonyPlan
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.pin import Pin
from strongroomd.hsm.shares import split
from strongroomd.hsm.tokenfile import token_directory
from strongroomd.storage import durable
from strongroomd.storage.backup_sets import new_identity

LABEL: Final = "strongroom"
RECOVERY_LABEL: Final = "strongroom-recovery"
_PIN_BYTES: Final = 24


def demand_fresh(settings: Settings, plan: CeremonyPlan) -> None:
    """Refuse a configuration that lacks a place, or a place that is taken, before anything is made."""
    places = {
        "hsm.pin_file": settings.hsm.pin_file,
        "hsm.recovery_public_key": settings.hsm.recovery_public_key,
        "backup.recipients_file": settings.backup.recipients_file,
    }
    for name, path in places.items():
        if path is None:
            raise _refused(name, "the ceremony writes this file: name it")
        if path.exists():
            raise _refused(name, "is there already: a ceremony makes everything anew")
    if plan.output.is_dir() and any(plan.output.iterdir()):
        raise _refused("output", "must be empty or absent")
    if settings.store_path.exists():
        raise _refused("store.path", "a house is founded there already")
    conf = settings.hsm.softhsm_conf
    tokens = None if conf is None else token_directory(conf)
    if tokens is None:
        raise _refused(
            "hsm.softhsm_conf", "other tokens are initialised by their vendor's tools; see the runbook"
        )
    if tokens.is_dir() and any(tokens.iterdir()):
        raise _refused("hsm.softhsm_conf", "its token directory must be empty")


def _refused(field_name: str, message: str) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, message, field=field_name)


def _pin() -> Pin:
    return Pin(secrets.token_urlsafe(_PIN_BYTES))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Ceremony:
    """One ceremony under way.

    Args:
        settings: the house's.
        plan: what was agreed on.

    Attributes:
        steps: what was done, for the transcript: never a secret.
    """

    settings: Settings
    plan: CeremonyPlan
    steps: list[dict[str, Any]] = field(default_factory=list)
    _secrets: dict[str, Pin] = field(default_factory=dict, repr=False)
    _began: str = field(default_factory=_now)

    def make(self) -> None:
        """Make every secret, and give it out as shares before anything rests on it."""
        self.plan.output.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity, recipient = new_identity()
        self._secrets = {
            "main token, user PIN": _pin(),
            "main token, SO PIN": _pin(),
            "recovery token, user PIN": _pin(),
            "recovery token, SO PIN": _pin(),
            "backup identity": Pin(identity),
        }
        for purpose, secret in self._secrets.items():
            self._hand_out(purpose, secret)
        pin_file, recipients = self._place("pin_file"), self.settings.backup.recipients_file
        durable.write_new(pin_file, self._secrets["main token, user PIN"].reveal().encode() + b"\n", 0o400)
        if recipients is not None:
            durable.write_new(recipients, recipient.encode() + b"\n", 0o644)
        self._did("backup recipient made", recipient=recipient)

    def _hand_out(self, purpose: str, secret: Pin) -> None:
        plan = self.plan
        hashes = {}
        for share, person in zip(
            split(secret, purpose, plan.threshold, len(plan.shareholders)), plan.shareholders, strict=True
        ):
            folder = plan.output / f"shares-{share.number}"
            folder.mkdir(mode=0o700, exist_ok=True)
            text = share.text().encode()
            durable.write_new(folder / f"{purpose.replace(', ', '-').replace(' ', '-')}.share", text)
            hashes[person] = hashlib.sha256(text).hexdigest()
        self._did("shares handed out", purpose=purpose, threshold=plan.threshold, sha256=hashes)

    def found(self) -> None:
        """Initialise both tokens, make the recovery pair in one and the house in the other."""
        self._initialise_main()
        public_key = self._make_recovery()
        durable.write_new(self._place("recovery_public_key"), public_key, 0o644)
        self._did("recovery key made", sha256=hashlib.sha256(public_key).hexdigest())
        found(self.settings)
        for path in (self.settings.checkpoint_public_key, self.settings.statement_public_key):
            pem = path.read_bytes()
            (self.plan.output / path.name).write_bytes(pem)
            self._did("house key published", file=path.name, sha256=hashlib.sha256(pem).hexdigest())

    def _initialise_main(self) -> None:
        conf = self.settings.hsm.softhsm_conf
        tokens = None if conf is None else token_directory(conf)
        if conf is None or tokens is None:
            raise _refused("hsm.softhsm_conf", "is needed")
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
        label = self.settings.hsm.token_label or LABEL
        initialise_token(
            conf, label, self._reveal("main token, SO PIN"), self._reveal("main token, user PIN")
        )
        self._did("main token initialised", label=label)

    def _make_recovery(self) -> bytes:
        """Make the recovery pair, in a token of its own, whose PIN is in a file only meanwhile."""
        folder = self.plan.output / "recovery-token"
        pins = self._reveal("recovery token, SO PIN"), self._reveal("recovery token, user PIN")
        return make_recovery_pair(
            folder, self.settings.hsm.module, RECOVERY_LABEL, pins, self.plan.recovery_bits
        )

    def prove(self) -> None:
        """Restore a first backup, on the token's copy and by recovery, before there is a production key."""
        for step, facts in rehearse(
            self.settings,
            self.plan.output / "rehearsal",
            self.plan.output / "recovery-token",
            self._reveal("recovery token, user PIN"),
            self._reveal("backup identity"),
        ):
            self._did(step, **facts)

    def write_down(self) -> None:
        """Write the transcript, and have the house sign it."""
        from strongroomd.wiring.ceremonies import sign_transcript  # noqa: PLC0415 - it loads every room

        transcript = {
            "people": list(self.plan.people),
            "shareholders": list(self.plan.shareholders),
            "threshold": self.plan.threshold,
            "version": __version__,
            "began": self._began,
            "ended": _now(),
            "steps": self.steps,
        }
        signed = asyncio.run(sign_transcript(self.settings, transcript))
        durable.write_new(self.plan.output / "transcript.json", signed.payload, 0o644)
        durable.write_new(self.plan.output / "transcript.sig", signed.signature.signature, 0o644)
        digest = hashlib.sha256(signed.payload).hexdigest()
        say(f"transcript: SHA-256 {digest}; read it aloud, and note it down")

    def _reveal(self, purpose: str) -> str:
        return self._secrets[purpose].reveal()

    def _place(self, name: str) -> Path:
        path: Path | None = getattr(self.settings.hsm, name)
        if path is None:
            raise _refused(f"hsm.{name}", "is needed")
        return path

    def _did(self, step: str, **facts: Any) -> None:  # noqa: ANN401 - plain JSON
        self.steps.append({"step": step, "time": _now(), **facts})
        say(f"{len(self.steps):>3}  {step}")
