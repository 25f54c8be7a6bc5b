"""The settings, read once from the environment or `.env` and checked when the server starts."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from environs import Env, EnvError, ValidationError, validate

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"


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
    public_url: str | None = None  # the URL of the service for booking systems
    receipt_days: int = 30  # how long receipts are kept; 0 for ever

    @property
    def base_url(self) -> str:
        """The URL of the service, without a slash at the end: PUBLIC_URL, or HOST and PORT."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def check_database_url(url: str) -> None:
    """Refuse a URL that no driver can open; the error leaves out the URL and so its password."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
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
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValidationError("must be a URL such as https://meetings.example.com")


def read_settings(env_file: Path = ROOT / ".env") -> Settings:
    """Read and check the settings; raises SettingsError. The environment overrides the file."""
    env = Env()
    try:
        env.read_env(str(env_file), recurse=False)
        threads = env.int("THREADS", 32, validate=validate.Range(1, 256))
        return Settings(
            database_url=env.str(
                "DATABASE_URL", f"sqlite:///{VAR / 'meetings.db'}", validate=check_database_url
            ),
            host=env.str("HOST", "127.0.0.1", validate=validate.Length(1, 255)),
            port=env.int("PORT", 8000, validate=validate.Range(1, 65535)),
            web_concurrency=env.int("WEB_CONCURRENCY", 2, validate=validate.Range(1, 64)),
            threads=threads,
            log_level=env.str(
                "LOG_LEVEL",
                "INFO",
                validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
            ),
            log_format=env.str("LOG_FORMAT", "text", validate=validate.OneOf(["text", "json"])),
            db_pool_size=env.int("DB_POOL_SIZE", min(threads, 2), validate=validate.Range(1, 256)),
            db_timeout_seconds=env.float(
                "DB_TIMEOUT_SECONDS", 5.0, validate=validate.Range(0.1, 60)
            ),
            metrics=env.str("METRICS", "off", validate=validate.OneOf(["on", "off"])) == "on",
            public_url=env.str("PUBLIC_URL", "", validate=check_public_url).rstrip("/") or None,
            receipt_days=env.int("RECEIPT_DAYS", 30, validate=validate.Range(0, 36_500)),
        )
    except EnvError as error:
        raise SettingsError(" ".join(str(error).split())) from error
