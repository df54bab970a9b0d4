"""Whether one key policy lets more happen than another, as far as that can be seen from the two alone.

Only what is plainly tighter is told apart: a policy that has no Allow that the other had not, and every Deny
that it had, lets nothing happen that the other did not. Whatever else differs may be looser.
"""

import json

from strongroomd.domain.policy.document import as_list, load


def loosens(before: str, after: str) -> bool:
    """Say whether a policy may allow what the one before did not. Both are well-formed policies."""
    old_allows, old_denials = _statements(before)
    new_allows, new_denials = _statements(after)
    return not (new_allows <= old_allows and old_denials <= new_denials)


def _statements(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Give the Allow and the Deny statements, each spelled in one way, without the Sid: it means nothing."""
    allows: set[str] = set()
    denials: set[str] = set()
    for statement in as_list(load(text, "policy")["Statement"]):
        spelled = json.dumps({k: v for k, v in statement.items() if k != "Sid"}, sort_keys=True)
        (allows if statement["Effect"] == "Allow" else denials).add(spelled)
    return frozenset(allows), frozenset(denials)
