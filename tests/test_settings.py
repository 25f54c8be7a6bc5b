"""Settings: read from the environment or .env, checked at start, bad values named in one line."""

import subprocess
import sys

import pytest

from config.settings import ROOT, SettingsError, read_settings

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
    "WEBHOOK_RETRY_SECONDS": ["soon", "1,,2", "-1", "nan", "inf", "1;2", ",".join("1" * 51)],
    "DELIVERY_DAYS": ["-1", "forever"],
    "KEEPALIVE_SECONDS": ["0", "3601", "long"],
    "STATE_DIR": [""],
    "DB_TIMEOUT_SECONDS": ["0", "61", "soon", "nan"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in (*BAD, "HOST"):
        monkeypatch.delenv(name, raising=False)


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
