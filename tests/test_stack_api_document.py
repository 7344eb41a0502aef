"""The decision API against its own OpenAPI document, called by schemathesis through nginx."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from decider.web.api.operation import operations
from tests.fake_index import FakeIndex
from tests.stack import PROMISE_S, Stack, eventually, source_environment
from tests.uploads import make_wheel

pytestmark = pytest.mark.stack

#: How long to make up calls; an hour, for a night, with another seed.
SECONDS = int(os.environ.get("DECIDER_TEST_API_SECONDS", "35"))
SEED = int(os.environ.get("DECIDER_TEST_API_SEED", "1"))

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    # Not asked for: that everything which fits the schemas is accepted (a rule has to make sense, too), that 422 is
    # the answer to a missing If-Match (428 is, RFC 6585), that revoked tokens are gone (their records stay), and
    # wrong tokens: ten of them shut out the address (tests/test_auth.py).
]

#: What refuses a call that does not fit the schemas: 412 and 428 may come first.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [401, 403, 404, 405, 409, 412, 413, 415, 422, 428, 429]
"""


@pytest.mark.timeout(SECONDS * 3 + 120)
def test_no_server_error_and_no_undocumented_answer(
    own_stack: Stack, own_index: FakeIndex, tmp_path: Path
) -> None:
    """Whatever is sent, valid or not, call by call or in a row, the answer is one that the document describes."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    own_stack.add_rule(action="hold", project="demo")
    eventually(lambda: own_stack.file("demo", wheel.filename).status == 403, within_s=PROMISE_S)
    eventually(lambda: own_stack.api("GET", "/reviews").json()["items"], within_s=PROMISE_S)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("st"),
            *("run", f"{own_stack.base_url}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {own_stack.token}"),
            *("--checks", ",".join(CHECKS)),
            *("--max-time", str(SECONDS)),
            *("--seed", str(SEED)),
            *("--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        env=source_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS * 3 + 60,
        check=False,
    )
    print(ran.stdout[-20_000:])
    assert ran.returncode == 0
    # Every operation, but the one that gives the document; and more calls than examples, however slow the machine.
    assert f"Selected: {len(operations()) - 1}/{len(operations()) - 1}" in ran.stdout
    generated = re.search(r"(\d+) generated, (\d+) passed", ran.stdout)
    assert generated is not None
    assert generated[1] == generated[2]
    assert int(generated[1]) > 2 * len(operations())
    log = own_stack.log_text()
    assert "Traceback" not in log, log
