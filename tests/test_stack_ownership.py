"""Which index answers for a name: no name of ours is ever answered by the public (DESIGN 5, 8, 11)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.conftest import Shelved
from tests.fake_index import FakeIndex, close_connection, hang, status
from tests.stack import JSON_TYPE, PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

AWAY = {502, 503, 504}


def public_copy(index: FakeIndex, project: str) -> Distribution:
    """A higher version under the same name on the public index: dependency confusion."""
    return index.add(project, make_wheel(project, "99.0"))


def assert_never_public(stack: Stack, index: FakeIndex, project: str, attack: Distribution) -> None:
    """By no spelling of page, file or metadata does the public file come, and the public index is not asked for it."""
    names = {project, project.upper(), project.replace("-", "_"), project.replace("-", "."), project.title()}
    for name in names:
        for accept in (JSON_TYPE, "text/html"):
            answer = stack.get(f"/simple/{name}/", {"Accept": accept})
            assert answer.status in {200, 301, 404}
            assert b"99.0" not in answer.body
        for suffix in ("", ".metadata", ".provenance"):
            answer = stack.get(f"/files/{name}/{attack.filename}{suffix}")
            assert answer.status in {301, 403, 404}, (name, suffix, answer.status)
            assert attack.metadata not in answer.body
    assert index.requests(attack.filename) == []


def test_internal_name_is_never_answered_from_the_public_index(
    stack: Stack, index: FakeIndex, project: str
) -> None:
    """An internal name with a higher version at the public index is never answered from there."""
    attack = public_copy(index, project)
    own = make_wheel(project, "1.0")
    stack.drop(own)
    eventually(lambda: stack.page(project).json().get("versions") == ["1.0"], within_s=PROMISE_S)
    assert stack.page(project).filenames == [own.filename]
    assert stack.file(project, own.filename).body == own.data
    assert_never_public(stack, index, project, attack)


def test_deleting_the_internal_files_does_not_hand_over_the_name(
    own_stack: Stack, own_index: FakeIndex
) -> None:
    """After its internal files are deleted a claimed name is 404, also after a restart, and never public (DESIGN 5)."""
    attack = public_copy(own_index, "acme-core")
    own = make_wheel("acme-core", "1.0")
    path = own_stack.drop(own)
    eventually(lambda: own_stack.page("acme-core").status == 200, within_s=PROMISE_S)

    def claims() -> list[dict[str, object]]:
        found: list[dict[str, object]] = own_stack.api("GET", "/rules", action="own").json()["items"]
        return [rule for rule in found if rule["project"] == "acme-core"]

    (claim,) = eventually(claims, within_s=5, what="the automatic claim")
    assert (claim["ruleset"], claim["created_by"], claim["index"]) == ("claims", "decider", "internal")
    path.unlink()
    eventually(lambda: own_stack.page("acme-core").status == 404, within_s=PROMISE_S)
    assert_never_public(own_stack, own_index, "acme-core", attack)
    own_stack.restart()
    assert own_stack.page("acme-core").status == 404
    assert_never_public(own_stack, own_index, "acme-core", attack)


def test_claim_needs_no_request(own_stack: Stack, own_index: FakeIndex) -> None:
    """A project in an internal directory is claimed without being asked for, and claimed again when unclaimed."""
    own_stack.drop(make_wheel("acme-quiet", "1.0"))

    def claims() -> list[dict[str, str]]:
        found: list[dict[str, str]] = own_stack.api("GET", "/rules", action="own").json()["items"]
        return [rule for rule in found if rule["project"] == "acme-quiet"]

    (claim,) = eventually(claims, within_s=30, what="the claim")
    own_stack.remove_rule(claim)
    (again,) = eventually(claims, within_s=30, what="the claim's return")
    assert again["id"] != claim["id"]
    assert own_index.requests("acme-quiet") == []


def test_claim_overrides_the_order_of_indexes(new_stack: Callable[..., Stack]) -> None:
    """An internal project is claimed even where the public index comes first in the repository (DESIGN 11)."""
    with FakeIndex() as index:
        attack = public_copy(index, "acme-core")
        stack = new_stack(index_url=index.url, default=("public", "internal"))
        own = make_wheel("acme-core", "1.0")
        stack.drop(own)
        stack.start()
        eventually(
            lambda: (page := stack.page("acme-core")).status == 200 and page.filenames == [own.filename],
            within_s=10,
            what="the claim",
        )
        eventually(lambda: stack.file("acme-core", attack.filename).status == 404, within_s=PROMISE_S)


def test_own_rule(stack: Stack, index: FakeIndex, project: str) -> None:
    """An `own` rule gives a namespace to an index, whether or not it has the name: else 404, never the next index."""
    names = (f"{project}x", f"{project}x-tool")
    for name in names:
        public_copy(index, name)
        assert stack.page(name).status == 200
    rule = stack.add_rule(action="own", project=f"{project}x-*", index="internal")
    for name in names:
        eventually(lambda name=name: stack.page(name).status == 404, within_s=PROMISE_S)  # type: ignore[misc]
        path = f"/files/{name}/{make_wheel(name, '99.0').filename}"
        eventually(lambda path=path: stack.get(path).status == 404, within_s=PROMISE_S)  # type: ignore[misc]
    conflict = stack.api(
        "POST", "/rules", {"action": "own", "project": f"{project}x-*", "index": "public", "reason": "mine"}
    )
    assert conflict.status == 409
    listed = stack.get("/simple/", {"Accept": JSON_TYPE}).json()["projects"]
    assert {"name": names[1]} not in listed
    stack.remove_rule(rule)


def test_owner_by_most_specific_pattern(stack: Stack, index: FakeIndex, project: str) -> None:
    """Of several `own` rules the most specific pattern wins."""
    stem = f"{project}y"
    wheel = index.add(f"{stem}-open", make_wheel(f"{stem}-open", "1.0"))
    wide = stack.add_rule(action="own", project=f"{stem}-*", index="internal")
    exact = stack.add_rule(action="own", project=f"{stem}-open", index="public")
    eventually(lambda: stack.page(f"{stem}-open").status == 200, within_s=PROMISE_S)
    assert stack.file(f"{stem}-open", wheel.filename).status == 200
    stack.remove_rule(exact)
    eventually(lambda: stack.page(f"{stem}-open").status == 404, within_s=PROMISE_S)
    stack.remove_rule(wide)


def test_owner_outside_the_repository(stack: Stack, index: FakeIndex, project: str) -> None:
    """A name whose owner is no index of the repository is 404 there (DESIGN 11)."""
    index.add(project, make_wheel(project, "1.0"))
    stack.drop(make_wheel(project, "0.1"))
    stack.add_rule(action="own", project=project, index="public", reason="public is right")
    eventually(lambda: stack.page(project, repository="inside").status == 404, within_s=PROMISE_S)


def test_extends_merges_after_the_owner(stack: Stack, index: FakeIndex, shelved: Shelved) -> None:
    """`extends` merges another index's files after the owner's; the same file name is the owner's (DESIGN 5)."""
    project, ours = shelved.project, shelved.wheel
    theirs = index.add(project, make_wheel(project, "2.0"))
    index.add(project, make_wheel(project, "1.0"))
    assert stack.page(project).filenames == [ours.filename]
    claims = stack.api("GET", "/rules", action="own", project=project).json()["items"]
    for claim in claims:
        etag = {"If-Match": stack.api("GET", f"/rules/{claim['id']}").headers["ETag"]}
        extended = stack.api("PATCH", f"/rules/{claim['id']}", {"extends": ["public"]}, headers=etag)
        assert extended.status == 200, extended.body
    eventually(lambda: stack.page(project).filenames == [ours.filename, theirs.filename], within_s=PROMISE_S)
    assert stack.page(project).file(ours.filename)["hashes"]["sha256"] == ours.sha256
    assert stack.file(project, ours.filename).body == ours.data
    eventually(lambda: stack.file(project, theirs.filename).body == theirs.data, within_s=PROMISE_S)


def test_extends_needs_every_index(stack: Stack, index: FakeIndex, shelved: Shelved) -> None:
    """While an index that takes part in a merge cannot be asked there is no half a page, and no file of either."""
    project, ours = shelved.project, shelved.wheel
    theirs = index.add(project, make_wheel(project, "2.0"))
    index.switch(f"/simple/{project}/", status(500))
    (claim,) = stack.api("GET", "/rules", action="own", project=project).json()["items"]
    etag = {"If-Match": f'"{claim["revision"]}"'}
    assert stack.api("PATCH", f"/rules/{claim['id']}", {"extends": ["public"]}, headers=etag).status == 200
    paths = [
        f"/simple/{project}/",
        f"/files/{project}/{ours.filename}",
        f"/files/{project}/{theirs.filename}",
    ]
    expected = [503, 503, 503]
    eventually(lambda: [stack.get(path).status for path in paths] == expected, within_s=PROMISE_S)
    index.behave(f"/simple/{project}/")
    eventually(lambda: [stack.get(path).status for path in paths] == [200, 200, 200], within_s=10)
    page = stack.page(project).json()
    assert page["versions"] == ["1.0", "2.0"]
    # The public index speaks 1.1: no more can be promised of the whole.
    assert page["meta"]["api-version"] == "1.1"


def test_refusing_never_makes_another_index_answer(stack: Stack, index: FakeIndex, shelved: Shelved) -> None:
    """Refusing every file of an owner does not let another index answer (DESIGN 5)."""
    project, own = shelved.project, shelved.wheel
    attack = public_copy(index, project)
    stack.add_rule(action="block", project=project, index="internal")
    eventually(lambda: stack.file(project, own.filename).status == 403, within_s=PROMISE_S)
    assert_never_public(stack, index, project, attack)
    assert stack.get(f"/strict/simple/{project}/", {"Accept": JSON_TYPE}).json()["files"] == []


def test_internal_remote_index_away(new_stack: Callable[..., Stack]) -> None:
    """While an internal remote index cannot be asked, its names are 5xx and never the public index's (DESIGN 8)."""
    failures = {"reset": close_connection, "status": status(500), "garbage": status(200), "hang": hang}
    with ExitStack() as opened:
        public = opened.enter_context(FakeIndex())
        internal = {name: opened.enter_context(FakeIndex()) for name in (*failures, "down")}
        settings = 'internal = true\npage_ttl = "1s"\nstale_if_error = "1s"\n'
        tables = ""
        for name, index in internal.items():
            index.add(f"core-{name}", make_wheel(f"core-{name}", "1.0"))
            tables += f'[indexes.{name}]\nurl = "{index.url}"\n{settings}'
            tables += f'[repositories.with-{name}]\nindexes = ["{name}", "public"]\n'
        stack = new_stack(index_url=public.url, packages=False, tables=tables)
        stack.start()
        paths = []
        for name in internal:
            assert stack.page(f"core-{name}", repository=f"with-{name}").json()["versions"] == ["1.0"]
            for project in (f"core-{name}", f"unseen-{name}"):
                attack = public_copy(public, project)
                paths += [
                    f"/with-{name}/simple/{project}/",
                    f"/with-{name}/files/{project}/{attack.filename}",
                ]
        internal["down"].go_down()
        for name, behaviour in failures.items():
            internal[name].switch("/*", behaviour)

        hanging = [path for path in paths if "unseen-hang" in path]
        quick = [path for path in paths if "-hang" not in path]

        def all_turned_away() -> bool:
            answers = {path: stack.get(path) for path in quick}
            for path, answer in answers.items():
                assert b"99.0" not in answer.body or answer.status != 200, path
                assert answer.status in AWAY or "unseen" not in path, path
            return all(answer.status in AWAY for answer in answers.values())

        with ThreadPoolExecutor(len(hanging)) as clients:
            waited_for = [clients.submit(stack.get, path) for path in hanging]
            eventually(all_turned_away, within_s=30, what="no stale page left")
            assert {answer.result().status for answer in waited_for} <= AWAY
        assert public.requests("core-") == []
        assert public.requests("unseen-") == []
        internal["down"].come_up()
        for index in internal.values():
            index.behave()
        for name in internal:
            eventually(partial(_is_served, stack, f"/with-{name}/simple/core-{name}/"), within_s=30)


def _is_served(stack: Stack, path: str) -> bool:
    return stack.get(path).status == 200
