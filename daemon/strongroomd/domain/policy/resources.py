"""The Resource and NotResource of a statement: patterns of ARNs, which may hold policy variables."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.policy import patterns, variables
from strongroomd.domain.policy.document import malformed, texts
from strongroomd.domain.policy.request import Context

_FIELD: Final = r"[A-Za-z0-9*?-]{1,64}"
KEYS_ONLY: Final = re.compile(rf"arn:aws:kms:{_FIELD}:{_FIELD}:key/[A-Za-z0-9*?-]{{1,256}}", re.ASCII)
_REST: Final = r"[A-Za-z0-9+=,.@_/*?-]{1,256}"
ANYTHING: Final = re.compile(
    rf"arn:aws:(?:kms:{_FIELD}:{_FIELD}:(?:\*|(?:key|alias)/{_REST})"
    rf"|iam::{_FIELD}:(?:\*|root|(?:user|role|service)/{_REST}))",
    re.ASCII,
)
_VARIABLES: Final = re.compile(r"\$\{[^{}]*\}")
_EVERYTHING: Final = "*"
NO_RESOURCE: Final = "*"
"""What stands for the resource of an action that has none: only the pattern `*` covers it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Which resources a statement speaks of.

    Attributes:
        everything: every resource, whatever the request: nobody needs to ask.
        varies: has a policy variable, so that the answer depends on the request.
    """

    covers: Callable[[str, Context], bool]
    inverted: bool
    everything: bool
    varies: bool

    def match(self, arn: str, context: Context) -> bool:
        """Say whether the statement speaks of a resource."""
        return self.covers(arn, context) is not self.inverted


EVERYTHING: Final = Resources(lambda _arn, _context: True, inverted=False, everything=True, varies=False)


def parse(value: object, place: str, version: str, *, inverted: bool, form: re.Pattern[str]) -> Resources:
    """Read a Resource or NotResource.

    Args:
        value: the JSON value.
        place: where it stands, for errors.
        version: the policy's.
        inverted: whether it is a NotResource.
        form: what each pattern must look like, unless it is `*`.

    Raises:
        StrongroomError: MALFORMED_POLICY.
    """
    found = texts(value, place)
    if not all(text == _EVERYTHING or form.fullmatch(_VARIABLES.sub("*", text)) for text in found):
        raise malformed(place, _RULES[form])
    if _EVERYTHING in found:
        if inverted:
            raise malformed(place, 'must not be "*": the statement would speak of nothing')
        return EVERYTHING
    try:
        templates = [variables.parse(text, wildcards=True, version=version) for text in found]
    except variables.VariableError as error:
        raise malformed(place, str(error)) from None
    varies = not all(template.is_constant for template in templates)
    covers = variables.covering(templates, patterns.arn_matcher)
    return Resources(covers, inverted, everything=False, varies=varies)


_RULES: Final = {
    KEYS_ONLY: 'must be "*", which in a key policy means this key, or a pattern of key ARNs',
    ANYTHING: 'must be "*" or patterns of ARNs of keys, aliases and principals',
}
