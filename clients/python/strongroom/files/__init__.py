"""Envelope encryption of files of any size, in constant memory; the bytes are described in FORMAT.md.

    from strongroom import Client, decrypt_file, encrypt_file

    with Client.from_environment() as client:
        encrypt_file(client, "alias/backups", "data.tar", "data.tar.sealed")
        decrypt_file(client, "data.tar.sealed", "data.tar.again")

From asyncio use `asyncio.to_thread` with a `Client`: the work is the processor's and the disk's.
"""

from strongroom.files.envelope import FileReport, decrypt_file, encrypt_file

__all__ = ["FileReport", "decrypt_file", "encrypt_file"]
