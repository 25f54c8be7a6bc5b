"""The image without an engine: the Dockerfile's commands in a clean Debian, and the service there.

This needs root and `mmdebstrap`, and skips otherwise. What only an engine does stays untested: the
network of a container, and that it restarts.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from string import Template

import psutil
import pytest
from dockerfile import argument, read_stages, sent_files
from server import Server, free_port

from config.settings import ROOT
from faults.debian import download_wheels, make_debian

pytestmark = pytest.mark.soak

# Runs a command in an image: its folder, what is mounted where, ro or rw, and arguments of chroot.
ENTER = """
set -eu
image=$1 mounted=$2 place=$3 access=$4; shift 4
mount --bind "$image" "$image"
mount --bind /dev "$image/dev"
mount -t proc proc "$image/proc"
mount -o "remount,bind,$access" "$image"
mount --bind "$mounted" "$image$place"
exec chroot "$@"
"""


class Image:
    """A stage of the Dockerfile in a folder; each method carries out the instruction it names."""

    def __init__(self, root, wheels, stages):
        self.root, self.wheels, self.stages = root, wheels, stages
        self.environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin"}
        self.folder, self.owner = "/", "0:0"

    def build(self, instructions):
        for name, text in instructions:
            getattr(self, f"do_{name.lower()}")(text)
        return self

    def command(self, words, mounted, place, access, environment):
        """Return the command that runs `words` here as process 1; only `place` is mounted."""
        values = [f"{name}={value}" for name, value in (self.environment | environment).items()]
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"),
            *(str(self.root), str(mounted), place, access),
            *("--userspec", self.owner, "--groups=", str(self.root)),
            *("env", "-i", "-C", self.folder, *values, *words),
        ]

    def do_from(self, text):
        self.stages[text.partition(" AS ")[2]] = self

    def do_run(self, text):
        """Run a command; pip gets the packages that this machine's pip has found."""
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt"}
        command = self.command(["sh", "-c", text], self.wheels, "/mnt", "rw", pip)
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def do_copy(self, text):
        stage, (source, target) = re.match(r"--from=(\w+)", text), shlex.split(text)[-2:]
        place = self.root / target.lstrip("/")
        if stage:
            built = self.stages[stage[1]].root / source.lstrip("/")
            subprocess.run(["cp", "-a", str(built), str(place)], check=True)
            return
        sent = {file: file.relative_to(ROOT) for file in sent_files()}
        if source != ".":
            shutil.copy(next(file for file in sent if file == ROOT / source), place)
            return
        for file, name in sent.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / name)

    def do_workdir(self, text):
        self.folder = text

    def do_env(self, text):
        known = dict(self.environment)
        pairs = (word.split("=", 1) for word in shlex.split(text))
        self.environment |= {name: Template(value).substitute(known) for name, value in pairs}

    def do_user(self, text):
        self.owner = text

    def do_volume(self, text):
        self.volume = text

    def do_entrypoint(self, text):
        self.start = json.loads(text)

    def do_healthcheck(self, text):
        self.check = json.loads(text.partition("CMD ")[2])

    def do_expose(self, text):
        """Publish nothing: the network is this machine's."""

    def do_stopsignal(self, text):
        """Nothing ends here but by the test's own SIGTERM."""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The last stage of the Dockerfile, built from the Debian that its base image names."""
    stages, folder, built = read_stages(), tmp_path_factory.mktemp("image"), {}
    named = re.match(r"python:(\d+\.\d+)\.\d+-slim-(\w+)", argument(stages[0], "FROM"))
    python, suite = named.groups()
    make_debian(folder / "base", suite, [f"python{python}", f"python{python}-venv"])
    (folder / "base/usr/local/bin/python").symlink_to(f"/usr/bin/python{python}")
    download_wheels(folder / "wheels", python)
    for number, instructions in enumerate(stages):
        root = folder / str(number)
        subprocess.run(["cp", "-a", f"{folder}/base", str(root)], check=True)
        image = Image(root, folder / "wheels", built).build(instructions)
    yield image
    shutil.rmtree(folder)


@pytest.fixture
def volume(image, tmp_path):
    """A new volume: an engine gives it the owner and mode of the folder in the image."""
    subprocess.run(
        ["cp", "-a", f"{image.root}{image.volume}", str(tmp_path / "volume")], check=True
    )
    return tmp_path / "volume"


def run(image, volume, *words, **environment):
    """Run a command of the container to its end; only the volume can be written to."""
    command = image.command(words, volume, image.volume, "ro", environment)
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextmanager
def container(image, volume, output, **environment):
    """Yield a container once its health check passes, as a caller of it; SIGTERM must end it."""
    port = free_port()
    environment |= {"HOST": "127.0.0.1", "PORT": str(port)}
    command = image.command(image.start, volume, image.volume, "ro", environment)
    with open(output, "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while run(image, volume, *image.check, PORT=str(port)).returncode:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, "the container did not become ready"
        yield Server("", port=port)
        [first] = psutil.Process(process.pid).children()
        assert first.uids().real == int(image.owner.split(":")[0])
        first.terminate()
        assert process.wait(40) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


def book(server, key):
    lead = server.call("POST", "/api/public/leads", {"first_name": "Tony"}, key).json["lead"]
    booking = {"lead_id": lead["id"], "title": "Intro", "starts_at": "2026-03-02T14:00Z"}
    return server.call("POST", "/api/public/meetings", booking | {"duration_minutes": 30}, key)


def list_files(folder):
    """Return the files with what changes when they are written."""
    every = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in every}


def send_sample(server, key):
    """Let the sender make a call, to the service itself, which answers 405."""
    url = f"http://127.0.0.1:{server.port}/healthz"
    webhook = server.call("POST", "/api/public/webhooks", {"url": url}, key).json["webhook"]
    event = {"event_type": "meeting.scheduled"}
    return server.call("POST", f"/api/public/webhooks/{webhook['id']}/test", event, key)


def test_the_image_books_a_meeting_and_writes_to_its_volume_alone(image, volume, tmp_path):
    """Everything else is mounted read-only, as in compose.yaml, and not even /tmp is needed."""
    before = list_files(image.root)
    refused = run(image, volume, "touch", "/tmp/new")
    assert "Read-only file system" in refused.stderr

    allowed = {"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    with container(image, volume, tmp_path / "output", **allowed) as server:
        made = run(image, volume, *image.start, "clients", "create", "Example", "--json")
        key = json.loads(made.stdout)["api_key"]
        answer, sample = book(server, key), send_sample(server, key)
        pages = [server.call("GET", path).status for path in ("/docs", "/desk/sign-in")]

    assert (answer.status, pages) == (201, [200, 200])
    assert sample.json["delivery"]["last_status_code"] == 405, (tmp_path / "output").read_text()
    assert "Applied" in (tmp_path / "output").read_text()
    assert list_files(image.root) == before
    assert {path.stat().st_uid for path in volume.rglob("*")} == {volume.stat().st_uid}


def test_without_migrate_the_image_serves_a_migrated_volume_and_refuses_a_new_one(
    image, volume, tmp_path
):
    refused = run(image, volume, *image.start, MIGRATE="off", PORT=str(free_port()))
    assert refused.returncode != 0
    assert "db upgrade" in refused.stderr

    assert run(image, volume, *image.start, "db", "upgrade").returncode == 0
    with container(image, volume, tmp_path / "output", MIGRATE="off") as server:
        assert server.call("GET", "/readyz").status == 200
    assert "Applied" not in (tmp_path / "output").read_text()
