"""Known keys into the vault: a door that exists only in tests.

The value enters the token as an extractable session object, is wrapped there under the sealed KEK, and goes on as a
record, so that the vault loads it exactly as one of its own.
"""

from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism
from tests.hsmkeys import bind

from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage, Scheme
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.hsm import handles
from strongroomd.hsm.birth import true_length
from strongroomd.hsm.checks import check_value
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.packing import pack
from strongroomd.hsm.templates import Life, customer_template


def import_key(
    vault: TokenVault,
    spec: KeySpec,
    usage: KeyUsage,
    parts: dict[Attribute, bytes],
    public_key: bytes = b"",
    scheme: Scheme = Scheme.DEFAULT,
) -> BoundVersion:
    """Wrap a key of known value under the sealed KEK and bind it."""
    house = vault._house
    template = {**customer_template(spec, usage, Life.BORN, scheme), **pack(parts)}
    with vault._parts.pool.fresh() as session:
        born = session.create_object(template)
        check = check_value(session, born.handle, spec, public_key, scheme)
        blob = handles.wrap(session, house.keks[house.sealed], Mechanism.AES_KEY_WRAP_PAD, born.handle)
        born.destroy()
    material = Material(house.sealed, "", blob, true_length(spec), public_key, check, b"", scheme)
    return bind(material, spec, usage)


def import_secret(
    vault: TokenVault, spec: KeySpec, value: bytes, scheme: Scheme = Scheme.DEFAULT
) -> BoundVersion:
    """Import an AES key or an HMAC key."""
    return import_key(vault, spec, SPECS[spec].usages[0], {Attribute.VALUE: value}, scheme=scheme)
