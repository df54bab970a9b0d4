"""The plan of a ceremony: a file of its own, written and agreed on before the day."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from strongroomd.config.loading import read
from strongroomd.config.mistakes import ConfigurationErrors, Mistake
from strongroomd.config.sections import Location, Section, plain

Person = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(plain)]


class CeremonyPlan(Section):
    """What a ceremony does.

    Attributes:
        people: who is there, two at least; each confirms with their name.
        shareholders: who takes one share of every secret home, in order.
        threshold: how many of them have a secret together.
        output: folder for shares, transcript and the recovery token; absent or empty.
        recovery_bits: size of the recovery key.
        recovery_token: describes a recovery token that is attached, fresh and initialised; a SoftHSM one is
        made in
            `output` where there is none.
    """

    people: Annotated[tuple[Person, ...], Field(strict=False, min_length=2, max_length=20)]
    shareholders: Annotated[tuple[Person, ...], Field(strict=False, min_length=2, max_length=16)]
    threshold: Annotated[int, Field(ge=2, le=16)]
    output: Location
    recovery_bits: Annotated[int, Field(ge=3_072, le=8_192, multiple_of=1_024)] = 4_096
    recovery_token: Location | None = None

    @model_validator(mode="after")
    def _settle(self) -> Self:
        if len(set(self.people)) != len(self.people) or len(set(self.shareholders)) != len(self.shareholders):
            raise ValueError("names a person twice")
        if self.threshold > len(self.shareholders):
            raise ValueError("threshold must be at most the number of shareholders")
        return self


def ceremony_plan(path: Path) -> CeremonyPlan:
    """Read a plan.

    Raises:
        ConfigurationErrors: naming every setting that is amiss, and never a value.
    """
    path = path.absolute()
    try:
        return CeremonyPlan.model_validate(tomllib.loads(read(path).decode()), context={"base": path.parent})
    except ValidationError as error:
        raise ConfigurationErrors(path, list(_mistakes(error))) from None
    except (ValueError, RecursionError):
        raise ConfigurationErrors(path, [Mistake("file", "is not valid TOML")]) from None


def _mistakes(error: ValidationError) -> list[Mistake]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Mistake(
            ".".join(str(part) for part in detail["loc"]) or "plan",
            detail["msg"].removeprefix("Value error, "),
        )
        for detail in details
    ]
