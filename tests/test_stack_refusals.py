"""How refusals look, and how fast they hold (DESIGN 2, 3, 5; STANDARDS C20-C46, T50-T52, T77, T83, T87, T90, T96)."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from decider.files import FileIdentity
from decider.store import open_store
from tests.fake_index import FakeIndex
from tests.stack import JSON_TYPE, PROMISE_S, Answer, Stack, eventually
from tests.uploads import Distribution, make_sdist, make_wheel

pytestmark = pytest.mark.stack

REASON = "CVE-2026-1: bad things"


@pytest.fixture
def wheels(index: FakeIndex, project: str) -> dict[str, Distribution]:
    """Wheels 1.0, 1.1 and 2.0 of `project` on the public index."""
    return {version: index.add(project, make_wheel(project, version)) for version in ("1.0", "1.1", "2.0")}


def identity_of(file: Distribution) -> FileIdentity:
    """As an index lists it."""
    return FileIdentity(file.filename, f"sha256:{file.sha256}")


def refused(answer: Answer) -> bool:
    return answer.status == 403


def refusal(stack: Stack, path: str) -> Answer:
    """The refusal of that path, as soon as it is refused."""
    return eventually(
        lambda: found if refused(found := stack.get(path)) else None, within_s=PROMISE_S, what=path
    )


def test_block_reaches_cached_page_and_file(
    stack: Stack, project: str, wheels: dict[str, Distribution]
) -> None:
    """A block acknowledged by the API holds within 2 s for page, file and metadata that are cached (T83, T87)."""
    bad = wheels["2.0"]
    paths = [f"/files/{project}/{bad.filename}", f"/files/{project}/{bad.filename}.metadata"]
    for _ in range(2):
        assert [stack.get(path).status for path in paths] == [200, 200]
        assert "yanked" not in stack.page(project).file(bad.filename)
    rule = stack.add_rule(action="block", project=project, versions="==2.0")
    eventually(
        lambda: all(refused(stack.get(path)) for path in paths), within_s=PROMISE_S, what="files refused"
    )
    eventually(lambda: stack.page(project).file(bad.filename).get("yanked"), within_s=PROMISE_S, what="page")
    stack.remove_rule(rule)
    eventually(
        lambda: stack.file(project, bad.filename).body == bad.data, within_s=PROMISE_S, what="rule removed"
    )
    eventually(lambda: "yanked" not in stack.page(project).file(bad.filename), within_s=PROMISE_S)


def test_status_line_headers_and_body(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A refused file answers 403 with the reason in the status line, the headers and a problem body (DESIGN 3)."""
    rule = stack.add_rule(
        action="block", project=project, versions="==2.0", reference="https://advisory.example/1"
    )
    answer = refusal(stack, f"/files/{project}/{wheels['2.0'].filename}")
    assert (answer.status, answer.reason) == (403, f"Blocked: {REASON} ({rule['id']})")
    assert answer.headers.get_all("Content-Type") == ["application/problem+json"]
    assert answer.headers["X-Decider-Verdict"] == "block"
    assert answer.headers["X-Decider-Rule"] == rule["id"]
    assert answer.headers["X-Decider-Reason"] == REASON
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Retry-After" not in answer.headers
    assert "ETag" not in answer.headers
    problem = answer.json()
    assert problem["status"] == 403
    assert REASON in problem["detail"]
    assert rule["id"] in answer.text
    assert "https://advisory.example/1" in answer.text
    assert f"/why/{project}" in answer.text


@pytest.mark.parametrize(
    ("method", "headers", "suffix"),
    [
        ("GET", {}, ""),
        ("HEAD", {}, ""),
        ("GET", {"Range": "bytes=0-9"}, ""),
        ("GET", {"Range": "bytes=-10000"}, ""),
        ("GET", {"Range": "bytes=0-9", "If-Range": "ETAG"}, ""),
        ("GET", {"If-None-Match": "ETAG"}, ""),
        ("GET", {"If-Modified-Since": "Fri, 31 Dec 2100 23:59:59 GMT"}, ""),
        ("GET", {"If-None-Match": "*"}, ""),
        ("GET", {}, ".metadata"),
        ("HEAD", {}, ".metadata"),
        ("GET", {"If-None-Match": "*"}, ".metadata"),
        ("GET", {"Accept-Encoding": "gzip"}, ""),
        ("GET", {"Accept": JSON_TYPE}, ""),
    ],
)
def test_every_way_to_ask_is_refused(
    stack: Stack,
    project: str,
    wheels: dict[str, Distribution],
    *,
    method: str,
    headers: dict[str, str],
    suffix: str,
) -> None:
    """HEAD, Range, conditional requests and `.metadata` are refused as GET is, from a warm cache too (T77, C22)."""
    bad = wheels["2.0"]
    path = f"/files/{project}/{bad.filename}{suffix}"
    tag = stack.get(path).headers["ETag"]
    stack.add_rule(action="block", project=project, versions="==2.0")
    sent = {name: value.replace("ETAG", tag) for name, value in headers.items()}
    answer = eventually(
        lambda: found if refused(found := stack.get(path, sent, method=method)) else None, within_s=PROMISE_S
    )
    assert answer.reason.startswith(f"Blocked: {REASON} (")
    assert answer.headers["X-Decider-Verdict"] == "block"
    assert "no-store" in answer.headers["Cache-Control"]
    assert bad.data[:30] not in answer.body
    assert (answer.body == b"") == (method == "HEAD")


def test_refused_file_is_never_fetched(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file that is refused before anyone had it is never fetched from its index."""
    wheel = index.add(project, make_wheel(project, "1.0"))
    stack.add_rule(action="block", project=project)
    # Known as soon as the page shows it; so this very file need not be asked for before.
    eventually(lambda: "yanked" in stack.page(project).file(wheel.filename), within_s=PROMISE_S)
    assert refused(stack.file(project, wheel.filename))
    assert refused(stack.file(project, f"{wheel.filename}.metadata"))
    assert index.requests("/files/") == [
        seen for seen in index.requests("/files/") if project not in seen.path
    ]


def test_page_lists_the_refused_as_yanked(
    stack: Stack, project: str, wheels: dict[str, Distribution]
) -> None:
    """The page lists a blocked file as yanked with reason and rule, and leaves the others alone (T50, C33)."""
    before = stack.page(project)
    rule = stack.add_rule(action="block", project=project, versions=">=2")
    text = f"Blocked: {REASON} ({rule['id']})"
    eventually(
        lambda: stack.page(project).file(wheels["2.0"].filename).get("yanked") == text,
        within_s=PROMISE_S,
        what="yanked with our reason",
    )
    page = stack.page(project)
    for version in ("1.0", "1.1"):
        name = wheels[version].filename
        assert page.file(name) == before.file(name)
        assert stack.file(project, name).status == 200
    (entry,) = page.json()["_decider"]["refused"]
    assert entry == {
        "filename": wheels["2.0"].filename,
        "verdict": "block",
        "rule": rule["id"],
        "reason": REASON,
        "until": None,
    }
    assert page.json()["_decider"]["revision"] > before.json()["_decider"]["revision"]
    html = stack.page(project, accept="text/html").text
    assert f'data-yanked="{text}"' in html


def test_project_refused_whole(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A project blocked whole is a 200 page with every file yanked, never 403 or 404 (T52, C35)."""
    stack.add_rule(action="block", project=project)

    def all_yanked() -> bool:
        answer = stack.page(project)
        assert answer.status == 200
        return all("Blocked:" in str(entry.get("yanked")) for entry in answer.json()["files"])

    eventually(all_yanked, within_s=PROMISE_S)
    assert len(stack.page(project).filenames) == len(wheels)
    for wheel in wheels.values():
        assert refused(stack.file(project, wheel.filename))


def test_hidden_refusals(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """Where `refused_files = "hidden"`, refused files leave page and versions, and their URLs answer 403 (DESIGN 3)."""
    bad = wheels["2.0"]
    stack.add_rule(action="block", project=project, versions="==2.0")
    eventually(
        lambda: bad.filename not in stack.page(project, repository="strict").filenames, within_s=PROMISE_S
    )
    page = stack.page(project, repository="strict").json()
    assert "2.0" not in page["versions"]
    answer = refusal(stack, f"/strict/files/{project}/{bad.filename}")
    assert (answer.status, answer.reason.split(":")[0]) == (403, "Blocked")


def test_yanked_by_the_index_and_blocked(stack: Stack, index: FakeIndex, project: str) -> None:
    """A file that is yanked by its index and blocked by us stays yanked and says our reason (T51, S51)."""
    wheel = index.add(project, make_wheel(project, "1.0"), fields={"yanked": "upstream says no"})
    stack.add_rule(action="block", project=project)
    eventually(
        lambda: REASON in str(stack.page(project).file(wheel.filename)["yanked"]),
        within_s=PROMISE_S,
    )


def test_yank_rule(stack: Stack, index: FakeIndex, project: str) -> None:
    """A `yank` rule lists the file as yanked after the index's own reason, and the file is served (DESIGN 11)."""
    plain = index.add(project, make_wheel(project, "1.0"))
    both = index.add(project, make_wheel(project, "1.1"), fields={"yanked": "upstream says no"})
    rule = stack.add_rule(action="yank", project=project, reason="use 2.0")
    eventually(
        lambda: stack.page(project).file(plain.filename).get("yanked") == f"Yanked: use 2.0 ({rule['id']})",
        within_s=PROMISE_S,
    )
    text = stack.page(project).file(both.filename)["yanked"]
    assert text.startswith("upstream says no")
    assert text.endswith(f"Yanked: use 2.0 ({rule['id']})")
    assert stack.file(project, plain.filename).body == plain.data


def test_hold_opens_a_review(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A held file is refused as held and asked about; approving the review serves it (DESIGN 5, 6)."""
    bad = wheels["2.0"]
    rule = stack.add_rule(action="hold", project=project, versions="==2.0", reason="waits for security")
    answer = refusal(stack, f"/files/{project}/{bad.filename}")
    assert (answer.status, answer.reason) == (403, f"Held: waits for security ({rule['id']})")
    assert answer.headers["X-Decider-Verdict"] == "hold"
    assert stack.page(project).file(bad.filename)["yanked"] == f"Held: waits for security ({rule['id']})"

    def reviews() -> list[dict[str, object]]:
        items: list[dict[str, object]] = stack.api("GET", "/reviews").json()["items"]
        return [item for item in items if item["project"] == project]

    (review,) = eventually(reviews, within_s=PROMISE_S, what="the review")
    assert (review["state"], review["filename"], review["rule"]) == ("open", bad.filename, rule["id"])
    decided = stack.api("POST", f"/reviews/{review['id']}", {"decision": "approve", "reason": "read it"})
    assert decided.status == 200, decided.body
    eventually(lambda: stack.file(project, bad.filename).body == bad.data, within_s=PROMISE_S)


def test_waiver(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """An `allow` lifts a block for what it matches, and no final one unless it names it (DESIGN 5)."""
    block = stack.add_rule(action="block", project=project)
    stack.add_rule(action="allow", project=project, versions="==1.1", reason="reviewed by us")
    eventually(lambda: stack.file(project, wheels["1.1"].filename).status == 200, within_s=PROMISE_S)
    refusal(stack, f"/files/{project}/{wheels['1.0'].filename}")
    final = stack.add_rule(action="block", project=project, versions="==1.1", final=True, reason="really")
    eventually(lambda: refused(stack.file(project, wheels["1.1"].filename)), within_s=PROMISE_S)
    assert stack.file(project, wheels["1.1"].filename).headers["X-Decider-Rule"] == final["id"]
    stack.add_rule(
        action="allow", project=project, versions="==1.1", lifts=[block["id"], final["id"]], reason="accepted"
    )
    eventually(lambda: stack.file(project, wheels["1.1"].filename).status == 200, within_s=PROMISE_S)


def test_rule_expires_by_itself(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A rule that ends by time lets page and file go within 2 s of that moment, and nobody has to do anything."""
    bad = wheels["2.0"]
    ends = datetime.now(UTC) + timedelta(seconds=3)
    stack.add_rule(action="block", project=project, versions="==2.0", expires_at=ends.isoformat())
    refusal(stack, f"/files/{project}/{bad.filename}")
    assert "Blocked" in stack.page(project).file(bad.filename)["yanked"]
    eventually(lambda: stack.file(project, bad.filename).status == 200, within_s=3 + PROMISE_S)
    eventually(lambda: "yanked" not in stack.page(project).file(bad.filename), within_s=PROMISE_S)
    assert datetime.now(UTC) >= ends


def test_cooldown(stack: Stack, index: FakeIndex, project: str) -> None:
    """A cooldown holds young files by the index's clock, and those without a time by ours (DESIGN 5)."""
    old = index.add(project, make_wheel(project, "1.0"))
    young = datetime.now(UTC) - timedelta(hours=1)
    new = index.add(
        project, make_wheel(project, "1.1"), fields={"upload-time": young.strftime("%Y-%m-%dT%H:%M:%SZ")}
    )
    timeless = index.add(project, make_wheel(project, "1.2"), omit=("upload-time",))
    rule = stack.add_rule(action="hold", project=project, younger_than="7d", reason="cooldown")
    eventually(lambda: refused(stack.file(project, new.filename)), within_s=PROMISE_S)
    assert refused(stack.file(project, timeless.filename))
    assert stack.file(project, old.filename).status == 200
    refusals = {entry["filename"]: entry for entry in stack.page(project).json()["_decider"]["refused"]}
    assert set(refusals) == {new.filename, timeless.filename}
    assert {entry["rule"] for entry in refusals.values()} == {rule["id"]}
    until = datetime.fromisoformat(refusals[new.filename]["until"])
    assert abs(until - (young + timedelta(days=7))) < timedelta(seconds=2)


def test_cooldown_of_another_upload(stack: Stack, index: FakeIndex, project: str) -> None:
    """Where no upload time tells, other bytes under the name of an old file wait anew: held on the page, 403 as a file."""
    wheel, other = make_wheel(project, "1.0"), make_wheel(project, "1.0", padding=3_200)
    assert wheel.data != other.data
    assert wheel.filename == other.filename
    new = make_wheel(project, "1.1")
    for file in (wheel, new):
        index.add(project, file, omit=("upload-time",))
    month_ago = datetime.now(UTC) - timedelta(days=30)
    with closing(open_store("sqlite", path=str(stack.data_dir))) as store:
        store.note_first_seen("public", project, [identity_of(wheel)], at=month_ago)
    stack.add_rule(action="hold", project=project, younger_than="7d", reason="cooldown")
    refusal(stack, f"/files/{project}/{new.filename}")
    assert stack.file(project, wheel.filename).body == wheel.data
    page = eventually(
        lambda: got if "yanked" in (got := stack.page(project)).file(new.filename) else None,
        within_s=PROMISE_S,
    )
    assert "yanked" not in page.file(wheel.filename)

    index.add(project, other, omit=("upload-time",))
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status == 200

    def is_held() -> bool:
        answer, entry = stack.file(project, other.filename), stack.page(project).file(other.filename)
        assert other.data not in answer.body
        assert entry["hashes"] != {"sha256": other.sha256} or "Held" in entry["yanked"]
        return refused(answer) and entry["hashes"] == {"sha256": other.sha256}

    eventually(is_held, within_s=PROMISE_S)
    for suffix in ("", ".metadata"):
        answer = stack.get(f"/files/{project}/{other.filename}{suffix}")
        assert (answer.status, answer.headers["X-Decider-Verdict"]) == (403, "hold")
    eventually(
        lambda: "first seen" in stack.file(project, other.filename).json()["detail"], within_s=PROMISE_S
    )
    # The bytes of before are as old as they were.
    index.add(project, wheel, omit=("upload-time",))
    assert stack.api("POST", "/indexes/public/refresh", {"project": project}).status == 200
    eventually(lambda: stack.file(project, wheel.filename).body == wheel.data, within_s=PROMISE_S)
    eventually(lambda: "yanked" not in stack.page(project).file(wheel.filename), within_s=PROMISE_S)


@pytest.mark.parametrize(
    "reason",
    [
        "naïve déjà vu ✓",
        "one\r\nX-Injected: yes\r\n\r\n<html>",
        "\x1b[31mred\x1b[0m",
        "y" * 5000,
        '<script>alert(1)</script> "quoted" & more',
        "$request_uri ${host} %s {0} \\",
    ],
    ids=["unicode", "crlf", "escape", "long", "markup", "variables"],
)
def test_odd_reasons(stack: Stack, project: str, wheels: dict[str, Distribution], reason: str) -> None:
    """A reason goes into status line and headers as at most 200 printable ASCII characters, whole into the body (T96)."""
    bad = wheels["2.0"]
    answer = stack.api("POST", "/rules", {"action": "block", "project": project, "reason": reason})
    assert answer.status in {201, 422}
    if answer.status == 422:
        # Control characters may be refused on input; anything printable may not.
        assert any(ord(character) < 32 for character in reason) or len(reason) > 1000
        return
    rule_id = answer.json()["id"]
    refusal(stack, f"/files/{project}/{bad.filename}")
    head = stack.raw(
        f"GET /files/{project}/{bad.filename} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    lines, _, _ = head.partition(b"\r\n\r\n")
    status_line, *headers = lines.split(b"\r\n")
    assert status_line.startswith(b"HTTP/1.1 403 Blocked: ")
    assert status_line.endswith(f"({rule_id})".encode())
    assert len(status_line) <= len("HTTP/1.1 403 ") + 200
    assert all(32 <= byte < 127 for byte in status_line)
    assert not any(line.lower().startswith(b"x-injected") for line in headers)
    (said,) = [line for line in headers if line.lower().startswith(b"x-decider-reason:")]
    assert all(32 <= byte < 127 for byte in said)
    assert len(said) <= len("X-Decider-Reason: ") + 200
    shown = stack.file(project, bad.filename).json()
    assert reason.strip()[:400].split("\r")[0] in shown["detail"]
    page = eventually(
        lambda: got if b"Blocked" in (got := stack.page(project)).body else None, within_s=PROMISE_S
    )
    assert 0 < len(page.file(bad.filename)["yanked"]) <= 500
    html = stack.page(project, accept="text/html").text
    assert "<script>" not in html


def test_why(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """`/why` tells people what is refused, by which rule and why, as HTML and as JSON, escaped (DESIGN 3)."""
    rule = stack.add_rule(action="block", project=project, versions="==2.0", reason="bad <b>things</b>")
    bad = wheels["2.0"].filename
    for path in (f"/why/{project}", f"/why/{project}/{bad}"):
        html = eventually(
            lambda path=path: (
                found if rule["id"] in (found := stack.get(path, {"Accept": "text/html"})).text else None
            ),  # type: ignore[misc]
            within_s=PROMISE_S,
        )
        assert html.content_type.startswith("text/html")
        assert "bad &lt;b&gt;things" in html.text
        assert "<b>things" not in html.text
        data = stack.get(path, {"Accept": "application/json"})
        assert data.content_type.startswith("application/json")
        assert rule["id"] in data.text


def test_rules_for_one_repository(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A rule for one repository leaves the others alone (DESIGN 5)."""
    bad = wheels["2.0"].filename
    stack.add_rule(action="block", project=project, repositories=["strict"])
    eventually(lambda: refused(stack.get(f"/strict/files/{project}/{bad}")), within_s=PROMISE_S)
    assert stack.file(project, bad).status == 200
    assert stack.get(f"/default/files/{project}/{bad}").status == 200


def test_rule_touches_no_other_project(stack: Stack, index: FakeIndex, project: str) -> None:
    """A rule change leaves the pages of other projects as they were, byte for byte (DESIGN 2)."""
    other = f"other-{project}"
    index.add(project, make_wheel(project, "1.0"))
    index.add(other, make_wheel(other, "1.0"))
    before = stack.page(other)
    stack.add_rule(action="block", project=project)
    eventually(lambda: "yanked" in stack.page(project).json()["files"][0], within_s=PROMISE_S)
    after = stack.page(other)
    assert (after.body, after.headers["ETag"]) == (before.body, before.headers["ETag"])


@pytest.mark.parametrize("pattern", ["{0}-*", "{0}*"])
def test_patterns(stack: Stack, index: FakeIndex, project: str, pattern: str) -> None:
    """A namespace matches the name itself and all below; a prefix whatever begins so (DESIGN 5, PEP 752)."""
    stem = f"ns-{project}"
    inside = {name: index.add(name, make_wheel(name, "1.0")) for name in (stem, f"{stem}-tool", f"{stem}x")}
    rule = stack.add_rule(action="block", project=pattern.format(stem))
    expected = {stem: 403, f"{stem}-tool": 403, f"{stem}x": 200 if pattern.endswith("-*") else 403}

    def statuses() -> dict[str, int]:
        return {name: stack.file(name, wheel.filename).status for name, wheel in inside.items()}

    eventually(lambda: statuses() == expected, within_s=PROMISE_S)
    stack.remove_rule(rule)


def test_conditions(stack: Stack, index: FakeIndex, project: str) -> None:
    """Digest, file type, file name and provenance conditions each refuse what they match and nothing else."""
    wheel = index.add(
        project, make_wheel(project, "1.0"), fields={"provenance": "https://index.example/provenance"}
    )
    sdist = index.add(project, make_sdist(project, "1.0"), metadata=False)

    def verdicts() -> tuple[int, int]:
        return (stack.file(project, wheel.filename).status, stack.file(project, sdist.filename).status)

    for condition, expected in (
        ({"sha256": wheel.sha256}, (403, 200)),
        ({"file_type": "sdist"}, (200, 403)),
        ({"filename": "*.whl"}, (403, 200)),
        ({"attested": False}, (200, 403)),
        ({"index": "internal"}, (200, 200)),
        ({"index": "public"}, (403, 403)),
    ):
        rule = stack.add_rule(action="block", project=project, **condition)
        eventually(lambda expected=expected: verdicts() == expected, within_s=PROMISE_S, what=str(condition))  # type: ignore[misc]
        stack.remove_rule(rule)
        eventually(lambda: verdicts() == (200, 200), within_s=PROMISE_S, what=f"without {condition}")


def test_ruleset_replaced(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """A ruleset is replaced as a whole, and the new one holds within 2 s (DESIGN 6)."""

    def put(*versions: str) -> dict[str, int]:
        rules = [
            {"action": "block", "project": project, "versions": f"=={version}", "reason": "feed"}
            for version in versions
        ]
        answer = stack.api("PUT", f"/rulesets/{project}", {"rules": rules})
        assert answer.status in {200, 201}, answer.body
        found: dict[str, int] = answer.json()
        return found

    assert put("1.0", "2.0")["added"] == 2
    eventually(lambda: refused(stack.file(project, wheels["1.0"].filename)), within_s=PROMISE_S)
    change = put("2.0", "1.1")
    assert (change["added"], change["removed"], change["unchanged"]) == (1, 1, 1)
    eventually(lambda: refused(stack.file(project, wheels["1.1"].filename)), within_s=PROMISE_S)
    eventually(lambda: stack.file(project, wheels["1.0"].filename).status == 200, within_s=PROMISE_S)


def test_api_through_nginx(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """The API answers through nginx with the contract's statuses; documents need no token (DESIGN 6, 11)."""
    assert stack.get("/api/v1/openapi.json").json()["openapi"].startswith("3.")
    assert stack.get("/api/v1/docs").content_type.startswith("text/html")
    assert stack.get("/api/v1/rules").status == 401
    assert stack.api("GET", "/rules", token="wrong").status == 401
    rule = stack.add_rule(action="block", project=project, versions="==2.0")
    shown = stack.api("GET", f"/rules/{rule['id']}")
    assert shown.json() == rule
    assert stack.api("PATCH", f"/rules/{rule['id']}", {"reason": "x"}).status == 428
    stale = {"If-Match": '"0"'}
    assert stack.api("PATCH", f"/rules/{rule['id']}", {"reason": "x"}, headers=stale).status == 412
    fresh = {"If-Match": shown.headers["ETag"]}
    assert stack.api("PATCH", f"/rules/{rule['id']}", {"reason": "worse"}, headers=fresh).status == 200
    bad = wheels["2.0"].filename
    eventually(lambda: stack.file(project, bad).reason.startswith("Blocked: worse"), within_s=PROMISE_S)
    unknown = stack.api("POST", "/rules", {"action": "block", "project": project, "reason": "x", "oops": 1})
    assert unknown.status == 422
    assert stack.api("GET", "/rules", nonsense="1").status == 422
    explained = stack.api("GET", "/explain", project=project, version="2.0").json()
    (file,) = explained["files"]
    assert (file["verdict"], file["rules"]) == ("block", [rule["id"]])
    audit = stack.api("GET", "/audit", rule=rule["id"]).json()["items"]
    assert [entry["action"] for entry in audit] == ["rule.add", "rule.change"]


def test_every_process_knows(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """2 s after its acknowledgement a block holds whichever process is asked, for warm and for cold requests."""
    wheels = [own_index.add("demo", make_wheel("demo", f"1.{number}")) for number in range(30)]
    stack = new_stack(index_url=own_index.url, workers=4)
    stack.start()
    for wheel in wheels[:10]:
        assert stack.file("demo", wheel.filename).status == 200
    stack.add_rule(action="block", project="demo")
    acknowledged = time.monotonic()
    eventually(lambda: time.monotonic() - acknowledged >= PROMISE_S, within_s=PROMISE_S + 1)
    assert [stack.file("demo", wheel.filename).status for wheel in wheels] == [403] * 30
    assert all("Blocked" in entry["yanked"] for entry in stack.page("demo").json()["files"])


def test_usage_and_exposure(stack: Stack, project: str, wheels: dict[str, Distribution]) -> None:
    """Usage tells who had a file, cached or not, and exposure who has what is now refused (DESIGN 6)."""
    name = wheels["2.0"].filename
    for _ in range(2):
        assert stack.file(project, name, User_Agent="pip/26.3 {}").status == 200

    def usage() -> list[dict[str, object]]:
        items: list[dict[str, object]] = stack.api("GET", "/usage", project=project).json()["items"]
        return items

    eventually(lambda: len(usage()) == 2, within_s=10, what="two downloads in usage")
    assert {(item["filename"], item["client"], item["verdict"]) for item in usage()} == {
        (name, "127.0.0.1", "allow")
    }
    rule = stack.add_rule(action="block", project=project, versions="==2.0")
    (exposed,) = stack.api("GET", f"/rules/{rule['id']}/exposure").json()["items"]
    assert (exposed["filename"], exposed["client"], exposed["count"]) == (name, "127.0.0.1", 2)
