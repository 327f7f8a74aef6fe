"""What no check of schemathesis knows: how far the caller reaches.

SCOPES: those that he holds, with what they imply; empty: not checked. HIDDEN: a word that stands in things he may not see.
"""
import os

import schemathesis

SCOPES = set(os.environ.get("SCOPES", "").split())
HIDDEN = os.environ.get("HIDDEN", "")


@schemathesis.check
def within_reach(ctx, response, case):
    if response.status_code >= 300:
        return
    needed = case.operation.definition.raw.get("x-required-scope")
    if SCOPES and needed:
        assert needed in SCOPES, f"{case.operation.label} was done without {needed}"
    if HIDDEN:
        assert HIDDEN.encode() not in response.content, f"{case.operation.label} shows what the caller may not see"
