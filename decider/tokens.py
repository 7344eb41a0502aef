"""API token secrets: how they are made, and what the store keeps of them.

A secret has 256 random bits, so one round of SHA-256 is enough to keep (no dictionary reaches it), and looking a
hash up tells an attacker's clock nothing about the secret. Roles and the store may not be added here.
"""

import hashlib
import secrets

__all__ = ["PREFIX", "hash_secret", "new_secret"]

PREFIX = "decider_"  #: lets secret scanners find one that leaked


def new_secret() -> str:
    """A fresh secret: the prefix and 43 URL-safe characters."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What stands for `secret` in the store: lower-case hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
