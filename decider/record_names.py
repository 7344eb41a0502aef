"""Names of what decider keeps by name: tokens and rulesets."""

import re

__all__ = ["RECORD_NAME", "RECORD_NAME_FAULT", "is_record_name"]

RECORD_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"  #: a regular expression; such a name fits a URL as it is
RECORD_NAME_FAULT = "must be letters, digits, `.`, `_` and `-`, 100 at most, the first a letter or digit"


def is_record_name(text: str) -> bool:
    """Whether a token or a ruleset may be called `text`."""
    return re.match(RECORD_NAME, text) is not None
