"""decider.cli: commands against a real SQLite store and a local index, exit statuses, what is printed where."""

import json
import os
import pwd
import re
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis, RedisError

from decider import __version__
from decider.cli import main
from decider.cli.output import one_line
from decider.cli.ruleset_files import read_rules, render_rules
from decider.cli.wanted import is_exact, parse_target, read_lock, read_requirements
from decider.errors import InvalidName, InvalidRequest
from decider.requirements_files import Wanted
from decider.rules import Action, RuleDraft
from decider.store import Role, open_store
from decider.tokens import hash_secret
from tests.distributions import make_sdist, make_wheel, set_age
from tests.stack import eventually, free_port
from tests.test_stack_failures import redis_server

Run = Callable[..., Result]
Said = Callable[..., str]
ACTOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder with one local index and no configuration file."""
    for variable in [name for name in os.environ if name.upper().startswith(("DECIDER_", "PIP_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DECIDER_INDEXES__PYPI__URL", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("DECIDER_LISTEN", "127.0.0.1:6")  # so that nothing answers on the internal port, 7
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, input=None: CliRunner().invoke(main, arguments, input=input)  # noqa: A006


@pytest.fixture
def said(run: Run) -> Said:
    """Standard output of a command that has to succeed."""

    def ran(*arguments: str, input: str | None = None) -> str:  # noqa: A002
        result = run(*arguments, input=input)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    return ran


def add(said: Said, project: str, action: str = "block", *options: str) -> str:
    """A rule's id."""
    return said("rules", "add", project, "--action", action, "--reason", "because", *options).strip()


# The whole


def test_version(said: Said) -> None:
    """`decider --version` says the version."""
    assert said("--version") == f"decider {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "up", "serve", "egress", "nginx-config", "check", "rules", "rules add", "rules list", "rules remove", "rules import",
        "rules export", "explain", "token", "token create", "token list", "token revoke", "audit", "audit verify",
        "audit export", "store", "store migrate",
    ],
)  # fmt: skip
def test_every_command_takes_config_and_json(said: Said, command: str) -> None:
    """Every command has --help, --config and --json."""
    text = said(*command.split(), "--help")
    assert "--config FILE" in text
    assert "--json" in text


def test_help_keeps_examples(said: Said) -> None:
    """Examples in help texts stand on lines of their own."""
    assert re.search(
        r"^ +decider rules add evil --action block", said("rules", "add", "--help"), re.MULTILINE
    )


def test_faulty_settings(run: Run, tmp_path: Path) -> None:
    """Each fault of the settings is a line on standard error, and the exit status is 2."""
    (tmp_path / "decider.toml").write_text('grace = "x"\nlisten_port = 3\n')
    result = run("rules", "list")
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["decider", "grace"],
        ["decider", "listen_port"],
    ]


def test_config_is_found(run: Run, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config comes before $DECIDER_CONFIG, that before ./decider.toml; before or after the command."""
    for name in ("decider", "variable", "option"):
        (tmp_path / f"{name}.toml").write_text(f'data_dir = "{name}"\n')
    add(said, "demo")
    assert (tmp_path / "decider" / "decider.sqlite").exists()
    monkeypatch.setenv("DECIDER_CONFIG", "variable.toml")
    add(said, "demo")
    assert (tmp_path / "variable" / "decider.sqlite").exists()
    assert json.loads(said("--config", "option.toml", "rules", "list", "--json"))["items"] == []
    assert json.loads(said("--json", "rules", "list", "--config", "option.toml"))["items"] == []
    assert (tmp_path / "option" / "decider.sqlite").exists()
    assert run("rules", "list", "--config", "absent.toml").exit_code == 2


def test_store_that_is_away(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store that cannot be opened is one line on standard error and exit status 1."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DECIDER_DATA_DIR", "file")
    result = run("rules", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"decider: .+\n", result.stderr)


# Rules


def test_add_rule(said: Said) -> None:
    """`rules add` prints the rule's id alone; every option ends up in its field."""
    hold = add(said, "*", "hold", "--younger-than", "7d", "--final")
    allow = add(
        said, "Foo_Bar", "allow", "--versions", ">=1,<2", "--filename", "*.whl", "--sha256", "A" * 64, "--file-type",
        "wheel", "--index", "pypi", "--uploaded-after", "2026-01-01T00:00:00+01:00", "--not-attested", "--repository",
        "default", "--lifts", hold, "--reference", "OPS-1", "--expires", "2999-01-01T00:00:00Z",
    )  # fmt: skip
    own = add(said, "acme-*", "own", "--index", "internal", "--extends", "pypi")
    listed = {rule["id"]: rule for rule in json.loads(said("rules", "list", "--json"))["items"]}
    assert list(listed) == [hold, allow, own]
    kept = {"id", "ruleset", "created_by", "created_at", "updated_by", "updated_at", "revision"}

    def fields(rule_id: str) -> dict[str, Any]:
        return {
            name: value
            for name, value in listed[rule_id].items()
            if name not in kept and value is not None and value is not False
        }

    assert fields(hold) == {
        "action": "hold",
        "project": "*",
        "reason": "because",
        "younger_than": "7d",
        "final": True,
    }
    assert listed[allow]["attested"] is False
    assert fields(allow) == {
        "action": "allow",
        "project": "foo-bar",
        "reason": "because",
        "versions": ">=1,<2",
        "filename": "*.whl",
        "sha256": "a" * 64,
        "file_type": "wheel",
        "index": "pypi",
        "uploaded_after": "2025-12-31T23:00:00Z",
        "repositories": ["default"],
        "lifts": [hold],
        "reference": "OPS-1",
        "expires_at": "2999-01-01T00:00:00Z",
    }
    assert fields(own)["extends"] == ["pypi"]
    assert (listed[own]["ruleset"], listed[own]["created_by"]) == ("manual", ACTOR)


def test_add_rule_as_json(said: Said) -> None:
    """`rules add --json` prints the stored rule."""
    rule = json.loads(said("rules", "add", "demo", "--action", "block", "--reason", "because", "--json"))
    assert (rule["id"], rule["project"], rule["revision"]) == (
        add(said, "other")[:-1] + rule["id"][-1],
        "demo",
        1,
    )


def test_expires_after_a_duration(said: Said) -> None:
    """--expires takes a duration from now."""
    before = datetime.now(UTC).replace(microsecond=0)
    add(said, "demo", "allow", "--expires", "2w")
    (rule,) = json.loads(said("rules", "list", "--json"))["items"]
    assert before <= datetime.fromisoformat(rule["expires_at"]) - timedelta(weeks=2) <= datetime.now(UTC)


def test_faulty_rule(run: Run, said: Said) -> None:
    """All faults of a rule are told, a line each; the exit status is 2 and nothing is stored."""
    result = run(
        "rules", "add", "no name", "--action", "own", "--reason", "x", "--versions", "~~1", "--index", "corp",
        "--repository", "nowhere",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (2, "")
    fields = [line.split(": ")[1] for line in result.stderr.splitlines()]
    assert {"project", "versions", "index", "repositories"} <= set(fields)
    assert json.loads(said("rules", "list", "--json"))["items"] == []


@pytest.mark.parametrize(
    "expires", ["soon", "2020-01-01T00:00:00Z", "2999-01-01T00:00:00", "99999999999999d"]
)
def test_faulty_expiry(run: Run, expires: str) -> None:
    """An expiry that is past, has no zone or is no time is refused with status 2."""
    result = run("rules", "add", "demo", "--action", "allow", "--reason", "x", "--expires", expires)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.match(r"decider: expires(_at)?: ", result.stderr)


def test_conflicting_rule(run: Run, said: Said) -> None:
    """A second owner of a name is refused with status 1."""
    add(said, "acme", "own", "--index", "internal")
    result = run("rules", "add", "ACME", "--action", "own", "--reason", "x", "--index", "pypi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"decider: .+\n", result.stderr)


def test_list_rules(said: Said) -> None:
    """`rules list` is a table whose columns line up, filtered as asked."""
    first = add(said, "demo", "block", "--versions", "<2", "--final")
    second = add(said, "acme*", "own", "--index", "internal")
    lines = said("rules", "list").splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "ACTION", "PROJECT", "MATCHES", "RULESET", "EXPIRES", "REASON"],
        [first, "block", "demo", "versions=<2", "final=true", "manual", "-", "because"],
        [second, "own", "acme*", "index=internal", "manual", "-", "because"],
    ]
    assert (
        len({line.index(word) for line, word in zip(lines, ("RULESET", "manual", "manual"), strict=True)})
        == 1
    )

    def ids(*options: str) -> list[str]:
        return [rule["id"] for rule in json.loads(said("rules", "list", "--json", *options))["items"]]

    assert ids("--project", "Demo") == [first]
    assert ids("--project", "ACME*") == [second]
    assert ids("--action", "own") == [second]
    assert ids("--ruleset", "manual") == [first, second]
    assert ids("--ruleset", "feed") == []


def test_list_many_rules(said: Said, tmp_path: Path) -> None:
    """`rules list` goes on where the store's pages end."""
    rules = [{"action": "block", "project": f"p{number}", "reason": "x"} for number in range(1_003)]
    (tmp_path / "many.json").write_text(json.dumps(rules))
    said("rules", "import", "many.json", "--ruleset", "many")
    assert len(json.loads(said("rules", "list", "--json"))["items"]) == 1_003


def test_list_expired_rules(said: Said, tmp_path: Path) -> None:
    """Expired rules are listed with --all only, and are not exported."""
    add(said, "demo")
    store = open_store("sqlite", path=str(tmp_path / "var"))
    past = datetime(2020, 1, 1, tzinfo=UTC)
    expired = RuleDraft(action=Action.BLOCK, project="old", reason="x", expires_at=past)
    store.add_rule(expired, actor="test", at=past)
    store.close()
    assert len(json.loads(said("rules", "list", "--json"))["items"]) == 1
    assert len(json.loads(said("rules", "list", "--all", "--json"))["items"]) == 2
    assert len(tomllib.loads(said("rules", "export"))["rules"]) == 1


def test_remove_rules(run: Run, said: Said) -> None:
    """`rules remove` removes what it is given, or nothing where one of the ids is unknown."""
    first, second = add(said, "one"), add(said, "two")
    result = run("rules", "remove", first, "r9999")
    assert (result.exit_code, result.stderr) == (1, "decider: no rule `r9999`\n")
    assert len(json.loads(said("rules", "list", "--json"))["items"]) == 2
    assert said("rules", "remove", first, first, "--reason", "done") == f"removed {first}\n"
    assert json.loads(said("rules", "remove", second, "--json")) == {"removed": [second]}
    assert json.loads(said("rules", "list", "--json"))["items"] == []
    entry = json.loads(said("audit", "export").splitlines()[2])
    assert (entry["actor"], entry["rule"], entry["reason"]) == (ACTOR, first, "done")


@pytest.mark.parametrize("format_", ["toml", "json"])
def test_export_and_import(said: Said, tmp_path: Path, format_: str) -> None:
    """What was exported is imported without a change, and makes the same rules anew elsewhere."""
    add(said, "demo", "block", "--versions", "<2", "--final", "--expires", "9d", "--not-attested")
    add(said, "acme*", "own", "--index", "internal", "--extends", "pypi")
    add(said, "demo", "block")
    add(said, "demo", "block")  # two people may have said the same
    file = tmp_path / f"rules.{format_}"
    file.write_text(said("rules", "export", "--format", format_))
    assert said("rules", "import", str(file)) == "manual: 0 added, 0 removed, 0 changed, 4 unchanged\n"
    said("rules", "remove", *(rule["id"] for rule in json.loads(said("rules", "list", "--json"))["items"]))
    assert said("rules", "import", str(file)) == "manual: 4 added, 0 removed, 0 changed, 0 unchanged\n"
    assert said("rules", "export", "--format", format_) == file.read_text()


def test_export_one_ruleset(run: Run, said: Said) -> None:
    """--ruleset exports one ruleset, in the shape of the API's ruleset body; an unknown one is an error."""
    add(said, "other")
    rules = '{"rules": [{"action": "hold", "project": "demo", "reason": "x", "key": "k1"}]}'
    assert said("rules", "import", "-", "--ruleset", "feed", input=rules).startswith("feed: 1 added")
    assert json.loads(said("rules", "export", "--ruleset", "feed", "--json")) == json.loads(rules)
    assert {rule["ruleset"] for rule in tomllib.loads(said("rules", "export"))["rules"]} == {"manual", "feed"}
    assert run("rules", "export", "--ruleset", "absent").exit_code == 1


def test_export_nothing(said: Said) -> None:
    """With no rules the export is an empty list, which can be imported."""
    assert tomllib.loads(said("rules", "export", "--ruleset", "manual")) == {"rules": []}
    assert json.loads(said("rules", "export", "--json")) == {"rules": []}
    assert said("rules", "import", "-", "--ruleset", "feed", input=said("rules", "export")).startswith(
        "feed: 0 added"
    )


def test_import_replaces(said: Said) -> None:
    """An import replaces the whole ruleset and leaves others alone; --dry-run only tells."""
    kept = add(said, "kept")

    def rules(*projects: str) -> str:
        return "".join(
            f'[[rules]]\naction = "block"\nproject = "{name}"\nreason = "x"\n' for name in projects
        )

    said("rules", "import", "-", "--ruleset", "feed", input=rules("a", "b"))
    told = said("rules", "import", "-", "--ruleset", "feed", "--dry-run", input=rules("b", "c"))
    assert told == "+ block c x\n- block a x\nfeed: would be 1 added, 1 removed, 0 changed, 1 unchanged\n"
    before = json.loads(said("rules", "list", "--json", "--ruleset", "feed"))["items"]
    assert [rule["project"] for rule in before] == ["a", "b"]
    change = json.loads(said("rules", "import", "-", "--ruleset", "feed", "--json", input=rules("b", "c")))
    assert change == {"added": 1, "removed": 1, "changed": 0, "unchanged": 1, "revision": change["revision"]}
    after = json.loads(said("rules", "list", "--json", "--ruleset", "feed"))["items"]
    assert [rule["project"] for rule in after] == ["b", "c"]
    assert after[0]["id"] == before[1]["id"]
    assert json.loads(said("rules", "list", "--json", "--ruleset", "manual"))["items"][0]["id"] == kept


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"rules": 3}', ""),
        ('{"rules": [], "more": 1}', ""),
        ("not = [", ""),
        ('[{"action": "block"}]', "rules[0].project"),
        ('[{"action": "own", "project": "a", "reason": "x", "index": "absent"}]', "rules[0].index"),
        ("[3]", "rules[0]"),
        ('[{"action": "block", "action": "allow"}]', "-: not valid JSON: `action` is given more than once"),
        ("[" * 100_000, ""),
        ("a = " + "9" * 5_000, ""),
    ],
    ids=lambda text: text[:20],
)
def test_faulty_import(run: Run, text: str, field: str) -> None:
    """A file that is no list of valid rules is refused as a whole, with the place of each fault."""
    result = run("rules", "import", "-", "--ruleset", "feed", input=text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"decider: {field}" in result.stderr


def test_import_needs_a_ruleset(run: Run) -> None:
    """Rules that name no ruleset need --ruleset; a ruleset's name must fit a URL, and `claims` is decider's own."""
    rules = '[{"action": "block", "project": "demo", "reason": "x"}]'
    assert "rules[0].ruleset: must be set" in run("rules", "import", "-", input=rules).stderr
    assert run("rules", "import", "-", "--ruleset", "a/b", input=rules).exit_code == 2
    assert run("rules", "import", "-", "--ruleset", "claims", input=rules).exit_code == 1


json_rules = st.lists(
    st.dictionaries(
        st.sampled_from(["reason", "key", "lifts", "final"]),
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.booleans()
        | st.lists(st.text('a"\\\x7f\x1f\n é', max_size=9)),
        min_size=1,
    )
)


@given(json_rules, st.sampled_from(["toml", "json"]))
def test_ruleset_files_read_back(rules: list[dict[str, Any]], format_: str) -> None:
    """Whatever the texts of rules hold, the file that is written reads back as the same rules."""
    found = read_rules(render_rules(rules, format_), name=f"x.{format_}", ruleset="feed")
    assert found == {"feed": list(enumerate(rules))}


# Tokens


def test_create_token(said: Said, tmp_path: Path) -> None:
    """`token create` prints the token alone; the store knows its hash, and only that."""
    secret = said("token", "create", "ci", "--role", "editor", "--expires", "90d").strip()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43,}", secret)
    store = open_store("sqlite", path=str(tmp_path / "var"))
    found = store.find_token(hash_secret(secret))
    store.close()
    assert found is not None
    assert (found.name, found.role, found.created_by) == ("ci", Role.EDITOR, ACTOR)
    assert found.expires_at is not None
    assert timedelta(days=89) < found.expires_at - found.created_at <= timedelta(days=90)
    assert all(
        secret.encode() not in file.read_bytes() for file in (tmp_path / "var").iterdir() if file.is_file()
    )


def test_list_and_revoke_tokens(run: Run, said: Said) -> None:
    """Tokens are listed without secrets; a revoked one says so; an unknown one is an error."""
    made = json.loads(said("token", "create", "ci", "--role", "reader", "--json"))
    assert made["name"] == "ci"
    assert said("token", "revoke", "ci") == "revoked ci\n"
    second = said("token", "create", "ci", "--role", "admin").strip()
    lines = [line.split() for line in said("token", "list").splitlines()]
    assert [line[:3] for line in lines] == [
        ["NAME", "ROLE", "STATE"],
        ["ci", "reader", "revoked"],
        ["ci", "admin", "valid"],
    ]
    listed = said("token", "list", "--json")
    assert [token["role"] for token in json.loads(listed)["items"]] == ["reader", "admin"]
    assert second not in listed
    assert made["token"] not in listed
    result = run("token", "revoke", "absent")
    assert (result.exit_code, result.stderr) == (1, "decider: no token `absent`\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["ci", "--role", "owner"], 2),
        (["a b", "--role", "reader"], 2),
        (["ci", "--role", "reader", "--expires", "2020-01-01T00:00:00Z"], 2),
        (["taken", "--role", "reader"], 1),
    ],
)
def test_faulty_token(run: Run, said: Said, arguments: list[str], status: int) -> None:
    """An unknown role, a bad name or expiry are usage errors, a name that is taken a conflict; nothing is printed."""
    said("token", "create", "taken", "--role", "reader")
    result = run("token", "create", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")


# Audit


def test_verify_audit(run: Run, said: Said, tmp_path: Path) -> None:
    """`audit verify` exits 0 while the chain is whole, and 1 once an entry was edited behind decider's back."""
    import sqlite3  # noqa: PLC0415 (only to do what an intruder would)

    add(said, "demo")
    add(said, "other")
    assert said("audit", "verify") == "2 audit entries: whole\n"
    assert json.loads(said("audit", "verify", "--json")) == {"entries": 2, "faults": []}
    assert [json.loads(line)["id"] for line in said("audit", "export").splitlines()] == [1, 2]
    forged = sqlite3.connect(tmp_path / "var" / "decider.sqlite", isolation_level=None)
    for (trigger,) in forged.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        forged.execute(f'DROP TRIGGER "{trigger}"')
    forged.execute("DELETE FROM audit WHERE id = 1")
    forged.close()
    result = run("audit", "verify")
    assert result.exit_code == 1
    assert "decider: audit entry 1: " in result.stderr
    assert json.loads(run("audit", "verify", "--json").stdout)["faults"] != []


# Stores


def test_migrate_store(run: Run, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`store migrate` takes everything to an empty store, ids and audit log too, and refuses one that is not empty."""
    rule = add(said, "demo")
    said("token", "create", "ci", "--role", "reader")
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(tmp_path, port), Redis(port=port) as client:
        eventually(lambda: _answers(client), within_s=20)
        counts = json.loads(said("store", "migrate", "sqlite", url, "--json"))
        assert (counts["rules"], counts["tokens"], counts["audit entries"]) == (1, 1, 2)
        again = run("store", "migrate", "sqlite", url)
        assert (again.exit_code, again.stderr) == (1, "decider: the store to copy to is not empty\n")
        monkeypatch.setenv("DECIDER_STORE", url)
        assert [one["id"] for one in json.loads(said("rules", "list", "--json"))["items"]] == [rule]
        assert said("audit", "verify") == "2 audit entries: whole\n"


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.mark.parametrize("stores", [("sqlite", "sqlite"), ("sqlite", "mysql://h/"), ("x", "sqlite")])
def test_faulty_migration(run: Run, stores: tuple[str, str]) -> None:
    """A store that is none, or the same one twice, is a usage error."""
    assert run("store", "migrate", *stores).exit_code == 2


# Explain


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """`demo` 1.0 and 2.0, wheel and sdist, in the local index."""
    folder = tmp_path / "packages"
    for version in ("1.0", "2.0"):
        for file in (make_wheel(folder, "demo", version), make_sdist(folder, "demo", version)):
            set_age(
                file, 3600, now=time.time()
            )  # a file just written may still be growing, and is not listed
    return folder


@pytest.mark.usefixtures("packages")
def test_explain_project(run: Run, said: Said) -> None:
    """`explain PROJECT` tells the verdict on each file; exit status 1 where one is refused."""
    said("explain", "Demo")
    rule = add(said, "demo", "block", "--versions", "==2.0")
    result = run("explain", "Demo")
    assert result.exit_code == 1
    assert re.search(
        rf"^demo-2\.0-py3-none-any\.whl +block +{rule} +- +.*because", result.stdout, re.MULTILINE
    )
    assert re.search(r"^demo-1\.0-py3-none-any\.whl +allow +- +- +-$", result.stdout, re.MULTILINE)
    assert re.search(rf"^{rule} +applied +2 ", result.stdout, re.MULTILINE)
    assert re.search(rf"^{rule} +not applied +2 ", result.stdout, re.MULTILINE)


@pytest.mark.usefixtures("packages")
def test_explain_as_json(run: Run, said: Said) -> None:
    """`explain --json` has the API's shape."""
    rule = add(said, "demo", "hold", "--versions", "==2.0")
    result = run("explain", "demo==2.0", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["project"], told["repository"], told["index"]) == ("demo", "default", "internal")
    assert {file["filename"] for file in told["files"]} == {"demo-2.0-py3-none-any.whl", "demo-2.0.tar.gz"}
    for file in told["files"]:
        assert (file["version"], file["verdict"], file["rules"]) == ("2.0", "hold", [rule])
        assert [(one["id"], one["applied"]) for one in file["considered"]] == [(rule, True)]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("target", "status", "files"),
    [
        ("demo==1.0", 0, 2),
        ("demo==3.0", 1, 0),
        ("demo>=1.5", 1, 2),
        ("demo-1.0-py3-none-any.whl", 0, 1),
        ("demo-2.0.tar.gz", 1, 1),
        ("demo/demo-1.0.tar.gz", 0, 1),
        ("demo-9.0.tar.gz", 1, 0),
    ],
)
def test_explain_targets(run: Run, said: Said, target: str, status: int, files: int) -> None:
    """A target may be a version or a file; what no index lists would not be served either."""
    add(said, "demo", "block", "--versions", "==2.0")
    result = run("explain", target, "--json")
    assert (result.exit_code, len(json.loads(result.stdout)["files"])) == (status, files)


@pytest.mark.usefixtures("packages")
def test_explain_failures(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is none, a repository that is none, and two questions at once are usage errors; absent is 1."""
    monkeypatch.setenv("DECIDER_REPOSITORIES__INSIDE__INDEXES", "internal")
    assert run("explain", "no name").exit_code == 2
    assert run("explain", "demo", "--repository", "absent").exit_code == 2
    assert run("explain").exit_code == 2
    assert run("explain", "demo", "-r", "absent.txt").exit_code == 2
    result = run("explain", "absent", "--repository", "inside")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"decider: .+\n", result.stderr)


def test_explain_without_nginx(run: Run) -> None:
    """Where a remote index cannot be asked, the message says through what it is asked."""
    result = run("explain", "demo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does `decider up` run?" in result.stderr


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("requirements", "status"),
    [
        ("demo", 0),
        ("demo>=1", 0),
        ("demo==1.*", 0),
        ("demo==1.0", 0),
        ("demo==2.0", 1),
        ("demo>1", 1),
        ("demo>2", 1),
    ],
)
def test_explain_requirements(run: Run, said: Said, tmp_path: Path, requirements: str, status: int) -> None:
    """An open requirement is refused where no file is left for it, a pinned one where any of its files is."""
    add(said, "demo", "block", "--versions", "==2.0")
    (tmp_path / "requirements.txt").write_text(requirements)
    result = run("explain", "-r", "requirements.txt")
    assert result.exit_code == status, result.output
    assert result.stdout.startswith(f"{requirements}: {'refused' if status else 'permitted'}")


@pytest.mark.usefixtures("packages")
def test_explain_lock(run: Run, said: Said, tmp_path: Path) -> None:
    """Each locked file is looked at; a project that cannot be asked for is told and hides no other."""
    add(said, "demo", "block", "--file-type", "sdist")
    (tmp_path / "uv.lock").write_text(
        """
        version = 1
        [[package]]
        name = "absent"
        version = "1.0"
        source = { registry = "https://index.example/simple" }
        [[package]]
        name = "demo"
        version = "1.0"
        source = { registry = "https://index.example/simple" }
        sdist = { url = "https://index.example/demo-1.0.tar.gz" }
        wheels = [{ url = "https://index.example/demo-1.0-py3-none-any.whl" }]
        """
    )
    result = run("explain", "--lock", "uv.lock", "--json")
    absent, demo = json.loads(result.stdout)["projects"]
    assert result.exit_code == 1
    assert absent["project"] == "absent"
    assert absent["problem"]["detail"]
    assert {file["filename"]: file["verdict"] for file in demo["files"]} == {
        "demo-1.0.tar.gz": "block",
        "demo-1.0-py3-none-any.whl": "allow",
    }
    told = run("explain", "--lock", "uv.lock").stdout
    assert "demo==1.0: refused, 1 of 2 files may be had" in told
    assert "absent==1.0: refused" in told


# What explain is asked about


@pytest.mark.parametrize("text", ["demo[extra]>=1,<2", "demo >= 1, < 2"])
def test_targets_are_requirements(text: str) -> None:
    """A target may be any requirement."""
    wanted = parse_target(text)
    assert (wanted.project, str(wanted.specifier)) == ("demo", "<2,>=1")


@pytest.mark.parametrize(
    ("text", "error"), [("", InvalidName), ("-x", InvalidName), ("a b/c.whl", InvalidName)]
)
def test_faulty_targets(text: str, error: type[Exception]) -> None:
    """A target that names no project is refused."""
    with pytest.raises(error):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("demo", False),
        ("demo>=1", False),
        ("demo==1.*", False),
        ("demo==1", True),
        ("demo===1", True),
        ("demo>0,==1", True),
    ],
)
def test_exact(text: str, exact: bool) -> None:
    """A requirement is exact where it leaves one version."""
    assert is_exact(parse_target(text)) is exact


def test_nested_requirements(tmp_path: Path) -> None:
    """Files named with -r are read too, from the file that names them; those named with -c narrow; loops end."""
    (tmp_path / "more").mkdir()
    (tmp_path / "top.txt").write_text("one\n-r more/two.txt  # more\n--constraint=limits.txt\n")
    (tmp_path / "more" / "two.txt").write_text("two>=2\n--requirement ../top.txt\n-rthree.txt\n")
    (tmp_path / "more" / "three.txt").write_text("three\n")
    (tmp_path / "limits.txt").write_text("one==1.5\nunused==9\n")
    found = read_requirements([tmp_path / "top.txt"])
    assert sorted((one.project, str(one.specifier or "")) for one in found) == [
        ("one", "==1.5"),
        ("three", ""),
        ("two", ">=2"),
    ]


def test_faulty_requirements(tmp_path: Path) -> None:
    """A fault in a requirements file is told with the file and the line; so is a file that is not there."""
    (tmp_path / "a.txt").write_text("-r b.txt\n")
    (tmp_path / "b.txt").write_text("# fine\n-r c.txt\n???\n")
    (tmp_path / "c.txt").write_text("fine\n")
    with pytest.raises(InvalidRequest, match=r"b\.txt: line 3: "):
        read_requirements([tmp_path / "a.txt"])
    (tmp_path / "c.txt").unlink()
    with pytest.raises(InvalidRequest, match=r"c\.txt: cannot be read: no such file"):
        read_requirements([tmp_path / "a.txt"])


def test_lock_files_by_content(tmp_path: Path) -> None:
    """A lock file may be called anything."""
    (tmp_path / "a.toml").write_text(
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "demo"\nversion = "1.0"\n'
        '[packages.sdist]\nname = "demo-1.0.tar.gz"\nurl = "https://index.example/demo-1.0.tar.gz"\n'
        f'hashes = {{ sha256 = "{"a" * 64}" }}\n'
    )
    (wanted,) = read_lock(tmp_path / "a.toml")
    assert isinstance(wanted, Wanted)
    assert (wanted.project, wanted.filenames) == ("demo", ("demo-1.0.tar.gz",))
    (tmp_path / "b.toml").write_text("version = 1\n")
    assert read_lock(tmp_path / "b.toml") == []
    (tmp_path / "c.txt").write_text("demo==1.0\n")
    assert [one.project for one in read_lock(tmp_path / "c.txt")] == ["demo"]


# Output


def test_nothing_steers_the_terminal() -> None:
    """Texts that come from outside cannot move a terminal's cursor or begin a new line."""
    assert one_line("a\x1b[2Jb\nc\u202ed é") == "a?[2Jb?c?d é"
