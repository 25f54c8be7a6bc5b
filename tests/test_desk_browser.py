"""The desk in a browser: with and without scripts, on a wide and on a narrow screen."""

import os
import re
import shutil
import subprocess
from datetime import timedelta
from urllib.parse import urlsplit

import desk_data
import pytest
from browser import chromium
from conftest import Api, booking
from hooks import Hook, calendly
from programs import find_or_install
from server import Server

from config.settings import ROOT
from services import clients, desk_sessions
from times import format_instant, utc_now

WIDE, NARROW = 1440, 390
IMAGES = ROOT / "docs" / "images"
UNREADABLE = "document.documentElement.scrollWidth > window.innerWidth"


@pytest.fixture(scope="module")
def server(database_url):
    server = Server(database_url, workers=1).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Desk:
    """A person at the desk: opens pages of one server in a browser window of its own."""

    def __init__(self, browser, server, width=WIDE, scripts=True, scheme="light"):
        self.base = f"http://127.0.0.1:{server.port}"
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.problems, self.requested = [], []
        self.page.on("console", lambda message: self.note(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))

    def note(self, text):
        if "status of 4" not in text:  # a form that is refused
            self.problems.append(text)

    def sign_in(self, key):
        """Start a session without the form, which has its own test."""
        token = desk_sessions.start(key)
        self.context.add_cookies([{"name": "desk_session", "value": token, "url": self.base}])

    def open(self, path):
        self.page.goto(self.base + path)
        return self.page

    @property
    def path(self):
        return urlsplit(self.page.url).path

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def says(self, text):
        """Wait until the page says what was done, and return whether the page is in order."""
        self.page.locator("[role=status]", has_text=text).wait_for()
        return self.problems == []


@pytest.fixture
def desks(browser, server):
    """`desks(...)` opens a window at the desk; all are closed at the end."""
    opened = []

    def open_desk(**options):
        opened.append(Desk(browser, server, **options))
        return opened[-1]

    yield open_desk
    for desk in opened:
        desk.context.close()


# The windows of the flows: the width, and whether scripts are on. Each database begins with another
# one, and `make soak` tries all on both.
WINDOWS = [(WIDE, True), (NARROW, False), (WIDE, False), (NARROW, True)]


@pytest.fixture(params=[0, *(pytest.param(number, marks=pytest.mark.soak) for number in (1, 2, 3))])
def desk(request, desks, api, kind):
    """A desk where the client's key is signed in."""
    width, scripts = WINDOWS[request.param - (kind == "postgresql") * 3]
    desk = desks(width=width, scripts=scripts)
    desk.sign_in(api.key)
    return desk


def log(api, lead, starts_at, **more):
    body = booking(
        lead_email=lead["email"], starts_at=format_instant(starts_at), ends_at=...,
        duration_minutes=30, timezone="Europe/Berlin", status="scheduled",
        external_calendar_provider=..., external_event_id=..., **more,
    )  # fmt: skip
    answer = api.post("/meetings", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json["meeting"]


def status_of(api, meeting):
    return api.get(f"/meetings/{meeting['id']}").json["meeting"]["status"]


class TestFlows:
    def test_sign_in_and_sign_out(self, desk, api):
        desk.context.clear_cookies()
        page = desk.open("/desk/leads?search=x")
        page.get_by_label("API key").fill("nxr_live_wrong")
        desk.press("Sign in")
        page.get_by_role("alert").get_by_text("not valid").wait_for()
        assert page.get_by_label("API key").get_attribute("aria-invalid") == "true"

        page.get_by_label("API key").fill(f" {api.key} ")
        desk.press("Sign in")
        page.get_by_role("heading", name="Leads").wait_for()
        assert page.url.endswith("/desk/leads?search=x")
        [cookie] = desk.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["name"]) == (
            *(True, "Strict", "desk_session"),
        )

        desk.press("Sign out")
        page.get_by_label("API key").wait_for()
        page.go_back()
        assert desk.path == "/desk/sign-in"
        assert desk.problems == []

    def test_the_morning_round(self, desk, api, lead):
        yesterday = utc_now() - timedelta(days=1)
        names = ("Showed up", "No-show", "Cancelled")
        meetings = [log(api, lead, yesterday, title=f"Call {name}") for name in names]
        page = desk.open("/desk")
        assert page.locator(".outcomes").count() == 3
        assert not page.evaluate(UNREADABLE)

        for name in names:
            page.get_by_role("button", name=f"{name}: Call {name}").click()
            desk.says(f"Call {name}: ")

        assert [status_of(api, m) for m in meetings] == ["completed", "no_show", "cancelled"]
        assert page.locator(".outcomes").count() == 0
        desk.press("Undo")
        desk.says("Open again")
        assert status_of(api, meetings[2]) == "scheduled"
        assert desk.problems == []

    def test_book_reschedule_no_show_reopen(self, desk, api, lead):
        page = desk.open("/desk/meetings")
        page.get_by_role("link", name="Log a meeting").click()
        page.get_by_label("Which lead?").fill("stark")
        desk.press("Search")
        page.get_by_role("link", name="Tony Stark").click()
        page.get_by_label("Title").fill("Discovery")
        page.get_by_label("Starts at").fill("2026-03-02T14:00")
        page.get_by_label("Zone of this time").select_option("America/Santiago")
        desk.press("Log the meeting")
        assert desk.says("Meeting logged")
        [meeting] = api.meetings(lead)
        assert meeting["starts_at"] == "2026-03-02T17:00:00Z"

        page.locator("summary", has_text="Reschedule").click()
        page.get_by_label("New start").fill("2026-03-03T14:00")
        page.get_by_label("Minutes").fill("0")
        desk.press("Move the meeting")
        wrong = page.get_by_label("Minutes")
        page.get_by_role("alert").wait_for()
        assert wrong.get_attribute("aria-invalid") == "true"
        described = wrong.get_attribute("aria-describedby").split()[-1]
        assert page.locator(f"#{described}").inner_text().startswith("Must be")
        assert page.get_by_label("New start").input_value() == "2026-03-03T14:00"
        wrong.fill("60")
        desk.press("Move the meeting")
        assert desk.says("Moved")
        assert page.locator(".moved").inner_text().startswith("Moved from Mon 2 Mar 2026, 17:00")

        page.locator("summary", has_text="No-show").click()
        page.locator("#no-show-reason").fill("no answer")
        desk.press("Record: no-show")
        assert desk.says("Marked as a no-show")
        desk.press("Reopen")
        assert desk.says("Open again")
        [meeting] = api.meetings(lead)
        assert (meeting["status"], meeting["duration_minutes"]) == ("scheduled", 60)
        kinds = [line["activity_type"] for line in api.history(lead)]
        assert kinds[1:] == [
            *("meeting_scheduled", "meeting_rescheduled", "meeting_no_show", "meeting_reopened"),
        ]

    def test_an_unmatched_arrival_is_resolved(self, desk, api):
        hook = Hook(api, create_leads=False)
        receipt = hook.receive(calendly(invitee="d1", email="new@example.com"))
        assert receipt["outcome"] == "unmatched"
        page = desk.open("/desk/arrivals")
        page.get_by_role("region", name="These need you").get_by_role("link").first.click()
        page.get_by_role("group", name="What arrived").wait_for()

        page.get_by_label("First name").fill("New")
        desk.press("Create the lead and retry")

        assert desk.says("Processed again")
        assert page.locator(".title .status").inner_text() == "Logged"
        [found] = api.get("/leads?email=new@example.com").json["leads"]
        assert [m["title"] for m in api.meetings(found)] == ["Discovery Call"]
        assert not page.evaluate(UNREADABLE)

    def test_a_failed_delivery_is_sent_again(self, desk, api):
        webhook_id = desk_data.store_deliveries(api)
        page = desk.open("/desk/deliveries")
        page.get_by_role("region", name="Failed").get_by_role("link").first.click()
        page.get_by_text("<b>Internal error</b> & more").wait_for()

        desk.press("Send again")

        assert desk.says("On its way again")
        assert page.locator(".title .status").inner_text() == "Pending"
        sent = api.get(f"/webhooks/{webhook_id}/deliveries").json["deliveries"]
        assert [d["status"] for d in sent] == ["pending", "pending", "failed"]
        assert not page.evaluate(UNREADABLE)

    def test_a_lead_is_found_changed_and_erased(self, desk, api, lead):
        page = desk.open("/desk/leads")
        page.get_by_label("Search").fill("stark")
        page.get_by_label("Search").press("Enter")
        page.get_by_role("link", name="Tony Stark").click()
        page.locator("summary", has_text="Edit").click()
        page.get_by_label("Company").fill("Stark Industries")
        desk.press("Save")
        assert desk.says("Saved")
        assert api.get(f"/leads/{lead['id']}").json["lead"]["company"] == "Stark Industries"

        page.locator("summary", has_text="Erase").click()
        page.get_by_label("Type the word erase").fill("yes")
        desk.press("Erase this lead")
        page.get_by_role("alert").wait_for()
        assert api.get(f"/leads/{lead['id']}").status_code == 200
        page.get_by_label("Type the word erase").fill("erase")
        desk.press("Erase this lead")
        assert desk.says("erased")
        assert api.get(f"/leads/{lead['id']}").status_code == 404

    def test_a_zone_is_chosen_and_remembered(self, desk, api, lead):
        log(api, lead, utc_now().replace(hour=23, minute=30) + timedelta(days=2))
        page = desk.open("/desk")
        assert "23:30 – 00:00" in re.sub(r"\w+ \d+ \w+, ", "", page.inner_text("main"))  # noqa: RUF001
        page.get_by_role("link", name="UTC").click()
        page.get_by_label("Zone", exact=True).select_option("Asia/Kathmandu")
        desk.press("Use this zone")
        page.get_by_role("heading", name="Next").wait_for()

        assert "05:15 – 05:45" in page.inner_text("main")  # noqa: RUF001
        desk.open("/desk/meetings")
        assert "05:15 – 05:45" in page.inner_text("main")  # noqa: RUF001


class TestScripts:
    def test_leads_appear_as_one_types(self, desks, api, lead):
        desk = desks()
        desk.sign_in(api.key)
        api.new_lead(first_name="Pepper", email="pepper@example.com")
        page = desk.open("/desk/leads")
        assert page.locator("tbody tr").count() == 2

        page.get_by_label("Search").press_sequentially("stark")
        page.locator("tbody tr").nth(1).wait_for(state="detached")
        page.wait_for_url("**/leads?search=stark")

        assert page.locator("tbody").inner_text().startswith("Tony Stark")
        assert page.get_by_label("Search").input_value() == "stark"

        page = desk.open("/desk/meetings/new")
        page.get_by_label("Which lead?").press_sequentially("stark")
        page.get_by_role("link", name="Tony Stark").click()
        page.wait_for_url("**/desk/meetings/new?lead_id=*")
        assert desk.problems == []

    def test_a_double_click_sends_a_form_once(self, desks, api, lead):
        desk = desks()
        desk.sign_in(api.key)
        page = desk.open(f"/desk/meetings/new?lead_id={lead['id']}")
        page.get_by_label("Title").fill("Once")
        page.get_by_label("Starts at").fill("2026-03-02T14:00")
        page.get_by_role("button", name="Log the meeting").dblclick()

        assert desk.says("Meeting logged")
        assert len(api.meetings(lead)) == 1

    def test_the_zone_of_the_computer_is_offered(self, desks, api):
        desk = desks()
        desk.sign_in(api.key)
        page = desk.open("/desk/zone")
        offered = page.locator("[data-own-zone] button")
        offered.click()

        assert page.get_by_label("Zone", exact=True).input_value() == offered.inner_text()


class TestTabs:
    def test_a_key_revoked_while_a_page_is_open_ends_at_the_next_click(self, desks, api, lead):
        desk = desks(scripts=False)
        desk.sign_in(api.key)
        meeting = log(api, lead, utc_now() - timedelta(days=1))
        page = desk.open("/desk")
        [row] = clients.list_keys(api.client_id)
        clients.revoke_key(row.id)

        page.get_by_role("button", name="Showed up").click()

        page.get_by_text("Your session has ended").wait_for()
        _, api.key = clients.create_key(api.client_id)
        assert status_of(api, meeting) == "scheduled"

    def test_two_tabs_with_two_keys_change_nothing_of_the_other_client(
        self, desks, api, stranger, lead
    ):
        desk = desks()
        desk.sign_in(api.key)
        meeting = log(api, lead, utc_now() - timedelta(days=1))
        page = desk.open("/desk")
        desk.sign_in(stranger.key)  # as in another tab: the cookie is the browser's

        page.get_by_role("button", name="Showed up").click()

        page.get_by_role("alert").get_by_text("another key was signed in").wait_for()
        assert status_of(api, meeting) == "scheduled"


def pages_of(api):
    """Return an address of every page, with something to show on each."""
    made = desk_data.store_week(api)
    unmatched, refused, _ = desk_data.store_arrivals(api)
    webhook = desk_data.store_deliveries(api)
    api.post(f"/meetings/{made['next'][0]}/reschedule", json={"starts_at": "2030-01-05T10:00"})
    note = {"calendar_event_id": made["open"][0], "summary": "A call", "action_items": ["Call"]}
    api.post("/meeting-notes", json=note)
    delivery = api.get(f"/webhooks/{webhook}/deliveries").json["deliveries"][-1]["id"]
    return [
        *("/desk", "/desk/meetings?limit=10", "/desk/meetings?lead=a", "/desk/meetings?limit=x"),
        *(f"/desk/meetings/{made['open'][0]}", f"/desk/meetings/{made['next'][0]}"),
        *("/desk/meetings/new", "/desk/meetings/new?lead_email=x@example.com"),
        *("/desk/leads", f"/desk/leads/{made['leads'][0]}", "/desk/leads?search=nobody"),
        *("/desk/arrivals", f"/desk/arrivals/{unmatched['id']}", f"/desk/arrivals/{refused['id']}"),
        *("/desk/deliveries", f"/desk/deliveries/{webhook}/{delivery}"),
        *("/desk/figures", "/desk/zone", "/desk/nothing"),
    ]


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core."""
    npm = find_or_install("npm", names=("npm",))
    folder = tmp_path_factory.mktemp("axe")
    shutil.copytree(ROOT / "tests" / "axe", folder, dirs_exist_ok=True)
    install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def violations(page, axe):
    page.evaluate(f"{axe};0")
    found = page.evaluate("axe.run()")["violations"]
    return [(v["id"], [node["html"] for node in v["nodes"]]) for v in found]


FORMS = [(WIDE, "light"), (NARROW, "dark"), (WIDE, "dark"), (NARROW, "light")]


def check_pages(desk, api, axe, which=slice(None)):
    assert violations(desk.open("/desk/sign-in"), axe) == []
    desk.sign_in(api.key)
    for path in pages_of(api)[which]:
        page = desk.open(path)
        assert (path, violations(page, axe)) == (path, [])
        assert not page.evaluate(UNREADABLE), path
    assert desk.problems == []
    assert [url for url in desk.requested if not url.startswith(f"{desk.base}/desk")] == []


def test_axe_finds_no_violation_on_any_page(desks, api, axe, kind):
    """Each database shows half of the pages, each in another form; `make soak` shows all in all."""
    half = ["sqlite", "postgresql"].index(kind)
    width, scheme = FORMS[half]
    check_pages(desks(width=width, scheme=scheme), api, axe, slice(half, None, 2))


@pytest.mark.soak
@pytest.mark.parametrize(("width", "scheme"), FORMS)
def test_axe_finds_no_violation_in_any_form(desks, api, axe, width, scheme):
    check_pages(desks(width=width, scheme=scheme), api, axe)


def test_the_keyboard_alone_reaches_the_content_and_every_button(desks, api, lead):
    desk = desks()
    desk.sign_in(api.key)
    meeting = log(api, lead, utc_now() - timedelta(days=1))
    page = desk.open("/desk")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")

    for _ in range(4):  # log a meeting, the meeting, its lead, the first outcome
        page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    page.keyboard.press("Enter")

    assert outline == "3px"
    assert desk.says("Marked as showed up")
    assert status_of(api, meeting) == "completed"


def test_the_screenshots_of_the_readme(desks, app, tmp_path):
    """`make images` stores them; they show the week that every run makes anew."""
    client, key = clients.create("Acme Sales")
    desk_data.store_week(Api(app.test_client(), client.id, key))
    folder = IMAGES if os.environ.get("IMAGES") else tmp_path
    for name, path, scheme in (("today", "", "light"), ("figures", "/figures", "dark")):
        desk = desks(scheme=scheme)
        desk.sign_in(key)
        desk.open(f"/desk{path}")

        desk.page.screenshot(path=folder / f"desk-{name}.png")

        assert (IMAGES / f"desk-{name}.png").read_bytes()[:4] == b"\x89PNG"
