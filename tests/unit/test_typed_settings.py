"""The settings of a method as a type: read from a mapping, complete, as they were written, and not to be changed."""

import pytest
from pydantic import ValidationError

from smf.errors import ConfigError
from smf.methods.registry import method_class
from smf.settings.declared import places_of_keys
from smf.settings.section import Count, Section, absent

LORA = method_class("lora").settings_class
SPARSE = method_class("smf").settings_class


class Inner(Section):
    """What is inside."""

    size: Count | None = absent()
    most: Count | None = absent(null=True)


class Outer(Section):
    """What is outside."""

    size: Count = 3
    named: dict[str, Inner] = {}


def test_defaults_are_filled_in_and_what_is_said_of_every_method_is_left_out():
    settings = LORA.read({"kind": "lora", "label": "mine", "frontier_only": True, "sweep": [1], "learning_rate": 0.5})
    assert settings.rank == 16
    assert settings.plain().keys() == LORA.model_fields.keys()


@pytest.mark.parametrize("rate", [3000, 3000.0])
def test_a_number_stays_as_it_was_written(rate):
    assert repr(LORA.read({"learning_rate": rate}).plain()["learning_rate"]) == repr(rate)


def test_settings_that_were_read_stay_the_same_object_and_cannot_be_changed():
    settings = LORA.read({"learning_rate": 0.5})
    assert LORA.read(settings) is settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.rank = 3


def test_a_kind_decides_by_what_is_given_which_default_another_setting_has():
    given = [{}, {"learning_rate": 1.0}, {"learning_rate": 1.0, "polyak": 0.5}]
    assert [SPARSE.read(settings).polyak for settings in given] == [1.0, None, 0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1, "ranks": 2}, "settings: unknown key 'ranks'; did you mean 'rank'? known: alpha, "),
        ({}, "settings: the key 'learning_rate' is missing (Highest step size"),
        ({"learning_rate": 1, "rank": 0}, "settings.rank is 0, but must be at least 1 (Rank r of the adapters.)"),
        (
            {"learning_rate": 1, "target_modules": []},
            "settings.target_modules: [] is not valid under any of the given schemas (Linear maps that get an adapter",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_key_and_its_meaning(settings, message):
    with pytest.raises(ConfigError) as caught:
        LORA.read(settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_key_without_a_default_is_part_of_the_mapping_only_if_it_was_given():
    written = {"a": {}, "b": {"size": 1}, "c": {"most": None}}
    assert Outer.model_validate({"named": written}).plain() == {"size": 3, "named": written}


def test_keys_are_found_wherever_a_section_has_them():
    assert places_of_keys(Outer) == {
        "size": ["size", "named.<name>.size"],
        "named": ["named"],
        "most": ["named.<name>.most"],
    }
