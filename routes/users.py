"""The routes of users, the people who host meetings."""

from uuid import UUID

from flask import Response, g

from bases import Query
from envelopes import UserAnswer, UserList
from routes.blueprint import api
from schemas import UserPatch, UserRequest, UserResponse
from services import users
from services.errors import NameTaken, UserNotFound
from web.answers import created, success
from web.body import instance, load, load_query
from web.describe import answers


@api.get("/users")
@answers(200, UserList, query=Query)
def list_users() -> Response:
    """List the client's users, oldest first."""
    load_query(Query)
    return success(users=instance(UserResponse).dump(users.list_all(g.client_id), many=True))


@api.post("/users")
@answers(201, UserAnswer, body=UserRequest, has_location=True, raises=(NameTaken,))
def create_user() -> Response:
    """Create a user, who can host meetings."""
    user = users.create(g.client_id, **load(UserRequest))
    return created(user=instance(UserResponse).dump(user))


@api.get("/users/<uuid:user_id>")
@answers(200, UserAnswer, query=Query, raises=(UserNotFound,))
def get_user(user_id: UUID) -> Response:
    """Get one user."""
    load_query(Query)
    user = users.find(g.client_id, str(user_id))
    return success(user=instance(UserResponse).dump(user))


@api.patch("/users/<uuid:user_id>")
@answers(200, UserAnswer, body=UserPatch, raises=(UserNotFound, NameTaken))
def update_user(user_id: UUID) -> Response:
    """Replace the given fields of a user.

    An inactive user keeps the meetings that they host, and cannot host new ones.
    """
    user = users.update(g.client_id, str(user_id), load(UserPatch))
    return success(user=instance(UserResponse).dump(user))
