"""Where a Redis store is."""

import pytest

from decider.errors import InvalidSettings
from decider.store.redis_address import RedisAddress, parse_address


@pytest.mark.parametrize(
    ("url", "address", "text"),
    [
        ("redis://store.example", RedisAddress((("store.example", 6379),)), "redis://store.example:6379/0"),
        (
            "redis://store.example:7000/3",
            RedisAddress((("store.example", 7000),), database=3),
            "redis://store.example:7000/3",
        ),
        ("redis://[::1]:7000/", RedisAddress((("::1", 7000),)), "redis://[::1]:7000/0"),
        (
            "redis://ann:p%40ss%3Aw%2Frd@store.example/0",
            RedisAddress((("store.example", 6379),), username="ann", password="p@ss:w/rd"),
            "redis://store.example:6379/0",
        ),
        (
            "redis://:secret@store.example",
            RedisAddress((("store.example", 6379),), password="secret"),
            "redis://store.example:6379/0",
        ),
        (
            "rediss://store.example:6380/0?ssl_ca_certs=/etc/ca.pem",
            RedisAddress((("store.example", 6380),), tls=True, ca_file="/etc/ca.pem"),
            "rediss://store.example:6380/0",
        ),
        (
            "redis+sentinel://one.example,two.example:26380/decider",
            RedisAddress((("one.example", 26379), ("two.example", 26380)), master="decider"),
            "redis+sentinel://one.example:26379,two.example:26380/decider/0",
        ),
        (
            "redis+sentinel://ann:secret@one.example/decider/2?sentinel_username=bob&sentinel_password=other",
            RedisAddress(
                (("one.example", 26379),),
                master="decider",
                database=2,
                username="ann",
                password="secret",
                sentinel_username="bob",
                sentinel_password="other",
            ),
            "redis+sentinel://one.example:26379/decider/2",
        ),
    ],
)
def test_parse_address(url: str, address: RedisAddress, text: str) -> None:
    """A URL says where Redis is; what is shown of it has no user and no password."""
    assert parse_address(url) == address
    assert str(address) == text
    assert repr(address) == f"RedisAddress({text})"


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("mysql://ann:secret@store.example/0", "must be `sqlite`, or begin with redis://"),
        ("secret", "must be `sqlite`"),
        ("redis://ann:secret@", "names no host"),
        ("redis://ann:secret@[::1", "is no URL"),
        ("redis://ann:secret@store.example:port/0", "host or port that cannot be read"),
        ("redis://ann:secret@store.example:99999/0", "host or port that cannot be read"),
        ("redis://ann:secret@one.example,two.example/0", "several hosts need redis+sentinel://"),
        ("redis://ann:secret@store.example/decider", "must end in the number of a database"),
        ("redis://ann:secret@store.example/-1", "must end in the number of a database"),
        ("redis://ann:secret@store.example/0/1", "must end in the number of a database"),
        ("redis://ann:secret@store.example/0#x", "takes nothing after"),
        ("redis://ann:secret@store.example/0?ssl_ca_certs=x", "takes nothing after"),
        ("rediss://ann:secret@store.example/0?ssl_cert_reqs=none", "takes `ssl_ca_certs` after"),
        ("rediss://ann:secret@store.example/0?secret", "is no URL"),
        ("redis+sentinel://ann:secret@one.example", "needs the master's name"),
        ("redis+sentinel://ann:secret@one.example//0", "needs the master's name"),
        ("redis+sentinel://ann:secret@one.example/decider/x", "must end in the number of a database"),
        ("redis+sentinel://ann:secret@one.example,/decider/0", "names no host"),
    ],
)
def test_address_faults(url: str, detail: str) -> None:
    """A URL that names no store is refused with what is wrong, and without a password in the text."""
    with pytest.raises(InvalidSettings) as caught:
        parse_address(url)
    (fault,) = caught.value.faults
    assert fault.field == "store"
    assert detail in fault.detail
    assert "secret" not in str(caught.value)
