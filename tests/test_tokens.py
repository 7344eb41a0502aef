"""Token secrets."""

from decider.tokens import PREFIX, hash_secret, new_secret


def test_new_secret() -> None:
    """Secrets are long, new each time, and have a prefix that scanners find."""
    one, other = new_secret(), new_secret()
    assert one != other
    assert one.startswith(PREFIX)
    assert len(one) == len(PREFIX) + 43


def test_hash_secret() -> None:
    """A hash stands for its secret alone, and takes whatever a header can hold."""
    assert hash_secret("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert hash_secret("a") != hash_secret("b")
    assert len(hash_secret("\udcff\u00e9")) == 64
