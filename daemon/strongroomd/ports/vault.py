"""The HSM room as the core sees it: one vault, put together of its subjects."""

from typing import Protocol

from strongroomd.ports.house import OwnKeys, RowMacs
from strongroomd.ports.keyuse import KeyUse
from strongroomd.ports.material import KeyMaterial
from strongroomd.ports.tokens import Tokens


class Vault(Tokens, KeyMaterial, KeyUse, RowMacs, OwnKeys, Protocol):
    """The HSM room: keys are born here, loaded here and used here; their bytes never come out.

    It may be several tokens. A key is used where its version lives: with the KEK that wraps it, or in the
    token that its record names. A token that cannot be used now raises HSM_UNAVAILABLE for its keys alone.
    What a house has once (row MAC, checkpoints, anchor, random numbers) is the main token's.
    """
