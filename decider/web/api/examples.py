"""The examples of the OpenAPI document; a test holds them against its schemas."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "AUDIT_ENTRY",
    "CONFLICT",
    "DRAFT",
    "DRY_RULE",
    "EFFECTS",
    "EXPLANATION",
    "EXPOSURE",
    "REFRESHED",
    "REVIEW",
    "RULE",
    "RULESET",
    "RULESET_CHANGE",
    "TOKEN",
    "USAGE_COUNT",
    "USAGE_RECORD",
    "listing",
    "texts",
]


def listing(*items: Any) -> dict[str, Any]:
    """The only page of a listing."""
    return {"items": list(items), "next": None}


def texts(item: Mapping[str, Any]) -> dict[str, str]:
    """The same single item as lines of JSON and as CSV."""
    flat: dict[str, Any] = {}
    for name, value in item.items():
        flat |= (
            {f"{name}_{part}": one for part, one in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    cells = ("" if value is None else str(value) for value in flat.values())
    return {
        "application/x-ndjson": json.dumps(item) + "\n",
        "text/csv": f"{','.join(flat)}\r\n{','.join(cells)}\r\n",
    }


_AT = "2026-11-22T09:00:00Z"

DRAFT = {
    "action": "block",
    "project": "demo",
    "versions": "<2.1",
    "reason": "reads credentials at import",
    "reference": "CVE-2026-0001",
}

_UNSAID = dict.fromkeys(
    [
        "filename",
        "sha256",
        "file_type",
        "index",
        "younger_than",
        "uploaded_after",
        "attested",
        "repositories",
        "extends",
        "lifts",
        "expires_at",
        "key",
    ]
)

_SAID = {**DRAFT, **_UNSAID, "final": False}

RULE = {
    **_SAID,
    "id": "r17",
    "ruleset": "manual",
    "created_by": "token:ci",
    "created_at": _AT,
    "updated_by": "token:ci",
    "updated_at": _AT,
    "revision": 42,
}

EFFECTS = {
    "files": [
        {
            "project": "demo",
            "repository": "default",
            "filename": "demo-2.0-py3-none-any.whl",
            "version": "2.0",
            "before": "allow",
            "after": "block",
            "rules": ["dry-run"],
            "reason": "reads credentials at import",
        }
    ],
    "usage": [
        {
            "project": "demo",
            "repository": "default",
            "filename": "demo-2.0-py3-none-any.whl",
            "version": "2.0",
            "sha256": "ab" * 32,
            "index": "pypi",
            "before": "allow",
            "after": "block",
            "rules": ["dry-run"],
            "requests": 312,
            "clients": 14,
            "first_at": _AT,
            "last_at": _AT,
        }
    ],
    "usage_total": {"since": "2026-10-23T09:00:00Z", "downloads": 312, "clients": 14},
    "truncated": False,
    "unanswered": [],
}

DRY_RULE = {**_SAID, "id": None, "ruleset": "manual", "effects": EFFECTS}

RULESET = {"name": "feed", "rules": 1, "revision": 42, "updated_by": "token:ci", "updated_at": _AT}

RULESET_CHANGE = {"added": 1, "removed": 0, "changed": 0, "unchanged": 0, "revision": 42}

EXPLANATION = {
    "project": "demo",
    "repository": "default",
    "index": "pypi",
    "files": [
        {
            "filename": "demo-2.0-py3-none-any.whl",
            "version": "2.0",
            "verdict": "block",
            "rules": ["r17"],
            "reason": "reads credentials at import",
            "until": None,
            "considered": [{"id": "r17", "applied": True, "why": "version 2.0 is in `<2.1`"}],
        }
    ],
    "missing": [],
}

REVIEW = {
    "id": "v3",
    "state": "open",
    "project": "demo",
    "version": "3.0",
    "filename": "demo-3.0-py3-none-any.whl",
    "repository": "default",
    "rule": "r18",
    "requests": 4,
    "requested_by": ["192.0.2.7"],
    "first_at": _AT,
    "last_at": _AT,
    "decided_by": None,
    "decided_at": None,
    "reason": None,
}

AUDIT_ENTRY = {
    "id": 1,
    "at": _AT,
    "actor": "token:ci",
    "action": "rule.add",
    "rule": "r17",
    "ruleset": "manual",
    "before": None,
    "after": RULE,
    "reason": None,
    "previous_hash": "0" * 64,
    "hash": "5f" * 32,
}

REFRESHED = {"index": "pypi", "project": "demo", "found": True, "files": 12, "digest": "ab" * 32}

CONFLICT = {"project": "acme-utils", "owner": "internal", "rule": "r2", "indexes": ["pypi"]}

TOKEN = {
    "id": "t1",
    "name": "ci",
    "role": "editor",
    "created_by": "token:admin",
    "created_at": _AT,
    "expires_at": None,
    "last_used_at": None,
    "revoked_at": None,
}

_SERVED = {
    "kind": "file",
    "client": "192.0.2.7",
    "user": None,
    "installer": {"name": "pip", "version": "26.3", "python": "3.11.7", "system": "Linux", "ci": True},
    "repository": "default",
    "project": "demo",
    "version": "2.0",
    "filename": "demo-2.0-py3-none-any.whl",
    "sha256": "ab" * 32,
    "verdict": "allow",
    "rule": None,
    "status": 200,
    "bytes": 4096,
    "cache": "HIT",
}

USAGE_RECORD = {"at": _AT, **_SERVED}

EXPOSURE = {**_SERVED, "first_at": _AT, "last_at": _AT, "count": 3}

USAGE_COUNT = {
    "group": {"project": "demo", "version": "2.0"},
    "count": 312,
    "clients": 14,
    "bytes": 1277952,
    "first_at": _AT,
    "last_at": _AT,
}
