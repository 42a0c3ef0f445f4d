"""Figures of COVID-CXNet that need no training, and what the command line refuses."""

import json

import numpy as np
import pytest

from covidcx.cli import main
from covidcx.data.phantom import write_phantom
from covidcx.papers.chosen import chosen
from covidcx.papers.covid_cxnet.enhancement import lesion_contrast
from covidcx.papers.covid_cxnet.images import studies
from covidcx.papers.item import Budget, Context


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("figures") / "phantom", patients=9, size=128, seed=1)


def test_contrast_is_in_deviations_of_the_lung_around_the_opacity():
    image = np.zeros((4, 4), np.uint8)
    image[0], image[1], image[2] = 100, 120, 170
    lungs = np.array([True, True, True, False])[:, None].repeat(4, axis=1)
    lesion = np.zeros((4, 4), bool)
    lesion[2] = True
    assert lesion_contrast(image, lesion, lungs) == pytest.approx((170 - 110) / 10)
    far = np.pad(image, ((0, 40), (0, 0)), constant_values=255)
    pads = [np.pad(mask, ((0, 40), (0, 0)), constant_values=value) for mask, value in ((lesion, False), (lungs, True))]
    pads[1][3:20] = False  # what is bright lies further away than the surroundings reach
    assert lesion_contrast(far, *pads) == pytest.approx(6.0)
    assert np.isnan(lesion_contrast(image, lesion, lesion))
    assert np.isnan(lesion_contrast(image, np.zeros_like(lesion), lungs))


def test_rows_are_drawn_by_seed_one_a_patient_first(manifest, tmp_path):
    context = Context(manifest, True, tmp_path, tmp_path, Budget("test"))
    frame = context.manifest.frame
    patients = frame["patient_id"].nunique()
    drawn = chosen(frame, patients)
    assert drawn["patient_id"].is_unique and len(drawn) == patients
    assert list(drawn["image"]) == list(chosen(frame.iloc[::-1], patients)["image"])
    assert list(drawn["image"]) != list(chosen(frame, patients, seed=1)["image"])
    (found,) = studies(context, drawn.head(1))
    assert found.lungs_from == "manifest" and found.lungs.shape == found.pixels.shape


def test_enhancement_figures_are_drawn_and_opacities_measured(manifest, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["reproduce", "covid-cxnet", "fig. 2", "Figure 3", "figure-4", "--data", str(manifest), "--out", out]
    assert main([*command, "--bootstrap", "20"]) == 0
    assert "contrast, CLAHE" in capsys.readouterr().out
    for name in ("figure-2", "figure-3", "figure-4"):
        record = json.loads((tmp_path / "out" / name / "result.json").read_text())
        assert record["figures"] == [f"{name}.png"] and record["comparisons"], name
        assert (tmp_path / "out" / name / f"{name}.png").stat().st_size > 10_000
        assert record["split_hash"]


def test_without_masks_the_row_is_skipped_and_the_figure_drawn(manifest, tmp_path, capsys):
    table = manifest.with_name("bare.csv")
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    column = lines[0].index("disease_mask")
    table.write_text("\n".join(",".join(["" if n == column and i else cell for n, cell in enumerate(line)])
                               for i, line in enumerate(lines)) + "\n")  # fmt: skip
    out = tmp_path / "out"
    assert main(["reproduce", "covid-cxnet", "figure-2", "--data", str(table), "--out", str(out)]) == 0
    assert "column 'disease_mask' filled; bare.csv has none" in capsys.readouterr().out
    record = json.loads((out / "figure-2" / "result.json").read_text())
    assert {row["verdict"] for row in record["comparisons"]} == {"skipped"}
    assert (out / "figure-2" / "figure-2.png").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [("chexnt=x.h5", "Did you mean 'chexnet'"), ("chexnet=absent.h5", "absent.h5 does not exist"), ("x.h5", "NAME=")],
)
def test_wrong_weights_are_refused_in_one_line(given, said, tmp_path, capsys):
    assert main(["reproduce", "covid-cxnet", "table-7", "--weights", given, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said.lower().replace("name=", "chexnet=file") in error.lower()
