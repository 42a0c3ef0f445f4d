"""The TensorFlow executor against the NumPy executor, on synthetic images and on real radiographs."""

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the graph executor needs the train extra")

from covidcx.deploy import graph, graph_enhance  # noqa: E402
from covidcx.errors import ImageError  # noqa: E402
from covidcx.imaging import enhance  # noqa: E402
from covidcx.imaging.preprocessing import CHANNELS, Geometry, Preprocessing, prepare  # noqa: E402
from covidcx.imaging.resize import mostly, resize_area, to_uint8  # noqa: E402
from covidcx.imaging.roi import LungROI, bounding_box, grow, segmenter_input  # noqa: E402

REFERENCE = tuple(np.round(np.linspace(0, 1, 256) ** 0.8, 6).tolist())
SHAPES = [(200, 170), (90, 121), (320, 320), (512, 417), (333, 700), (37, 640)]
CLAHE_SETTINGS = [(2.0, (8, 8)), (0.0, (2, 4)), (40.0, (1, 1)), (0.01, (8, 4)), (7.7, (4, 8))]
REAL_IMAGES = 200
log = logging.getLogger(__name__)
SPECS = {
    "whole": Preprocessing(size=(320, 320)),
    "whole_224_he": Preprocessing(size=(224, 160), channels=("he", "beasf"), beasf_variant="arriaga_garcia", gamma=0.7),
    "crop": Preprocessing(size=(320, 320), roi=LungROI()),
    "crop_blank": Preprocessing(size=(224, 224), roi=LungROI(blank=True, margin=0.05, kernel=3, iterations=2)),
    "blank_only": Preprocessing(size=(128, 192), roi=LungROI(crop=False, blank=True), channels=("original", "beasf")),
    "lung_statistics": Preprocessing(
        size=(320, 320), roi=LungROI(blank=True), winsorise=92.5, histogram=REFERENCE, lung_statistics=True
    ),
    "winsorised": Preprocessing(
        size=(160, 160), channels=("original", "he", "clahe"), winsorise=99.0, winsorise_low=1.0,
        histogram=REFERENCE, clahe_clip=3.3, clahe_tiles=(4, 5),
    ),
}


def two_ellipses(shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    for centre in (0.3, 0.71):
        cv2.ellipse(
            mask, (int(width * centre), int(height * 0.52)), (int(width * 0.14), int(height * 0.33)), 0, 0, 360, 1, -1
        )
    return mask.astype(bool)


def chest_like(shape: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    body = cv2.GaussianBlur(rng.random(shape), (0, 0), 6)
    body = (body - body.min()) / np.ptp(body)
    return np.clip(0.7 * body - 0.3 * two_ellipses(shape) + 0.3 + rng.normal(0, 0.02, shape), 0, 1).astype(np.float32)


def synthetic() -> list[tuple[str, np.ndarray, np.ndarray]]:
    cases = [(f"chest {shape}", chest_like(shape, seed), two_ellipses(shape)) for seed, shape in enumerate(SHAPES)]
    shape = (211, 190)
    rng = np.random.default_rng(7)
    speck = np.zeros(shape, bool)
    speck[50:52, 60] = True
    corner = np.zeros(shape, bool)
    corner[:80, :60] = True
    cases += [
        ("constant", np.full(shape, 0.4, np.float32), two_ellipses(shape)),
        ("black", np.zeros(shape, np.float32), two_ellipses(shape)),
        ("white", np.ones(shape, np.float32), two_ellipses(shape)),
        ("binary", (rng.random(shape) > 0.7).astype(np.float32), two_ellipses(shape)),
        ("empty mask", chest_like(shape, 8), np.zeros(shape, bool)),
        ("full mask", chest_like(shape, 9), np.ones(shape, bool)),
        ("speck", chest_like(shape, 10), speck),
        ("corner", chest_like(shape, 11), corner),
        ("random mask", chest_like((512, 512), 12), rng.random((512, 512)) > 0.5),
        ("saturated", np.clip(chest_like(shape, 13) * 2 - 0.5, 0, 1), two_ellipses(shape)),
    ]
    return cases


def traced(spec: Preprocessing):
    """The executor as an exported model uses it: one trace, unknown height and width."""
    signature = [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.bool)]
    return tf.function(lambda pixels, mask: graph.prepare_graph(pixels, spec, mask), input_signature=signature)


def compare(run, spec: Preprocessing, pixels: np.ndarray, mask: np.ndarray) -> tuple[int, float]:
    """Check everything but grey levels; return the largest difference and the share of pixels that differ."""
    expected = prepare(pixels, spec, mask if spec.roi else None)
    got = run(tf.constant(pixels), tf.constant(mask))
    assert tuple(got.box.numpy().tolist()) == expected.geometry.box
    assert bool(got.found) == expected.geometry.lungs_found
    lungs = np.zeros(spec.size, bool) if expected.lungs is None else expected.lungs
    np.testing.assert_array_equal(got.lungs.numpy(), lungs)
    image = got.image.numpy()
    assert image.dtype == np.uint8 and image.shape == expected.image.shape
    difference = np.abs(image.astype(int) - expected.image)
    return int(difference.max()), float((difference > 0).mean())


@pytest.mark.parametrize("name", SPECS)
def test_synthetic_images_come_out_alike(name):
    run = traced(SPECS[name])
    results = {case: compare(run, SPECS[name], pixels, mask) for case, pixels, mask in synthetic()}
    log.info("%s: %.2g of pixels differ", name, np.mean([share for _, share in results.values()]))
    assert max(worst for worst, _ in results.values()) <= 1, results
    assert max(share for _, share in results.values()) < 1e-3, results


def test_adaptive_equalisation_channel_comes_out_alike():
    spec = Preprocessing(size=(96, 80), channels=("he", "ahe"), roi=LungROI(blank=True))
    run = traced(spec)
    for case, pixels, mask in synthetic()[:2] + synthetic()[8:11]:
        assert compare(run, spec, pixels, mask)[0] <= 1, case


@pytest.fixture(scope="module")
def real_images(shared_data) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """200 radiographs from every split and source, half of them with a drawn lung mask."""
    with (shared_data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    drawn = [rows[i] for i in order if rows[i]["lung_mask"]][: REAL_IMAGES // 2]
    plain = [rows[i] for i in order if not rows[i]["lung_mask"]][: REAL_IMAGES - len(drawn)]
    return [_read_row(shared_data, row) for row in drawn + plain]


def _read_row(folder: Path, row: dict[str, str]) -> tuple[str, np.ndarray, np.ndarray]:
    pixels = cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    if row["lung_mask"]:
        return row["image"], pixels, cv2.imread(str(folder / row["lung_mask"]), cv2.IMREAD_GRAYSCALE) == 255
    return row["image"], pixels, two_ellipses(pixels.shape)


@pytest.mark.parametrize("name", ["whole", "crop_blank", "lung_statistics"])
def test_real_radiographs_come_out_alike(name, real_images):
    assert len(real_images) == REAL_IMAGES
    run = traced(SPECS[name])
    results = {file: compare(run, SPECS[name], pixels, mask) for file, pixels, mask in real_images}
    share = float(np.mean([share for _, share in results.values()]))
    log.info("%s: %.2g of pixels differ on %d radiographs", name, share, len(results))
    wrong = {file: result for file, result in results.items() if result[0] > 1}
    assert not wrong, f"{len(wrong)} of {len(results)} images differ by more than one level: {wrong}"
    assert share < 1e-4


@pytest.mark.parametrize("enhancement", ["none", "clahe"])
def test_segmenter_sees_the_same_real_radiographs(enhancement, real_images):
    run = tf.function(
        lambda pixels: graph.segmenter_input_graph(pixels, enhancement),
        input_signature=[tf.TensorSpec([None, None], tf.float32)],
    )
    for file, pixels, _ in real_images[::4]:
        expected = segmenter_input(pixels, enhancement).astype(int)
        assert np.abs(run(pixels).numpy() - expected).max() <= 1, file


def test_segmenter_sees_the_same_after_adaptive_equalisation():
    pixels = chest_like((300, 260), 3)
    got = tf.function(graph.segmenter_input_graph)(tf.constant(pixels)).numpy()
    assert got.shape == (256, 256)
    assert np.abs(got.astype(int) - segmenter_input(pixels)).max() <= 1


@pytest.mark.parametrize("radius", [0, 1, 6, 40])
def test_adaptive_equalisation_equals_numpy(radius):
    image = to_uint8(chest_like((33, 58), 5))
    image[4:9, 3:30] = 255
    got = tf.function(lambda x: graph_enhance.equalize_adaptive_graph(x, radius))(tf.constant(image)).numpy()
    np.testing.assert_array_equal(got, enhance.equalize_adaptive(image, radius))


@pytest.mark.parametrize("variant", enhance.BEASF_VARIANTS)
def test_tables_equal_numpy_where_halves_and_percentiles_tie(variant):
    # Four levels of equal count: medians and the 25th, 50th and 75th percentiles all fall between two levels.
    image = np.repeat(np.array([10, 20, 200, 250], np.uint8), 16).reshape(8, 8)
    mask, everywhere = image < 255, tf.ones([8, 8], tf.bool)
    got = graph_enhance.equalize_beasf_graph(tf.constant(image), 1.5, variant).numpy()
    np.testing.assert_array_equal(got, enhance.equalize_beasf(image, 1.5, variant))
    for upper, lower in ((75.0, 25.0), (50.0, 0.0), (100.0, 50.0)):
        got = graph_enhance.winsorise_graph(tf.constant(image), upper, lower, everywhere).numpy()
        np.testing.assert_array_equal(got, enhance.winsorise(image, upper, lower, mask))
    shares = tuple(np.linspace(0, 1, 257)[1:].tolist())
    got = graph_enhance.match_histogram_graph(tf.constant(image), shares, everywhere).numpy()
    np.testing.assert_array_equal(got, enhance.match_histogram(image, shares))
    assert int(graph_enhance.median_level_graph(tf.constant(image), everywhere)) == 20


@pytest.mark.parametrize(("clip", "tiles"), CLAHE_SETTINGS)
def test_clahe_equals_opencv(clip, tiles):
    for seed in range(4):
        image = to_uint8(chest_like((64, 96), seed))
        got = graph_enhance.equalize_clahe_graph(tf.constant(image), clip, tiles).numpy().astype(int)
        assert np.abs(got - enhance.equalize_clahe(image, clip, tiles)).max() <= 1


def test_clahe_refuses_tiles_that_do_not_divide():
    with pytest.raises(ImageError, match="60 x 64"):
        graph_enhance.equalize_clahe_graph(tf.zeros([60, 64], tf.uint8))


@pytest.mark.parametrize("shape", [(3, 5), (64, 31), (500, 411), (256, 256)])
def test_area_resampling_equals_numpy(shape):
    pixels = np.random.default_rng(1).random(shape, np.float32)
    got = graph.resize_area_graph(tf.constant(pixels), 64, 48).numpy()
    np.testing.assert_allclose(got, resize_area(pixels, 64, 48), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(512, 512), (300, 256), (1536, 256), (256, 384), (433, 512), (229, 512)])
def test_masks_whose_shares_tie_at_a_half_come_out_alike(shape):
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    run = tf.function(
        lambda mask: graph.mostly_graph(mask, 256, 256), input_signature=[tf.TensorSpec([None, None], tf.bool)]
    )
    for mask in ((rows + columns) % 2 == 0, rows % 6 + columns % 2 < 3, two_ellipses(shape)):
        np.testing.assert_array_equal(run(tf.constant(mask)).numpy(), mostly(mask, 256, 256))


@pytest.mark.parametrize("roi", [LungROI(), LungROI(kernel=1), LungROI(kernel=3, iterations=0), LungROI(kernel=7)])
def test_grown_lungs_and_their_box_equal_numpy(roi):
    rng = np.random.default_rng(2)
    blobs = cv2.GaussianBlur(rng.random((400, 310)), (0, 0), 9)
    for mask in (blobs > np.quantile(blobs, 0.7), two_ellipses((400, 310)), rng.random((512, 512)) > 0.5):
        expected = grow(mask, roi)
        got = graph.grow_graph(tf.constant(mask), roi)
        np.testing.assert_array_equal(got.numpy(), expected)
        box = graph.bounding_box_graph(got, tf.constant(mask.shape, tf.int64), roi.margin)
        assert tuple(box.numpy().tolist()) == bounding_box(expected, mask.shape, roi.margin)


@pytest.mark.parametrize("crop", [True, False])
def test_specks_that_the_network_s_grid_misses_count_as_no_lungs(crop):
    spec = Preprocessing(size=(16, 16), roi=LungROI(kernel=1, iterations=0, crop=crop, blank=True))
    mask = np.zeros((256, 256), bool)
    mask[10, 12] = mask[200, 220] = True
    assert grow(mask, spec.roi).any()
    run, pixels = traced(spec), chest_like((256, 256), 4)
    assert compare(run, spec, pixels, mask)[0] <= 1
    got = run(tf.constant(pixels), tf.constant(mask))
    assert not bool(got.found) and got.box.numpy().tolist() == [0, 256, 0, 256]


@pytest.mark.parametrize(
    ("grid", "box"), [((10, 10), (0, 200, 0, 170)), ((7, 9), (31, 190, 12, 77)), ((64, 64), (5, 9, 3, 6))]
)
def test_heat_map_goes_back_as_with_opencv(grid, box):
    heat = np.random.default_rng(3).random(grid, np.float32)
    expected = Geometry((200, 170), box).restore(heat)
    got = tf.function(graph.restore_graph)(tf.constant(heat), tf.constant([200, 170]), tf.constant(box)).numpy()
    assert got.shape == (200, 170)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_saved_model_prepares_raw_pixels_of_any_size(tmp_path):
    spec = Preprocessing(size=(64, 64), channels=CHANNELS, roi=LungROI(blank=True))
    module = tf.Module()
    module.prepare = traced(spec)
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for _, pixels, mask in synthetic()[:2]:
        image = loaded.prepare(tf.constant(pixels), tf.constant(mask))[0].numpy()
        assert np.abs(image.astype(int) - prepare(pixels, spec, mask).image).max() <= 1


def test_spec_read_back_from_json_builds_the_same_graph():
    spec = SPECS["lung_statistics"]
    again = Preprocessing.from_dict(json.loads(json.dumps(spec.to_dict())))
    pixels, mask = chest_like((150, 140), 6), two_ellipses((150, 140))
    first, second = (graph.prepare_graph(pixels, value, mask).image.numpy() for value in (spec, again))
    np.testing.assert_array_equal(first, second)


def test_network_input_lies_in_0_to_1():
    prepared = graph.prepare_graph(chest_like((70, 60), 1), Preprocessing(size=(64, 64)))
    expected = prepare(chest_like((70, 60), 1), Preprocessing(size=(64, 64))).network_input
    np.testing.assert_array_equal(prepared.network_input.numpy(), expected)
    assert prepared.image.shape == (64, 64, 3)
    assert bool(prepared.found) and not prepared.lungs.numpy().any()


def test_missing_or_wrong_lung_mask_is_refused():
    spec = Preprocessing(size=(64, 64), roi=LungROI())
    pixels = chest_like((70, 60), 1)
    with pytest.raises(ImageError, match="received None"):
        graph.prepare_graph(pixels, spec)
    with pytest.raises(ImageError, match=r"\(70, 60\).*\(60, 70\)"):
        graph.prepare_graph(pixels, spec, np.ones((60, 70), bool))
    with pytest.raises(tf.errors.InvalidArgumentError, match="lung mask"):
        traced(spec)(tf.constant(pixels), tf.ones([60, 70], tf.bool))


def test_integer_pixels_and_unknown_names_are_refused():
    with pytest.raises(ImageError, match="uint8"):
        graph.prepare_graph(np.zeros((64, 64), np.uint8), Preprocessing(size=(64, 64)))
    with pytest.raises(ImageError, match="unknown ROI enhancement 'he'"):
        graph.segmenter_input_graph(tf.zeros([64, 64]), "he")
    with pytest.raises(ImageError, match="unknown BEASF variant 'x'"):
        graph_enhance.equalize_beasf_graph(tf.zeros([8, 8], tf.uint8), 1.5, "x")
