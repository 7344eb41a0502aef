"""gunicorn's settings: read from the accepted file, and safe behind nginx."""

import re
from pathlib import Path

import pytest

from decider.settings import IndexSettings, RepositorySettings, Settings, settings_to_json
from decider.wsgi import THREADS, Server


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    settings = Settings(
        data_dir=str(tmp_path),
        workers=3,
        indexes=(IndexSettings(name="internal", path=str(tmp_path)),),
        repositories=(RepositorySettings(name="default", indexes=("internal",)),),
    )
    file = tmp_path / "accepted.json"
    file.write_bytes(settings_to_json(settings))
    return file


def test_options(accepted: Path) -> None:
    """gunicorn listens on a socket that only nginx reaches, and takes no header whose name nginx could not have set."""
    server = Server(accepted)
    assert server.cfg.settings["bind"].value == ["unix:run/decider.sock"]
    assert server.cfg.workers == 3
    assert server.cfg.settings["threads"].value == THREADS
    assert server.cfg.settings["header_map"].value == "drop"
    assert server.cfg.settings["limit_request_field_size"].value >= 16_384


def test_options_are_read_again(accepted: Path) -> None:
    """After a reload the accepted file counts, and not what was read before."""
    server = Server(accepted)
    accepted.write_bytes(accepted.read_bytes().replace(b'"workers":3', b'"workers":5'))
    server.do_load_config()
    assert server.cfg.workers == 5


def test_connections_outlive_nginx_s(accepted: Path) -> None:
    """gunicorn keeps an idle connection longer than nginx does: it never closes one that nginx is about to use."""
    upstreams = (Path(__file__).parent.parent / "nginx" / "upstreams.conf").read_text()
    kept = re.search(
        r"upstream decider \{.*?^    keepalive_timeout (\d+)s;", upstreams, re.MULTILINE | re.DOTALL
    )
    assert kept is not None
    assert Server(accepted).cfg.settings["keepalive"].value > int(kept[1])
