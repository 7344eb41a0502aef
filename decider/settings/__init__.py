"""Where things are and how long they last: read once, from one TOML file and the environment, into frozen values.

model        the values, and how one process hands them to another
loading      which file, and from file and environment to settings or all faults
reading      what each key means
proxies      how what is outside is reached
table        keys of the right type, under their dotted names
environment  DECIDER_* variables

Every fault is reported at once, by key. What is allowed belongs to rules, not here.
"""

from decider.settings.environment import admin_token
from decider.settings.loading import find_config, load_settings
from decider.settings.model import (
    DEFAULT_REPOSITORY,
    EgressSettings,
    IndexSettings,
    RepositorySettings,
    Settings,
    UsageSettings,
    WebhookSettings,
    settings_from_json,
    settings_to_json,
    signing_key,
)
from decider.settings.reading import RESERVED_REPOSITORIES

__all__ = [
    "DEFAULT_REPOSITORY",
    "RESERVED_REPOSITORIES",
    "EgressSettings",
    "IndexSettings",
    "RepositorySettings",
    "Settings",
    "UsageSettings",
    "WebhookSettings",
    "admin_token",
    "find_config",
    "load_settings",
    "settings_from_json",
    "settings_to_json",
    "signing_key",
]
