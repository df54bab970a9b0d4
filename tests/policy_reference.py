"""A slow reference for access decisions: AWS's rules, written out as plain loops over parsed JSON.

It shares nothing with the daemon but the language of policies, and it is written to be read beside AWS's pages:
IAM user guide (policy evaluation logic, cross-account evaluation, condition operators, multivalued context keys,
policy variables) and KMS developer guide (key policies, grants). A case is a JSON object:

    action        `kms:Encrypt`
    who           the caller: `arn:aws:iam::…` or `arn:aws:sts::…:assumed-role/NAME/SESSION`
    key           the key's ARN; absent for actions without a key
    key_policy    the document; absent for actions without a key
    identity      documents attached to the caller
    guard_rails   documents that limit the caller's account
    grants        objects with grantee, operations, equals, subset, source_arn, source_account
    context       condition keys of the request besides those that follow from the rest
    encryption_context, child_grant    likewise of the request
"""

import base64
import ipaddress
import re
from datetime import datetime
from typing import Any

Case = dict[str, Any]
WITH_CONTEXT = {
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
    *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
    *("kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext"),
}


def decide(case: Case) -> bool:  # noqa: C901, PLR0911, PLR0912 - one rule after the other, to be read
    """Say whether the request is allowed."""
    ours = case.get("identity", [])
    rails = case.get("guard_rails", [])
    # An explicit deny in any policy ends it.
    for document in [*rails, *ours]:
        for statement in statements(document):
            if statement["Effect"] == "Deny" and speaks(statement, document, case):
                return False
    if "key_policy" in case:
        for statement in statements(case["key_policy"]):
            denies = statement["Effect"] == "Deny" and reaches(statement, case) == "yes"
            if denies and speaks(statement, case["key_policy"], case):
                return False
    # Every guard rail must allow.
    for document in rails:
        if not any(s["Effect"] == "Allow" and speaks(s, document, case) for s in statements(document)):
            return False
    mine = is_root(case) or any(
        s["Effect"] == "Allow" and speaks(s, document, case)
        for document in ours
        for s in statements(document)
    )
    if "key_policy" not in case:
        return mine
    directly, by_account = False, False
    for statement in statements(case["key_policy"]):
        if statement["Effect"] == "Allow" and speaks(statement, case["key_policy"], case):
            how = reaches(statement, case)
            directly = directly or how == "yes"
            by_account = by_account or how == "through the account"
    if account(case["who"]) == account(case["key"]):
        if directly or (by_account and mine):
            return True
    elif (directly or by_account) and mine:
        return True
    return any(grant_permits(grant, case) for grant in case.get("grants", []))


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    """List a document's statements, which may stand without a list."""
    return listed(document["Statement"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def account(arn: str) -> str:
    return arn.split(":")[4]


def callers_names(case: Case) -> list[str]:
    """A session is itself and its role."""
    who = case["who"]
    match = re.fullmatch(r"arn:aws:sts::(\d+):assumed-role/(.+)/([^/]+)", who)
    return [who, f"arn:aws:iam::{match[1]}:role/{match[2]}"] if match else [who]


def is_root(case: Case) -> bool:
    return case["who"] == f"arn:aws:iam::{account(case['who'])}:root"


def reaches(statement: dict[str, Any], case: Case) -> str:
    """Say whether Principal or NotPrincipal reaches the caller: yes, through the account, or no."""
    element: Any = statement.get("Principal", statement.get("NotPrincipal"))
    named = ["*"] if element == "*" else [n for names in element.values() for n in listed(names)]
    himself = "*" in named or any(name in named for name in callers_names(case))
    number = account(case["who"])
    through_account = number in named or f"arn:aws:iam::{number}:root" in named
    if "Principal" in statement:
        if himself:
            return "yes"
        if through_account:
            # An account in a Deny is everybody in it; in an Allow it hands the decision on.
            return "yes" if statement["Effect"] == "Deny" else "through the account"
        return "no"
    if is_root(case):
        return "no" if himself or through_account else "yes"
    if statement["Effect"] == "Allow":
        return "no" if himself or through_account else "yes"
    return "no" if himself else "yes"


def speaks(statement: dict[str, Any], document: dict[str, Any], case: Case) -> bool:
    """Say whether a statement covers the request's action, resource and circumstances."""
    variables = document.get("Version") == "2012-10-17"
    action = any(
        wildcard(p.lower(), case["action"].lower())
        for p in listed(statement.get("Action", statement.get("NotAction")))
    )
    if action is ("NotAction" in statement):
        return False
    element = statement.get("Resource", statement.get("NotResource", "*"))
    resource = any(
        covers_resource(pattern, case.get("key", "*"), case, variables) for pattern in listed(element)
    )
    if resource is ("NotResource" in statement):
        return False
    for operator, tests in statement.get("Condition", {}).items():
        for key, values in tests.items():
            if not condition(operator, key, [as_text(v) for v in listed(values)], case, variables):
                return False
    return True


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def wildcard(pattern: str, text: str) -> bool:
    regex = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def covers_resource(pattern: str, arn: str, case: Case, variables: bool) -> bool:
    if pattern == "*":
        return True
    return arn_like(pattern, arn, case, variables)


def request_context(case: Case) -> dict[str, Any]:
    """Everything that conditions can ask, by name in lower case."""
    who = callers_names(case)[-1]
    found: dict[str, Any] = {
        "aws:principalarn": who,
        "aws:principalaccount": account(who),
        "kms:calleraccount": account(who),
    }
    if "key" in case:
        found["aws:resourceaccount"] = account(case["key"])
    if "encryption_context" in case:
        found["kms:encryptioncontextkeys"] = list(case["encryption_context"])
        for name, value in case["encryption_context"].items():
            found["kms:encryptioncontext:" + name.lower()] = value
    for name, value in case.get("context", {}).items():
        found[name.lower()] = value
    return {name: value for name, value in found.items() if value is not None and value != []}


def condition(operator: str, key: str, wanted: list[str], case: Case, variables: bool) -> bool:  # noqa: PLR0911 - as above
    """Hold one operator with one key against the request."""
    context = request_context(case)
    there = key.lower() in context
    if operator == "Null":
        return any(there is (value.lower() == "false") for value in wanted)
    quantifier = ""
    if ":" in operator:
        quantifier, operator = operator.split(":")
    if operator.endswith("IfExists"):
        if not there:
            return True
        operator = operator.removesuffix("IfExists")
    if quantifier == "ForAllValues":
        if not there:
            return True
        return all(single(operator, wanted, v, case, variables) for v in listed(context[key.lower()]))
    if quantifier == "ForAnyValue":
        if not there:
            return False
        return any(single(operator, wanted, v, case, variables) for v in listed(context[key.lower()]))
    if not there:
        return "Not" in operator
    return single(operator, wanted, context[key.lower()], case, variables)


def single(operator: str, wanted: list[str], value: Any, case: Case, variables: bool) -> bool:
    """Compare one value of the request with the policy's: a Not asks for none of them."""
    if operator.startswith("Not") or "Not" in operator:
        positive = operator.replace("Not", "", 1)
        return not any(compare(positive, w, value, case, variables) for w in wanted)
    return any(compare(operator, w, value, case, variables) for w in wanted)


def compare(operator: str, wanted: str, value: Any, case: Case, variables: bool) -> bool:  # noqa: PLR0911 - as above
    match operator:
        case "StringEquals":
            return text_regex(wanted, case, variables, wildcards=False, text=str(value))
        case "StringEqualsIgnoreCase":
            folded = str(value).lower()
            return text_regex(wanted, case, variables, wildcards=False, text=folded, fold=True)
        case "StringLike":
            return text_regex(wanted, case, variables, wildcards=True, text=str(value))
        case "ArnEquals" | "ArnLike":
            return arn_like(wanted, str(value), case, variables)
        case "Bool":
            return as_text(value) == wanted.lower()
        case "BinaryEquals":
            return base64.b64decode(wanted) == str(value).encode()
        case "IpAddress":
            return within(wanted, str(value))
    ours = seconds(value) if operator.startswith("Date") else float(value)
    theirs = seconds(wanted) if operator.startswith("Date") else float(wanted)
    how = operator.removeprefix("Date").removeprefix("Numeric")
    return {
        "Equals": ours == theirs,
        "LessThan": ours < theirs,
        "LessThanEquals": ours <= theirs,
        "GreaterThan": ours > theirs,
        "GreaterThanEquals": ours >= theirs,
    }[how]


def within(block: str, text: str) -> bool:
    address: Any = ipaddress.ip_address(text)
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    network = ipaddress.ip_network(block)
    return network.version == address.version and address in network


def seconds(value: Any) -> float:
    """A date as seconds since the epoch."""
    try:
        return float(value)
    except ValueError:
        text = str(value).replace("Z", "+00:00")
        if "T" not in text:
            text += "T00:00:00+00:00"
        return datetime.fromisoformat(text).timestamp()


def filled(text: str, case: Case, variables: bool, wildcards: bool) -> list[tuple[str, bool]] | None:
    """A text as (character, is a wildcard) pairs, its variables filled in; None if one has no value."""
    result: list[tuple[str, bool]] = []
    place = 0
    while place < len(text):
        if variables and text.startswith("${", place):
            end = text.index("}", place)
            inside = text[place + 2 : end]
            place = end + 1
            if inside in ("*", "?", "$"):
                result.append((inside, False))
                continue
            name, comma, default = inside.partition(",")
            value = request_context(case).get(name.strip().lower())
            if value is None:
                if not comma:
                    return None
                value = default.strip().strip("'")
            result += [(character, False) for character in str(value)]
        else:
            result.append((text[place], wildcards and text[place] in "*?"))
            place += 1
    return result


def regex_of(characters: list[tuple[str, bool]]) -> str:
    return "".join(
        re.escape(character) if not wild else ".*" if character == "*" else "."
        for character, wild in characters
    )


def text_regex(
    wanted: str, case: Case, variables: bool, *, wildcards: bool, text: str, fold: bool = False
) -> bool:
    characters = filled(wanted, case, variables, wildcards)
    if characters is None:
        return False
    if fold:
        characters = [(c.lower(), wild) for c, wild in characters]
    return re.fullmatch(regex_of(characters), text, re.DOTALL) is not None


def arn_like(pattern: str, arn: str, case: Case, variables: bool) -> bool:
    """Compare ARNs part by part, so that no wildcard crosses one of the first five colons."""
    characters = filled(pattern, case, variables, wildcards=True)
    if characters is None:
        return False
    parts: list[list[tuple[str, bool]]] = [[]]
    for character in characters:
        if character == (":", False) and len(parts) < 6:
            parts.append([])
        else:
            parts[-1].append(character)
    theirs = arn.split(":", 5)
    if len(parts) != 6 or len(theirs) != 6:
        return False
    return all(
        re.fullmatch(regex_of(part), text, re.DOTALL) is not None
        for part, text in zip(parts, theirs, strict=True)
    )


def grant_permits(grant: dict[str, Any], case: Case) -> bool:  # noqa: PLR0911 - as above
    """A grant lends its operations to its grantee, under its constraints."""
    operation = case["action"].removeprefix("kms:")
    if operation not in grant["operations"] or grant["grantee"] not in callers_names(case):
        return False
    context = request_context(case)
    if "source_arn" in grant and context.get("aws:sourcearn") != grant["source_arn"]:
        return False
    if "source_account" in grant and context.get("aws:sourceaccount") != grant["source_account"]:
        return False
    if case["action"] in WITH_CONTEXT:
        pairs = case.get("encryption_context", {})
        if "equals" in grant and pairs != grant["equals"]:
            return False
        if any(pairs.get(name) != value for name, value in grant.get("subset", {}).items()):
            return False
    if operation == "CreateGrant":
        return "child_grant" in case and not_looser(case["child_grant"], grant)
    return True


def not_looser(child: dict[str, Any], parent: dict[str, Any]) -> bool:
    """A child grant has no operation more, and every constraint of its parent or a narrower one."""
    for operation in child["operations"]:
        if operation not in parent["operations"]:
            return False
    for source in ("source_arn", "source_account"):
        if source in parent and child.get(source) != parent[source]:
            return False
    if "equals" in parent:
        return child.get("equals") == parent["equals"]
    pairs = child.get("equals", child.get("subset", {}))
    return all(pairs.get(name) == value for name, value in parent.get("subset", {}).items())
