"""What the type checker knows of the SDK; these functions are checked by mypy and run with a fake daemon."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import assert_type

from tests.unit.client.fake_daemon import FakeDaemon

from strongroom import AsyncClient, Client, results


def test_sync_operations_have_the_types_of_their_answers(client: Client) -> None:
    assert_type(client.encrypt("alias/k", b"x"), results.Encrypted)
    assert_type(client.with_timeout(1.0).generate_data_key("alias/k"), results.DataKey)
    assert_type(client.list_keys(state="ENABLED"), results.Page[results.Key])
    assert_type(client.pages(client.list_keys), Iterator[results.Key])
    assert_type(client.encrypt_many("alias/k", [b"x"]), list[results.EncryptResult])
    with client.stream() as stream:
        assert_type(stream.sign("alias/k", b"x"), Future[results.Signature])


async def test_asyncio_operations_have_the_types_of_their_answers(daemon: FakeDaemon) -> None:
    async with AsyncClient(daemon.settings) as client:
        assert_type(await client.encrypt("alias/k", b"x"), results.Encrypted)
        assert_type(client.pages(client.list_aliases), AsyncIterator[results.Alias])
        assert_type(await client.decrypt_many([b"x"]), list[results.DecryptResult])
        async with client.stream() as stream:
            assert_type(await stream.verify("alias/k", b"x", b"y"), results.Verified)


def test_wrong_arguments_are_seen_by_the_type_checker(client: Client) -> None:
    def never_run() -> None:
        client.encrypt("alias/k", "text")  # type: ignore[arg-type]
        client.encrypt("alias/k", b"x", contxt={})  # type: ignore[call-arg]

    assert never_run is not None
