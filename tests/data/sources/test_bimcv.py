"""BIMCV-COVID19+: the label rule of COMiT-Net at its borders, and the published files."""

from datetime import date, timedelta

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_png, write_tree
from trees.bimcv import BASE, LABELS, PEOPLE, TESTS, picture, write_header, write_sessions, write_tests

from covidcx.data import sources
from covidcx.data.sources.bimcv import BAD_TEST, NEGATIVE_PICTURE, covid_by_nearest_test
from covidcx.data.sources.tables import NO_FILE, NO_XRAY, UNREADABLE
from covidcx.errors import ManifestError

TAKEN = date(2020, 4, 20)


def test(days, positive):
    return TAKEN + timedelta(days=days), positive


test.__test__ = False


@pytest.mark.parametrize(
    ("tests", "covid"),
    [
        ([], None),
        ([test(0, True)], True),
        ([test(13, True)], True),
        ([test(-13, True)], True),
        ([test(14, True)], False),
        ([test(-14, True)], False),
        ([test(0, False)], False),
        ([test(300, False)], False),
        ([test(5, True), test(-4, False)], False),
        ([test(5, True), test(-6, False)], True),
        ([test(-5, True), test(5, False)], True),
        ([test(5, True), test(5, False)], True),
        ([test(40, True), test(-3, True), test(4, False)], True),
        ([test(40, True), test(-20, True), test(41, False)], False),
        ([test(14, True), test(30, False)], False),
        ([test(13, True), test(12, False), test(30, True)], False),
    ],
)
def test_rule_takes_the_nearest_test_and_ends_at_14_days(tests, covid):
    assert covid_by_nearest_test(TAKEN, tests) is covid
    assert covid_by_nearest_test(TAKEN, list(reversed(tests))) is covid


def test_the_border_counts_days_over_a_leap_day_and_the_turn_of_the_year():
    assert covid_by_nearest_test(date(2020, 3, 1), [(date(2020, 2, 16), True)]) is False
    assert covid_by_nearest_test(date(2020, 3, 1), [(date(2020, 2, 17), True)]) is True
    assert covid_by_nearest_test(date(2021, 1, 5), [(date(2020, 12, 22), True)]) is False
    assert covid_by_nearest_test(date(2021, 1, 5), [(date(2020, 12, 23), True)]) is True


@pytest.fixture
def folder(tmp_path):
    write_tree("bimcv", tmp_path / "bimcv")
    return tmp_path / "bimcv"


@pytest.fixture
def read(folder, tmp_path):
    def read(**options):
        reading = sources.read("bimcv", folder, derived=tmp_path / "derived", **options)
        return reading, reading.manifest.frame.set_index("source_id")

    return read


def stem(*args):
    return picture(*args).rpartition("/")[2].removesuffix(".png")


def test_rows_hold_what_the_tables_and_headers_say(read, folder):
    reading, frame = read(all_views=True)
    first = frame.loc[stem("S03044", "E06015")]
    assert first["image"] == picture("S03044", "E06015")
    assert first["label"] == "covid"
    assert first["nearest_test"] == "PCR positive -2 d"
    assert (first["view"], first["age"], first["sex"], first["findings"]) == ("AP", "61", "M", "COVID 19|pneumonia")
    second = frame.loc[stem("S03045", "E06016", "pa")]
    # 19 days after the positive test, and the report says normal.
    assert (second["label"], second["nearest_test"]) == ("normal", "PCR positive +19 d")
    assert (second["view"], second["age"], second["sex"]) == ("PA", "41", "F")
    assert frame.loc[stem("S03044", "E06015", "ll", 2), "view"] == "LL"
    assert set(frame["patient_id"]) == {"bimcv_sub-S03044", "bimcv_sub-S03045"}
    # S03046 had CT only; S03047 is listed with radiographs that are not there.
    assert ("sub-S03047", NO_FILE) in reading.skipped
    assert not any(name == "sub-S03046" for name, _ in reading.skipped)


def test_a_negative_picture_is_inverted_into_derived_and_left_out_without_it(read, folder, tmp_path):
    _, frame = read()
    place = frame.loc[stem("S03045", "E06016", "pa"), "image"]
    assert place.startswith((tmp_path / "derived").as_posix())
    raw = cv2.imread(str(folder / picture("S03045", "E06016", "pa")), cv2.IMREAD_UNCHANGED)
    made = cv2.imread(place, cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    # 12 bits are stored: white is 4095.
    np.testing.assert_array_equal(made, 4095 - raw)
    bare = sources.read("bimcv", folder)
    assert (f"{stem('S03045', 'E06016', 'pa')}.png", NEGATIVE_PICTURE) in bare.skipped
    assert len(bare.manifest) == 1


@pytest.mark.parametrize(
    ("rows", "label"),
    [
        ([("18.03.2020", "IGM", "POSITIVO")], "covid"),
        ([("17.03.2020", "IGG", "POSITIVO")], "other"),
        ([("01.04.2020", "PCR", "NEGATIVO"), ("28.03.2020", "PCR", "POSITIVO")], "other"),
        ([("01.04.2020", "PCR", "INDETERMINADO"), ("28.03.2020", "PCR", "POSITIVO")], "covid"),
        ([("01.04.2020", "PCR", "INDETERMINADO")], None),
    ],
)
def test_label_of_a_session_follows_its_tests(read, folder, rows, label):
    # The radiograph is of 2020-04-01 but for the first two: of 2020-03-31, 13 and 14 days after the test.
    if len(rows) == 1 and rows[0][2] == "POSITIVO":
        write_sessions(folder, "S03044", ("E06015", "20200331"))
    write_tests(folder, *(("sub-S03044", *row) for row in rows), ("sub-S03045", "20.03.2020", "PCR", "POSITIVO"))
    _, frame = read()
    found = frame.loc[stem("S03044", "E06015"), "label"]
    assert found == label if label else pd.isna(found)


def test_date_comes_from_the_header_where_the_sessions_table_is_not_there(read, folder):
    (folder / BASE / "sub-S03044" / "sub-S03044_sessions.tsv").unlink()
    _, frame = read()
    assert pd.isna(frame.loc[stem("S03044", "E06015"), "label"])
    write_header((folder / picture("S03044", "E06015")).with_suffix(".json"), t00080020="20200403")
    _, frame = read()
    assert frame.loc[stem("S03044", "E06015"), "nearest_test"] == "PCR positive +0 d"


def test_tests_that_cannot_be_understood_are_named(read, folder):
    write_tests(
        folder, ("sub-S03044", "2020-04-03", "PCR", "POSITIVO"), ("sub-S03045", "20.03.2020", "PCR", "DUDOSO"),
    )  # fmt: skip
    reading, frame = read()
    assert [reason for _, reason in reading.skipped].count(BAD_TEST) == 2
    assert frame["label"].isna().all()


def test_names_of_the_third_iteration_and_missing_reports_are_read(read, folder):
    (folder / TESTS).rename((folder / TESTS).with_name("SIL_REG_COVID_POSI_iter123.txt"))
    (folder / LABELS).rename((folder / LABELS).with_name("Labels_covid_123.tsv"))
    _, frame = read()
    assert frame["label"].tolist() == ["covid", "normal"]
    (folder / LABELS).with_name("Labels_covid_123.tsv").unlink()
    _, frame = read()
    # Without a report nobody says that the lungs are normal.
    assert frame["label"].tolist() == ["covid", "other"]


def test_contents_of_the_folder_may_be_given_and_other_body_parts_are_left_out(folder, tmp_path):
    other = folder / picture("S03044", "E06015").replace("bp-chest", "bp-abdomen")
    write_png(other)
    damaged = folder / picture("S03044", "E06015", "pa", 7)
    damaged.write_bytes(b"no picture")
    write_header(damaged.with_suffix(".json"), t00280004="MONOCHROME1")
    reading = sources.read("bimcv", folder / BASE, derived=tmp_path / "derived")
    assert len(reading.manifest) == 2
    assert (other.name, NO_XRAY) in reading.skipped
    assert (damaged.name, UNREADABLE) in reading.skipped


def test_a_missing_table_of_tests_is_refused(folder):
    (folder / TESTS).unlink()
    with pytest.raises(ManifestError, match=r"sil_reg_covid_posi.tsv is there\. Expected there"):
        sources.read("bimcv", folder)


def test_a_missing_column_of_participants_is_named(folder):
    path = folder / PEOPLE
    path.write_text(path.read_text("utf-8").replace("gender", "sexo"), "utf-8")
    with pytest.raises(ManifestError, match="'gender'"):
        sources.read("bimcv", folder)
