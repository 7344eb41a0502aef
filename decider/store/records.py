"""What each change of tokens, reviews and first-seen times means, in terms of one transaction; both stores run these.

As in `changes`, a function raises before it writes. A token's secret hash never reaches the audit log. SQL and Redis
commands may not be added here.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from decider.errors import Conflict, RecordNotFound
from decider.files import ANY_DIGEST, FileIdentity
from decider.rules import Rule, RuleDraft
from decider.store import Review, ReviewState, Role, Token
from decider.store.changes import add_rule, append_audit
from decider.store.encoding import SeenFiles, StoredReview
from decider.store.ids import is_token_id, make_id
from decider.store.transaction import ReviewSubject, Transaction

__all__ = ["add_token", "decide_review", "is_noted", "note_first_seen", "request_review", "revoke_token"]

_MAX_REQUESTERS = 50
_ACTOR = "decider"  #: of what no person asked for
_DECISIONS = {ReviewState.APPROVED: "review.approve", ReviewState.DENIED: "review.deny"}


def add_token(
    tx: Transaction,
    name: str,
    role: Role,
    secret_hash: str,
    *,
    actor: str,
    at: datetime,
    expires_at: datetime | None,
) -> Token:
    """See Store.add_token; a name that reads as an id would make revoking ambiguous and is a Conflict too."""
    if is_token_id(name):
        raise Conflict(f"`{name}` reads as the id of a token")
    if _find_token(tx, name) is not None:
        raise Conflict(f"there is a token `{name}` already")
    if tx.has_secret(secret_hash):
        raise Conflict("this secret belongs to another token")
    (number,) = tx.state.take_numbers("token", 1)
    token = Token(
        id=make_id("token", number),
        name=name,
        role=role,
        created_by=actor,
        created_at=at,
        expires_at=expires_at,
    )
    tx.put_token(token, secret_hash)
    append_audit(tx, at=at, actor=actor, action="token.add", after=_json(token))
    return token


def revoke_token(tx: Transaction, name_or_id: str, *, actor: str, at: datetime) -> Token:
    """See Store.revoke_token; one that is revoked already stays as it is."""
    token = _find_token(tx, name_or_id)
    if token is None:
        raise RecordNotFound("token", name_or_id)
    if token.revoked_at is not None:
        return token
    revoked = msgspec.structs.replace(token, revoked_at=at)
    tx.put_token(revoked)
    append_audit(tx, at=at, actor=actor, action="token.revoke", before=_json(token), after=_json(revoked))
    return revoked


def request_review(
    tx: Transaction,
    subject: ReviewSubject,
    *,
    version: str | None,
    client: str | None,
    at: datetime,
    count: int,
) -> Review:
    """See Store.request_review; a closed review counts on while the rule that closed it is in force."""
    stored = tx.review_of(subject)
    if stored is None or not _stands(tx, stored, at):
        return _open_review(tx, subject, version=version, client=client, at=at, count=count)
    review = msgspec.structs.replace(
        stored.review,
        requests=stored.review.requests + count,
        requested_by=_with_client(stored.review.requested_by, client),
        first_at=min(stored.review.first_at, at),
        last_at=max(stored.review.last_at, at),
    )
    tx.put_review(StoredReview(review, stored.decision), stored)
    return review


def decide_review(
    tx: Transaction,
    review_id: str,
    state: ReviewState,
    draft: RuleDraft,
    *,
    reason: str,
    actor: str,
    at: datetime,
) -> tuple[Review, Rule]:
    """See Store.decide_review."""
    if state not in _DECISIONS:
        raise Conflict("a review is closed as approved or denied")
    stored = tx.find_review(review_id)
    if stored is None:
        raise RecordNotFound("review", review_id)
    if stored.review.state is not ReviewState.OPEN:
        raise Conflict(f"review `{review_id}` is {stored.review.state} already")
    rule = add_rule(tx, draft, ruleset="manual", actor=actor, at=at)
    review = msgspec.structs.replace(
        stored.review, state=state, decided_by=actor, decided_at=at, reason=reason
    )
    tx.put_review(StoredReview(review, rule.id), stored)
    append_audit(
        tx,
        at=at,
        actor=actor,
        action=_DECISIONS[state],
        rule=rule.id,
        before=_json(stored.review),
        after=_json(review),
        reason=reason,
    )
    return review, rule


def is_noted(known: Collection[FileIdentity], files: Collection[FileIdentity]) -> bool:
    """Whether note_first_seen has nothing to do for `files`, where the times of `known` are stored."""
    return all(file in known for file in files) and not _unsettled(known)


def note_first_seen(
    tx: Transaction, index: str, project: str, files: Collection[FileIdentity], *, at: datetime
) -> None:
    """See Store.note_first_seen.

    A time that was kept by name alone says that decider saw some file of that name then, and not which. The file that
    is listed at the first look is taken for it, or every file would be new after the upgrade. Whatever comes under
    the name later is new: there is no such time any more, also where the name was not listed at that look.
    """
    known = tx.first_seen(index, project)
    unsettled = _unsettled(known)
    by_name = {file.filename: known[file] for file in unsettled}
    times = {file: by_name.pop(file.filename, at) for file in files if file not in known}
    if times:
        tx.put_first_seen(SeenFiles(index, project, times))
    if unsettled:
        tx.drop_first_seen(index, project, unsettled)


def _unsettled(known: Collection[FileIdentity]) -> list[FileIdentity]:
    return [file for file in known if file.digest == ANY_DIGEST]


def _open_review(
    tx: Transaction,
    subject: ReviewSubject,
    *,
    version: str | None,
    client: str | None,
    at: datetime,
    count: int,
) -> Review:
    (number,) = tx.state.take_numbers("review", 1)
    review = Review(
        id=make_id("review", number),
        project=subject.project,
        version=version,
        filename=subject.filename,
        repository=subject.repository,
        rule=subject.rule,
        requests=count,
        requested_by=_with_client((), client),
        first_at=at,
        last_at=at,
    )
    tx.put_review(StoredReview(review), None)
    append_audit(tx, at=at, actor=_ACTOR, action="review.open", rule=subject.rule, after=_json(review))
    return review


def _stands(tx: Transaction, stored: StoredReview, at: datetime) -> bool:
    # Requests that were queued arrive after the decision and belong to it; once an approval has run out, the hold
    # refuses anew and somebody must be asked anew.
    if stored.review.state is ReviewState.OPEN:
        return True
    rule = tx.find_rule(stored.decision) if stored.decision else None
    return rule is not None and rule.is_active(at)


def _with_client(clients: tuple[str, ...], client: str | None) -> tuple[str, ...]:
    if client is None or client in clients or len(clients) >= _MAX_REQUESTERS:
        return clients
    return (*clients, client)


def _find_token(tx: Transaction, name_or_id: str) -> Token | None:
    tokens = tx.tokens()
    by_id = (token for token in tokens if token.id == name_or_id)
    by_name = (token for token in tokens if token.name == name_or_id and token.revoked_at is None)
    return next(by_id, None) or next(by_name, None)


def _json(record: Token | Review) -> Any:
    return msgspec.to_builtins(record)
