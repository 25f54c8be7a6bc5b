"""The rules of `Request.load` that the tests of the routes do not cover."""

import ast

import pytest
from marshmallow import ValidationError

import fields
from bases import Request
from config.settings import ROOT


class Drink(Request):
    name = fields.Text(5, required=True)
    cups = fields.Integer(1, 9, load_default=1)
    sugar = fields.Choice(("none", "some"))

    def check(self, valid, given):
        return {"sugar": ["Not in tea."]} if valid.get("name") == "tea" and "sugar" in given else {}


def test_absent_fields_are_left_out_and_defaults_filled_in():
    assert Drink().load({"name": "milk"}) == {"name": "milk", "cups": 1}


def test_all_faults_are_named_in_field_order_and_valid_fields_are_returned():
    with pytest.raises(ValidationError) as refused:
        Drink().load({"ice": 1, "sugar": "much", "cups": "2"})

    assert list(refused.value.messages.items()) == [
        ("name", ["Required."]),
        ("sugar", ["Must be one of: none, some."]),
        ("ice", ["Unknown field."]),
    ]
    assert refused.value.valid_data == {"cups": 2}


def test_a_fault_of_several_fields_follows_the_fault_of_one():
    with pytest.raises(ValidationError) as refused:
        Drink().load({"name": "tea", "sugar": "much"})

    assert refused.value.messages == {"sugar": ["Must be one of: none, some.", "Not in tea."]}


@pytest.mark.parametrize("path", sorted(ROOT.glob("*schemas.py")), ids=lambda path: path.name)
def test_no_schema_uses_a_marshmallow_hook_which_load_would_not_call(path):
    tree = ast.parse(path.read_text())
    hooks = {"pre_load", "post_load", "validates", "validates_schema"}

    assert not hooks & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ({" a ": " b "}, {"a": "b"}),
        ({"a": "", "b": " ", "c": None, "d": [], "e": 0}, {"c": None, "d": [], "e": 0}),
        ({"a": ["", " x "], "b": {"c": ""}}, {"a": ["", "x"], "b": {}}),
        ({"a": "x", " a": ""}, {}),
    ],
)
def test_texts_are_stripped_and_empty_fields_are_absent(given, cleaned):
    assert fields.clean(given) == cleaned
