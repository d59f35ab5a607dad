"""Canonical JSON, and the ids of steps that are hashes of it."""

import hashlib
import json

import pytest

from gendistill.plan.canonical import canonical_json, digest
from gendistill.plan.step import make_step


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1.0, "a": (1, 2.5)}, '{"a":[1,2.5],"b":1}'),
        ({"x": {"z": None, "y": True}}, '{"x":{"y":true,"z":null}}'),
        ([-0.0, 0, 1e-4, 1e3, "1"], '[0,0,0.0001,1000,"1"]'),
        ({2: "b", 10: "a"}, '{"10":"a","2":"b"}'),
        ("é", '"\\u00e9"'),
    ],
)
def test_canonical_json(value, text):
    assert canonical_json(value) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()[:10]
    assert digest(value, 64) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ([1, (2, 3)], (1, [2, 3])),
        ({1: "x"}, {"1": "x"}),
        ({"a": [{"y": 0.0, "x": 1}]}, {"a": [{"x": 1.0, "y": 0}]}),
    ],
)
def test_one_meaning_has_one_text(one, other):
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, True), (0, None), ([1, 2], [2, 1]), ({"a": 1}, {"a": 1.5}), ({"a": 1}, {"b": 1}), ([], {})]
)
def test_two_meanings_have_two_texts(one, other):
    assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_values_that_json_lacks_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def id_of(kind, settings, inputs=None, slug="slug"):
    return make_step(kind, slug, settings, {"m": "h"}, inputs or {}).id


def test_an_id_is_a_slug_and_a_hash_of_the_spec():
    data = make_step("dataset", "digits", {"_target_": "t", "size": 8.0}, {"m": "h"}, {}, {"path": "/home/a"})
    spec = '{"code":{"m":"h"},"inputs":{},"kind":"dataset","settings":{"_target_":"t","size":8}}'
    assert data.id == "digits-" + hashlib.sha256(spec.encode()).hexdigest()[:10]
    settings = {"network": {"name": "n", "depth": 8}, "list": [{"name": "x", "y": 1}], "seed": 0}
    step = make_step("generation", "s", settings, {"m": "h"}, {"dataset": data, "networks": [data, data]})
    spec = {
        "kind": "generation",
        "settings": {"network": {"depth": 8}, "list": [{"name": "x", "y": 1}], "seed": 0},
        "code": {"m": "h"},
        "inputs": {"dataset": f"dataset/{data.id}", "networks": [f"dataset/{data.id}"] * 2},
    }
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    assert step.id == "s-" + hashlib.sha256(text.encode()).hexdigest()[:10]
    assert step.settings == settings
    assert step.parents == [data.name]


def test_a_step_knows_its_files():
    step = make_step("softlabels", "s", {"pad": 2}, {}, {})
    assert step.folder == f"runs/softlabels/{step.id}"
    assert step.files == [f"{step.folder}/softlabels.npy", f"{step.folder}/receipt.json"] == [*step.files[:1], step.receipt]
    spec = json.loads(step.to_json())
    assert (spec["kind"], spec["id"], spec["settings"]) == ("softlabels", step.id, {"pad": 2})


def test_where_the_data_lie_does_not_change_the_id():
    ids = {make_step("dataset", "s", {}, {}, {}, source).id for source in (None, {"path": "a"}, {"path": "b"})}
    assert len(ids) == 1


def test_neutral_defaults_are_left_out_of_the_id():
    assert id_of("patriarch", {"seed": 0, "member": 0}) == id_of("patriarch", {"seed": 0})
    assert id_of("patriarch", {"seed": 0, "member": 1}) != id_of("patriarch", {"seed": 0})
    assert id_of("generation", {"seed": 0, "member": 0}) != id_of("generation", {"seed": 0})
    assert make_step("patriarch", "s", {"member": 0}, {}, {}).settings == {"member": 0}


@pytest.mark.parametrize(
    ("kind", "settings", "inputs"),
    [("softlabels", {"a": 1}, {}), ("dataset", {"a": 2}, {}), ("dataset", {"b": 1}, {}), ("dataset", {"a": 1}, {"x": []})],
)
def test_kind_settings_and_inputs_change_the_id(kind, settings, inputs):
    assert id_of(kind, settings, inputs) != id_of("dataset", {"a": 1})
    assert make_step("dataset", "slug", {"a": 1}, {"m": "other"}, {}).id != id_of("dataset", {"a": 1})
