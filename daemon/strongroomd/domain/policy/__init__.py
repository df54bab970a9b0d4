"""Policies in AWS's JSON language: parsed strictly, compiled once, decided from memory.

`document` reads JSON, `language` statements, with `who`, `resources`, `conditions` (over the tables `keys`
and `operators`) and `variables` for their parts. `compiled` is one policy ready to be asked, `evaluation`
combines all that bear on a request, `explain` tells why, `lint` what is suspicious, `defaults` writes the
usual ones, `circumstances` works out a request's context.
"""

from strongroomd.domain.policy.compiled import Policy as Policy
from strongroomd.domain.policy.compiled import compiled as compiled
from strongroomd.domain.policy.compiled import parse as parse
from strongroomd.domain.policy.compiled import subject_named as subject_named
from strongroomd.domain.policy.defaults import console_policy as console_policy
from strongroomd.domain.policy.defaults import default_policy as default_policy
from strongroomd.domain.policy.language import Effect as Effect
from strongroomd.domain.policy.language import PolicyKind as PolicyKind
from strongroomd.domain.policy.language import Statement as Statement
from strongroomd.domain.policy.request import Basis as Basis
from strongroomd.domain.policy.request import Decision as Decision
from strongroomd.domain.policy.request import Request as Request
from strongroomd.domain.policy.request import Resource as Resource
from strongroomd.domain.policy.request import Subject as Subject

# Not here: evaluation and explain, which need grants, which speak of requests.
