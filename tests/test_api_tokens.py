"""Tokens over HTTP."""

import pytest

from decider.tokens import hash_secret
from tests.api_harness import Api, api, faults

__all__ = ["api"]


def test_add(api: Api) -> None:
    """A new token's secret is answered once, works, and is kept as its hash only."""
    response = api.post(
        "/tokens", json={"name": "ci", "role": "editor", "expires_at": "2026-12-01T00:00:00Z"}
    )
    made = response.get_json()
    secret = made.pop("token")
    assert response.status_code == 201
    assert (made["name"], made["role"], made["created_by"]) == ("ci", "editor", "token:a-admin")
    assert made["expires_at"] == "2026-12-01T00:00:00Z"
    url = response.headers["Location"].removeprefix("/api/v1")
    assert api.get(url).get_json() == made
    used = api.get("/rules", role=None, headers={"Authorization": f"Bearer {secret}"})
    assert used.status_code == 200
    everything = api.get("/tokens").get_data(as_text=True) + api.get("/audit").get_data(as_text=True)
    assert secret not in everything
    assert hash_secret(secret) not in everything


def test_add_taken(api: Api) -> None:
    """A name is free again once its token is revoked."""
    body = {"name": "ci", "role": "reader"}
    assert api.post("/tokens", json=body).status_code == 201
    assert api.post("/tokens", json=body).status_code == 409
    assert api.delete("/tokens/ci").status_code == 204
    assert api.post("/tokens", json=body).status_code == 201


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a\n", "x" * 101, "<script>"])
def test_add_bad_name(api: Api, name: str) -> None:
    """A token has a plain name."""
    assert list(faults(api.post("/tokens", json={"name": name, "role": "reader"}))) == ["name"]


def test_list(api: Api) -> None:
    """Tokens are listed in pages, oldest first, revoked ones too."""
    api.delete("/tokens/a-reader")
    first = api.get("/tokens?limit=2").get_json()
    assert [(one["name"], one["revoked_at"]) for one in first["items"]] == [
        ("a-reader", "2026-11-22T12:00:00Z"),
        ("a-editor", None),
    ]
    second = api.get("/tokens", query_string={"cursor": first["next"]}).get_json()
    assert [one["name"] for one in second["items"]] == ["a-admin"]


def test_get(api: Api) -> None:
    """A token is found by id or name; a revoked one by id alone."""
    by_name = api.get("/tokens/a-reader").get_json()
    assert api.get(f"/tokens/{by_name['id']}").get_json() == by_name
    assert api.delete(f"/tokens/{by_name['id']}").status_code == 204
    assert api.get("/tokens/a-reader").status_code == 404
    assert api.get(f"/tokens/{by_name['id']}").get_json()["revoked_at"]


def test_revoke_absent(api: Api) -> None:
    """Revoking what is not there is a 404."""
    assert api.delete("/tokens/nobody").status_code == 404
