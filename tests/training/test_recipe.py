"""Recipes: registration, JSON, and `--set key=value`."""

import dataclasses
import json
import subprocess
import sys

import pytest

from covidcx.errors import RecipeError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI
from covidcx.training import recipes
from covidcx.training.recipe import ModelSettings, Recipe

# Of fixed values: those of the registered recipes are tuned now and then.
BASE = Recipe(
    "base", ModelSettings("covid-cxnet"), Preprocessing(roi=LungROI()), "classify", ("normal", "cap", "covid"),
    label_sets={"other": ("normal", "cap")},
)  # fmt: skip


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_builds_from_its_own_json_and_names_a_buildable_model(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    spec = recipe.model_spec()
    size, channels = recipe.preprocessing.size, len(recipe.preprocessing.channels)
    assert spec["kwargs"].get("input_shape", [*size, channels]) == [*size, channels]


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_module_says_command_cost_and_result(name):
    from importlib import import_module

    text = import_module(recipes.RECIPES[name]).__doc__
    assert all(word in text.lower() for word in ("command:", "cost", "result"))
    assert f"covidcx train {name} " in text


def test_unknown_recipe_suggests_the_near_one():
    with pytest.raises(RecipeError, match="Did you mean 'covid-cxnet'"):
        recipes.get("covid-cxnett")


def test_naming_recipes_loads_neither_keras_nor_tensorflow():
    code = (
        "import sys; from covidcx.training import recipes; recipes.names(); "
        "print([m for m in ('keras', 'tensorflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("epochs", "3", 3),
        ("early_stop", "none", None),
        ("early_stop", "4", 4),
        ("class_weights", "false", False),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.schedule", "cosine", "cosine"),
        ("preprocessing.size", "224,224", (224, 224)),
        ("preprocessing.winsorise", "99", 99.0),
        ("preprocessing.roi", "none", None),
        ("preprocessing.roi.blank", "true", True),
        ("train_splits", "train, pediatric", ("train", "pediatric")),
        ("augmentation.tone", "0.25", 0.25),
        ("label_sets.other", "normal", {"other": ("normal",)}),
        ("label_sets", '{"other": ["normal", "cap"], "virus": ["cap", "covid"]}', None),
        ("initial_weights", "runs/a/best.weights.h5", "runs/a/best.weights.h5"),
        ("model.kwargs.hidden", "12", {"hidden": 12}),
    ],
)
def test_override_parses_text_by_the_settings_type(key, text, expected):
    recipe = BASE.override({key: text})
    value = recipe
    for part in key.split("."):
        if isinstance(value, dict):
            break
        value = getattr(value, part)
    if key == "label_sets":
        expected = {"other": ("normal", "cap"), "virus": ("cap", "covid")}
    assert value == expected and type(value) is type(expected)


def test_override_leaves_the_recipe_itself_alone():
    recipe = recipes.get("lung-unet")
    before = recipe.to_dict()
    other = recipe.override({"epochs": "1", "preprocessing.roi.margin": "0.1"})
    assert other.preprocessing.roi.margin == 0.1 and other.epochs == 1
    assert recipe.to_dict() == before and other.hash != recipe.hash


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("epoch", "3", "Did you mean 'epochs'"),
        ("optimizer.learning_rat", "1", "Did you mean 'learning_rate'"),
        ("epochs", "3.5", "a whole number, received '3.5'"),
        ("epochs", "0", "between|within"),
        ("optimizer.learning_rate", "fast", "a number, received 'fast'"),
        ("optimizer.name", "adamm", "Did you mean 'adam'"),
        ("class_weights", "maybe", "true or false"),
        ("preprocessing.size", "224", "2 values"),
        ("preprocessing.size", "225,225", "multiple of the CLAHE tiles"),
        ("preprocessing.channels", "clahee", "Did you mean 'clahe'"),
        ("epochs.more", "1", "has no parts"),
        ("label_sets.other", "normal,flu", "flu"),
        ("val_splits", "train", "disjoint"),
        ("monitor", "val_dice", "does not exist for task"),
        ("optimizer.weight_decay", "0.01", "adamw"),
        ("model.kwargs.hiden", "3", "Did you mean 'hidden'"),
        ("model.kwargs.hidden", "many", "a whole number"),
        ("model.name", "covid-cxnett", "Did you mean 'covid-cxnet'"),
        ("labels", "covid", "two labels or more"),
    ],
)
def test_override_refuses_unknown_keys_and_wrong_types_with_a_hint(key, text, message):
    with pytest.raises(RecipeError, match=message):
        BASE.override({key: text}).model_spec()


def test_model_arguments_follow_from_preprocessing_and_labels():
    recipe = BASE.override(
        {"preprocessing.size": "64,96", "labels": "normal,covid", "label_sets": "{}"}
    )
    assert recipe.model_spec()["kwargs"] == {"input_shape": [64, 96, 3], "classes": 2}
    contradiction = dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, kwargs={"input_shape": [32, 32, 3]})
    )
    with pytest.raises(RecipeError, match="contradicts preprocessing"):
        contradiction.model_spec()


def test_a_bad_type_in_recipe_json_names_its_key():
    plain = recipes.get("lung-unet").to_dict()
    plain["optimizer"]["learning_rate"] = "fast"
    with pytest.raises(RecipeError, match=r"optimizer\.learning_rate.*float.*'fast'"):
        Recipe.from_dict(plain)
