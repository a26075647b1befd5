"""A location is a path or a name with options; what exists is a path as a whole."""

from pathlib import Path

import made
import pytest
from edgecnn_training import locations
from edgecnn_training.dataset import survey

from edgecnn.errors import SourceError, UsageError


def test_a_query_gives_options() -> None:
    assert locations.split("notmnist?train=5&test=2") == ("notmnist", {"train": "5", "test": "2"})
    assert locations.split("mnist") == ("mnist", {})


def test_what_exists_is_a_path_as_a_whole(tmp_path: Path) -> None:
    location = made.write_folder(tmp_path / "what?train=5", made.animals())
    assert locations.split(location) == (location, {})
    assert len(survey(location).records) == 6


@pytest.mark.parametrize("query", ["train", "train=1&train=2", "a=1&b"])
def test_a_query_that_is_none_is_refused(query: str) -> None:
    with pytest.raises(UsageError, match=r"options after \? must be name=value|an option must be given once"):
        locations.split(f"notmnist?{query}")


def test_options_of_a_data_set_without_any_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="options of folder do not exist; received 'train'"):
        survey(f"{made.write_folder(tmp_path / 'x', made.animals())}?train=5")


def test_something_missing_is_named_without_its_options(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no '.*fotos': check the path"):
        survey(f"{tmp_path / 'fotos'}?train=5")


def test_a_survey_remembers_the_absolute_path_with_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write_notmnist(
        tmp_path, made.animals(8), {f"{label}/9.png": made.picture(99 + i) for i, label in enumerate(("cat", "dog"))}
    )
    monkeypatch.chdir(tmp_path)
    found = survey(".?train=6&validation=2")
    assert found.location == f"{tmp_path}?train=6&validation=2"
    monkeypatch.chdir("/")
    assert survey(found.location).data_hash == found.data_hash


def test_a_folder_holds_what_lies_below_it_whatever_its_options(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert locations.holds(f"{tmp_path / 'data'}?train=5", tmp_path / "data" / "runs" / "1")
    assert not locations.holds(f"{tmp_path / 'data'}?train=5", tmp_path / "runs")
    assert not locations.holds("mnist", tmp_path)
