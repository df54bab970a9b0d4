"""What the house itself has of the HSM: its own keys, the anchor, random numbers."""

from collections.abc import Collection, Sequence
from typing import Protocol

from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import Anchor, HouseMaterial
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN


class RowMacs(Protocol):
    """MACs over what is kept outside, under the row MAC house keys of the main token."""

    async def row_mac(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of a record's canonical bytes under the row MAC house key (32 bytes)."""
        ...

    async def record_mac(self, data: bytes) -> bytes:
        """HMAC-SHA-256 as `row_mac`, under the newest row MAC key.

        It begins with the 8-byte tag of that key unless that is the first one, whose MACs are 32 bytes.
        """
        ...

    async def record_mac_matches(self, data: bytes, mac: bytes) -> bool:
        """Say whether `record_mac` made this MAC, now or under an older key; False for an unknown key's."""
        ...

    def knows_mac_key(self, mac: bytes) -> bool:
        """Say whether the key that a MAC names is known here; another worker may just have made it."""
        ...

    async def know_mac_keys(self, records: Sequence[HouseRecord]) -> None:
        """Find and prove row MAC keys by records that nobody has verified yet: to verify with them only.

        Raises:
            StrongroomError: as `take_up`.
        """
        ...

    @property
    def mac_tag(self) -> bytes:
        """Tag of the newest row MAC key; empty for the first one."""
        ...


class OwnKeys(Protocol):
    """The daemon's own keys in each token; of the main one also its anchor and its random numbers."""

    async def random(self, length: int) -> bytes:
        """Give `length` random bytes of the token's generator XOR the host's."""
        ...

    async def sign_checkpoint(self, data: bytes, public_key: bytes = b"") -> bytes:
        """ECDSA P-256 SHA-256 signature (DER) over `data` under a checkpoint house key.

        Args:
            data: what to sign.
            public_key: which key, by its public half (DER SubjectPublicKeyInfo); empty for the newest.

        Raises:
            StrongroomError: HSM_UNAVAILABLE, also for a key that is not known here (yet).
        """
        ...

    @property
    def checkpoint_key(self) -> bytes:
        """Public half (DER SubjectPublicKeyInfo) of the newest checkpoint key."""
        ...

    @property
    def checkpoint_keys(self) -> tuple[bytes, ...]:
        """Public halves of all keys that ever signed checkpoints, as far as this process knows."""
        ...

    async def make_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial:
        """Make a token object with CKA_ID `hsm_id` (hex) for a role; durable, not used yet, not idempotent.

        Raises:
            StrongroomError: ALREADY_EXISTS, HSM_UNAVAILABLE.
        """
        ...

    async def find_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial | None:
        """Find what `make_house_key` made before somebody died; None where that is nothing of use."""
        ...

    async def house_strangers(self, known: Collection[str], token: str = MAIN) -> list[str]:
        """List CKA_IDs (hex) of house keys in a token beside the known ones; nobody can destroy them."""
        ...

    async def take_up(self, records: Sequence[HouseRecord]) -> None:
        """Find and prove active house keys that this process has not seen, and use the newest of each role.

        Raises:
            StrongroomError: CONFIGURATION or INTEGRITY_FAILURE for a key that is not its record's;
                HSM_UNAVAILABLE.
        """
        ...

    async def read_anchor(self) -> Anchor | None:
        """Read the newest anchor of the token; None only in a token that never had one."""
        ...

    async def write_anchor(self, anchor: Anchor) -> None:
        """Make the new anchor, then destroy the old ones: a kill in between leaves the newest readable."""
        ...
