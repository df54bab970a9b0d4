"""What each error reason means, whose it is, and what to do: `strongroom explain REASON`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """One reason, for people.

    Attributes:
        meaning: what happened.
        who: who must act: "you", "the operator" or "the authors".
        action: what to do now.
    """

    meaning: str
    who: str
    action: str


_YOU: Final = "you"
_OPERATOR: Final = "the operator"
_AUTHORS: Final = "the authors"


def _you(meaning: str, action: str) -> Explanation:
    return Explanation(meaning, _YOU, action)


def _operator(meaning: str, action: str) -> Explanation:
    return Explanation(meaning, _OPERATOR, action)


EXPLANATIONS: Final[dict[str, Explanation]] = {
    "ACCESS_DENIED": _you(
        "The key does not exist, or neither its policy, a policy of yours nor a grant allows you this, or "
        "one of them or a guard rail of your account denies it. The daemon says the same in all cases, so "
        "that nobody can find out which keys exist.",
        "Check the name and account of the key, and who you are (strongroom whoami). Ask an administrator "
        "of the key to allow the action in its policy, or to make a grant; strongroom policy simulate says "
        "which statement decides. Calls without a key are for the administrators that the daemon's "
        "configuration names, and for whom identity policies let.",
    ),
    "UNAUTHENTICATED_PEER": _you(
        "Your client certificate was accepted by TLS, but names no principal that the daemon knows, or one "
        "that is disabled; or the role session is not valid: it ended, was revoked, or is another "
        "certificate's.",
        "Check which certificate is in use (profile, STRONGROOM_CERT). An operator lets it speak for a "
        "principal: strongroom identity add, or the daemon's configuration. Assume the role again.",
    ),
    "INVALID_FIELD": _you(
        "A field of the request has a value that is not allowed; the message states the rule.",
        "Correct the field that the message names.",
    ),
    "FIELD_TOO_LARGE": _you(
        "A field, or the whole request, is longer than its limit.",
        "Send less. For data over 4,096 bytes use a data key, or strongroom file encrypt.",
    ),
    "UNKNOWN_ENUM": _you(
        "A field names a spec, algorithm or state that does not exist in this version of the API.",
        "Use one of the names in the message; perhaps the daemon is older than your client.",
    ),
    "INVALID_CIPHERTEXT": _you(
        "Ciphertext, encryption context and key do not belong together. Forged, damaged, or another "
        "context: every cause has this one answer, so that it helps no forger.",
        "Give exactly the context that was given to Encrypt, names and values, and the whole ciphertext. "
        "Base64 needs --base64. If it still fails, do not trust the data.",
    ),
    "INVALID_SIGNATURE": _you(
        "The signature is not one of this message by this key version and algorithm.",
        "Check message type (RAW or DIGEST), algorithm and key version: versions are not tried in turn. "
        "If they are right, do not trust the message.",
    ),
    "INVALID_MAC": _you(
        "The MAC is not one of this message by this key version.",
        "Check algorithm and key version: versions are not tried in turn. If they are right, do not trust "
        "the message.",
    ),
    "CHECKSUM_MISMATCH": _you(
        "Bytes of the request arrived changed: they do not match the CRC32C that was sent with them.",
        "Send it again; the client has tried once already. If it happens often, suspect memory or a "
        "middlebox.",
    ),
    "KEY_MISMATCH": _you(
        "The ciphertext was made by another key than the one that the request names.",
        "Leave the key out, for a symmetric ciphertext names its key itself; or find out whose ciphertext "
        "it is.",
    ),
    "INVALID_KEY_USAGE": _you(
        "The key was made for something else: its usage does not include this operation; or it is adopted, "
        "and the token does not let its object do this.",
        "See strongroom key describe. The usage of a key is fixed; make or adopt another key.",
    ),
    "UNSUPPORTED_ALGORITHM": _you(
        "The key does not offer this algorithm.",
        "Choose one that strongroom key describe lists.",
    ),
    "UNSUPPORTED_BY_TOKEN": _you(
        "The HSM token lacks a mechanism that this needs; the message names it.",
        "Choose another key spec or custody mode, or ask the operator for a token that has the mechanism.",
    ),
    "KEY_DISABLED": _you(
        "The key is switched off.",
        "An administrator of the key can switch it on: strongroom key enable.",
    ),
    "KEY_PENDING_DELETION": _you(
        "The key waits for its deletion and cannot be used.",
        "If it is still needed, an administrator of the key calls it off: strongroom key cancel-deletion, "
        "then strongroom key enable.",
    ),
    "KEY_PENDING_IMPORT": _you(
        "The key waits for its material: it was never imported, expired or was deleted.",
        "Import the material, the same as before if there was any: strongroom material parameters, then "
        "strongroom material import.",
    ),
    "INVALID_KEY_STATE": _you(
        "The key's state does not allow this now, for example because it is still being made; or it is an "
        "adopted key, which the daemon does not rotate.",
        "See strongroom key describe; wait, or bring the key into the state that the call needs. The next "
        "version of an adopted key is adopted: strongroom key adopt --key.",
    ),
    "KEY_UNAVAILABLE": _operator(
        "The material of the key cannot be reached in its token now.",
        "Try again later. The operator looks at the token that holds the key: strongroomd doctor.",
    ),
    "KEY_EXHAUSTED": _you(
        "This version of the key has encrypted as often as is safe, 2^32 times; it still decrypts. The "
        "daemon rotates a key long before, if it can.",
        "An administrator of the key rotates it: strongroom key rotate; an operator adopts the next object "
        "of an adopted key. The operator's log says why the daemon could not.",
    ),
    "SERVICE_MANAGED_KEY": _you(
        "The key is a service's own (alias/aws/...). Nobody changes it, not even an administrator; the "
        "daemon rotates it.",
        "Make a key of your own and have the service use that: strongroom key create.",
    ),
    "ALREADY_EXISTS": _you(
        "Something with this name exists already; or you have a quota request that waits for its answer.",
        "Choose another name, or change what exists: strongroom alias update. Take the request that waits "
        "back before you ask anew: strongroom quota cancel.",
    ),
    "KEY_NOT_FOUND": _you(
        "The key store has no external key of this id.",
        "Check the spelling: strongroom xks key list. Add one that is missing: strongroom xks key add.",
    ),
    "BLOCKED": _you(
        "The key store or the external key is blocked: nothing is done with it until it is unblocked.",
        "Ask its administrators why, and have it unblocked: strongroom xks store unblock, "
        "strongroom xks key unblock.",
    ),
    "NOT_FOUND": _you(
        "Nothing has this name: no such alias, or no limit was set.",
        "Check the spelling: strongroom alias list, strongroom quota list.",
    ),
    "MALFORMED_POLICY": _you(
        "The policy is not valid, or says something that this daemon does not enforce: it refuses rather "
        "than ignores.",
        "Correct what the message names. strongroom key policy get shows a policy that works.",
    ),
    "POLICY_LOCKOUT": _you(
        "After this change you could not change the policy again.",
        "Keep kms:PutKeyPolicy for yourself; or, if you mean it, --bypass-policy-lockout-safety-check.",
    ),
    "ETAG_MISMATCH": _you(
        "It was changed since you read the etag.",
        "Read it again, look at what the other change did, and decide anew.",
    ),
    "REQUEST_ID_REUSED": _you(
        "This request_id was used in the last 24 hours for other arguments or another method.",
        "Use a fresh request_id for each intention, best by leaving it out.",
    ),
    "ROTATION_CONFLICT": _you(
        "The daemon rotates this key by itself within the next 20 minutes, or did within the last 20.",
        "Look at strongroom key rotation status: perhaps the new version is there already. Else try again "
        "after the time that the error says.",
    ),
    "REQUEST_ANSWERED": _you(
        "The quota request was answered or cancelled already; that is final.",
        "See what became of it: strongroom quota show. If it is not what you need, ask again: strongroom "
        "quota request.",
    ),
    "APPROVAL_REQUIRED": _you(
        "Dual control guards this: others must approve it first, each with a signature of their own.",
        "See who has approved and how many are missing: strongroom approvals show. Where nothing was asked "
        "for yet, ask: strongroom approvals ask key-deletion and its siblings, or strongroom export request.",
    ),
    "APPROVAL_MISMATCH": _you(
        "What was approved is not what is being asked for now: another key, other parameters, or somebody "
        "else's request.",
        "See what was approved: strongroom approvals show. Ask for what is meant, and have that approved.",
    ),
    "APPROVAL_CLOSED": _you(
        "The approval request is over: it was executed, which works once, or cancelled, rejected, or it has "
        "expired.",
        "See what became of it: strongroom approvals show. If it is needed still, ask again.",
    ),
    "NOT_EXPORTABLE": _you(
        "The key was not created exportable, and that never changes: no approval takes it out.",
        "Use the key here; for material that must leave one day, create a key with --exportable.",
    ),
    "LIMIT_EXCEEDED": _you(
        "A limit on how many there may be is reached (aliases, tags, versions, quota "
        "requests), or a call costs more than a quota ever admits at once. Waiting does not help.",
        "Remove what is not needed; send smaller batches; or ask an administrator for a larger burst.",
    ),
    "QUOTA_EXCEEDED": _you(
        "The request quota of the key, the principal or the account's class is used up for now.",
        "Wait as long as the message says; the client does so by itself while its deadline allows. Ask for "
        "another limit with strongroom quota request; an administrator sets one by strongroom quota put.",
    ),
    "INVALID_GRANT_TOKEN": _you(
        "A grant token of the request is not one that this daemon made: it was altered, cut, or belongs to "
        "another daemon. The token of a grant that was retired or revoked is no error; it gives no right.",
        "Use the token as CreateGrant answered it, or leave it out: a grant counts everywhere within a "
        "second without it.",
    ),
    "INVALID_PAGE_TOKEN": _you(
        "The page token is not one of this list: it is bound to caller, method and filters.",
        "Begin again with the first page.",
    ),
    "INVALID_IMPORT_TOKEN": _you(
        "The import token is not one of this key, was damaged, or brought material in already.",
        "Get a wrapping key and a token of this key: strongroom material parameters. Wrap the material anew.",
    ),
    "EXPIRED_IMPORT_TOKEN": _you(
        "The import token is older than 24 hours.",
        "Get a new wrapping key and token: strongroom material parameters. Wrap the material anew.",
    ),
    "INCORRECT_KEY_MATERIAL": _you(
        "The key had other material before, and takes the same again only; or you import as new what it has.",
        "Import the same material. A symmetric key can have further material: strongroom material import "
        "--new, then strongroom key rotate.",
    ),
    "DRY_RUN_SUCCEEDED": _you(
        "Not a failure: every check passed, and nothing was done because it was a dry run.",
        "Repeat without the dry run.",
    ),
    "DEADLINE_EXCEEDED": _operator(
        "The deadline passed before the work could be done. A change may nevertheless have been made.",
        "Repeat it with the same request_id to learn what happened, or with a longer deadline "
        "(--timeout). If it is usual, the operator looks at the load and the HSM's latency.",
    ),
    "OVERLOADED": _operator(
        "The daemon has more work than it can do within the deadlines of its callers.",
        "Wait and try again; the client does so by itself. The operator looks at the queue in front of "
        "the HSM.",
    ),
    "HSM_UNAVAILABLE": _operator(
        "The HSM cannot be used now.",
        "Try again later. The operator runs strongroomd doctor and looks at the HSM.",
    ),
    "STORE_UNAVAILABLE": _operator(
        "The daemon's database cannot be used now.",
        "Try again later. The operator looks at the database and its disk.",
    ),
    "AUDIT_UNAVAILABLE": _operator(
        "The audit log cannot be written, and what is not written down is not done.",
        "Try again later. The operator looks at the audit folder: full disk, permissions.",
    ),
    "INTEGRITY_FAILURE": _operator(
        "A record in the daemon's store was changed behind its back, and is not used.",
        "Tell the operator at once: this is damage or tampering, and every such record is in the daemon's "
        "log.",
    ),
    "CONFIGURATION": _operator(
        "The daemon's configuration is not valid.",
        "The operator runs strongroomd check-config, which lists every mistake.",
    ),
    "INTERNAL": Explanation(
        "The daemon failed in a way that it should not.",
        _AUTHORS,
        "Report it with the request id, which finds the details in the daemon's log.",
    ),
    "CONNECTION_FAILED": _operator(
        "The daemon cannot be reached, does not accept your certificate, or the connection was lost. "
        "Found by the client.",
        "Check the endpoint and that the daemon runs. If it does: ca must be the authority of its "
        "certificate, the certificate must name the endpoint's host, and your certificate must be valid "
        "and of an authority that it accepts.",
    ),
    "UNSUPPORTED_BY_DAEMON": _operator(
        "The daemon does not know this method: it is older than your client, or it is another service.",
        "Check the endpoint; have the daemon upgraded, or use a client of its age.",
    ),
    "REPLY_DAMAGED": _operator(
        "The answer did not match its checksum, or was not the answer to the question. Found by the "
        "client, which dropped it.",
        "Try again; the client has tried once already. If it happens often, suspect memory or a middlebox.",
    ),
    "CLIENT_CONFIGURATION": _you(
        "A setting of the client is missing or not usable: endpoint, ca, cert, key, or the profile.",
        "Give the option that the message names, set the STRONGROOM_ variable, or correct the profile in "
        "~/.config/strongroom/config.toml.",
    ),
    "FILE_DAMAGED": _you(
        "The encrypted file was changed, cut off, reordered or extended, or is no encrypted file. No "
        "plaintext was kept.",
        "Fetch the file again from where it was made. If it stays so, do not trust its source.",
    ),
    "FILE_PROBLEM": _you(
        "A file of yours cannot be read or written, or exists already.",
        "See the message; --force replaces an existing target.",
    ),
    "CLOSED": _you(
        "The client or stream was closed by your program before or during the call.",
        "Keep it open as long as it is used.",
    ),
}
