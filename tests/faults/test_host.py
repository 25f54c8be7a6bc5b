"""docs/deploy.md, line by line, on a Debian that boots: systemd runs the unit, hardened as it is.

This needs root, `mmdebstrap` and `systemd-nspawn`, and skips otherwise. The machine that boots has
no network: its packages are installed before, and the certificate and the proxy stay untried.
"""

import json
import re
import shlex
import shutil
import signal
import subprocess
import time

import psutil
import pytest
from programs import find_or_install

from config.settings import ROOT
from faults.debian import download_wheels, make_debian

pytestmark = pytest.mark.soak

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
PROGRAM = "/opt/meetings/.venv/bin/python"
ENVIRONMENT = (
    *("HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    *("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/srv/wheels"),
)


def commands_of(title):
    """Return the commands in a section of the guide, without those that need a network."""
    section = re.search(rf"^#+ {title}\n(.*?)(?=^## |^### |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    commands = "".join(re.findall(r"```bash\n(.*?)```", section[1], re.DOTALL))
    commands = re.sub(r"^apt-get .*\n", "", commands, flags=re.MULTILINE)
    return commands.replace("https://example.com/your/copy/of/", "/srv/")


class Host:
    """A machine that has booted."""

    def __init__(self, root):
        nspawn = find_or_install("systemd-container", ("systemd-nspawn",))
        options = ("--boot", "--quiet", "--register=no", "--keep-unit", "--private-network")
        with open(root.parent / "output", "w") as output:
            self.process = subprocess.Popen(
                [nspawn, *options, "--console=pipe", f"--directory={root}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + 60
        while not self.has_booted():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                output = (root.parent / "output").read_text()
                pytest.skip(f"systemd does not boot here, so nothing was tried: {output[-300:]}")
            time.sleep(0.2)

    def has_booted(self):
        state = self.enter("systemctl is-system-running").stdout.strip()
        return state in ("running", "degraded")

    def first_process(self):
        return next(iter(psutil.Process(self.process.pid).children()), None)

    def enter(self, script):
        """Run a script there as root; each line must succeed."""
        first = self.first_process()
        inside = ("nsenter", f"--target={first.pid if first else 0}", "--all")
        return subprocess.run(
            [*inside, "env", "-i", *ENVIRONMENT, "bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, script):
        done = self.enter(script)
        assert done.returncode == 0, done.stdout + done.stderr + self.log()
        return done.stdout

    def log(self):
        return self.enter("journalctl --no-pager --unit=meetings").stdout

    def call(self, path, key, **body):
        """POST the body, or GET without one."""
        url = f"http://127.0.0.1:8000/api/public{path}"
        data = ("-d", json.dumps(body)) if body else ()
        return json.loads(
            self.run(shlex.join(("curl", "-sS", url, "-H", f"X-API-Key: {key}", *data)))
        )

    def processes(self):
        """Return the command lines of the service's processes."""
        every = psutil.Process(self.process.pid).children(recursive=True)
        return [line for p in every if (line := shlex.join(p.cmdline())).startswith(PROGRAM)]

    def stop(self):
        if first := self.first_process():
            first.send_signal(signal.SIGRTMIN + 4)  # power off
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A machine with the service, installed as the guide says from a copy of this project."""
    root = tmp_path_factory.mktemp("host") / "root"
    packages = re.search(r"apt-get install -y (.+)", GUIDE)[1].split()
    make_debian(root, "bookworm", ["systemd", "systemd-sysv", "dbus", *packages])  # Debian 12
    left_out = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, root / "srv/meetings.git", ignore=left_out)
    download_wheels(root / "srv/wheels", "3.11")
    host = Host(root)
    try:
        git = "git -c user.name=x -c user.email=x@example.com"
        host.run(f"cd /srv/meetings.git && git init -q && {git} add . && {git} commit -qm x")
        assert '"ready"' in host.run(commands_of("With systemd"))
        yield host
    finally:
        host.stop()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def key(host):
    """The key that the guide's section on commands prints; it also imports a file."""
    file = "cd /root; printf 'first_name\\nPepper\\n' > leads.csv;"
    output = host.run(file + commands_of("Commands"))
    assert "created 1," in output
    return re.search(r"nxr_live_\w+", output)[0]


def book(host, key):
    lead = host.call("/leads", key, first_name="Tony")["lead"]
    times = {"starts_at": "2026-03-02T14:00Z", "duration_minutes": 30}
    return host.call("/meetings", key, lead_id=lead["id"], title="Intro", **times)


def test_server_and_sender_work_under_the_unit(host, key):
    """The sender's try reaches a receiver, here the service itself: it answers 405."""
    assert book(host, key)["success"]
    host.run(
        "echo WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8 >> /etc/meetings/meetings.env;"
        "systemctl restart meetings"
    )

    webhook = host.call("/webhooks", key, url="http://127.0.0.1:8000/healthz")["webhook"]
    result = host.call(f"/webhooks/{webhook['id']}/test", key, event_type="meeting.scheduled")

    assert result["delivery"]["last_status_code"] == 405, host.log()
    assert "Traceback" not in host.log()


def test_the_state_is_the_services_alone_and_nothing_else_is_written(host, key):
    owner, mode = host.run("stat --format='%u %a' /var/lib/meetings/").split()

    assert (owner != "0", mode) == (True, "700")
    assert host.run(f"find / -xdev -user {owner} -not -path '/var/lib/private/meetings*'") == ""
    secret = "/run/credentials/meetings.service/database_url"
    assert host.run(f"stat --format='%u %a' {secret}").split() == [owner, "400"]
    assert host.enter(f"setpriv --reuid=65534 --clear-groups cat {secret}").stdout == ""


def test_two_commands_run_at_once_and_return_the_status(host, key):
    listed = host.run("meetings clients list & meetings clients list; wait")

    assert listed.count("Example") == 2
    assert host.enter("meetings clients nonsense").returncode == 2


def test_a_reload_and_a_stop_end_as_they_should(host, key):
    host.run("systemctl reload meetings; curl -sSf --retry 3 http://127.0.0.1:8000/readyz")
    assert any(" sender " in line for line in host.processes())

    host.run("systemctl stop meetings")

    assert host.processes() == []
    shown = host.run("systemctl show meetings --property=Result,ExecMainStatus")
    assert set(shown.split()) == {"Result=success", "ExecMainStatus=0"}
    host.run("systemctl start meetings")


def test_a_backup_is_restored_and_an_upgrade_starts_again(host, key):
    [backup] = re.findall(r"`(meetings db backup .+?)`", GUIDE)
    meetings = host.call("/meetings", key)["meetings"]
    host.run(f"{backup}; mv /var/lib/meetings/backup-*.db /var/backups/meetings.db")
    book(host, key)

    host.run(commands_of("Backup"))
    assert host.call("/meetings", key)["meetings"] == meetings

    host.run(commands_of("Upgrade"))
    assert '"ok"' in host.run("curl -sS http://127.0.0.1:8000/healthz")
