"""The page at /docs works in a browser and loads only files of the service."""

import json
import os
import re
import shlex
import subprocess

import pytest
from browser import chromium
from server import serving_demo

from web import docs


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with serving_demo(tmp_path_factory.mktemp("docs")) as demo:
        yield demo


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(demo, browser):
    """`opened(width)` opens the page; `opened.problems` lists console messages and failures."""
    pages_open = []

    def open_page(width=1280, link=""):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages_open.append(page)
        page.on("console", lambda message: open_page.problems.append(message.text))
        page.on("pageerror", lambda error: open_page.problems.append(str(error)))
        page.on("requestfailed", lambda request: open_page.problems.append(request.url))
        page.on("request", lambda request: open_page.requested.append(request.url))
        page.goto(f"http://127.0.0.1:{demo[0].port}/docs{link}")
        page.wait_for_selector(".opblock.is-open" if link else ".opblock")
        return page

    open_page.problems, open_page.requested = [], []
    yield open_page
    for page in pages_open:
        page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_shows_every_endpoint_and_loads_nothing_from_another_host(demo, opened, width):
    page = opened(width)

    paths = demo[0].call("GET", "/openapi.json").json["paths"].values()
    operations = sum(len(item.keys() - {"parameters"}) for item in paths)
    assert page.locator(".opblock").count() == operations
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert opened.problems == []
    own_host = f"http://127.0.0.1:{demo[0].port}/"
    assert [url for url in opened.requested if not url.startswith((own_host, "data:"))] == []


def test_the_try_it_out_button_logs_a_meeting(demo, opened):
    server, demo_data = demo
    page = opened()

    page.locator(".btn.authorize").click()
    page.locator(".auth-container input").first.fill(demo_data["api_key"])
    page.locator(".auth-container button.authorize").first.click()
    page.locator(".btn-done").first.click()
    call = page.locator("#operations-Meetings-log_meeting")
    call.locator("button.opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    answer = call.locator(".live-responses-table")
    answer.wait_for()

    assert answer.locator("tbody td.response-col_status").inner_text() == "201"
    path = f"/api/public/leads/{demo_data['lead_id']}/meetings"
    meetings = server.call("GET", path, key=demo_data["api_key"]).json["meetings"]
    assert [meeting["title"] for meeting in meetings] == ["Discovery Call with Tony Stark"]
    assert meetings[0]["id"] in answer.inner_text()
    assert opened.problems == []


RESCHEDULE = "#/A%20meeting's%20life/reschedule_meeting"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_deep_link_opens_an_operation_with_its_parameters_and_fields(opened, width):
    page = opened(width, RESCHEDULE)

    call = page.locator(".opblock.is-open")
    names = call.locator("tr[data-param-name] .parameter__name").all_inner_texts()
    assert [name.split()[0] for name in names] == ["meeting_id", "Idempotency-Key"]
    rows = call.locator(".opblock-description tbody tr").all_inner_texts()
    fields = [row.split()[0] for row in rows]
    assert fields[:3] == ["starts_at", "ends_at", "duration_minutes"]
    assert rows[2].split("\t")[1] == "integer, 1 to 44,640"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_every_operation_shows_its_own_errors_and_the_introduction_the_shared_ones(opened):
    page = opened(link=RESCHEDULE)

    own = page.locator(".opblock.is-open tr.response td.response-col_status").all_inner_texts()
    assert [status.split()[0] for status in own] == ["200", "404", "409"]
    introduction = page.locator(".info")
    for code in ("validation_error", "invalid_api_key", "payload_too_large", "internal_error"):
        assert introduction.locator("code", has_text=code).count()


def test_the_curl_line_of_an_operation_works_as_pasted(demo, opened):
    server, demo_data = demo
    page = opened(link="#/Leads/create_lead")
    line = page.locator(".opblock.is-open .opblock-description pre").inner_text()

    key = {"KEY": demo_data["api_key"], "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", line], env=key, capture_output=True, check=True)

    lead = json.loads(done.stdout)["lead"]
    path = f"/api/public/leads/{lead['id']}"
    assert server.call("GET", path, key=key["KEY"]).json["lead"] == lead


def test_every_curl_line_names_the_call_of_its_operation(demo, opened):
    page = opened()
    api = page.evaluate("ui.specSelectors.specJson().toJS()")

    for path, item in api["paths"].items():
        for method, operation in item.items():
            sample = re.search(r"```bash\n(.*?)\n```", operation["description"], re.DOTALL)
            arguments = shlex.split(sample[1].replace("\\\n", ""))
            named = re.sub(r"\{(\w+)\}", lambda part: "$" + part[1].upper(), path)
            assert f"http://127.0.0.1:{demo[0].port}{named}" in arguments
            assert method == "get" or arguments[1:3] == ["-X", method.upper()]
            assert ("-d" in arguments) == ("requestBody" in operation)


def test_each_request_of_the_page_has_a_new_id(demo, opened):
    page = opened(link="#/Meetings/list_meetings")
    call = page.locator(".opblock.is-open")
    call.get_by_role("button", name="Try it out").click()

    ids = set()
    for _ in range(2):
        with page.expect_response(lambda answer: "/api/public/meetings" in answer.url) as got:
            call.get_by_role("button", name="Execute").click()
        ids.add(got.value.headers["x-request-id"])

    assert len(ids) == 2


def test_an_inline_script_is_blocked(opened):
    page = opened()

    page.evaluate(
        "document.body.appendChild(Object.assign(document.createElement('script'),"
        " {textContent: 'window.ran = true'}))"
    )

    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in opened.problems[0]


def test_the_content_security_policy_allows_no_other_host(app):
    policy = app.test_client().get("/docs").headers["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "//" not in policy
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(
        policy.split("; ")
    )


def test_the_files_of_the_page_may_be_cached_permanently(app):
    http = app.test_client()

    named = re.findall(r'(?:src|href)="(docs/[^"]+)"', http.get("/docs").text)
    assert {name.rpartition("/")[2] for name in named} == set(docs.FILES)
    for name in named:
        first = http.get(f"/{name}")
        again = http.get(f"/{name}", headers={"If-None-Match": first.headers["ETag"]})

        assert (first.status_code, again.status_code) == (200, 304)
        assert "immutable" in first.headers["Cache-Control"]
        assert first.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "0123456789ab/page.js",
        "{version}/LICENSE",
        "{version}/..%2fdocs.py",
        "{version}/../docs.py",
        "{version}/%2e%2e%2f%2e%2e%2fapp.py",
        "{version}/..%5cdocs.py",
        "{version}/%2fetc%2fpasswd",
        "{version}//etc/passwd",
        "{version}/page.js%00.css",
        "..%2f..%2fapp.py",
        "{version}/",
    ],
)
def test_no_path_serves_another_file(demo, path):
    answer = demo[0].call("GET", f"/docs/{path.format(version=docs.VERSION)}")

    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_an_etag_depends_only_on_the_content(tmp_path):
    here, there = tmp_path / "page.js", tmp_path / "other" / "page.js"
    there.parent.mkdir()
    for path in (here, there):
        path.write_text("1")
    etags = [docs.File(path, docs.JAVASCRIPT, docs.KEEP).etag for path in (here, there)]
    there.write_text("2")

    assert etags[0] == etags[1]
    assert docs.File(there, docs.JAVASCRIPT, docs.KEEP).etag != etags[0]
