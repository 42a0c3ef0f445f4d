"""The search for duplicates: what it finds whatever was done to a copy, and what it leaves apart."""

import cv2
import numpy as np
import pytest

from covidcx.data.candidates import candidates
from covidcx.data.contact_sheet import Row, Tile, draw_page, write_sheets
from covidcx.data.duplicates import ALTERED, SAME_BYTES, SAME_FILE, Pair, clusters, compare, find_duplicates
from covidcx.data.fingerprint import ORIENTATIONS, PERMUTATIONS, fingerprint, local_contrast, mirrored_image, trim
from covidcx.data.manifest import Manifest
from covidcx.data.phantom import phantom
from covidcx.imaging import to_uint8

SIZE = 384


@pytest.fixture(scope="module")
def chests() -> list[np.ndarray]:
    """Eight synthetic chests, uint8."""
    labels = ("normal", "cap", "covid", "normal")
    return [to_uint8(phantom(labels[seed % 4], seed, SIZE).pixels) for seed in range(8)]


def _jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_GRAYSCALE)


def _marked(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    cv2.putText(image, "PORTABLE 12/03", (30, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    cv2.rectangle(image, (60, 120), (150, 260), 255, 2)
    cv2.rectangle(image, (250, 250), (320, 300), 0, -1)
    cv2.arrowedLine(image, (340, 120), (280, 170), 255, 4)
    return image


def _gamma(image: np.ndarray) -> np.ndarray:
    return np.round(255 * (image / 255.0) ** 0.5).astype(np.uint8)


ALTERATIONS = {
    "re-encoded": _jpeg,
    "gamma": _gamma,
    "window": lambda image: np.clip(1.5 * (image.astype(float) - 40), 0, 255).astype(np.uint8),
    "equalised": cv2.equalizeHist,
    "clahe": lambda image: cv2.createCLAHE(4, (8, 8)).apply(image),
    "cropped": lambda image: image[60:, 20:-50],
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "upside-down": lambda image: np.ascontiguousarray(image[::-1]),
    "half-size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "squeezed": lambda image: cv2.resize(image, (300, 240), interpolation=cv2.INTER_AREA),
    "marked": _marked,
    "framed": lambda image: cv2.copyMakeBorder(image, 10, 40, 25, 25, cv2.BORDER_CONSTANT, value=0),
    "all": lambda image: _jpeg(_marked(cv2.equalizeHist(_gamma(np.ascontiguousarray(image[30:, 20:-25][:, ::-1]))))),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_copy_is_found_and_no_other_pair(chests, tmp_path, name):
    files = _write(tmp_path, [*chests[:4], ALTERATIONS[name](chests[2])])
    found = find_duplicates(files)
    assert [(pair.first, pair.second, pair.kind) for pair in found.pairs] == [(2, 4, ALTERED)]
    turned = {"mirrored": 1, "upside-down": 2, "all": 1}.get(name, 0)
    assert found.pairs[0].orientation == ORIENTATIONS[turned]


def test_the_same_file_and_the_same_bytes_are_told_from_altered_copies(chests, tmp_path):
    files = _write(tmp_path, [chests[0], chests[1], chests[0], _gamma(chests[1])])
    found = find_duplicates([*files, tmp_path / "." / files[0].name])
    kinds = {(pair.first, pair.second): pair.kind for pair in found.pairs}
    assert kinds == {(0, 2): SAME_BYTES, (0, 4): SAME_FILE, (1, 3): ALTERED}
    assert set(found.shapes) == set(found.thumbnails) == {0, 1, 2, 3, 4}


def test_the_same_lettering_on_different_chests_is_no_duplicate(chests, tmp_path):
    found = find_duplicates(_write(tmp_path, [_marked(chest) for chest in chests]))
    assert found.pairs == ()


def test_unreadable_files_are_reported_and_the_rest_compared(chests, tmp_path):
    files = _write(tmp_path, [chests[0], _gamma(chests[0])])
    damaged, twin, missing = tmp_path / "damaged.png", tmp_path / "twin.png", tmp_path / "missing.png"
    damaged.write_bytes(files[0].read_bytes()[:200])
    twin.write_bytes(damaged.read_bytes())
    found = find_duplicates([damaged, files[0], twin, files[1], missing])
    assert [i for i, _ in found.failures] == [0, 2, 4]
    assert all(reason for _, reason in found.failures)
    assert (1, 3) in {(pair.first, pair.second) for pair in found.pairs}
    assert set(found.shapes) == {1, 3}


def test_blank_images_have_no_keypoints_and_match_nothing(chests, tmp_path):
    blank = [np.full((200, 300), grey, np.uint8) for grey in (0, 90, 255)]
    assert find_duplicates(_write(tmp_path, [*blank, chests[0]])).pairs == ()
    print_ = fingerprint(blank[1] / 255.0)
    assert print_.descriptors.shape == (0, 128) and not print_.texture.any()
    assert compare(print_, fingerprint(chests[0] / 255.0), 0) is None


def test_no_file_is_no_duplicate():
    found = find_duplicates([])
    assert found.pairs == () and found.failures == () and found.candidates == 0


def test_the_result_does_not_depend_on_threads(chests, tmp_path):
    files = _write(tmp_path, [*chests, _jpeg(chests[3]), chests[5][40:]])
    assert find_duplicates(files, workers=1).pairs == find_duplicates(files, workers=3).pairs


@pytest.mark.parametrize("orientation", range(4))
def test_permuted_descriptors_are_those_of_the_mirrored_image(chests, orientation):
    plain = fingerprint(chests[0] / 255.0)
    turned = fingerprint(mirrored_image(chests[0], orientation) / 255.0)
    own = plain.descriptors[:, PERMUTATIONS[orientation]].astype(float) / 255
    similarity = (own @ (turned.descriptors.astype(float) / 255).T).max(axis=1)
    assert np.median(similarity) > 0.97


def test_candidates_name_the_orientation_and_need_votes(chests):
    prints = [fingerprint(image / 255.0) for image in (*chests[:4], np.ascontiguousarray(chests[1][:, ::-1]))]
    found = candidates(prints)
    assert (1, 4, 1) in found
    assert found == sorted(found) and all(first < second for first, second, _ in found)
    assert candidates([]) == []


def test_local_contrast_takes_exposure_away(chests):
    bright = (60 + 0.5 * chests[0]).astype(np.uint8)
    plain, spread = local_contrast(chests[0])
    other, _ = local_contrast(bright)
    seen = spread > 12
    assert seen.mean() > 0.1
    assert np.abs(chests[0][seen].astype(int) - bright[seen]).mean() > 10
    assert np.abs(plain[seen].astype(int) - other[seen]).mean() < 5


def test_margins_are_trimmed_but_never_most_of_an_image():
    noise = np.random.default_rng(0).integers(40, 200, (100, 120)).astype(np.uint8)
    framed = cv2.copyMakeBorder(noise, 7, 11, 13, 17, cv2.BORDER_CONSTANT, value=255)
    np.testing.assert_array_equal(trim(framed), noise)
    assert trim(np.zeros((50, 60), np.uint8)).shape == (50, 60)
    mostly = cv2.copyMakeBorder(noise, 300, 0, 0, 0, cv2.BORDER_CONSTANT, value=0)
    assert trim(mostly).shape[0] == 400 - int(0.3 * 400)


def test_clusters_join_pairs_that_share_a_file():
    pairs = [Pair(4, 7), Pair(0, 2), Pair(2, 9), Pair(7, 8), Pair(1, 9)]
    assert clusters(pairs) == [(0, 1, 2, 9), (4, 7, 8)]
    assert clusters([]) == []


def test_contact_sheets_break_pages_and_show_unreadable_files(chests, tmp_path):
    files = _write(tmp_path, chests[:2])
    tiles = tuple(Tile(file, ("line 2", "a name much too long to stand under one tile of this sheet.png"), i == 0)
                  for i, file in enumerate([*files, tmp_path / "missing.png"]))  # fmt: skip
    folder = tmp_path / "sheets"
    folder.mkdir()
    (folder / "page99.png").write_bytes(b"of an earlier run")
    pages = write_sheets([Row(f"cluster {i}", tiles, i % 2 == 0) for i in range(9)], folder)
    assert [page.name for page in pages] == ["page01.png", "page02.png"]
    assert sorted(path.name for path in folder.iterdir()) == ["page01.png", "page02.png"]
    page = draw_page([Row("one", tiles, flagged=True)])
    assert page.dtype == np.uint8 and page.shape[2] == 3
    colours = {tuple(colour) for colour in page.reshape(-1, 3)}
    assert (190, 30, 30) in colours and (30, 130, 60) in colours
    assert write_sheets([], folder) == [] and not list(folder.iterdir())


def test_real_follow_ups_stay_apart_and_a_real_copy_is_found(shared_data, tmp_path):
    frame = Manifest.read(shared_data).subset(split=["train", "val"]).frame
    several = frame.groupby("patient_id")["image"].apply(lambda images: sorted(set(images)))
    nih = [images for images in several if len(images) > 2 and all("/nih_" in image for image in images)][:12]
    images = [shared_data / image for group in nih for image in group[:3]]
    copied = cv2.imread(str(images[0]), cv2.IMREAD_GRAYSCALE)
    copy = ALTERATIONS["all"](copied)
    found = find_duplicates([*images, *_write(tmp_path, [copy])])
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, len(images))]


def _write(folder, images):
    files = []
    for i, image in enumerate(images):
        files.append(folder / f"image{i}.png")
        assert cv2.imwrite(str(files[-1]), image)
    return files
