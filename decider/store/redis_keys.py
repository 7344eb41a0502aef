"""Where what lies in Redis: the keys, and how listings are indexed.

An index is a sorted set of equal scores whose members are `<field>=<value> <id>`: the ids of one value lie together,
oldest first, and a listing goes on after any id.
"""

from collections.abc import Iterator
from urllib.parse import quote, unquote

from decider.files import ANY_DIGEST, FileIdentity
from decider.rules import Rule
from decider.store import AuditEntry
from decider.store.audit import rules_of
from decider.store.encoding import StoredReview

__all__ = [
    "AUDIT",
    "AUDIT_INDEX",
    "AUDIT_TIMES",
    "HEAD",
    "LAYOUT",
    "NONCES",
    "REMOVED",
    "REVIEWS",
    "REVIEW_INDEX",
    "REVIEW_SUBJECTS",
    "RULES",
    "RULESETS",
    "RULE_INDEX",
    "RULE_REVISIONS",
    "RUN",
    "SECRETS",
    "SEEN",
    "TOKENS",
    "TURN",
    "USED",
    "audit_members",
    "index_range",
    "padded",
    "parse_seen_field",
    "parse_seen_key",
    "review_members",
    "rule_members",
    "seen_field",
    "seen_key",
]

#: Of everything below; a newer one is refused. 2: first-seen times are of a file name and a digest.
LAYOUT = 2

HEAD = "decider:head"  #: hash: State, layout, and `changes`, which every change raises
NONCES = "decider:nonces"  #: list: the latest changes, to tell whether one took effect
RUN = "decider:run"  #: string: the start of the server (its run id) after which its file was written anew
TURN = "decider:turn"  #: string: whose change comes next, where one lost too many races
RULES = "decider:rules"  #: hash: id → Rule
RULE_INDEX = "decider:rules:index"
RULE_REVISIONS = "decider:rules:revisions"  #: sorted set: id by the revision that last changed it
REMOVED = "decider:rules:removed"  #: sorted set: id by the revision that removed it
RULESETS = "decider:rulesets"  #: hash: name → RulesetInfo
TOKENS = "decider:tokens"  #: hash: id → Token
SECRETS = "decider:tokens:secrets"  #: hash: secret hash → id
USED = "decider:tokens:used"  #: hash: id → microseconds
REVIEWS = "decider:reviews"  #: hash: id → StoredReview
REVIEW_INDEX = "decider:reviews:index"
REVIEW_SUBJECTS = "decider:reviews:subjects"  #: hash: subject → id of its latest review
AUDIT = "decider:audit"  #: stream: AuditEntry, under its own id
AUDIT_INDEX = "decider:audit:index"
AUDIT_TIMES = "decider:audit:times"  #: sorted set: id by the latest time up to it, in microseconds
SEEN = "decider:seen:"  #: hash for each index and project: seen_field → microseconds


def seen_key(index: str, project: str) -> str:
    """The key of the first-seen times of a project."""
    return f"{SEEN}{quote(index, safe='')}:{quote(project, safe='')}"


def parse_seen_key(key: str) -> tuple[str, str]:
    """The index and project of seen_key."""
    index, _, project = key.removeprefix(SEEN).partition(":")
    return unquote(index), unquote(project)


def seen_field(file: FileIdentity) -> str:
    """What stands for a file in that hash; under ANY_DIGEST the bare name, as layout 1 has it."""
    # Neither digests nor names of files hold a slash.
    return file.filename if file.digest == ANY_DIGEST else f"{file.digest}/{file.filename}"


def parse_seen_field(field: str) -> FileIdentity:
    """The file of seen_field."""
    digest, slash, filename = field.partition("/")
    return FileIdentity(filename, digest) if slash else FileIdentity(field, ANY_DIGEST)


def rule_members(rule: Rule) -> Iterator[str]:
    """The members that a rule has in RULE_INDEX."""
    yield _member("all", "", rule.id)
    yield _member("ruleset", rule.ruleset, rule.id)
    yield _member("action", rule.action, rule.id)
    yield _member("project", rule.project, rule.id)


def review_members(stored: StoredReview) -> Iterator[str]:
    """The members that a review has in REVIEW_INDEX."""
    review = stored.review
    yield _member("all", "", review.id)
    yield _member("state", review.state, review.id)
    yield _member("project", review.project, review.id)


def audit_members(entry: AuditEntry) -> Iterator[str]:
    """The members that an entry has in AUDIT_INDEX."""
    yield _member("actor", entry.actor, padded(entry.id))
    for rule in rules_of(entry):
        yield _member("rule", rule, padded(entry.id))


def padded(entry_id: int) -> str:
    """An audit id as text that sorts like the number."""
    return f"{entry_id:018}"


def index_range(field: str, value: str, after: str) -> tuple[str, str]:
    """The ends of a ZRANGEBYLEX over the ids of one value, those after `after`."""
    prefix = f"{field}={quote(value, safe='')}"
    return f"({prefix} {after}", f"({prefix}!"  # "!" follows the blank


def _member(field: str, value: str, record_id: str) -> str:
    # Quoted, no value contains the blank, so none reaches into the ids of another.
    return f"{field}={quote(value, safe='')} {record_id}"
