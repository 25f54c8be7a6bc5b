"""Import and export of leads and meetings: `leads import`, `meetings export` and the like."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from hashlib import sha256

import pytest
from conftest import booking

import database
from config.settings import ROOT
from database import db
from services import meeting_types, meetings, users

BOOKING = {
    "lead_email": "tony.stark@gmail.com",
    "title": "Discovery Call",
    "starts_at": "2025-12-29T14:00:00",
    "duration_minutes": "30",
    "timezone": "America/Santiago",
    "external_calendar_provider": "ghl",
    "external_event_id": "evt-1",
}


def csv_of(*rows, separator=",", **options):
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, delimiter=separator, **options)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture
def run(app, api):
    """Run a command; returns its exit status, what it prints, and what it reports as an error."""

    def run(*arguments, on=app):
        result = on.test_cli_runner().invoke(args=[*arguments])
        assert "Traceback" not in result.output
        return result.exit_code, result.stdout_bytes.decode(), result.stderr

    return run


@pytest.fixture
def load(run, api, tmp_path):
    """`load("meetings", content)` imports a file; returns the exit status and the report."""

    def load(noun, content, *options, name="bookings.csv", owner=api):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        status, out, err = run(noun, "import", owner.client_id, str(file), *options, "--json")
        return status, json.loads(out) if out else err

    return load


@pytest.fixture
def dump(run, api):
    """`dump("meetings", *options)` exports; returns the rows."""

    def dump(noun, *options, owner=api):
        status, out, err = run(noun, "export", owner.client_id, *options)
        assert status == 0, err
        if "jsonl" in options:
            return [json.loads(line) for line in out.splitlines()]
        return list(csv.DictReader(io.StringIO(out, newline="")))

    return dump


def counts(report):
    return tuple(report[name] for name in ("created", "updated", "unchanged", "failed"))


def failed_rows(tmp_path, name="bookings.failed.csv"):
    with (tmp_path / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestReading:
    def test_a_file_of_bookings_becomes_meetings(self, load, api, lead):
        status, report = load("meetings", csv_of(BOOKING))

        assert (status, counts(report)) == (0, (1, 0, 0, 0))
        [meeting] = api.meetings(lead)
        assert meeting["starts_at"] == "2025-12-29T17:00:00Z"
        assert (meeting["title"], meeting["duration_minutes"]) == ("Discovery Call", 30)

    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("quoted", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    def test_separator_and_byte_order_mark_are_detected(
        self, load, api, lead, bom, separator, quoted
    ):
        row = {"lead_email; or, id": "", **BOOKING, "title": 'A, B; "C"\tD'}
        text = csv_of(row, separator=separator, quoting=quoted)

        status, report = load("meetings", bom + text.encode(), "--map", "lead_email; or, id=")

        assert (status, counts(report)) == (0, (1, 0, 0, 0)), report
        assert api.meetings(lead)[0]["title"] == 'A, B; "C"\tD'

    def test_the_separator_that_excel_writes_in_a_first_line_counts(self, load, lead):
        text = "sep=;\r\n" + csv_of(BOOKING, separator=";")

        assert load("meetings", text)[0] == 0

    def test_line_breaks_within_quotes_belong_to_the_cell(self, load, api, lead):
        row = BOOKING | {"description": "first\r\nsecond\nthird"}

        status, _ = load("meetings", csv_of(row, separator=";"))

        assert status == 0
        assert api.meetings(lead)[0]["description"] == "first\r\nsecond\nthird"

    def test_json_lines_are_read_by_the_ending_of_the_name(self, load, api, lead):
        lines = [BOOKING | {"duration_minutes": 30}, BOOKING | {"external_event_id": "evt-2"}]
        text = "\n\n".join(map(json.dumps, lines))

        status, report = load("meetings", text, name="bookings.jsonl")

        assert (status, counts(report)) == (0, (2, 0, 0, 0))
        assert len(api.meetings(lead)) == 2

    def test_an_empty_cell_counts_as_absent(self, load, api, lead):
        load("meetings", csv_of(BOOKING | {"description": "Bring slides"}))

        status, report = load("meetings", csv_of(BOOKING | {"description": ""}))

        assert (status, counts(report)) == (0, (0, 0, 1, 0))
        assert api.meetings(lead)[0]["description"] == "Bring slides"

    def test_blank_lines_and_empty_columns_at_the_end_are_skipped(self, load, lead):
        text = csv_of(BOOKING).replace("\r\n", ",,\r\n") + "\r\n,,,,,,,,\r\n"

        status, report = load("meetings", text)

        assert (status, counts(report)) == (0, (1, 0, 0, 0))

    def test_cells_with_json_become_lists_and_objects(self, load, api, lead):
        guest = [{"name": "Pepper Potts", "email": "pepper@example.com"}]
        load("meetings", csv_of(BOOKING | {"additional_attendees": json.dumps(guest)}))

        assert api.meetings(lead)[0]["additional_attendees"] == guest

    def test_true_as_a_spreadsheet_writes_it_is_accepted(self, load, api):
        status, _ = load("meetings", csv_of(BOOKING | {"create_lead": "TRUE"}))

        assert status == 0
        assert api.get("/leads?email=tony.stark@gmail.com").json["leads"]

    @pytest.mark.parametrize(
        ("name", "content", "named"),
        [
            ("b.csv", "title\r\nä\r\né\r\n".encode("latin-1"), "row 2: it is not UTF-8"),
            ("b.csv", csv_of(BOOKING, BOOKING).encode("utf-16"), "row 1: it is not UTF-8"),
            ("b.csv", b"", "row 1: it has no names of columns"),
            ("b.csv", b"title,title\r\n", "row 1: it names two columns 'title'"),
            ("b.csv", b"title,,lead_email\r\n", "row 1: it has no name for column 2"),
            ("b.csv", b'title\r\na\r\n"b" c\r\n', "row 3: it is not CSV"),
            ("b.csv", b'title\r\na\r\n"b\r\n', "row 3: it is not CSV"),
            ("b.csv", b"title\r\n" + b"x" * 5_000_000, "row 2: it is not CSV (a line is longer"),
            ("b.jsonl", b'{"title": "a"}\n{"title"\n', "row 2: it is not JSON"),
            ("b.jsonl", b'{"title": "a"}\n\n[1]\n', "row 3: it is no JSON object"),
            ("b.jsonl", b'{"title": NaN}\n', "row 1: it is not JSON"),
            ("b.jsonl", b'{"a": ' * 100_000, "row 1: it is not JSON"),
            ("b.jsonl", b'{"title": "\xe4"}\n', "row 1: it is not UTF-8"),
            ("b.xlsx", b"PK", "must end in .csv or .jsonl"),
        ],
        ids=range(14),
    )  # fmt: skip
    def test_a_file_that_cannot_be_read_ends_with_2_and_one_line_that_names_the_row(
        self, load, api, lead, name, content, named
    ):
        status, output = load("meetings", content, name=name)

        assert status == 2
        assert named in output.splitlines()[-1]
        assert api.meetings(lead) == []

    def test_nothing_is_stored_of_a_file_whose_last_row_is_unreadable(self, load, api, lead):
        rows = [BOOKING | {"external_event_id": f"evt-{n}"} for n in range(600)]

        status, _ = load("meetings", csv_of(*rows).encode() + "é".encode("latin-1") + b"\r\n")

        assert status == 2
        assert api.meetings(lead) == []

    def test_a_missing_file_a_folder_and_a_name_too_long_are_named(self, run, api, tmp_path):
        folder = tmp_path / "folder.csv"
        folder.mkdir()
        for path in (tmp_path / "none.csv", folder, tmp_path / f"{'x' * 300}.csv"):
            status, _, err = run("meetings", "import", api.client_id, str(path))

            assert status == 2
            assert str(path) in err.splitlines()[-1]

    def test_a_folder_in_which_failed_rows_cannot_be_written_is_named(self, run, api, tmp_path):
        file = tmp_path / "b.csv"
        file.write_text("lead_id,title\nnobody,Intro\n")
        (tmp_path / "b.failed.csv").mkdir()
        status, _, err = run("meetings", "import", api.client_id, str(file))

        assert status == 2
        assert f"{tmp_path / 'b.failed.csv'} cannot be written" in err.splitlines()[-1]

    def test_an_unknown_client_and_an_invalid_map_are_named(self, run, api, tmp_path):
        file = tmp_path / "b.csv"
        file.write_text(csv_of(BOOKING))
        nobody = run("meetings", "import", "nobody", str(file))
        wrong = run("meetings", "import", api.client_id, str(file), "--map", "title")

        assert (nobody[0], wrong[0]) == (2, 2)
        assert "nobody" in nobody[2]
        assert "--map 'title'" in wrong[2]


class TestColumns:
    def test_a_column_of_another_name_is_mapped_to_a_field(self, load, api, lead):
        row = {name: text for name, text in BOOKING.items() if name != "title"}
        text = csv_of({"What = it is about": "Demo", **row})

        status, _ = load("meetings", text, "--map", "What = it is about=title")

        assert status == 0
        assert api.meetings(lead)[0]["title"] == "Demo"

    def test_an_unknown_column_of_meetings_ends_with_2_and_stores_nothing(self, load, api, lead):
        for name, text in (
            ("b.csv", csv_of(BOOKING | {"utm_source": "ads"})),
            ("b.jsonl", json.dumps(BOOKING) + "\n" + json.dumps({**BOOKING, "utm_source": "ads"})),
        ):
            status, output = load("meetings", text, name=name)

            assert status == 2
            assert "Unknown columns: utm_source." in output
        assert api.meetings(lead) == []

    def test_an_unknown_column_of_leads_becomes_metadata(self, load, api):
        row = {"first_name": "Tony", "Utm Source": "ads", "metadata": '{"score": 5}'}
        status, _ = load("leads", csv_of(row))

        [lead] = api.get("/leads").json["leads"]
        assert status == 0
        assert lead["metadata"] == {"Utm Source": "ads", "score": 5}

    def test_a_map_of_a_missing_column_and_two_columns_of_one_field_are_refused(self, load):
        missing = load("meetings", csv_of(BOOKING), "--map", "Title=title")
        twice = load("meetings", csv_of(BOOKING | {"Name": "x"}), "--map", "Name=title")

        assert (missing[0], twice[0]) == (2, 2)
        assert "no column Title" in missing[1]
        assert "Several columns map to title" in twice[1]

    def test_read_only_columns_and_import_error_are_ignored(self, load, api, lead):
        ignored = {
            **{"id": "7", "created_at": "long ago", "updated_at": "x", "reschedules": "[1]"},
            **{"host_name": "x", "confirmed_by_lead": "maybe", "import_error": "no such lead"},
        }
        status, report = load("meetings", csv_of(BOOKING | ignored))
        lead_status, _ = load("leads", csv_of({"first_name": "Pepper", **{"id": "7", "import_error": "x"}}))  # fmt: skip  # noqa: E501

        assert (status, counts(report), lead_status) == (0, (1, 0, 0, 0), 0)
        assert api.get("/leads?search=Pepper").json["leads"][0]["metadata"] == {}


class TestOutcomes:
    def test_a_row_whose_outcome_is_refused_changes_nothing(self, load, api, lead):
        load("meetings", csv_of(BOOKING | {"status": "completed"}))
        before = api.meetings(lead)

        _, report = load("meetings", csv_of(BOOKING | {"status": "cancelled", "title": "New"}))

        assert counts(report) == (0, 0, 0, 1)
        assert api.meetings(lead) == before

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ({"status": "scheduled"}, {"status": "scheduled"}),
            ({"status": "confirmed"}, {"status": "confirmed", "confirmed_by_lead": True}),
            (
                {"status": "cancelled", "cancellation_reason": "ill"},
                {"status": "cancelled", "cancellation_reason": "ill"},
            ),
            (
                {"status": "completed", "outcome_notes": "went well"},
                {"status": "completed", "outcome_notes": "went well"},
            ),
            (
                {"status": "no_show", "no_show_reason": "ill", "outcome_notes": "waited"},
                {"status": "no_show", "no_show_reason": "ill", "outcome_notes": "waited"},
            ),
            ({"status": "no_show"}, {"status": "no_show", "no_show_reason": "api_marked"}),
        ],
    )
    def test_the_status_with_its_columns_sets_the_outcome(self, load, api, lead, given, shown):
        status, report = load("meetings", csv_of(BOOKING | given))
        again = load("meetings", csv_of(BOOKING | given))

        [meeting] = api.meetings(lead)
        assert (status, counts(report), counts(again[1])) == (0, (1, 0, 0, 0), (0, 0, 1, 0))
        assert {name: meeting[name] for name in shown} == shown

    def test_an_outcome_of_a_known_meeting_is_an_update_in_its_history(self, load, api, lead):
        load("meetings", csv_of(BOOKING))

        _, report = load("meetings", csv_of(BOOKING | {"status": "completed"}))

        assert counts(report) == (0, 1, 0, 0)
        assert api.history(lead)[-1]["activity_type"] == "meeting_completed"

    def test_rows_of_one_meeting_take_effect_one_after_another(self, load, api, lead, tmp_path):
        rows = [BOOKING | {"status": status} for status in ("completed", "no_show", "cancelled")]

        status, report = load("meetings", csv_of(*rows))

        assert (status, counts(report)) == (1, (1, 1, 0, 1))
        assert api.meetings(lead)[0]["status"] == "no_show"
        assert "A no-show meeting cannot be cancelled" in failed_rows(tmp_path)[0]["import_error"]

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"status": "done"}, "status: Must be one of: scheduled, confirmed, completed"),
            ({"outcome_notes": "x"}, "outcome_notes: Needs a matching status."),
            (
                {"status": "completed", "cancellation_reason": "x"},
                "cancellation_reason: Needs a matching status.",
            ),
            (
                {"status": "cancelled", "cancellation_reason": "x" * 1001},
                "cancellation_reason: Must be at most 1000",
            ),
        ],
    )
    def test_an_outcome_that_makes_no_sense_is_refused(
        self, load, api, lead, tmp_path, given, named
    ):
        status, report = load("meetings", csv_of(BOOKING | given))

        assert (status, counts(report)) == (1, (0, 0, 0, 1))
        assert named in failed_rows(tmp_path)[0]["import_error"]
        assert api.meetings(lead) == []


class TestFailedRows:
    def test_they_go_to_a_file_that_can_be_corrected_and_imported(self, load, api, lead, tmp_path):
        good = BOOKING | {"external_event_id": "evt-2"}
        bad = BOOKING | {"lead_email": "nobody@example.com", "title": "A; B"}

        status, report = load("meetings", csv_of(good, bad, separator=";"))

        assert (status, counts(report)) == (1, (1, 0, 0, 1))
        assert report["failed_rows"] == str(tmp_path / "bookings.failed.csv")
        text = (tmp_path / "bookings.failed.csv").read_bytes().decode()
        assert text.startswith("lead_email;title;") or text.startswith('"lead_email";')
        assert "nobody@example.com" in text
        corrected = text.replace("nobody@example.com", "tony.stark@gmail.com")
        status, report = load("meetings", corrected, name="bookings.failed.csv")
        assert (status, counts(report)) == (0, (1, 0, 0, 0))
        assert {m["title"] for m in api.meetings(lead)} == {"Discovery Call", "A; B"}

    def test_only_their_owner_can_read_them(self, load, lead, tmp_path):
        file = tmp_path / "bookings.failed.csv"
        file.touch(0o644)

        load("meetings", csv_of(BOOKING | {"lead_email": "nobody@example.com"}))

        assert file.stat().st_mode & 0o777 == 0o600

    def test_those_of_json_lines_are_json_lines(self, load, lead, tmp_path):
        bad = BOOKING | {"lead_email": "nobody@example.com", "duration_minutes": 10**20}

        status, _ = load("meetings", json.dumps(bad), name="b.jsonl")

        [line] = (tmp_path / "b.failed.jsonl").read_text().splitlines()
        row = json.loads(line)
        assert status == 1
        assert row.pop("import_error").startswith("duration_minutes: ")
        assert row == bad

    def test_each_of_the_first_is_reported_with_the_number_of_its_row(self, run, api, tmp_path):
        file = tmp_path / "bookings.csv"
        rows = [BOOKING | {"external_event_id": f"evt-{n}"} for n in range(12)]
        file.write_text(csv_of(*rows))

        status, out, err = run("meetings", "import", api.client_id, str(file))

        assert status == 1
        assert "bookings.csv, row 2: No lead with the email tony.stark@gmail.com" in err
        assert len(err.splitlines()) == 10
        assert "failed 12" in out
        assert "bookings.failed.csv" in out

    def test_a_row_with_more_cells_than_the_header_fails_alone(self, load, lead, tmp_path):
        text = csv_of(BOOKING, BOOKING | {"external_event_id": "evt-2"})

        status, report = load("meetings", text.replace("evt-1\r\n", "evt-1,surplus\r\n"))

        assert (status, counts(report)) == (1, (1, 0, 0, 1))
        [row] = failed_rows(tmp_path)
        assert "more cells than the header: 'surplus'" in row["import_error"]
        assert row[None] == ["surplus"]

    @pytest.mark.parametrize(
        ("column", "cell"),
        [
            ("external_event_id", "1.23457E+17"),
            ("external_event_id", "03-Apr"),
            ("previous_external_event_id", "Apr-04"),
            ("attendee_phone", "4,91512E+11"),
            ("starts_at", "29/12/2025 14:00"),
            ("starts_at", "29.12.25"),
            ("duration_minutes", "30.01.1900"),
        ],
    )
    def test_what_a_spreadsheet_has_turned_into_a_number_or_date_is_refused(
        self, load, api, lead, tmp_path, column, cell
    ):
        status, _ = load("meetings", csv_of(BOOKING | {column: cell}))

        assert status == 1
        assert failed_rows(tmp_path)[0]["import_error"].startswith(f"{column}: ")
        assert api.meetings(lead) == []

    def test_a_shortened_external_id_of_a_lead_is_refused(self, load, api):
        assert load("leads", csv_of({"first_name": "T", "external_id": "1.2E+15"}))[0] == 1
        assert api.get("/leads").json["leads"] == []


class TestRepetition:
    def test_the_same_file_imported_twice_changes_nothing(self, load, api, lead, stranger):
        rows = [
            {name: text for name, text in BOOKING.items() if not name.startswith("external")},
            {**BOOKING, "external_calendar_provider": ""},
            BOOKING | {"external_event_id": "evt-3"},
        ]
        first = load("meetings", csv_of(*rows))
        history = api.history(lead)

        again = load("meetings", csv_of(*rows))

        assert (counts(first[1]), counts(again[1])) == ((3, 0, 0, 0), (0, 0, 3, 0))
        assert api.history(lead) == history

    def test_a_row_without_an_external_id_gets_one_derived_from_its_cells(self, load, api, lead):
        row = {name: text for name, text in BOOKING.items() if not name.startswith("external")}
        load("meetings", csv_of(row))

        reversed_row = dict(reversed(row.items())) | {"import_error": "corrected"}
        _, report = load("meetings", csv_of(reversed_row))

        cells = json.dumps(sorted(row.items()), separators=(",", ":"))
        [meeting] = api.meetings(lead)
        assert counts(report) == (0, 0, 1, 0)
        assert meeting["external_calendar_provider"] == "csv"
        assert meeting["external_event_id"] == sha256(cells.encode()).hexdigest()

    def test_an_import_that_stops_half_way_and_runs_again_ends_with_the_same_result(
        self, load, api, lead, monkeypatch
    ):
        rows = [BOOKING | {"external_event_id": f"evt-{n}"} for n in range(700)]
        write = db.obj.write_transaction
        began = []

        def stop_at_the_second():
            began.append(1)
            if len(began) == 2:
                raise KeyboardInterrupt
            return write()

        with monkeypatch.context() as patch:
            patch.setattr(db.obj, "write_transaction", stop_at_the_second)
            load("meetings", csv_of(*rows))
        half = api.get(f"/leads/{lead['id']}/meetings?limit=1000").json["meetings"]

        status, report = load("meetings", csv_of(*rows))

        assert len(half) == 500
        assert (status, counts(report)) == (0, (200, 0, 500, 0))

    def test_a_lead_with_an_external_id_is_updated(self, load, api):
        row = {"first_name": "Tony", "external_id": "crm-1", "company": "Stark"}
        results = [
            counts(load("leads", csv_of(row | changes))[1])
            for changes in ({}, {}, {"company": "Stark Industries"})
        ]

        assert results == [(1, 0, 0, 0), (0, 0, 1, 0), (0, 1, 0, 0)]
        assert api.get("/leads").json["leads"][0]["company"] == "Stark Industries"


class TestDryRun:
    def test_it_checks_every_row_and_stores_nothing(self, load, api, lead):
        bad = BOOKING | {"lead_email": "nobody@example.com", "external_event_id": "evt-2"}
        done = BOOKING | {"external_event_id": "evt-3", "status": "completed"}
        history = api.history(lead)

        status, report = load("meetings", csv_of(BOOKING, bad, done), "--dry-run")

        assert (status, counts(report)) == (1, (2, 0, 0, 1))
        assert (api.meetings(lead), api.history(lead)) == ([], history)
        status, report = load("meetings", csv_of(BOOKING, done))
        assert (status, counts(report)) == (0, (2, 0, 0, 0))

    def test_it_stores_no_lead(self, load, api):
        status, report = load("leads", csv_of({"first_name": "Tony"}), "--dry-run")

        assert (status, counts(report)) == (0, (1, 0, 0, 0))
        assert api.get("/leads").json["leads"] == []


def test_arrays_of_500_rows_share_a_transaction(load, api, lead, monkeypatch):
    rows = [BOOKING | {"external_event_id": f"evt-{n}", "status": "completed"} for n in range(1001)]
    write, began = db.obj.write_transaction, []
    monkeypatch.setattr(db.obj, "write_transaction", lambda: began.append(1) or write())

    status, report = load("meetings", csv_of(*rows))

    assert (status, counts(report)) == (0, (1001, 0, 0, 0))
    assert len(began) == 3


def test_a_stranger_gets_none_of_the_rows_and_sees_no_lead_of_another(load, stranger, lead):
    status, report = load("meetings", csv_of(BOOKING), owner=stranger)

    assert (status, counts(report)) == (1, (0, 0, 0, 1))


class TestExport:
    def test_a_meeting_has_the_fields_of_the_list(self, dump, api, lead):
        pepper = users.create(api.client_id, "pepper@example.com", "Pepper", "Potts")
        discovery = meeting_types.create(api.client_id, "Discovery")
        database.release()
        given = {"host_email": pepper.email, "meeting_type_id": discovery.id}
        api.post("/meetings", json=booking(title='A "B",\r\nC', **given))
        [item] = api.meetings(lead)
        expected = item | {"lead_email": lead["email"], "host_email": pepper.email}
        del expected["host"]

        assert dump("meetings", "--format", "jsonl") == [expected]
        [row] = dump("meetings")
        assert list(row) == list(expected)
        assert row["title"] == 'A "B",\r\nC'
        assert (row["additional_attendees"], row["location_details"]) == ("[]", "")

    def test_a_lead_has_the_fields_of_the_list(self, dump, api):
        api.new_lead(email="a@b.co", utm_source="ads", score=1.5, hot=True)

        assert dump("leads", "--format", "jsonl") == api.get("/leads").json["leads"]
        assert json.loads(dump("leads")[0]["metadata"]) == {
            "utm_source": "ads",
            "score": 1.5,
            "hot": True,
        }

    def test_no_text_is_a_formula_to_a_spreadsheet(self, dump, load, api):
        names = {"first_name": "=1+1", "last_name": "'@x", "company": "-A", "title": "'tis"}
        phones = {"phone": "+1 (212) 970-4133", "external_id": "-3"}
        api.new_lead(**names, **phones, note="+a")

        [row] = dump("leads")

        guarded = {"first_name": "'=1+1", "last_name": "''@x", "company": "'-A", "title": "'tis"}
        assert row | guarded | phones == row
        status, report = load("leads", csv_of(row))
        assert (status, counts(report)) == (0, (0, 0, 1, 0)), report

    @pytest.mark.parametrize(
        "options",
        [
            ["--status", "cancelled"],
            ["--lead-email", "PEPPER@example.com"],
            ["--external-event-id", "evt-2"],
            ["--starts-after", "2026-01-01T00:00:00Z"],
            ["--starts-before", "2020-01-01T00:00:00Z"],
            ["--external-calendar-provider", "GHL"],
            ["--host-email", "nobody@example.com"],
        ],
    )
    def test_the_filters_of_the_list_of_meetings_apply(self, dump, api, lead, options):
        api.new_lead(first_name="Pepper", email="pepper@example.com")
        api.post("/meetings", json=booking())
        late = booking(
            lead_email="pepper@example.com", external_event_id="evt-2", timezone="UTC",
            starts_at="2026-01-01T00:00:00", ends_at=..., duration_minutes=5,
        )  # fmt: skip
        made = api.post("/meetings", json=late).json["meeting"]
        api.post(f"/meetings/{made['id']}/cancel")
        query = {options[0].strip("-").replace("-", "_"): options[1]}

        rows = dump("meetings", *options)

        listed = api.get("/meetings", query_string=query | {"order": "starts_at"}).json["meetings"]
        assert [row["id"] for row in rows] == [row["id"] for row in listed]

    @pytest.mark.parametrize(
        "query", [{"search": "pep"}, {"email": "PEPPER@example.com"}, {"phone": "12"}]
    )
    def test_the_filters_of_the_list_of_leads_apply(self, dump, api, lead, query):
        api.new_lead(first_name="Pepper", email="pepper@example.com", phone="+1 2")
        [(name, value)] = query.items()

        assert [row["first_name"] for row in dump("leads", f"--{name}", value)] == ["Pepper"]

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (["--status", "done"], "status"),
            (["--lead-id", "7"], "lead_id"),
            (["--starts-after", "2026-01-01"], "starts_after"),
            (["--format", "xlsx"], "--format"),
            (["--limit", "5"], "--limit"),
        ],
    )
    def test_an_invalid_filter_is_named(self, run, api, options, named):
        status, out, err = run("meetings", "export", api.client_id, *options)

        assert (status, out) == (2, "")
        assert named in err

    def test_another_clients_rows_are_left_out(self, dump, api, lead, stranger):
        api.post("/meetings", json=booking())

        assert dump("meetings", owner=stranger) == []
        assert dump("leads", owner=stranger) == []

    def test_a_file_is_complete_and_private(self, run, api, lead, tmp_path):
        file = tmp_path / "leads.csv"
        status, out, _ = run("leads", "export", api.client_id, "--output", str(file))

        assert (status, out) == (0, f"Wrote 1 rows to {file}.\n")
        assert "Tony.Stark@gmail.com" in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [file]

    def test_a_file_that_cannot_be_written_is_named(self, run, api, tmp_path):
        file = tmp_path / "none" / "leads.csv"
        status, _, err = run("leads", "export", api.client_id, "--output", str(file))

        assert status == 2
        assert str(file) in err.splitlines()[-1]

    def test_all_rows_are_of_one_snapshot(self, kind, app, api, lead, monkeypatch):
        rows = [booking(external_event_id=f"evt-{n}") for n in range(3)]
        api.post("/meetings", json=rows)
        monkeypatch.setattr(f"database.{_module(kind)}.STREAMED_ROWS", 1)

        stream = meetings.stream(api.client_id, {})
        first = next(stream)
        changed = [row | {"title": "Changed"} for row in rows] + [booking(external_event_id="new")]
        api.post("/meetings", json=changed)
        others = list(stream)

        assert {row.title for row in [first, *others]} == {rows[0]["title"]}
        assert len(others) == 2

    def test_a_change_feed_does_not_wait_for_an_export(self, kind, api, lead, monkeypatch):
        api.post("/meetings", json=[booking(external_event_id=f"evt-{n}") for n in range(3)])
        monkeypatch.setattr(f"database.{_module(kind)}.STREAMED_ROWS", 1)
        stream = meetings.stream(api.client_id, {})
        next(stream)
        made = api.post("/meetings", json=booking(external_event_id="new")).json["meeting"]

        feed = api.get("/meetings?order=updated_at&updated_after=2020-01-01T00:00:00Z").json
        stream.close()

        assert feed["meetings"][-1]["id"] == made["id"]


def _module(kind):
    return "sqlite" if kind == "sqlite" else "postgres"


class TestRoundTrips:
    @pytest.fixture
    def full(self, api, lead):
        """A client with leads and meetings of every kind."""
        users.create(api.client_id, "pepper@example.com", "Pepper", "Potts")
        meeting_types.create(api.client_id, "Discovery")
        [discovery] = meeting_types.list_all(api.client_id)
        database.release()
        api.new_lead(first_name='Ä; "Ö"', email="ae@example.com", external_id="1", vip=True)
        typed = {"meeting_type_id": discovery.id}
        rows = [
            booking(external_event_id="a", status="confirmed", description="x\r\n; y"),
            booking(external_event_id="b", lead_email="ae@example.com", **typed),
            booking(external_event_id="c", host_email="pepper@example.com", timezone="Asia/Tokyo"),
            booking(external_event_id="d", attendee_name="Happy", location_type="phone"),
            booking(external_event_id=..., external_calendar_provider=...),
        ]  # fmt: skip
        made = [api.post("/meetings", json=row).json["meeting"]["id"] for row in rows]
        api.post(f"/meetings/{made[1]}/cancel", json={"reason": "ill"})
        api.post(f"/meetings/{made[2]}/complete", json={"notes": "well"})
        api.post(f"/meetings/{made[3]}/no-show", json={"reason": "x", "notes": "y"})
        return api

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_an_export_can_be_imported_into_another_database(
        self, full, stranger, load, run, dump, form
    ):
        users.create(stranger.client_id, "pepper@example.com", "Pepper", "Potts")
        meeting_types.create(stranger.client_id, "Discovery")
        database.release()
        for noun in ("leads", "meetings"):
            _, text, _ = run(noun, "export", full.client_id, "--format", form)
            status, report = load(noun, text, name=f"all.{form}", owner=stranger)
            assert (status, report["failed"]) == (0, 0), report

        for noun in ("leads", "meetings"):
            before, after = dump(noun), dump(noun, owner=stranger)
            assert [_portable(row) for row in after] == [_portable(row) for row in before]

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_an_export_imported_again_changes_nothing(self, full, load, run, dump, form):
        before = dump("meetings", "--external-calendar-provider", "ghl", "--format", "jsonl")
        options = ["--external-calendar-provider", "ghl", "--format", form]
        _, text, _ = run("meetings", "export", full.client_id, *options)

        status, report = load("meetings", text, name=f"all.{form}")

        assert (status, counts(report)) == (0, (0, 0, 4, 0))
        options = ["--external-calendar-provider", "ghl", "--format", "jsonl"]
        assert dump("meetings", *options) == before

    def test_a_lead_of_an_unknown_id_is_found_by_email_only_if_there_is_one(self, load, api, lead):
        unknown = {"lead_id": "0198c0de-0000-7000-8000-000000000000"}
        wrong = {"lead_id": "7", "external_event_id": "evt-2"}

        status, report = load("meetings", csv_of(BOOKING | unknown, BOOKING | wrong))

        assert (status, counts(report)) == (1, (1, 0, 0, 1))


def _portable(row):
    """Return a row without what the service sets itself, and without ids of other rows."""
    own = {"id", "lead_id", "meeting_type_id", "created_at", "updated_at", "cancelled_at"}
    own |= {"outcome_at"}
    shown = {name: cell for name, cell in row.items() if name not in own}
    if row.get("external_calendar_provider") in ("", "csv"):
        del shown["external_calendar_provider"], shown["external_event_id"]
    return shown


PROGRAM = [sys.executable, "-m", "flask", "--app", "app"]


@pytest.fixture
def program(app, api, lead, database_url, tmp_path):
    """`program(*arguments)`: the command line and environment of a separate process."""
    database.release()
    file = tmp_path / "bookings.csv"
    file.write_text(csv_of(*(BOOKING | {"external_event_id": f"{n}"} for n in range(600))))
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "TERM": "xterm"}
    command = [*PROGRAM, "meetings", "import", api.client_id, str(file)]
    return {"args": command, "env": environment, "cwd": ROOT}


def test_a_pipe_gets_no_progress_bar(program):
    done = subprocess.run(**program, capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("created 600, updated 0, unchanged 0, failed 0; ")
    assert done.stdout.endswith(" rows a second.\n")


def test_a_terminal_gets_a_progress_bar(program):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(**program, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other side has closed it
        pass
    out, _ = process.communicate(timeout=60)
    os.close(ours)

    assert process.returncode == 0
    assert b"100%" in shown
    assert out.startswith("created 600")


MEASURE = """
import re, sys
from pathlib import Path
sys.argv = ["flask", "--app", "app", *sys.argv[1:]]
from flask.cli import main
try:
    main()
finally:
    # ru_maxrss would begin with the size of the process that started this one.
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_file(program, api, lead, tmp_path):
    """With 20 times as many rows, import and export take the same memory, and under 200 MiB."""

    def peak_kib(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *arguments],
            env=program["env"], cwd=ROOT, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return int(done.stderr.splitlines()[-1])

    peaks = []
    for count in (500, 10_000):
        rows = (BOOKING | {"external_event_id": f"{n}", "description": "x" * 500} for n in range(count))  # fmt: skip  # noqa: E501
        (tmp_path / "many.csv").write_text(csv_of(*rows))
        peaks.append(
            (
                peak_kib("meetings", "import", api.client_id, str(tmp_path / "many.csv")),
                peak_kib("meetings", "export", api.client_id, "--output", str(tmp_path / "o.csv")),
            )
        )

    for small, large in zip(*peaks, strict=True):
        assert large < 200 * 1024
        assert large - small < 30 * 1024, peaks


def test_a_reader_that_stops_early_is_no_error(program):
    command = [*PROGRAM, "leads", "export", program["args"][-2]]
    process = subprocess.Popen(
        command, env=program["env"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()

    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(60)
