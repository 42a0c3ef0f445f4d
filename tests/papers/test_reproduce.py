"""`covidcx reproduce`: names, verdicts, files, and what happens where data are missing."""

import json
import math
import re

import pytest

from covidcx.cli import main
from covidcx.errors import CovidcxError, MissingDataError, WeightsError
from covidcx.evaluation.intervals import Interval
from covidcx.papers import get, names
from covidcx.papers.comparison import attempt, judge, markdown
from covidcx.papers.item import Budget, Context, Item, Paper, Result, canonical, in_order
from covidcx.papers.reproduce import Job, reproduce


@pytest.fixture(params=names())
def paper(request):
    return get(request.param)


def test_every_item_is_named_once_and_says_what_it_is(paper):
    found = [item.name for item in paper.items]
    assert len(set(found)) == len(found)
    for item in paper.items:
        assert canonical(item.name) == item.name
        assert item.title and item.needs and callable(item.run)


@pytest.mark.parametrize(
    "written", ["table-4", "Table 4", "table4", "tab. 4", "TAB-4", "Tables 4"]
)
def test_a_table_is_found_however_it_is_written(written):
    assert canonical(written) == "table-4"


def test_words_of_our_own_are_no_tables():
    assert canonical("Tableau") == "tableau"
    assert canonical("label efficiency") == "label-efficiency"


def test_an_unknown_item_suggests_the_nearest(capsys):
    assert main(["reproduce", "covid-cxnet", "tabel-7"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'table-7'?" in error and error.count("\n") == 1
    assert main(["reproduce", "covid-cxnt", "table-7"]) == 2
    assert "Did you mean 'covid-cxnet'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("published", "verdict"), [(0.9, "reproduced"), (0.86, "reproduced"), (0.97, "differs"), (0.5, "differs")]
)
def test_the_published_value_is_judged_by_our_interval(published, verdict):
    found = judge("model", "accuracy", published, Interval(0.9, 0.85, 0.95, 1000, 0))
    assert found.verdict == verdict
    assert bool(found.reason) == (verdict == "differs")


def test_without_interval_or_published_value_there_is_no_verdict():
    nan = math.nan
    assert judge("model", "f1", 0.9, Interval(0.9, nan, nan, 0, 0)).verdict == "not comparable"
    assert judge("model", "f1", None, Interval(0.9, 0.8, 1.0, 10, 0)).verdict == "ours only"


@pytest.mark.parametrize("error", [MissingDataError, WeightsError])
def test_a_row_without_its_data_or_weights_is_skipped_and_says_so(error):
    def measure():
        raise error("needs split pediatric")

    rows = attempt("Base model v1", {"accuracy": 0.961, "f1": 0.82}, measure)
    assert [(r.metric, r.published, r.verdict, r.reason) for r in rows] == [
        ("accuracy", 0.961, "skipped", "needs split pediatric"),
        ("f1", 0.82, "skipped", "needs split pediatric"),
    ]


def test_on_the_phantom_nothing_is_called_reproduced(tmp_path):
    context = Context(tmp_path / "m.csv", True, tmp_path, tmp_path, Budget("phantom"))
    found = context.judge("model", "f1", 0.9, Interval(0.9, 0.8, 1.0, 10, 0))
    assert found.verdict == "not comparable" and "--data" in found.reason


def test_one_failing_item_leaves_the_others_and_their_files(tmp_path):
    def bad(context):
        raise CovidcxError("no weights")

    def good(context):
        ours = Interval(0.9, 0.8, 1.0, 10, 0)
        rows = context.rows("the count", split=["train"])
        return Result((context.judge("a|b", "f1", 0.95, ours),), notes=(f"{len(rows)} images",), split_hash="abc")

    def lacking(context):
        context.rows("the pediatric experiment", split=["pediatric"], labels=["normal"])

    items = (Item("table-1", "bad", bad), Item("table-2", "good", good), Item("table-3", "lacking", lacking))
    paper = Paper("test-paper", "Nobody, 2020", items, patients=6)
    found = reproduce(Job(paper, items, tmp_path / "out"))
    assert isinstance(found["table-1"], CovidcxError)
    assert re.search("pediatric.*none", str(found["table-3"]))
    folder = tmp_path / "out" / "table-2"
    record = json.loads((folder / "result.json").read_text())
    assert record["comparisons"][0]["published"] == 0.95 and record["comparisons"][0]["ours"]["low"] == 0.8
    assert record["command"] == f"covidcx reproduce test-paper table-2 --out {tmp_path / 'out'}"
    assert record["data"] == "phantom" and record["split_hash"] == "abc"
    report = (folder / "README.md").read_text()
    assert "not comparable" in report and "Not a medical device" in report and r"a\|b" in report
    assert not (tmp_path / "out" / "table-1" / "result.json").exists()


def test_literature_table_and_list_from_the_command_line(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["reproduce", "covid-cxnet", "Table 7", "--out", out]) == 0
    assert "0.9221" in capsys.readouterr().out
    assert main(["reproduce", "covid-cxnet", "--list", "--out", out]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("table-7")]
    assert line.endswith("done")


def test_a_missing_manifest_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["reproduce", "covid-cxnet", "table-7", "--data", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err


def test_items_are_listed_as_in_the_paper():
    items = [Item(name, "title", print) for name in ("shortcuts", "figure-10", "figure-9", "table-2", "table-1")]
    listed = [item.name for item in in_order(items[:2], items[2:])]
    assert listed == ["table-1", "table-2", "figure-9", "figure-10", "shortcuts"]


def test_markdown_has_one_line_per_row():
    assert markdown(("a", "b"), [(1, "x|y")]) == "| a | b |\n|---|---|\n| 1 | x\\|y |\n"
