"""Every error that decider raises on purpose.

DeciderError
├── InvalidName            a project, index, repository or file name that no spec allows
├── InvalidRule            a rule that cannot be stored; carries every fault, by field
├── InvalidRequest         a query or body that cannot be read; carries every fault, by field
├── InvalidSettings        a configuration that cannot be used; carries every fault, by key
├── NotFound
│   ├── ProjectNotFound    the index that answers for the name does not have it
│   ├── FileNotListed      the index does not list the file (any more)
│   ├── ReleaseNotFound    the index lists no release of that version
│   └── RecordNotFound     no such rule, ruleset, token or review
├── IndexError_
│   ├── UnreadablePage     an index answered with something that is no simple API page
│   ├── IndexUnavailable   an index could not be asked
│   │   └── IndexMisbehaved  an index answered with what is no answer of HTTP, or none that may be passed on
│   ├── IndexTimeout       an index did not answer in time
│   └── NoParts            an index gives a large file only whole where a part was asked for
├── UnreadableDistribution a local file that cannot be listed: broken, or not what its name says
├── NotAcceptable          no page format that the client accepts (RFC 9110, 15.5.7)
├── Conflict               the change contradicts what is stored
├── PreconditionFailed     If-Match names another state than the stored one
├── PreconditionRequired   the change needs an If-Match
├── Unauthenticated        no valid token
├── Forbidden              a valid token whose role is too low
├── TooManyRequests        failed logins come too fast
├── FetchFailed            a host gave no answer that may be passed on; seen in the fetcher alone
├── ChildFailed            a process that was to do a part of the work ended without a result
├── CannotStart            what keeps `decider up` from serving
├── UsageUnavailable       the records of what was served cannot be read or written
└── StoreUnavailable       the store cannot be read or written

Facts are attributes; the text is lower-case, one line, input in backticks. HTTP statuses, logging and logic
may not be added here.
"""

from dataclasses import dataclass
from typing import Literal

#: malformed: no HTTP, or none that may be passed on · refused: a status, an address or a redirect that we do not follow ·
#: away: no connection, or one that ended early · timeout · mismatch: bytes that are not what the page says
FailureKind = Literal["malformed", "refused", "away", "timeout", "mismatch"]


class DeciderError(Exception):
    """Root of the tree."""


class InvalidName(DeciderError):
    """A name that no spec allows; `name` as given, `what` it should have been."""

    def __init__(self, name: str, what: str = "project name") -> None:
        self.name = name
        self.what = what
        # The name is a client's or an index's: escaped, it cannot leave a log line.
        super().__init__(f"`{ascii(name[:80])[1:-1]}` is no valid {what}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input."""

    field: str  #: dotted path of the field or key, "" for the whole
    detail: str  #: lower-case, one line


class _Faulty(DeciderError):
    """Base of the errors that report all faults at once."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{f.field}: {f.detail}" if f.field else f.detail for f in faults))


class InvalidRule(_Faulty):
    """A rule that cannot be stored."""


class InvalidRequest(_Faulty):
    """A query or a body that cannot be read."""


class InvalidSettings(_Faulty):
    """A configuration that cannot be used."""


class NotFound(DeciderError):
    """What was asked for is not there."""


class ProjectNotFound(NotFound):
    """The index that answers for `project` does not have it; `index` is None when no index was left to ask."""

    def __init__(self, project: str, index: str | None = None, detail: str = "") -> None:
        self.project = project
        self.index = index
        self.detail = detail
        where = f"index `{index}` has no" if index else "no index of this repository has a"
        super().__init__(detail or f"{where} project `{project}`")


class FileNotListed(NotFound):
    """The index that answers for `project` does not list `filename`."""

    def __init__(self, project: str, filename: str, index: str) -> None:
        self.project = project
        self.filename = filename
        self.index = index
        super().__init__(f"index `{index}` lists no file `{filename}` for `{project}`")


class ReleaseNotFound(NotFound):
    """The index that answers for `project` has no release `version` of it, or none that may be shown."""

    def __init__(self, project: str, version: str, index: str) -> None:
        self.project = project
        self.version = version
        self.index = index
        # The version is a client's: escaped, it cannot leave a log line.
        super().__init__(f"index `{index}` has no release `{ascii(version[:80])[1:-1]}` of `{project}`")


class RecordNotFound(NotFound):
    """No such record in the store; `kind` is "rule", "ruleset", "token" or "review"."""

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"no {kind} `{key}`")


class IndexError_(DeciderError):  # noqa: N801 (IndexError is a builtin)
    """An index that did not give a usable answer; it is not one that lacks the project."""

    def __init__(self, index: str, detail: str) -> None:
        self.index = index
        self.detail = detail
        super().__init__(f"index `{index}`: {detail}")


class UnreadablePage(IndexError_):
    """An index answered with something that is no simple API page, or one over the limits."""

    def __init__(self, index: str, reason: str) -> None:
        self.reason = reason
        super().__init__(index, f"unreadable page: {reason}")


class IndexUnavailable(IndexError_):
    """An index could not be asked: refused, reset, 5xx."""


class IndexMisbehaved(IndexUnavailable):
    """An index answered with what is no answer of HTTP, or with none that may be passed on; as good as away."""


class IndexTimeout(IndexError_):
    """An index did not answer in time."""


class NoParts(IndexError_):
    """An index gives its files only whole (no ranges), and this one is too large for that."""


class UnreadableDistribution(DeciderError):
    """A file of a local directory that cannot be listed; the text goes on after the file's name."""


class NotAcceptable(DeciderError):
    """The client accepts no format that pages come in."""


class Conflict(DeciderError):
    """The change contradicts what is stored."""


class PreconditionFailed(DeciderError):
    """If-Match names another state than the stored one."""


class PreconditionRequired(DeciderError):
    """The change needs an If-Match header."""


class Unauthenticated(DeciderError):
    """No valid token came with the request."""


class Forbidden(DeciderError):
    """The token is valid, its role is too low; `needed` names the role that would do."""

    def __init__(self, needed: str) -> None:
        self.needed = needed
        super().__init__(f"this call needs the role `{needed}`")


class TooManyRequests(DeciderError):
    """Failed logins come too fast; `retry_after_s` whole seconds."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many failed logins: try again in {retry_after_s} s")


class FetchFailed(DeciderError):
    """A host gave no answer that may be passed on: `kind` says in a word what went wrong, the text in a sentence."""

    def __init__(self, kind: FailureKind, cause: str) -> None:
        self.kind = kind
        self.cause = cause
        super().__init__(cause)


class StoreUnavailable(DeciderError):
    """The store cannot be read or written; nothing was changed."""


class RulesUnavailable(StoreUnavailable):
    """The store is away, and there are no rules from before, or none young enough to decide by."""


class UsageUnavailable(DeciderError):
    """The records of what was served cannot be read or written now; deciding does not depend on them."""


class ChildFailed(DeciderError):
    """A child process, `module`, ended without a result."""

    def __init__(self, module: str, detail: str) -> None:
        self.module = module
        super().__init__(f"`{module}` {detail}")


class CannotStart(DeciderError):
    """What keeps `decider up` from serving, in one line."""
