"""The settings, read once from the environment or `.env` and checked when the server starts."""

import ipaddress
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import Env, EnvError, FileAwareEnv, ValidationError, validate

ROOT = Path(__file__).resolve().parent.parent
# The delays after the failed tries of a delivery: 5 s, 1 min, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h.
RETRY_SECONDS = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
LONGEST_RETRIES, LONGEST_RETRY_SECONDS = 50, 30 * 86_400
SQLITE = "sqlite:///"
# The characters of RFC 3986 without those of a user, a query or a fragment.
PLAIN_URL = re.compile(r"[\w.~%:/!$&'()*+,;=\[\]-]+", re.ASCII)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FLAGS = {"on": True, "true": True, "1": True, "yes": True}
FLAGS |= {"off": False, "false": False, "0": False, "no": False}


class SettingsError(ValueError):
    """A setting has an unusable value; the message names the variable, in one line."""


@dataclass(frozen=True)
class Settings:
    """The settings of the service; README.md describes each."""

    database_url: str
    host: str = "127.0.0.1"
    port: int = 8000
    web_concurrency: int = 2  # processes
    threads: int = 32  # requests in progress in each process
    log_level: str = "INFO"
    log_format: str = "text"
    db_pool_size: int = 2  # connections in each process
    db_timeout_seconds: float = 5.0  # limit for a connection, for a lock and for a statement
    metrics: bool = False  # whether GET /metrics is served
    desk: bool = True  # whether the pages at /desk are served
    public_url: str | None = None  # the URL of the service for booking systems
    receipt_days: int = 30  # how long receipts are kept; 0 for no limit
    webhook_sender: bool = True  # whether the server runs `flask webhooks send` beside it
    webhook_allow_networks: tuple[Any, ...] = ()  # local networks that webhooks may reach
    webhook_retry_seconds: tuple[float, ...] = RETRY_SECONDS
    delivery_days: int = 30  # how long deliveries are kept; 0 for no limit
    trusted_proxies: tuple[Any, ...] = ()  # networks whose X-Forwarded-* headers count
    keepalive_seconds: float = 75.0  # for which an idle connection is kept
    state_dir: Path = ROOT / "var"  # for the files of this machine: the demo's key, the counts

    @property
    def base_url(self) -> str:
        """The URL of the service, without a slash at the end: PUBLIC_URL, or HOST and PORT."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def check_database_url(url: str) -> None:
    """Refuse a URL that no driver can open; the error leaves out the URL and so its password."""
    if url.startswith(SQLITE):
        path = url.removeprefix(SQLITE)
        if path in ("", ":memory:") or "?" in path:
            raise ValidationError(
                "SQLite needs the path of a file (sqlite:///var/meetings.db); several"
                " processes share it, so it cannot be in memory"
            )
    elif url.startswith(("postgresql://", "postgres://")):
        psycopg = import_module("psycopg")  # SQLite does not need it
        try:
            ports = str(psycopg.conninfo.conninfo_to_dict(url).get("port") or 5432)
            if not all(0 < int(port) < 65536 for port in ports.split(",")):
                raise ValueError("no such port")
        except (psycopg.ProgrammingError, ValueError) as error:
            raise ValidationError("not a PostgreSQL URL that libpq can read") from error
    else:
        raise ValidationError("must begin with sqlite:/// or postgresql://")


def check_public_url(url: str) -> None:
    """Refuse a URL that callers could not use; an empty one counts as absent."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        is_usable = False
    if url and not (is_usable and PLAIN_URL.fullmatch(url)):
        raise ValidationError("must be a URL such as https://meetings.example.com")


def read_networks(text: str) -> tuple[Any, ...]:
    """Read a comma-separated list of networks (`10.0.0.0/8`) or single addresses."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValidationError(
            f"must be a comma-separated list such as 10.0.0.0/8,fd00::/8 ({error})"
        ) from None


def read_delays(text: str) -> tuple[float, ...]:
    """Read a comma-separated list of seconds; an empty text means the usual schedule."""
    if not text.strip():
        return RETRY_SECONDS
    try:
        delays = tuple(float(part) for part in text.split(","))
    except ValueError:
        delays = ()
    if not 0 < len(delays) <= LONGEST_RETRIES or not all(
        0 <= delay <= LONGEST_RETRY_SECONDS for delay in delays
    ):
        raise ValidationError("must be a comma-separated list of seconds such as 5,60,300")
    return delays


def read_webhook_settings(env: Env) -> dict[str, Any]:
    """Read the settings of webhooks to other systems."""
    return {
        "webhook_sender": _flag(env, "WEBHOOK_SENDER"),
        "webhook_allow_networks": _list(env, "WEBHOOK_ALLOW_NETWORKS", read_networks),
        "webhook_retry_seconds": _list(env, "WEBHOOK_RETRY_SECONDS", read_delays),
        "delivery_days": _number(env.int, "DELIVERY_DAYS", 0, 36_500),
    }


def _locate(database_url: str) -> str:
    """Return a URL whose file path, if any, does not depend on the working directory.

    A relative path is relative to the project.
    """
    if not database_url.startswith(SQLITE):
        return database_url
    return f"{SQLITE}{ROOT / database_url.removeprefix(SQLITE)}"


def _choice(env: Env, name: str, default: str, *choices: str) -> str:
    """Return the choice that a variable names in upper or lower case."""
    given = env.str(name, default).strip()
    found = next((choice for choice in choices if choice.lower() == given.lower()), None)
    if found is None:
        raise EnvError(f"{name}: must be one of: {', '.join(choices)}.")
    return found


def _default(name: str) -> Any:
    """Return the default of the setting that a variable names."""
    return getattr(Settings, name.lower())


def _flag(env: Env, name: str) -> bool:
    """Return whether a variable is on."""
    return FLAGS[_choice(env, name, "on" if _default(name) else "off", *FLAGS)]


def _number(read: Callable[..., Any], name: str, least: float, most: float) -> Any:
    """Return the number in a variable, which must be within bounds."""
    return read(name, _default(name), validate=validate.Range(least, most))


def _list(env: Env, name: str, read: Callable[[str], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the list in a variable; an absent one counts as empty."""
    try:
        return read(env.str(name, ""))
    except ValidationError as error:
        raise EnvError(f"{name}: {error.args[0]}.") from error


def prepare_state_dir(path: Path) -> None:
    """Create the folder unless it is there; raises SettingsError if it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        message = f"STATE_DIR: {path} cannot be written: {error.strerror}."
        raise SettingsError(message) from error


def check_files(env_file: Path) -> None:
    """Check the files that `X_FILE` names in place of a setting `X`; raises SettingsError."""
    env = Env()
    env.read_env(str(env_file), recurse=False)
    for name in (field.name.upper() for field in fields(Settings)):
        path = env.str(f"{name}_FILE", "")
        if not path:
            continue
        if env.str(name, None) is not None:
            raise SettingsError(f"{name} and {name}_FILE are both set; only one may be.")
        if not Path(path).is_absolute():
            raise SettingsError(f"{name}_FILE: {path} must be an absolute path.")
        try:
            Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SettingsError(f"{name}_FILE: {path} cannot be read: {why}.") from error


def read_settings(env_file: Path = ROOT / ".env") -> Settings:
    """Read and check the settings; raises SettingsError. The environment overrides the file.

    The value of every setting `X` may also be in a file, which `X_FILE` names.
    """
    env = FileAwareEnv(strip_whitespace=True)
    try:
        check_files(env_file)
        env.read_env(str(env_file), recurse=False)
        threads = _number(env.int, "THREADS", 1, 256)
        connections = min(threads, Settings.db_pool_size)
        state_dir = ROOT / env.str(
            "STATE_DIR", str(Settings.state_dir), validate=validate.Length(min=1)
        )
        own_database = f"{SQLITE}{state_dir / 'meetings.db'}"
        return Settings(
            database_url=_locate(
                env.str("DATABASE_URL", own_database, validate=check_database_url)
            ),
            host=env.str("HOST", Settings.host, validate=validate.Length(1, 255)),
            port=_number(env.int, "PORT", 1, 65535),
            web_concurrency=_number(env.int, "WEB_CONCURRENCY", 1, 64),
            threads=threads,
            log_level=_choice(env, "LOG_LEVEL", Settings.log_level, *LOG_LEVELS),
            log_format=_choice(env, "LOG_FORMAT", Settings.log_format, "text", "json"),
            db_pool_size=env.int("DB_POOL_SIZE", connections, validate=validate.Range(1, 256)),
            db_timeout_seconds=_number(env.float, "DB_TIMEOUT_SECONDS", 0.1, 60),
            metrics=_flag(env, "METRICS"),
            desk=_flag(env, "DESK"),
            public_url=env.str("PUBLIC_URL", "", validate=check_public_url).rstrip("/") or None,
            receipt_days=_number(env.int, "RECEIPT_DAYS", 0, 36_500),
            **read_webhook_settings(env),
            trusted_proxies=_list(env, "TRUSTED_PROXIES", read_networks),
            keepalive_seconds=_number(env.float, "KEEPALIVE_SECONDS", 1, 3600),
            state_dir=state_dir,
        )
    except EnvError as error:
        raise SettingsError(" ".join(str(error).split())) from error
