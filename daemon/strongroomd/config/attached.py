"""The file that describes a recovery token while it is attached: no part of the daemon's configuration."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from strongroomd.config.loading import read
from strongroomd.config.mistakes import ConfigurationErrors, Mistake
from strongroomd.config.sections import Location, Section, plain


class AttachedToken(Section):
    """The recovery token: which one, and how to log in.

    Attributes:
        module: its PKCS#11 module.
        token_label, token_serial: which token of it; one is needed.
        pin_file: its user PIN, mode 0400 or 0600.
        softhsm_conf: SoftHSM's configuration, for its modules.
        state_dir: folder of the login lock; `recovery-state` beside the file if not given.
    """

    module: Location
    token_label: Annotated[str, Field(max_length=32), AfterValidator(plain)] = ""
    token_serial: Annotated[str, Field(max_length=16), AfterValidator(plain)] = ""
    pin_file: Location
    softhsm_conf: Location | None = None
    state_dir: Location | None = None


def attached_token(path: Path) -> AttachedToken:
    """Read the file.

    Raises:
        ConfigurationErrors: naming every setting that is amiss, and never a value.
    """
    path = path.absolute()
    try:
        table = tomllib.loads(read(path).decode())
        found = AttachedToken.model_validate(table, context={"base": path.parent})
    except ValidationError as error:
        places = [".".join(str(part) for part in detail["loc"]) for detail in error.errors()]
        raise ConfigurationErrors(
            path, [Mistake(place, "is not as documented") for place in places]
        ) from None
    except (ValueError, RecursionError):
        raise ConfigurationErrors(path, [Mistake("file", "is not valid TOML")]) from None
    if not found.token_label and not found.token_serial:
        raise ConfigurationErrors(path, [Mistake("token_label", "or token_serial is needed")])
    return found.model_copy(update={"state_dir": found.state_dir or path.parent / "recovery-state"})
