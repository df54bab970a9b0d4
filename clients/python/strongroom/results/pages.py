"""One page of a list, whatever it lists."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list; an empty `next_page_token` means that it is the last one."""

    items: tuple[Item, ...]
    next_page_token: str
