"""The LiteRT predictor: right numbers, lungs and heat in the image's own pixels, refusals, no heavy imports."""

import subprocess
import sys

import numpy as np
import pytest
from tiny_bundles import LABELS, draw_chest, save_classifier, save_lungs, write_image

from covidcx.edge.runtime import load
from covidcx.errors import BundleError, ImageError, UnsupportedImageError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.roi import LungROI


@pytest.fixture(scope="module")
def predictor(tiny):
    return load(tiny, threads=1)


def _expected(pixels: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    logits = np.array([0.0, -1.0, 12 * (pixels.mean() - 0.5)]) / temperature
    return np.exp(logits) / np.exp(logits).sum()


def test_probabilities_are_those_worked_out_by_hand(predictor):
    for brightness in (0.5, 0.65, 0.9):
        pixels, _ = draw_chest(brightness)
        finding = predictor(Radiograph(pixels))
        assert list(finding.probabilities) == LABELS
        # The network sees 8-bit pixels, so a little less is exact.
        assert list(finding.probabilities.values()) == pytest.approx(_expected(pixels), abs=0.02)
        assert finding.status == "ok" and finding.bundle == "tiny" and finding.disclaimer


def test_class_is_called_at_the_operating_point_not_at_the_maximum(predictor):
    pixels, _ = draw_chest(0.53)
    finding = predictor(Radiograph(pixels))
    assert 0.0 < finding.probabilities["covid"] < 0.3 and finding.label == "normal"
    brighter, _ = draw_chest(0.62)
    finding = predictor(Radiograph(brighter))
    assert 0.3 < finding.probabilities["covid"] < finding.probabilities["normal"] and finding.label == "covid"


def test_temperature_softens_the_answer(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    warm = load(save_classifier(tmp_path / "warm", networks, temperature=3.0))
    pixels, _ = draw_chest(0.9)
    assert list(warm(Radiograph(pixels)).probabilities.values()) == pytest.approx(_expected(pixels, 3.0), abs=0.02)


def test_lungs_come_back_in_the_images_own_pixels(predictor):
    pixels, mask = draw_chest(size=(613, 401))
    analysis = predictor.analyse(Radiograph(pixels))
    assert analysis.lungs.shape == mask.shape and analysis.lungs.dtype == bool
    overlap = (analysis.lungs & mask).sum() / (analysis.lungs | mask).sum()
    assert overlap > 0.95
    assert analysis.finding.lung_area == pytest.approx(mask.mean(), abs=0.01)


def test_heat_of_the_called_class_lies_where_the_image_is_bright(predictor):
    pixels, mask = draw_chest(0.9, size=(320, 256))
    analysis = predictor.analyse(Radiograph(pixels))
    assert analysis.finding.label == "covid"
    assert analysis.heat.shape == pixels.shape and analysis.heat.dtype == np.float32 and analysis.heat.min() >= 0
    assert analysis.heat[~mask].mean() > 2 * analysis.heat[mask].mean()


def test_cropped_heat_goes_back_to_where_it_came_from(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    spec = Preprocessing(size=(64, 64), roi=LungROI(enhance="none", margin=0.0))
    always = {"covid": {"threshold": 0.0}}
    cropped = load(save_classifier(tmp_path / "cropped", networks, preprocessing=spec, operating_points=always))
    pixels, mask = draw_chest(0.6, size=(400, 320))
    # A bright spot between the lungs: the crop's hottest place.
    pixels[160:240, 140:180] = 1.0
    analysis = cropped.analyse(Radiograph(pixels))
    heat = analysis.heat
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert heat.max() > 0 and heat[: rows[0] - 15].max() == 0 and heat[:, columns[-1] + 15 :].max() == 0, (
        "heat outside the crop"
    )
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(row - 200) < 30 and abs(column - 160) < 25


def test_class_without_evidence_has_an_empty_heat_map_and_says_so(predictor):
    pixels, _ = draw_chest(0.5)
    analysis = predictor.analyse(Radiograph(pixels))
    assert analysis.finding.label == "normal" and not analysis.heat.any()
    assert any("heat map is empty" in warning for warning in analysis.finding.warnings)


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_picture_without_lungs_is_refused(predictor, level):
    with pytest.raises(UnsupportedImageError, match=r"no lungs found.*0\.0%.*frontal chest"):
        predictor(Radiograph(np.full((128, 128), level, np.float32)))


def test_picture_on_which_the_segmenter_only_guesses_is_refused(predictor):
    # The hand-made segmenter gives sigmoid(18 - 60 x 0.29) = 0.65 everywhere: an area of 100%, and no idea.
    with pytest.raises(UnsupportedImageError, match=r"no clear lungs found.*0\.6\d.*0\.86"):
        predictor(Radiograph(np.full((256, 256), 0.29, np.float32)))


def test_lungs_that_are_hard_to_make_out_are_answered_with_a_warning(predictor):
    pixels, mask = draw_chest(size=(256, 256))
    pixels[mask] = 0.267  # sigmoid(18 - 60 x 0.267) = 0.88
    warnings = predictor(Radiograph(pixels)).warnings
    assert any("hard to make out (mean probability 0.8" in warning for warning in warnings)


def test_one_pixel_does_not_crash(predictor):
    with pytest.raises(ImageError):
        predictor(Radiograph(np.full((1, 1), 0.7, np.float32)))


def test_one_lung_is_answered_with_a_warning(predictor):
    pixels, _ = draw_chest(lungs=(True, False))
    # A lung with a speck on the other side, as segmenters leave in a white-out.
    pixels[95:99, 120:124] = 0.05
    finding = predictor(Radiograph(pixels))
    assert finding.status == "ok" and "lung was found on one side only" in finding.warnings


def test_small_lungs_are_answered_with_a_warning(predictor):
    pixels = np.full((200, 200), 0.6, np.float32)
    pixels[60:120, 50:80] = pixels[60:120, 110:140] = 0.05
    finding = predictor(Radiograph(pixels))
    assert finding.status == "ok" and any("only 9.0% of the image" in warning for warning in finding.warnings)


def test_file_gives_the_same_answer_as_memory(predictor, tmp_path):
    pixels, _ = draw_chest(0.6)
    path = write_image(tmp_path / "chest.png", pixels)
    from_file, from_memory = predictor(path), predictor(Radiograph(np.round(pixels * 255).astype(np.float32) / 255))
    assert from_file.probabilities == from_memory.probabilities
    assert from_file.source == "chest.png" and from_memory.source == "radiograph"


def test_thread_count_does_not_change_the_answer(tiny):
    image = Radiograph(draw_chest(0.6)[0])
    one, two = load(tiny, threads=1)(image), load(tiny, threads=2)(image)
    assert one.probabilities == pytest.approx(two.probabilities, abs=1e-6)


def test_missing_file_raises_an_image_error(predictor, tmp_path):
    with pytest.raises(ImageError, match=r"absent\.dcm"):
        predictor(tmp_path / "absent.dcm")


def test_sigmoid_bundle_gives_two_classes_and_heat_for_the_second_only(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    folder = save_classifier(tmp_path / "two", networks, "sigmoid", labels=["normal", "covid"])
    binary = load(folder)
    bright, dark = (binary.analyse(Radiograph(draw_chest(level)[0])) for level in (0.9, 0.4))
    assert bright.finding.label == "covid" and bright.heat.any()
    assert sum(bright.finding.probabilities.values()) == pytest.approx(1.0)
    assert dark.finding.label == "normal" and not dark.heat.any()


def test_bundle_without_a_segmenter_needs_no_lungs(tmp_path, networks):
    folder = save_classifier(tmp_path / "plain", networks, preprocessing=Preprocessing(size=(64, 64)), segmenter=None)
    analysis = load(folder).analyse(Radiograph(np.full((90, 70), 0.8, np.float32)))
    assert analysis.lungs is None and analysis.finding.lung_area is None and analysis.finding.label == "covid"


def test_segmenter_is_no_classifier(tiny):
    with pytest.raises(BundleError, match="task 'segment'"):
        load(tiny.parent / "tiny-lungs")


def test_model_that_does_not_fit_its_bundle_is_refused(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    spec = Preprocessing(size=(32, 32), roi=LungROI(enhance="none"))
    with pytest.raises(BundleError, match=r"\(1, 64, 64, 3\), its bundle prepares \(1, 32, 32, 3\)"):
        load(save_classifier(tmp_path / "small", networks, preprocessing=spec))


def test_segmenter_trained_on_another_enhancement_is_refused(tmp_path, networks):
    spec = Preprocessing(size=(256, 256), channels=("clahe",))
    save_lungs(tmp_path / "tiny-lungs", networks, preprocessing=spec)
    with pytest.raises(BundleError, match=r"'none'.*'clahe'"):
        load(save_classifier(tmp_path / "tiny", networks))


def test_tflite_file_that_is_none_is_refused_even_with_a_right_checksum(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    broken = {**networks, "softmax": networks["softmax"][:500]}
    with pytest.raises(BundleError, match="LiteRT"):
        load(save_classifier(tmp_path / "tiny", broken))


def test_bundle_without_a_tflite_file_is_refused(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    folder = save_classifier(tmp_path / "tiny", networks)
    (folder / "model.tflite").rename(folder / "other.bin")
    from covidcx.bundle import write_bundle_json

    write_bundle_json(
        folder, name="tiny", task="classify", labels=LABELS, licence="MIT", preprocessing=Preprocessing(size=(64, 64)),
        model={"name": "x", "kwargs": {}},
    )  # fmt: skip
    with pytest.raises(BundleError, match=r"no file 'model\.tflite'"):
        load(folder)


def test_checksum_follows_classifier_and_segmenter(tmp_path, networks, predictor):
    save_lungs(tmp_path / "tiny-lungs", networks, metrics={"dice": 0.9})
    other = load(save_classifier(tmp_path / "tiny", networks))
    assert other.checksum != predictor.checksum
    assert other.checksum.split("+")[0] == predictor.checksum.split("+")[0]


_BLOCKER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ImportError(f"blocked: {{name}}", name=name)
sys.meta_path.insert(0, Block())
import covidcx
finding = covidcx.load({bundle!r})({image!r})
from covidcx.edge.predict import predict_files
predict_files([{image!r}], {bundle!r}, {out!r})
loaded = sorted(set({names}) & set(sys.modules))
print(finding.status, loaded)
"""


def test_small_install_runs_where_training_packages_are_absent(tiny, tmp_path, repo):
    names = ("tensorflow", "keras", "pandas", "sklearn", "matplotlib", "scipy", "h5py", "albumentations", "lime",
             "skimage", "PIL", "torch")  # fmt: skip
    image = write_image(tmp_path / "chest.png", draw_chest()[0])
    code = _BLOCKER.format(names=names, bundle=str(tiny), image=str(image), out=str(tmp_path / "out"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok []"
    assert done.stderr == "", "the native runtime's greeting belongs into the debug log"
