"""Rules, files and pages for tests of the pure core: everything has a default but what a test is about."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from decider.files import DistributionFile, ProjectPage
from decider.names import NormalizedName
from decider.rules import Action, Rule

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
DEMO = NormalizedName("demo")


def days(count: float) -> timedelta:
    return timedelta(days=count)


def make_rule(number: int, action: str, project: str = "demo", **fields: Any) -> Rule:
    """Rule `r<number>`; a greater number is younger."""
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    defaults = {
        "reason": f"reason {number}",
        "created_by": "ops",
        "created_at": created,
        "updated_by": "ops",
        "updated_at": created,
        "revision": number,
    }
    return Rule(id=f"r{number}", action=Action(action), project=project, **{**defaults, **fields})


def key_of(index: str, source: str, digest: str) -> str:
    """nginx's name for the bytes at that URL (`digest`: `algorithm=hex`): nobody can choose parts so that two get one."""
    made = sha256(f"fetcher|{index}|{source}|{digest}".encode()).digest()
    return urlsafe_b64encode(made).decode().rstrip("=")


def make_file(filename: str = "demo-1.0-py3-none-any.whl", **fields: Any) -> DistributionFile:
    return DistributionFile(filename=filename, url=f"https://files.example/{filename}", **fields)


def make_page(
    *files: DistributionFile | str, index: str = "public", project: NormalizedName = DEMO, **fields: Any
) -> ProjectPage:
    listed = tuple(make_file(file) if isinstance(file, str) else file for file in files)
    page = ProjectPage(index=index, project=project, files=listed, digest="", **fields)
    return msgspec.structs.replace(page, digest=sha256(msgspec.json.encode(page)).hexdigest())
