"""The tokens of [hsm], each with everything that it needs: what an entry leaves out is the main token's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from strongroomd.config.mistakes import Mistake
from strongroomd.config.sections import HsmSection, Settings, TokenSection
from strongroomd.domain.tokens import MAIN, SPELLED_MAIN, TokenNames

_STATE: Final = "token"
_Token = HsmSection | TokenSection


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """One token.

    Attributes:
        name: as records name it, so empty for the main one.
        module: its PKCS#11 module.
        state: folder of the login lock and of the copies of token.object; tokens of one module share it,
            since C_Initialize looks at all of them.
        token_label, token_serial: which token of that module.
        pin_file, pin_fd, pin_credential: where its PIN comes from; one is set.
        softhsm_conf: SoftHSM's configuration, for its modules.
        recovery_public_key: PEM file.
        symmetric: scheme of new symmetric versions.
    """

    name: str
    module: Path
    state: Path
    token_label: str
    token_serial: str
    pin_file: Path | None
    pin_fd: int | None
    pin_credential: str | None
    softhsm_conf: Path | None
    recovery_public_key: Path | None
    symmetric: str


def token_plans(settings: Settings) -> tuple[TokenPlan, ...]:
    """Plan every token, the main one first, the others in the file's order."""
    hsm, states = settings.hsm, {_module(settings.hsm, None): _STATE}
    for token in hsm.tokens:
        states.setdefault(_module(hsm, token), f"{_STATE}-{token.name}")
    folder = settings.daemon.state_dir
    return tuple(_plan(hsm, token, folder / states[_module(hsm, token)]) for token in (None, *hsm.tokens))


def token_names(settings: Settings) -> TokenNames:
    """Tell where new keys may go."""
    default = settings.hsm.default_token
    further = frozenset(token.name for token in settings.hsm.tokens)
    return TokenNames(further, MAIN if default == SPELLED_MAIN else default)


def token_conflicts(hsm: HsmSection) -> Iterator[Mistake]:
    """Find settings of tokens that are each valid but not together."""
    names = [token.name for token in hsm.tokens]
    for number, token in enumerate(hsm.tokens, start=1):
        place = f"[hsm] tokens.#{number}"
        yield from source_mistakes(place, token)
        if token.name == SPELLED_MAIN or names.count(token.name) > 1:
            yield Mistake(f"{place}.name", "must be a name that no other token has, and not main")
        others: Sequence[_Token] = (hsm, *hsm.tokens[: number - 1])
        yield from _clashes(place, hsm, token, others)
    if hsm.default_token not in {SPELLED_MAIN, *names}:
        yield Mistake("[hsm] default_token", "must be main or the name of an [[hsm.tokens]] entry")


def source_mistakes(place: str, token: _Token) -> Iterator[Mistake]:
    """Find a token that is not named, or whose PIN has no source or several."""
    if [token.pin_file, token.pin_fd, token.pin_credential].count(None) != 2:
        yield Mistake(place, "needs exactly one of pin_file, pin_fd and pin_credential")
    if not token.token_label and not token.token_serial:
        yield Mistake(place, "needs token_label or token_serial, better both")


def _clashes(place: str, hsm: HsmSection, token: TokenSection, others: Sequence[_Token]) -> Iterator[Mistake]:
    """Hold a token against those before it."""
    if token.pin_fd is not None and token.pin_fd in [other.pin_fd for other in others]:
        yield Mistake(f"{place}.pin_fd", "must differ from every other token's: a descriptor is read once")
    siblings: list[_Token] = [other for other in others if _module(hsm, other) == _module(hsm, token)]
    if any(_may_be_one(token, other) for other in siblings):
        yield Mistake(
            place, "must differ from every other token of its module in token_label or token_serial"
        )
    if siblings and token.softhsm_conf not in {None, siblings[0].softhsm_conf}:
        yield Mistake(f"{place}.softhsm_conf", "must be the one of the other tokens of its module, or absent")


def _may_be_one(one: _Token, other: _Token) -> bool:
    """Say whether two entries could mean one token: nothing that both name differs."""
    pairs = ((one.token_serial, other.token_serial), (one.token_label, other.token_label))
    return not any(mine and theirs and mine != theirs for mine, theirs in pairs)


def _module(hsm: HsmSection, token: _Token | None) -> Path:
    """Give a token's module, by the one path that all spellings of it lead to."""
    return (hsm.module if token is None or token.module is None else token.module).resolve()


def _plan(hsm: HsmSection, token: TokenSection | None, state: Path) -> TokenPlan:
    chosen, module = token or hsm, _module(hsm, token)
    tokens: tuple[_Token, ...] = (hsm, *hsm.tokens)
    siblings = [one for one in tokens if _module(hsm, one) == module]
    return TokenPlan(
        name=token.name if token else MAIN,
        module=module,
        state=state,
        token_label=chosen.token_label,
        token_serial=chosen.token_serial,
        pin_file=chosen.pin_file,
        pin_fd=chosen.pin_fd,
        pin_credential=chosen.pin_credential,
        softhsm_conf=siblings[0].softhsm_conf,
        recovery_public_key=chosen.recovery_public_key or hsm.recovery_public_key,
        symmetric=chosen.symmetric or hsm.symmetric,
    )
