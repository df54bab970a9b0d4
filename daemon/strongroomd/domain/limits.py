"""Every bound of the daemon, each with its reason; checked before anything is allocated or sliced."""

from typing import Final

MAX_PLAINTEXT: Final = (
    4_096  # Encrypt's input in bytes: parity with AWS KMS; configurable up to the next line
)
MAX_PLAINTEXT_CEILING: Final = 65_536  # what the configuration may raise MAX_PLAINTEXT to
MAX_MESSAGE: Final = 4_096  # Sign, Verify and MAC input in bytes: parity with AWS KMS
MAX_CONTEXT: Final = 8_192  # encryption context, encoded, in bytes: AWS's XKS AAD limit
MAX_CONTEXT_PAIRS: Final = 64  # pairs in one encryption context
MAX_CIPHERTEXT: Final = MAX_PLAINTEXT_CEILING + 128  # envelope header, nonce and tag fit well within the 128
MAX_REQUEST_NATIVE: Final = 262_144  # one gRPC message in bytes
MAX_RANDOM: Final = 1_024  # GenerateRandom and data key length in bytes: parity with AWS KMS
MAX_DESCRIPTION: Final = 8_192  # characters: parity with AWS KMS
MAX_ALIAS: Final = 256  # characters, prefix included: parity with AWS KMS
MAX_ALIASES_PER_KEY: Final = 50
MAX_TAGS: Final = 50
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256
MAX_POLICY: Final = 32_768  # bytes of policy JSON: parity with AWS KMS
MAX_POLICY_STATEMENTS: Final = 200
MAX_POLICY_DEPTH: Final = 8
MAX_GRANTS_PER_KEY: Final = 50_000  # parity with AWS KMS
MAX_GRANT_PAIRS: Final = 8  # encryption context pairs in a grant's constraint: parity with AWS KMS
MAX_GRANT_VALUE: Final = 384  # characters of a key or value in them
MAX_GRANT_NAME: Final = 256  # characters: parity with AWS KMS
MAX_SOURCE_ARN: Final = 2_048  # characters of the resource that a service calls for
MAX_GRANT_TOKENS: Final = 10  # of one call: parity with AWS KMS
MAX_GRANT_TOKEN: Final = 256  # characters; the daemon's own have 108
MAX_BATCH: Final = 500  # items of one batch call
MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
MAX_KEY_NAME: Final = 512  # characters of any way to name a key (id, ARN, alias, alias ARN)
MAX_VERSIONS: Final = 1_000  # rotations of one key
MAX_SIGNATURE: Final = 1_024
MAX_MAC: Final = 64  # the longest tag, HMAC-SHA-512
MAX_PUBLIC_KEY: Final = 8_192
DELETION_WINDOW_MIN: Final = 7  # days
DELETION_WINDOW_MAX: Final = 30  # days
DELETION_WINDOW_DEFAULT: Final = 30  # days
IMPORT_DAYS: Final = 365  # for which imported material may be valid at most: parity with AWS KMS
IMPORT_TOKEN_LIFETIME: Final = 24 * 3600  # seconds: parity with AWS KMS
MAX_IMPORT_TOKEN: Final = 6_144  # bytes: parity with AWS KMS; the daemon's own have 57
MAX_WRAPPED_MATERIAL: Final = 6_144  # bytes: parity with AWS KMS; RSA_4096 has about 2,900
MAX_WRAPPING_PAIRS: Final = 10  # of one key that wait for material: each is a row and cost an RSA generation
ANSWER_LIFETIME: Final = 24 * 3600  # seconds that an idempotency answer is kept
MAX_PER_SECOND: Final = 1_000_000  # highest settable quota
MAX_BURST: Final = 10_000_000
MAX_QUOTA_REQUESTS: Final = 10  # pending of one principal
MAX_QUOTA_REQUESTS_OF_ACCOUNT: Final = 1_000  # pending of all principals of one account
MAX_QUOTA_REQUESTS_KEPT: Final = 200  # of one principal in any state: who asks and cancels fills no store
MAX_QUOTA_REQUEST_TEXT: Final = 512  # characters of a justification or note
QUOTA_REQUEST_LIFETIME: Final = 90 * 24 * 3600  # seconds that a request is kept once it is closed
REFUSALS_PER_SECOND: Final = 50  # refused calls of one principal that get an audit record each
REFUSALS_BURST: Final = 100
REFUSALS_REPORT_SECONDS: Final = 1.0  # refusals above that are counted so long, then told in one record
SUBKEY_MESSAGES: Final = (
    1 << 20
)  # XAES messages under one derived sub-key (design 6: collision bound 2^-32 at 2^45)
SUBKEY_SECONDS: Final = 900.0
MAX_ROLE_SECONDS: Final = 12 * 3600  # seconds; the longest session of any role: parity with AWS STS
MIN_SESSION_SECONDS: Final = 15 * 60  # seconds: parity with AWS STS
DEFAULT_ROLE_SECONDS: Final = 3_600
MAX_ACCESS_KEYS: Final = 2  # of one principal, so that one can replace the other
MAX_ADDRESSES: Final = 32  # from which one access key was used, that are remembered
MAX_IDENTITIES: Final = 20  # certificate identities of one principal
MAX_POLICIES: Final = 10  # identity policies of one principal, guard rails of one account
MAX_POLICIES_BYTES: Final = 131_072  # of all of them together
MAX_PRINCIPALS: Final = 10_000  # of one account: they are held in memory
MAX_ACCOUNTS: Final = 10_000
MAX_URI: Final = 2_048  # characters of a URI in a certificate (SPIFFE ID, section 2.3)
MAX_SUBJECT: Final = 1_024  # characters of a certificate subject
SESSIONS_REMEMBERED: Final = 4_096  # verified session tokens that a worker holds
MAX_SESSION_TOKEN: Final = 2_048  # characters
MAX_ASSERTION: Final = 256  # characters of what a trusted service says of its caller
