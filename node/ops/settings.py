"""Settings of one node: one TOML file, each value overridable by an environment variable.

- `DIEF_<SECTION>__<KEY>` overrides `<key>` of `[<section>]`; `DIEF_STATE` and `DIEF_FEDERATION_NAME` the top level.
- Relative paths are relative to the file's folder, so a node's home can be moved.
- An unknown key is an error: a misspelt setting must not be silently ignored.

Example:
    settings = load(Path("dief.toml"))
    settings.federation.listen
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from node.ops.errors import DiefError

ENVIRONMENT_PREFIX = "DIEF_"
SECRET = frozenset({"database.url"})
ENVIRONMENT_IGNORED = {"DIEF_CONFIG"}


class SettingsError(DiefError):
    """The settings file is missing, does not parse or has a wrong value."""

    default_reason: ClassVar[str] = "SETTINGS_INVALID"
    default_mend: ClassVar[str] = "Mend the file, or make a fresh one beside it with `dief init` and compare."


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port, for example 0.0.0.0:7443")
    return value


def _state(value: str) -> str:
    if not re.fullmatch("[A-Z]{2}", value):
        raise ValueError("must be two capital letters, the ISO 3166-1 alpha-2 code of a State")
    return value


Address = Annotated[str, AfterValidator(_address)]
State = Annotated[str, AfterValidator(_state)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    """`[database]`: where everything is kept."""

    url: str = "sqlite:///data/node.db"


class FederationSettings(_Section):
    """`[federation]`: the listener and the client side towards other States' nodes."""

    listen: Address = "0.0.0.0:7443"
    certificate: Path = Path("pki/node.pem")
    key: Path = Path("pki/node.key")
    renewal_ca_certificate: Path | None = None
    renewal_ca_key: Path | None = None
    renewal_command: str | None = None
    follow: bool = True
    max_streams_per_peer: int = Field(4, ge=1, le=64)
    max_calls_per_peer: int = Field(16, ge=1, le=256)
    heartbeat_seconds: float = Field(15, gt=0, le=300)
    recheck_seconds: float = Field(10, gt=0, le=10)


class NationalSettings(_Section):
    """`[national]`: the listener for the own State's registries, officers and operators."""

    listen: Address = "127.0.0.1:7444"
    certificate: Path = Path("pki/national-server.pem")
    key: Path = Path("pki/national-server.key")
    client_ca: Path = Path("pki/national-ca.pem")
    crl: Path | None = None


class LogSettings(_Section):
    """`[log]`: the key that signs this State's logs, and the anchor, best on another disk than the database."""

    key: Path = Path("pki/log.key")
    anchor: Path = Path("anchor/anchor.log")
    backup_horizon_days: int | None = Field(None, ge=0, le=3650)


class ReleaseSettings(_Section):
    """`[release]`: the national release policy."""

    policy: Path = Path("policy.toml")


class LoggingSettings(_Section):
    """`[logging]`: how loud, and for whom."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class ClientSettings(_Section):
    """`[clients.<role>]`: the certificate with which `dief` commands speak to the own node."""

    certificate: Path
    key: Path


class AdapterSettings(_Section):
    """`[adapters]`: mapping files of adapters that run beside the node, each as a process of its own."""

    mappings: tuple[Path, ...] = ()
    every: str = Field("30s", pattern=r"^[0-9]{1,6}[smh]?$")


class Settings(_Section):
    """All of it."""

    state: State
    federation_name: str = Field("dief", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    database: DatabaseSettings = DatabaseSettings()
    federation: FederationSettings = FederationSettings()
    national: NationalSettings = NationalSettings()
    log: LogSettings = LogSettings()
    release: ReleaseSettings = ReleaseSettings()
    logging: LoggingSettings = LoggingSettings()
    clients: dict[str, ClientSettings] = {}
    adapters: AdapterSettings = AdapterSettings()
    home: Path = Path()

    def path(self, value: Path) -> Path:
        """A configured path, absolute."""
        return value if value.is_absolute() else self.home / value

    @property
    def database_url(self) -> str:
        """The database URL with a relative SQLite path made absolute."""
        prefix = "sqlite:///"
        if self.database.url.startswith(prefix) and not self.database.url.startswith(prefix + "/"):
            return prefix + str(self.home / self.database.url.removeprefix(prefix))
        return self.database.url


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read settings.

    Args:
        path: The TOML file.
        environment: Variables that override it.

    Raises:
        SettingsError: Names the key, the value's fault and the mend.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"There is no settings file at {path}.",
            "Run `dief init DIR --state XA`, or name the file with --config or DIEF_CONFIG.",
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} can not be read: {error.strerror}.", "Name the settings file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    _override(values, environment)
    values["home"] = path.resolve().parent
    return check(values, str(path))


def check(values: Mapping[str, Any], where: str, mend: str | None = None) -> Settings:
    """Settings from values.

    Args:
        values: As in the file.
        where: What an error names as their place.
        mend: What an error advises; None for the usual advice.

    Raises:
        SettingsError: Names the key, the value (never one that may hold a password) and what it must be.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = first["input"]
        shown = f" (it is {given!r:.60})" if key not in SECRET and isinstance(given, (str, int)) else ""
        what = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{where}: `{key}`{shown}: {what}.", mend) from None


def _override(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in ENVIRONMENT_IGNORED:
            continue
        *sections, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not sections and key not in ("state", "federation_name"):
            continue
        target = values
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = value
