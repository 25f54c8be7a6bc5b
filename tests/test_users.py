"""Users, the people who host meetings, over the API."""

import threading

import pytest
from conftest import booking

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
PEPPER = {"email": "Pepper@example.com", "first_name": "Pepper", "last_name": "Potts"}
USER_KEYS = ["id", "email", "first_name", "last_name", "active"]


@pytest.fixture
def user(api):
    answer = api.post("/users", json=PEPPER)
    assert answer.status_code == 201, answer.json
    return answer.json["user"]


def patch(api, user, **changes):
    return api.patch(f"/users/{user['id']}", json=changes)


class TestCreate:
    def test_a_created_user_is_returned_with_its_address(self, api):
        answer = api.post("/users", json=PEPPER)

        user = answer.json["user"]
        assert answer.status_code == 201
        assert list(answer.json) == ["success", "user"]
        assert list(user) == USER_KEYS
        assert user == PEPPER | {"id": user["id"], "active": True}
        assert answer.headers["Location"] == f"/api/public/users/{user['id']}"
        assert api.get(f"/users/{user['id']}").json == {"success": True, "user": user}

    @pytest.mark.parametrize(
        ("active", "stored"),
        [(True, True), (False, False), ("true", True), ("false", False), (None, True), ("", True)],
    )
    def test_active_is_a_boolean_that_may_be_written_as_text(self, api, active, stored):
        user = api.post("/users", json=PEPPER | {"active": active}).json["user"]

        assert user["active"] is stored
        assert api.get(f"/users/{user['id']}").json["user"]["active"] is stored

    @pytest.mark.parametrize("active", [0, 1, "yes", "True", [], {}])
    def test_another_value_of_active_is_refused(self, api, active):
        answer = api.post("/users", json=PEPPER | {"active": active})

        assert answer.json["details"] == {"active": ["Must be true or false."]}

    @pytest.mark.parametrize("field", PEPPER)
    @pytest.mark.parametrize("value", [..., None, "", " ", 5, "x" * 256])
    def test_an_email_and_both_names_are_required(self, api, field, value):
        body = {k: v for k, v in (PEPPER | {field: value}).items() if v is not ...}

        answer = api.post("/users?x=1", json=body | {"phone": "5"})

        assert (answer.status_code, set(answer.json["details"])) == (400, {field, "phone", "x"})

    @pytest.mark.parametrize("email", ["Pepper@example.com", "pepper@EXAMPLE.com"])
    def test_an_email_is_taken_in_any_case(self, api, user, email):
        answer = api.post("/users", json=PEPPER | {"email": email})

        assert (answer.status_code, answer.json["code"]) == (409, "name_taken")
        assert answer.json["error"] == "Name taken"
        assert email in answer.json["message"]
        assert api.get("/users").json["users"] == [user]

    def test_two_clients_may_have_a_user_with_one_email(self, user, stranger):
        assert stranger.post("/users", json=PEPPER).status_code == 201

    def test_of_concurrent_calls_with_one_email_one_creates_the_user(self, app, api):
        statuses = []

        def send():
            http = app.test_client()
            answer = http.post("/api/public/users", json=PEPPER, headers={"X-API-Key": api.key})
            statuses.append(answer.status_code)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(statuses) == [201] + [409] * 7


class TestList:
    def test_users_are_listed_oldest_first(self, api, stranger, count_queries):
        stranger.post("/users", json=PEPPER)
        for name in "CAB":
            api.post("/users", json=PEPPER | {"email": f"{name}@example.com", "first_name": name})

        with count_queries() as queries:
            answer = api.get("/users")

        assert list(answer.json) == ["success", "users"]
        assert [user["first_name"] for user in answer.json["users"]] == list("CAB")
        assert list(answer.json["users"][0]) == USER_KEYS
        assert len(queries) == 2, queries  # key, users

    def test_without_users_the_list_is_empty(self, api):
        assert api.get("/users").json == {"success": True, "users": []}


class TestUpdate:
    def test_given_fields_are_replaced_and_the_others_are_kept(self, api, user):
        answer = patch(api, user, first_name="Virginia", active="false")

        assert answer.status_code == 200
        assert answer.json == {
            "success": True,
            "user": user | {"first_name": "Virginia", "active": False},
        }
        assert api.get(f"/users/{user['id']}").json == answer.json

    @pytest.mark.parametrize("body", [{}, {"last_name": ""}, PEPPER])
    def test_an_update_may_change_nothing(self, api, user, body):
        assert patch(api, user, **body).json == {"success": True, "user": user}

    @pytest.mark.parametrize("field", [*PEPPER, "active"])
    def test_null_is_refused(self, api, user, field):
        answer = patch(api, user, **{field: None})

        assert answer.json["details"] == {field: ["Must not be null."]}

    def test_a_taken_email_is_a_conflict_and_changes_nothing(self, api, user):
        other = api.post("/users", json=PEPPER | {"email": "other@example.com"}).json["user"]

        answer = patch(api, other, email="PEPPER@example.com", first_name="X")

        assert (answer.status_code, answer.json["code"]) == (409, "name_taken")
        assert api.get(f"/users/{other['id']}").json["user"] == other

    def test_a_new_email_in_any_case_names_the_host(self, api, lead, user):
        patch(api, user, email="Virginia@example.com")

        for email, status in (("VIRGINIA@example.com", 201), (PEPPER["email"], 400)):
            body = booking(host_email=email, external_event_id=email)
            assert api.post("/meetings", json=body).status_code == status
        assert patch(api, user, email="virginia@EXAMPLE.com").status_code == 200

    def test_an_inactive_user_cannot_host_until_active_again(self, api, lead, user):
        body = booking(host_email=user["email"])

        patch(api, user, active=False)
        assert set(api.post("/meetings", json=body).json["details"]) == {"host_email"}
        patch(api, user, active=True)
        assert api.post("/meetings", json=body).status_code == 201


def test_an_unknown_user_is_not_found(api, user, stranger):
    for caller, user_id in ((api, UNKNOWN_ID), (stranger, user["id"])):
        for answer in (
            caller.get(f"/users/{user_id}"),
            caller.patch(f"/users/{user_id}", json={"first_name": "X"}),
            caller.patch(f"/users/{user_id}", json={}),
        ):
            assert (answer.status_code, answer.json["code"]) == (404, "user_not_found")
            assert user_id in answer.json["message"]
    assert api.get(f"/users/{user['id']}").json["user"] == user
    assert patch(stranger, {"id": user["id"]}, active=None).status_code == 400
