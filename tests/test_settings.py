"""Settings: read from the environment or .env, checked at start, bad values named in one line."""

import subprocess
import sys
from dataclasses import fields

import pytest

from config.settings import ROOT, Settings, SettingsError, read_settings

BAD = {
    "DATABASE_URL": ["mysql://x", "sqlite://", "sqlite:///", "sqlite:///:memory:",
                     "sqlite:///a.db?x=1", "postgresql://[", "postgresql://h/d?nonsense=1",
                     "postgresql://h:x/d", "postgresql://h:99999/d"],
    "PORT": ["0", "65536", "http", "80.5"],
    "WEB_CONCURRENCY": ["0", "65", "many"],
    "THREADS": ["0", "257"],
    "LOG_LEVEL": ["LOUD", ""],
    "LOG_FORMAT": ["xml"],
    "DB_POOL_SIZE": ["0", "-1"],
    "METRICS": ["maybe", "2", ""],
    "WEBHOOK_SENDER": ["maybe", ""],
    "WEBHOOK_ALLOW_NETWORKS": ["localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;fd00::/8"],
    "TRUSTED_PROXIES": ["localhost", "10.0.0.1/8", "unix:/run/proxy.sock", "*", "10.0.0.1:80"],
    "WEBHOOK_RETRY_SECONDS": ["soon", "1,,2", "-1", "nan", "inf", "1;2", ",".join("1" * 51)],
    "DELIVERY_DAYS": ["-1", "forever"],
    "KEEPALIVE_SECONDS": ["0", "3601", "long"],
    "STATE_DIR": [""],
    "PUBLIC_URL": ["example.com", "ftp://example.com", "https://", "https://[::1", "https://a:0",
                   "https://a:99999", "https://a/?x=1", "https://a/#x", "https://me:secret@a",
                   "https://a b", "https://a/\r\nX: y", "https://a/é"],
    "DB_TIMEOUT_SECONDS": ["0", "61", "soon", "nan"],
}  # fmt: skip
NAMES = [field.name.upper() for field in fields(Settings)]
# A value other than the default of each setting.
GOOD = {
    "DATABASE_URL": "sqlite:////srv/x.db", "HOST": "::1", "PORT": "81", "WEB_CONCURRENCY": "3",
    "THREADS": "7", "LOG_LEVEL": "ERROR", "LOG_FORMAT": "json", "DB_POOL_SIZE": "5",
    "DB_TIMEOUT_SECONDS": "9", "METRICS": "on", "DESK": "off", "PUBLIC_URL": "https://x.example",
    "RECEIPT_DAYS": "4", "WEBHOOK_SENDER": "off", "WEBHOOK_ALLOW_NETWORKS": "10.0.0.0/8",
    "WEBHOOK_RETRY_SECONDS": "1,2", "DELIVERY_DAYS": "6", "TRUSTED_PROXIES": "::1,10.0.0.1",
    "KEEPALIVE_SECONDS": "8", "STATE_DIR": "/srv/x",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, vs in BAD.items() for v in vs])
def test_a_bad_value_is_named_in_one_line(monkeypatch, tmp_path, name, value):
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "none")

    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_password_is_not_shown_in_the_error(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgres!://me:secret@host/db")

    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "none")

    assert "secret" not in str(error.value)


def test_a_missing_variable_gets_its_default(tmp_path):
    settings = read_settings(tmp_path / "none")

    assert settings.database_url == f"sqlite:///{ROOT / 'var' / 'meetings.db'}"
    assert (settings.host, settings.port, settings.web_concurrency) == ("127.0.0.1", 8000, 2)
    assert (settings.threads, settings.db_pool_size) == (32, 2)
    assert (settings.log_level, settings.log_format) == ("INFO", "text")
    assert settings.metrics is False
    assert (settings.keepalive_seconds, settings.state_dir) == (75, ROOT / "var")


@pytest.mark.parametrize("name", ["DATABASE_URL", "STATE_DIR"])
@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_relative_path_is_relative_to_the_project(monkeypatch, tmp_path, name, is_in_file):
    monkeypatch.chdir(tmp_path)
    value = {"DATABASE_URL": "sqlite:///some/where.db", "STATE_DIR": "some/where"}[name]
    file = tmp_path / ".env"
    file.write_text(f"{name}={value}\n" if is_in_file else "")
    if not is_in_file:
        monkeypatch.setenv(name, value)

    settings = read_settings(file)

    if name == "DATABASE_URL":
        assert settings.database_url == f"sqlite:///{ROOT}/some/where.db"
    else:
        assert settings.state_dir == ROOT / "some" / "where"
        assert settings.database_url == f"sqlite:///{ROOT}/some/where/meetings.db"


def test_an_absolute_path_and_a_server_stay_as_they_are(monkeypatch, tmp_path):
    for url in ("sqlite:////srv/meetings.db", "postgresql://me@host/db"):
        monkeypatch.setenv("DATABASE_URL", url)

        assert read_settings(tmp_path / "none").database_url == url


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        *[("METRICS", value, True) for value in ("on", "ON", "True", "1", "yes")],
        *[("METRICS", value, False) for value in ("off", "OFF", "false", "0", "No")],
        ("LOG_LEVEL", "info", "INFO"),
        ("LOG_LEVEL", "Warning", "WARNING"),
        ("LOG_FORMAT", "JSON", "json"),
    ],
)
def test_values_are_accepted_in_any_case(monkeypatch, tmp_path, name, value, read):
    monkeypatch.setenv(name, value)

    assert getattr(read_settings(tmp_path / "none"), name.lower()) == read


def test_the_settings_of_webhooks_are_read_from_comma_lists(monkeypatch, tmp_path):
    monkeypatch.setenv("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8, fd00::/8,192.168.1.5")
    monkeypatch.setenv("WEBHOOK_RETRY_SECONDS", "0.5,1")

    settings = read_settings(tmp_path / "none")

    networks = [str(network) for network in settings.webhook_allow_networks]
    assert networks == ["127.0.0.0/8", "fd00::/8", "192.168.1.5/32"]
    assert settings.webhook_retry_seconds == (0.5, 1.0)


def test_the_environment_takes_precedence_over_the_file(monkeypatch, tmp_path):
    file = tmp_path / ".env"
    file.write_text("PORT=8001\nTHREADS=2\n")
    monkeypatch.setenv("PORT", "8002")

    settings = read_settings(file)

    assert (settings.port, settings.threads, settings.db_pool_size) == (8002, 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_read_from_a_file(monkeypatch, tmp_path, name):
    usual = read_settings(tmp_path / "none")
    monkeypatch.setenv(name, GOOD[name])
    given = read_settings(tmp_path / "none")
    monkeypatch.delenv(name)
    (tmp_path / "value").write_text(f"{GOOD[name]}\n")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "value"))

    assert read_settings(tmp_path / "none") == given
    assert getattr(given, name.lower()) != getattr(usual, name.lower())


def test_the_file_of_a_setting_can_be_named_in_the_env_file(tmp_path):
    (tmp_path / "url").write_text("postgresql://me:secret@host/db\n")
    file = tmp_path / ".env"
    file.write_text(f"DATABASE_URL_FILE={tmp_path / 'url'}\nPORT_FILE=\n")

    settings = read_settings(file)

    assert (settings.database_url, settings.port) == ("postgresql://me:secret@host/db", 8000)


@pytest.mark.parametrize("in_env_file", [True, False])
def test_a_setting_and_its_file_are_not_both_accepted(monkeypatch, tmp_path, in_env_file):
    (tmp_path / "url").write_text("postgresql://me:secret@host/db")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    file = tmp_path / ".env"
    if in_env_file:
        file.write_text("DATABASE_URL=sqlite:////srv/x.db\n")
    else:
        monkeypatch.setenv("DATABASE_URL", "sqlite:////srv/x.db")

    with pytest.raises(SettingsError) as error:
        read_settings(file)

    assert str(error.value) == "DATABASE_URL and DATABASE_URL_FILE are both set; only one may be."


UNREADABLE = {
    "/nowhere/url": "No such file or directory",
    "/": "Is a directory",
    "/dev/null/url": "Not a directory",
    f"/{'x' * 300}": "File name too long",
    sys.executable: "it is not text",
}


@pytest.mark.parametrize("path", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_in_one_line(monkeypatch, tmp_path, path):
    monkeypatch.setenv("DATABASE_URL_FILE", path)

    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "none")

    why = UNREADABLE[path]
    assert str(error.value) == f"DATABASE_URL_FILE: {path} cannot be read: {why}."


def test_the_path_of_a_file_is_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL_FILE", "url")

    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "none")

    assert str(error.value) == "DATABASE_URL_FILE: url must be an absolute path."


def test_a_bad_value_in_a_file_is_named_and_a_password_is_not_shown(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("postgres!://me:secret@host/db")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))

    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "none")

    assert "DATABASE_URL" in str(error.value)
    assert "secret" not in str(error.value)


def start(program, **environment):
    result = subprocess.run(
        [sys.executable, "-m", *program],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode != 0
    return result.stderr.strip().splitlines()


@pytest.mark.parametrize(
    "program", [["flask", "--app", "app", "clients", "list"], ["config.serve"]], ids=str
)
@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("WEB_CONCURRENCY", "2.5")])
def test_a_bad_value_stops_the_server_and_the_commands_with_one_line(program, name, value):
    [line] = start(program, **{name: value})

    assert name in line


@pytest.mark.parametrize(
    "program", [["flask", "--app", "app", "clients", "list"], ["config.serve"], ["sender"]], ids=str
)
def test_a_missing_file_stops_the_server_and_the_commands_with_one_line(program):
    [line] = start(program, DATABASE_URL_FILE="/nowhere/url")

    assert line == "DATABASE_URL_FILE: /nowhere/url cannot be read: No such file or directory."


def test_a_server_reads_the_number_of_its_workers_from_a_file(tmp_path):
    """gunicorn knows the variable too. This server then ends, as its database is not migrated."""
    (tmp_path / "workers").write_text("3")
    url = f"sqlite:///{tmp_path / 'new.db'}"

    lines = start(
        ["config.serve"],
        WEB_CONCURRENCY_FILE=str(tmp_path / "workers"),
        DATABASE_URL=url,
        PORT="18766",
    )

    assert "flask --app app db upgrade" in lines[-1]


@pytest.mark.parametrize("host", ["not a host", "999.1.1.1", "192.0.2.1"])
def test_a_host_that_cannot_be_bound_stops_the_start_and_is_named(host):
    [line] = start(["config.serve"], HOST=host)

    assert "HOST" in line


@pytest.mark.parametrize("path", ["/dev/null/state", str(ROOT / "README.md"), "/proc/self"])
def test_a_state_folder_that_cannot_be_written_stops_the_start(tmp_path, path):
    [line] = start(["config.serve"], STATE_DIR=path, DATABASE_URL=f"sqlite:///{tmp_path / 'x.db'}")

    assert line.startswith(f"STATE_DIR: {path} cannot be written: ")


@pytest.mark.parametrize("path", ["/dev/null/x.db", "/tmp", str(ROOT / "README.md")])
def test_a_path_that_cannot_hold_a_database_stops_the_start(path):
    lines = start(["config.serve"], DATABASE_URL=f"sqlite:///{path}", PORT="18765")

    assert any("DATABASE_URL" in line for line in lines), lines
    assert not any("Traceback" in line for line in lines)
