from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from edgecnn_training import recipe as recipes
from edgecnn_training.options import parse_size, recipe_changes
from edgecnn_training.recipe import Recipe

from edgecnn.errors import UsageError


@pytest.mark.parametrize("name", recipes.names())
def test_each_recipe_that_ships_is_valid_and_describes_itself(name: str) -> None:
    assert recipes.read(name).description


def test_a_recipe_written_as_toml_is_read_back_equal(tmp_path: Path) -> None:
    recipe = Recipe(description='with "quotes" and ümlauts', options={"dropout": 0.25}, epochs=7, flip=True)
    (tmp_path / "mine.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert recipes.read(str(tmp_path / "mine.toml")) == recipe


def test_a_recipe_changes_only_what_it_names_of_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("epochs = 3\nrotate = 5.0\n")
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\nepochs = 9\n')
    recipe = recipes.read(str(tmp_path / "mine.toml"))
    assert (recipe.epochs, recipe.rotate) == (9, 5.0)


def test_who_names_the_epochs_means_them(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "default"\nepochs = 1\n')
    (tmp_path / "both.toml").write_text('extends = "default"\nepochs = 1\nmin_steps = 7\n')
    assert recipes.read("default").min_steps > 0
    assert recipes.read("default", {"epochs": 1}).min_steps == 0
    assert recipes.read(str(tmp_path / "mine.toml")).min_steps == 0
    assert recipes.read(str(tmp_path / "both.toml")).min_steps == 7


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 3\n")
    assert recipes.read(str(tmp_path / "mine.toml"), {"epochs": 4, "arch": None}).epochs == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "'epoch' is no key of a recipe; did you mean 'epochs'?"),
        ("epochs = 0", "epochs must be 1 or more; received 0"),
        ("epochs = 1.5", "epochs must be a whole number; received 1.5"),
        ("epochs = true", "epochs must be a whole number; received True"),
        ('learning_rate = "fast"', "learning_rate must be a number; received 'fast'"),
        ("learning_rate = nan", "learning_rate must be 1e-9 to 100; received nan"),
        ("learning_rate = 1e-320", "learning_rate must be 1e-9 to 100; received 1e-320"),
        ("fine_tune_rate = 1e-50", "fine_tune_rate must be 1e-9 to 100"),
        ("distill_temperature = 1e-320", "distill_temperature must be 0.01 to 100"),
        ("mixup = 1e-320", "mixup must be 0, or 0.001 to 10"),
        ('arch = ""', "arch must be a name or a path; received ''"),
        ('weights = ""', "weights must be a name or a path; received ''"),
        ('extends = ""', "extends must be the name of a recipe; received ''"),
        ("label_smoothing = 1.0", "label_smoothing must be 0 to below 1"),
        ('optimizer = "adamm"', "optimizer must be one of adamw, adam, sgd; received 'adamm'"),
        ('flip = "yes"', "flip must be true or false; received 'yes'"),
        ("options = 3", "options must be a table"),
        ("seed = -1", "seed must be 0 to"),
        ('extends = "nothing"', "received 'nothing'"),
        ("extends = 3", "extends must be the name of a recipe"),
        ("epochs = ", "must be a readable TOML file"),
    ],
)
def test_a_recipe_with_a_mistake_names_the_rule_and_the_value(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        recipes.read(str(tmp_path / "mine.toml"))


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "mine.toml"')
    with pytest.raises(UsageError, match="must not extend itself"):
        recipes.read(str(path))


def test_a_recipe_that_extends_itself_by_a_detour_is_refused_with_the_chain(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('extends = "./b.toml"')
    second.write_text('extends = "sub/../a.toml"')
    chain = f"{first} → {second} → {tmp_path / 'sub/../a.toml'}: take one extends out"
    with pytest.raises(UsageError, match=re.escape(f"must not extend itself; received {chain}")):
        recipes.read(str(first))
    (tmp_path / "link.toml").symlink_to(first)
    second.write_text('extends = "link.toml"')
    with pytest.raises(UsageError, match="must not extend itself"):
        recipes.read(str(first))


def test_a_recipe_that_extends_very_many_is_refused(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.toml").write_text(f'extends = "{i + 1}.toml"')
    (tmp_path / "60.toml").write_text("epochs = 3")
    with pytest.raises(UsageError, match="a recipe must extend at most 50 others"):
        recipes.read(str(tmp_path / "0.toml"))
    assert recipes.read(str(tmp_path / "20.toml")).epochs == 3


def test_a_recipe_may_begin_with_a_byte_order_mark_and_must_be_utf_8(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 3\n", encoding="utf-8-sig")
    assert recipes.read(str(tmp_path / "mine.toml")).epochs == 3
    (tmp_path / "mine.toml").write_text("epochs = 3\n", encoding="utf-16")
    with pytest.raises(UsageError, match=r"a recipe must be UTF-8 text; .*: save it as UTF-8"):
        recipes.read(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.toml", "./nowhere"])
def test_a_recipe_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        recipes.read(name)


def test_assignments_are_toml_or_plain_text() -> None:
    changes = recipe_changes({"arch": "micro", "epochs": None}, ["rotate=5", "flip=true", "schedule=cosine"])
    assert changes == {"arch": "micro", "rotate": 5, "flip": True, "schedule": "cosine"}


@pytest.mark.parametrize("assignment", ["rotate", "=5", ""])
def test_an_assignment_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError, match="--set takes key=value"):
        recipe_changes({}, [assignment])


def test_a_key_set_by_an_option_and_by_set_is_refused() -> None:
    with pytest.raises(UsageError, match="'epochs' is set twice"):
        recipe_changes({"epochs": 3}, ["epochs=4"])


@pytest.mark.parametrize(("text", "size"), [(None, None), ("64", (64, 64)), ("48x64", (48, 64)), (" 32 ", (32, 32))])
def test_sizes_are_read(text: str | None, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "-3", "64x64x3", "1e3"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--size must be"):
        parse_size(text)


def test_the_documentation_has_every_key_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1]: row.split("|")[2] for row in page.splitlines() if row.startswith("| `")}
    told = {key: value.strip() for keys, value in rows.items() for key in re.findall(r"`(\w+)`", keys)}
    assert sorted(told) == sorted(f.name for f in dataclasses.fields(Recipe))
    for keys, values in rows.items():
        names, texts = re.findall(r"`(\w+)`", keys), [text.strip().strip("`") for text in values.split(",")]
        for name, text in zip(names, texts, strict=False):
            default = getattr(Recipe(), name)
            if isinstance(default, bool) or name in ("teacher", "description"):
                continue
            assert text == default if isinstance(default, str) else float(text) == default, name
