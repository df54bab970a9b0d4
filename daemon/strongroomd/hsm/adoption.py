"""Token objects that were there before us: found, read, proved and found again, and never changed.

Everything here goes through read-only sessions: such a session cannot change a token object, whatever we do.
"""

import hmac
import os
from typing import Final

from pkcs11.constants import Attribute, ObjectClass
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, PKCS11Error
from pkcs11.mechanisms import KeyType, Mechanism

from strongroomd.domain.adoption import AdoptedObject, ObjectName, Trait, Use, joined, split
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.records import VersionRecord
from strongroomd.hsm import handles
from strongroomd.hsm.checks import CHECK_BYTES, LABEL
from strongroomd.hsm.faults import Fault, fault_of
from strongroomd.hsm.handles import IV_BYTES, Session, TokenObject
from strongroomd.hsm.packing import Packed, pack, pack_value
from strongroomd.hsm.resident import demand_sentinel
from strongroomd.hsm.templates import LABEL_HOUSE, LABEL_RESIDENT

ADOPTABLE_BYTES: Final = 32  # AES-256, the only kind of key that can be adopted now
_OURS: Final = frozenset({LABEL_HOUSE.encode(), LABEL_RESIDENT.encode()})
_CLASSES: Final = {int(each): each.name for each in ObjectClass}
_TYPES: Final = {int(each): each.name for each in KeyType}
_SECRET: Final = pack_value(Attribute.CLASS, int(ObjectClass.SECRET_KEY))
_AES: Final = pack_value(Attribute.KEY_TYPE, int(KeyType.AES))
_USES: Final = {use: Attribute[use.value] for use in Use}
_TRAITS: Final = {trait: Attribute[trait.value] for trait in Trait}
_TRUE: Final = b"\x01"
_DATA_BYTES: Final = 16
_PROOF_BYTES: Final = IV_BYTES + _DATA_BYTES + _DATA_BYTES + 16  # IV, data, and the data sealed with its tag


def examine(session: Session, sentinel: Packed, name: ObjectName) -> AdoptedObject:
    """Find the one object of a name, read it, and prove what it can do.

    Raises:
        StrongroomError: NOT_FOUND; INVALID_FIELD when it is not exactly one, or not one that can be adopted,
            with what was found in words; UNSUPPORTED_BY_TOKEN when it does not let AES-GCM be used;
            HSM_UNAVAILABLE.
    """
    place = "cka_id" if name.cka_id else "label"
    held = _only(session, sentinel, name, place)
    if _read(held, Attribute.LABEL) in _OURS:
        raise invalid(place, "must not name an object that the daemon made: that is its own already")
    length = _require_aes_256(held, place)
    uses = tuple(use for use, attribute in _USES.items() if _read(held, attribute) == _TRUE)
    _require_gcm(held, uses, place)
    return AdoptedObject(
        cka_id=_read(held, Attribute.ID).hex(),
        label=_plain(_read(held, Attribute.LABEL)),
        object_class=ObjectClass.SECRET_KEY.name,
        length=length,
        uses=uses,
        traits=tuple(trait for trait, attribute in _TRAITS.items() if _read(held, attribute) == _TRUE),
        check_value=_prove(session, int(held.handle), uses, place),
    )


def find_again(session: Session, sentinel: Packed, record: VersionRecord) -> TokenObject | str:
    """Find the object of an adopted version, and prove that it is the same; else say what is amiss.

    Raises:
        StrongroomError: HSM_UNAVAILABLE when the token shows nothing at all.
    """
    found = handles.find(session, _search(record))
    if not found:
        demand_sentinel(session, sentinel)
    if len(found) != 1:
        return f"the token has {len(found)} objects of its name"
    held = found[0]
    uses = tuple(use for use, attribute in _USES.items() if _read(held, attribute) == _TRUE)
    if _read(held, Attribute.KEY_TYPE) != _AES or _length(held) != record.length:
        return "the object is a key of another kind now"
    if joined(uses) != record.uses:
        return "the object's uses are others now"
    if not _proves_itself(session, int(held.handle), record):
        return "its check value does not fit (integrity)"
    return held


def _search(record: VersionRecord) -> Packed:
    wanted: dict[Attribute, object] = {
        Attribute.CLASS: int(ObjectClass[record.object_class]),
        Attribute.TOKEN: True,
    }
    if record.object_id:
        wanted[Attribute.ID] = bytes.fromhex(record.object_id)
    if record.object_label:
        wanted[Attribute.LABEL] = record.object_label
    return pack(wanted)


def _only(session: Session, sentinel: Packed, name: ObjectName, place: str) -> TokenObject:
    """Find the object; nothing is believed of a token that shows no object at all."""
    wanted: dict[Attribute, object] = {Attribute.TOKEN: True}
    if name.cka_id:
        wanted[Attribute.ID] = bytes.fromhex(name.cka_id)
    else:
        wanted[Attribute.LABEL] = name.label
    found = handles.find(session, pack(wanted))
    if not found:
        demand_sentinel(session, sentinel)
        raise StrongroomError(Reason.NOT_FOUND, "the token has no object of this name", field=place)
    if len(found) > 1:
        other = "label" if name.cka_id else "CKA_ID"
        raise invalid(
            place, f"must name one object: the token has {len(found)}; give the {other} of one instead"
        )
    return found[0]


def _require_aes_256(held: TokenObject, place: str) -> int:
    object_class, key_type = _read(held, Attribute.CLASS), _read(held, Attribute.KEY_TYPE)
    length = _length(held)
    if (object_class, key_type, length) != (_SECRET, _AES, ADOPTABLE_BYTES):
        raise invalid(
            place, f"must name an AES_256 key; this object is {_kind(object_class, key_type, length)}"
        )
    return length


def _kind(object_class: bytes, key_type: bytes, length: int) -> str:
    """Say what an object is, in the words of PKCS#11."""
    kind = _name(_CLASSES, object_class)
    if object_class == _SECRET and key_type == _AES:
        return f"an AES_{length * 8} key"
    return f"a {kind} of type {_name(_TYPES, key_type)}" if key_type else f"a {kind}"


def _name(names: dict[int, str], value: bytes) -> str:
    number = int.from_bytes(value, _ORDER)
    return names.get(number, f"0x{number:x}")


_ORDER: Final = "little" if pack_value(Attribute.VALUE_LEN, 1)[0] else "big"


def _length(held: TokenObject) -> int:
    return int.from_bytes(_read(held, Attribute.VALUE_LEN), _ORDER)


def _read(held: TokenObject, attribute: Attribute) -> bytes:
    """Read an attribute's bytes; empty for one that the object does not have or does not show."""
    try:
        value = held.get_attributes([attribute]).get(attribute)
    except (AttributeTypeInvalid, AttributeSensitive):
        return b""
    if value is None or isinstance(value, bytes):
        return value or b""
    return pack_value(attribute, value if isinstance(value, bool) else int(value))


def _plain(label: bytes) -> str:
    """Give a label as text; empty for what no name can be: it is then not asked for when finding it again."""
    try:
        text = label.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _require_gcm(held: TokenObject, uses: tuple[Use, ...], place: str) -> None:
    """Refuse an object that may encrypt or decrypt, but by other mechanisms only."""
    allowed = _read(held, Attribute.ALLOWED_MECHANISMS)
    size = len(pack_value(Attribute.VALUE_LEN, 0))
    numbers = {int.from_bytes(allowed[at : at + size], _ORDER) for at in range(0, len(allowed), size)}
    if numbers and int(Mechanism.AES_GCM) not in numbers and {Use.ENCRYPT, Use.DECRYPT} & set(uses):
        raise _no_gcm(place)


def _no_gcm(place: str) -> StrongroomError:
    return StrongroomError(
        Reason.UNSUPPORTED_BY_TOKEN, "the token does not let this object be used with AES_GCM", field=place
    )


def _prove(session: Session, handle: int, uses: tuple[Use, ...], place: str) -> bytes:
    """Try what an object may do on random bytes, and give what proves it at each load.

    Raises:
        StrongroomError: UNSUPPORTED_BY_TOKEN when it cannot do what it may; INTERNAL when it does it wrongly.
    """
    if Use.ENCRYPT not in uses:
        return _decrypted_label(session, handle) if Use.DECRYPT in uses else b""
    iv, data = os.urandom(IV_BYTES), os.urandom(_DATA_BYTES)
    try:
        proof = iv + data + handles.encrypt_gcm(session, handle, iv, b"", data)
        proved = _proves(session, handle, uses, proof)
    except PKCS11Error as error:
        if fault_of(error, doubtful=True) is Fault.REQUEST:
            raise _no_gcm(place) from error
        raise
    if not proved:
        raise StrongroomError(Reason.INTERNAL, detail="an object to be adopted does not open what it seals")
    return proof


def _proves_itself(session: Session, handle: int, record: VersionRecord) -> bool:
    """Tell whether an object is the key that a record was made of; True where nothing could prove it."""
    uses = tuple(Use(name) for name in split(record.uses))
    if Use.ENCRYPT in uses:
        return _proves(session, handle, uses, record.check_value)
    if not record.check_value:
        return True
    return hmac.compare_digest(_decrypted_label(session, handle), record.check_value)


def _proves(session: Session, handle: int, uses: tuple[Use, ...], proof: bytes) -> bool:
    """Open the sealed data again; without leave to decrypt, seal it again under the same IV.

    The very same data under the very same IV gives the very same bytes, and tells nobody anything new: it
    does not count as an invocation (NIST SP 800-38D, 8).
    """
    if len(proof) != _PROOF_BYTES:
        return False
    iv, rest = proof[:IV_BYTES], proof[IV_BYTES:]
    data, sealed = rest[:_DATA_BYTES], rest[_DATA_BYTES:]
    if Use.DECRYPT in uses:
        return hmac.compare_digest(handles.decrypt_gcm(session, handle, iv, b"", sealed), data)
    return hmac.compare_digest(handles.encrypt_gcm(session, handle, iv, b"", data), sealed)


def _decrypted_label(session: Session, handle: int) -> bytes:
    """Half of one block, decrypted: what a key that only decrypts can show. Empty if it may only do GCM."""
    try:
        return handles.decrypt_block(session, handle, LABEL)[:CHECK_BYTES]
    except PKCS11Error as error:
        if fault_of(error, doubtful=True) is Fault.REQUEST:
            return b""
        raise
