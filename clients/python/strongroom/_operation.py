"""Methods made from calls: written once, typed for every kind of client.

`encrypt = Operation(calls.encrypt)` in a shared base class is a method of the builder's own signature. What
it returns depends on who carries it out: the answer itself, an awaitable of it, or a future of it.
"""

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from strongroom._rpc import Call

P = ParamSpec("P")
Answer = TypeVar("Answer")


class Blocking:
    """Carries calls out and returns their answers."""

    @abstractmethod
    def run(self, call: Call[Answer]) -> Answer:
        """Carry out one call."""


class Awaiting:
    """Carries calls out as coroutines."""

    @abstractmethod
    async def run(self, call: Call[Answer]) -> Answer:
        """Carry out one call."""


class Promising:
    """Starts calls and returns futures of their answers."""

    @abstractmethod
    def run(self, call: Call[Answer]) -> Future[Answer]:
        """Start one call."""


class Operation(Generic[P, Answer]):
    """A method that builds a call from its arguments and has the object it belongs to carry it out."""

    def __init__(self, build: Callable[P, Call[Answer]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, Answer]: ...
    @overload
    def __get__(self, instance: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, Answer]]: ...
    @overload
    def __get__(self, instance: Promising, owner: type) -> Callable[P, Future[Answer]]: ...
    def __get__(self, instance: Blocking | Awaiting | Promising | None, owner: type) -> object:
        """Bind to a client or stream."""
        if instance is None:
            return self
        return _Bound(self, instance)


class _Bound(Generic[P, Answer]):
    """An operation of one client; calling it builds the call and carries it out."""

    def __init__(self, operation: Operation[P, Answer], runner: Blocking | Awaiting | Promising) -> None:
        self._build = operation.build
        self._run: Callable[[Call[Answer]], object] = runner.run
        # For help() and inspect.signature().
        self.__doc__ = operation.__doc__
        self.__wrapped__ = operation.build

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        return self._run(self._build(*args, **kwargs))
