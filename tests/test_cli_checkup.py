"""`decider check`: each part by name, what is wrong with it, and no secret."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decider.cli.checkup import Finding, checkup
from decider.settings import IndexSettings, RepositorySettings, Settings
from tests.stack import free_port
from tests.uploads import make_wheel


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "packages").mkdir()
    return Settings(
        data_dir=str(tmp_path / "var"),
        listen_port=free_port(),
        internal_port=free_port(),
        indexes=(IndexSettings(name="internal", path=str(tmp_path / "packages")),),
        repositories=(RepositorySettings(name="default", indexes=("internal",)),),
        config_file=str(tmp_path / "decider.toml"),
    )


def changed(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, **fields)


def levels(findings: list[Finding]) -> dict[str, str]:
    """Part → level, the gravest of each."""
    found: dict[str, str] = {}
    for finding in findings:
        if found.get(finding.part) != "error":
            found[finding.part] = finding.level
    return found


def test_good(settings: Settings, tmp_path: Path) -> None:
    """Where everything is as it should be each part is ok, in the order of a start."""
    wheel = make_wheel("demo", "1.0")
    (tmp_path / "packages" / wheel.filename).write_bytes(wheel.data)
    findings = checkup(settings)
    assert [finding.part for finding in findings][:4] == ["settings", "nginx", "store", "index internal"]
    assert levels(findings)["nginx"] == levels(findings)["store"] == "ok"
    assert "error" not in levels(findings).values()
    assert findings[0].as_dict() == {"part": "settings", "level": "ok", "detail": settings.config_file}
    assert next(f.detail for f in findings if f.part == "index internal") == "1 projects"


def test_leaves_nothing_behind(settings: Settings) -> None:
    """The trial configuration, which may hold credentials, does not stay."""
    checkup(settings)
    assert list(Path(settings.data_dir, "run").glob("*.conf")) == []


def test_directory_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    """A directory of packages that is not there is an error."""
    (tmp_path / "packages").rmdir()
    findings = checkup(settings)
    assert levels(findings)["index internal"] == "error"
    assert str(tmp_path / "packages") in findings[-1].detail


def test_file_that_is_left_out(settings: Settings, tmp_path: Path) -> None:
    """What is left out of a directory is a warning, with its name and the reason."""
    file = tmp_path / "packages" / "demo-1.0-py3-none-any.whl"
    file.write_bytes(b"no wheel")
    os.utime(file, (0, 0))  # not still being written
    findings = [finding for finding in checkup(settings) if finding.part == "index internal"]
    assert ("warning", True) in {
        (f.level, f.detail.startswith("demo-1.0-py3-none-any.whl: ")) for f in findings
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's nginx runs as somebody else")
def test_packages_that_nginx_cannot_read(settings: Settings, tmp_path: Path) -> None:
    """Packages that nginx's user cannot read are a warning that says what is done about it."""
    (tmp_path / "packages").chmod(0o700)
    findings = [finding for finding in checkup(settings) if finding.part == "index internal"]
    assert any(f.level == "warning" and "copied into data_dir" in f.detail for f in findings)


def test_remote_index_without_a_running_nginx(settings: Settings) -> None:
    """A remote index can be asked only through a running nginx: a warning that says so, no error."""
    remote = IndexSettings(name="public", url="http://127.0.0.1:9/simple/")
    both = changed(settings, indexes=(*settings.indexes, remote))
    finding, hosts = [one for one in checkup(both) if one.part == "index public"]
    assert finding.level == "warning"
    assert "does `decider up` run?" in finding.detail
    assert (hosts.level, "`file_hosts` narrows it" in hosts.detail) == ("ok", True)


def test_index_with_hosts_of_its_own(settings: Settings) -> None:
    """An index whose files come from listed hosts alone is not told of."""
    remote = IndexSettings(name="public", url="http://127.0.0.1:9/simple/", file_hosts=("127.0.0.1",))
    findings = checkup(changed(settings, indexes=(*settings.indexes, remote)))
    assert not any("file_hosts" in finding.detail for finding in findings)


def test_store_that_is_away(settings: Settings) -> None:
    """A store that cannot be reached is an error, and its password is not told."""
    away = changed(settings, store=f"redis://user:s3cret@127.0.0.1:{free_port()}/0")
    findings = checkup(away)
    assert "error" in {levels(findings).get("store"), levels(findings).get("start")}
    assert "s3cret" not in repr(findings)


def test_configuration_that_nginx_refuses(settings: Settings, tmp_path: Path) -> None:
    """What nginx says of its configuration is passed on, and the other parts are looked at all the same."""
    (tmp_path / "tls.pem").write_text("no certificate")
    bad = changed(settings, tls_certificate=str(tmp_path / "tls.pem"), tls_key=str(tmp_path / "tls.pem"))
    findings = checkup(bad)
    assert levels(findings)["nginx"] == "error"
    assert "tls.pem" in next(finding.detail for finding in findings if finding.part == "nginx")
    assert levels(findings)["store"] == "ok"


def test_data_dir_that_cannot_be(settings: Settings, tmp_path: Path) -> None:
    """A data_dir that cannot be made ends the look with that."""
    (tmp_path / "var").write_text("in the way")
    findings = checkup(settings)
    assert (findings[-1].part, findings[-1].level) == ("start", "error")
    assert "data_dir" in findings[-1].detail
