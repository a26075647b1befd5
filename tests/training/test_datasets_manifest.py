"""Manifests: CSV, TSV, semicolons and JSONL, and what is wrong with them."""

import json

import made
import pytest
from edgecnn_training.dataset import read, survey
from edgecnn_training.examples import Example, Rejected

from edgecnn.errors import DataError


@pytest.fixture
def write(tmp_path):
    made.write_folder(tmp_path, made.animals())

    def write(text, name="list.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return str(tmp_path / name)

    return write


def rows(location):
    return [(i.name, i.label, i.split, i.group) if isinstance(i, Example) else i for i in read(location)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_in_any_order_give_label_split_and_group(write, delimiter, encoding, end):
    lines = [
        ["Label", "path", "group", "split"],
        ["chat noir", "cat/0.png", "anna", "VAL"],
        ["dog", "dog/0.png", "", ""],
    ]
    location = write(end.join(delimiter.join(line) for line in lines) + end + end, encoding=encoding)
    assert rows(location) == [("cat/0.png", "chat noir", "validation", "anna"), ("dog/0.png", "dog", None, None)]


def test_quoted_fields_may_hold_the_delimiter(write):
    assert rows(write('path,label\n"cat/0.png","cat, black"\n')) == [("cat/0.png", "cat, black", None, None)]


def test_json_lines_may_hold_numbers_and_null(write):
    text = json.dumps({"path": "cat/0.png", "label": 3, "group": 7, "split": None, "more": [1]})
    assert rows(write(f"\n{text}\n", "list.jsonl")) == [("cat/0.png", "3", None, "7")]


def test_lines_without_a_picture_are_rejected_and_the_rest_goes_on(write):
    location = write("path,label\ngone.png,cat\n,cat\ncat/0.png,\ncat,cat\ndog/0.png\ncat/1.png,cat\n")
    assert rows(location) == [
        Rejected("gone.png", "no such file"),
        Rejected("list.csv, line 3", "no path in list.csv, line 3"),
        Rejected("cat/0.png", "no label in list.csv, line 4"),
        Rejected("cat", "not a regular file"),
        Rejected("dog/0.png", "no label in list.csv, line 6"),
        ("cat/1.png", "cat", None, None),
    ]


def test_a_path_listed_twice_counts_once(write):
    found = survey(write("path,label\ncat/0.png,cat\ncat/0.png,dog\ndog/0.png,dog\n"))
    assert [record.label for record in found.records] == ["cat", "dog"]
    assert [item.reason for item in found.rejected] == ["the name appears more than once; only the first one counts"]


def test_columns_that_are_not_used_are_named(write):
    found = survey(write("path,label,author\ncat/0.png,cat,me\ndog/0.png,dog,me\n"))
    assert found.notes == ["columns of the manifest that are not used: 'author'"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "cat/0.png,cat\n",
            "x.csv",
            "first line of a manifest must name the columns path,label.*received 'cat/0.png,cat'",
        ),
        ("path,label,split\ncat/0.png,cat,fold1\n", "x.csv", "split must be one of.*received 'fold1' in x.csv, line 2"),
        ('{"path": "cat/0.png"\n', "x.jsonl", "must be a JSON object; line 1 is not"),
        ('{"path": "cat/0.png", "label": "cat"}\n[1]\n', "x.jsonl", r"received '\[1\]' in line 2"),
        ('{"path": ["cat/0.png"], "label": "cat"}\n', "x.jsonl", "must be an object such as"),
        ("[" * 100_000, "x.jsonl", "first line of a manifest"),
        ("{" + '"a":[' * 100_000, "x.jsonl", "must be a JSON object; line 1 is not"),
        ("path,label\n" + "x" * 200_000 + ",cat\n", "x.csv", "cannot be read as CSV"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused_with_the_line(write, text, name, message):
    with pytest.raises(DataError, match=message):
        survey(write(text, name))


def test_a_manifest_in_another_encoding_is_refused_with_the_remedy(write):
    with pytest.raises(DataError, match=r"must be UTF-8 text.*save it as UTF-8"):
        survey(write("path,label\ncat/0.png,Käse\n", encoding="latin-1"))


@pytest.mark.parametrize(("encoding", "text"), [("utf-16", "path,label\n"), ("utf-8", "path,label\ncat/0.png,c\0t\n")])
def test_a_manifest_that_is_no_text_is_told_how_to_save_it(write, encoding, text):
    with pytest.raises(DataError, match="a manifest must be UTF-8 text, and it has a byte 0x00: save it as UTF-8"):
        rows(write(text, encoding=encoding))
