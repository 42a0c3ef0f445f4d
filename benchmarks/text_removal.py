"""How much of real radiographs text removal changes, inside and outside the lungs, and how many drawn marks it finds.

    python benchmarks/text_removal.py --data ../shared/data --splits train,val --marked 100

Three tables. (1) Share of pixels changed per source. NIH images carry side letters outside the lungs only, so whatever
is changed inside their lungs is a mistake or a device. (2) Recall on dates, letters, arrows and rectangles drawn in
white and in black on NIH images, inside and outside the lungs, then saved as JPEG; and what was changed beyond them.
(3) The same without a lung mask. `--lungs` keeps the lung masks between runs.
"""

import argparse
import csv
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from covidcx.bundle import Bundle
from covidcx.edge.lite import MODEL_FILE, LiteModel
from covidcx.imaging import read, segment_lungs
from covidcx.imaging.text import find_text

KINDS = ("date", "letter", "arrow", "rectangle")
FOUND = 0.8
JPEG_QUALITY = 92


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--splits", default="train,val", help="(default: train,val)")
    parser.add_argument("--every", type=int, default=1, help="only each n-th image (default: 1)")
    parser.add_argument("--marked", type=int, default=100, help="NIH images that marks are drawn on (default: 100)")
    parser.add_argument("--lungs", type=Path, default=Path("/tmp/covidcx-lungs"), help="cache of lung masks")
    parser.add_argument("--out", type=Path, help="CSV with the shares of every image")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with (options.data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] in options.splits.split(",")]
    rows = rows[:: options.every]
    lungs_of = _lung_finder(options.data, options.lungs)
    shares = _changed(rows, options.data, lungs_of)
    _print_changed(shares)
    if options.out:
        with options.out.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image", "source", "inside", "outside", "seconds"])
            writer.writerows(shares)
    nih = [row for row in rows if row["source"] == "nih"]
    chosen = [nih[i] for i in np.linspace(0, len(nih) - 1, min(options.marked, len(nih))).astype(int)]
    _print_recall(chosen, options.data, lungs_of, options.seed)


def _lung_finder(root: Path, cache: Path) -> Callable[[dict[str, str]], np.ndarray]:
    bundle = Bundle.open("lung-unet")
    model = LiteModel(bundle.path(MODEL_FILE), 1)
    cache.mkdir(parents=True, exist_ok=True)

    def lungs_of(row: dict[str, str]) -> np.ndarray:
        kept = cache / f"{Path(row['image']).stem}.png"
        if not kept.exists():
            if row["lung_mask"]:
                mask = cv2.imread(str(root / row["lung_mask"]), cv2.IMREAD_GRAYSCALE) == 255
            else:
                pixels = read(root / row["image"]).pixels
                mask = segment_lungs(pixels, lambda image: model(image)["lung"], bundle.preprocessing.channels[0])
            cv2.imwrite(str(kept), mask.astype(np.uint8) * 255)
        return cv2.imread(str(kept), cv2.IMREAD_GRAYSCALE) > 127

    return lungs_of


def _changed(rows, root: Path, lungs_of) -> list[tuple[str, str, float, float, float]]:
    shares = []
    for row in rows:
        pixels, lungs = read(root / row["image"]).pixels, lungs_of(row)
        start = time.process_time()
        mask = find_text(pixels, lungs)
        seconds = time.process_time() - start
        inside = float(mask[lungs].mean()) if lungs.any() else 0.0
        shares.append((row["image"], row["source"], inside, float(mask[~lungs].mean()), seconds))
    return shares


def _print_changed(shares) -> None:
    print(f"{len(shares)} images, {np.median([s[4] for s in shares]) * 1000:.0f} ms of one core each (median)")
    print("pixels changed, %           inside the lungs                     outside")
    print("source     images   touched    mean    p99    max    touched    mean    p99    max")
    for source in (*sorted({share[1] for share in shares}), "all"):
        values = np.array([share[2:4] for share in shares if source in (share[1], "all")]) * 100
        told = []
        for column in values.T:
            told.append(f"{(column > 0).mean():8.1%} {column.mean():8.4f} {np.quantile(column, 0.99):6.3f} "
                        f"{column.max():6.2f}")  # fmt: skip
        print(f"{source:9} {len(values):7}  {'  '.join(told)}")


def _print_recall(rows, root: Path, lungs_of, seed: int) -> None:
    tallies: dict = defaultdict(list)
    beyond: dict = defaultdict(list)
    for number, row in enumerate(rows):
        pixels, lungs = read(root / row["image"]).pixels, lungs_of(row)
        for white in (True, False):
            rng = np.random.default_rng([seed, number, white])
            marked, marks = _draw(pixels, lungs, white, rng)
            for given in (True, False):
                before = find_text(pixels, lungs if given else None)
                mask = find_text(marked, lungs if given else None)
                free = np.ones(pixels.shape, bool)
                for kind, inside, drawn in marks:
                    tallies[given, kind, inside, white].append(float(mask[drawn].mean()))
                    free &= ~cv2.dilate(drawn.astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool)
                beyond[given].append(float((mask & ~before & free & lungs).sum() / max(lungs.sum(), 1)))
    for given in (True, False):
        print(f"\n{len(rows)} images with drawn marks, {'with' if given else 'without'} lung masks: "
              "marks of which 80% is found, and pixels found")  # fmt: skip
        for kind in KINDS:
            cells = []
            for inside in (False, True):
                for white in (True, False):
                    values = np.array(tallies[given, kind, inside, white] or [np.nan])
                    cells.append(f"{'in ' if inside else 'out'} {'white' if white else 'black'} "
                                 f"{(values >= FOUND).mean():6.1%} {values.mean():6.1%}")  # fmt: skip
            print(f"  {kind:10}" + "   ".join(cells))
        print(f"  lung pixels changed away from the marks: {np.mean(beyond[given]):.5%}")


def _draw(pixels: np.ndarray, lungs: np.ndarray, white: bool, rng: np.random.Generator):
    """Draw each kind once inside and once outside the lungs where it has contrast and room; return its pixels too."""
    level = 255 if white else 0
    image = np.round(pixels * 255).astype(np.uint8)
    taken = cv2.dilate(find_text(pixels, lungs).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    marks = []
    for kind in KINDS:
        for inside in (False, True):
            for _ in range(30):
                stamp = _stamp(kind, max(image.shape), rng)
                place = _place(stamp, image, lungs, inside, white, taken, rng)
                if place is None:
                    continue
                part = image[place]
                image[place] = np.round(part + (level - part.astype(float)) * stamp / 255).astype(np.uint8)
                drawn = np.zeros(image.shape, bool)
                drawn[place] = stamp > 127
                taken[place] = True
                marks.append((kind, inside, drawn))
                break
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255, marks


def _place(stamp, image, lungs, inside, white, taken, rng):
    height, width = stamp.shape
    if height + 8 >= image.shape[0] or width + 8 >= image.shape[1]:
        return None
    top = int(rng.integers(4, image.shape[0] - height - 4))
    left = int(rng.integers(4, image.shape[1] - width - 4))
    place = np.s_[top : top + height, left : left + width]
    share = lungs[place][stamp > 127].mean()
    level = image[place].mean()
    # Nobody writes white on white.
    readable = level < 190 if white else level > 64
    fits = share >= 0.95 if inside else share <= 0.01
    return place if fits and readable and not taken[place].any() else None


def _stamp(kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return one mark's coverage, uint8 0..255."""
    scale = side / 512
    if kind in ("date", "letter"):
        text = "RLDABX"[rng.integers(6)]
        if kind == "date":
            text = f"{rng.integers(2010, 2022)}/{rng.integers(1, 13):02d}/{rng.integers(1, 29):02d}"
        height = scale * rng.uniform(0.35, 0.7) if kind == "date" else scale * rng.uniform(0.6, 1.3)
        stroke = max(1, round(height * 2.5))
        (width, tall), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, height, stroke)
        stamp = np.zeros((tall + base + 4, width + 4), np.uint8)
        where = (2, tall + 2)
        return cv2.putText(stamp, text, where, cv2.FONT_HERSHEY_SIMPLEX, height, 255, stroke, cv2.LINE_AA)
    if kind == "rectangle":
        height, width = (round(scale * rng.uniform(40, 90)) for _ in range(2))
        stamp = np.zeros((height, width), np.uint8)
        return cv2.rectangle(stamp, (1, 1), (width - 2, height - 2), 255, max(1, round(scale * rng.uniform(1, 3))))
    return _arrow(round(scale * rng.uniform(26, 50)), rng.uniform(0, 2 * math.pi))


def _arrow(length: int, angle: float) -> np.ndarray:
    width, head = max(2.0, length * 0.1), length * 0.35
    outline = np.array([
        (-length / 2, -width / 2), (length / 2 - head, -width / 2), (length / 2 - head, -head / 2), (length / 2, 0),
        (length / 2 - head, head / 2), (length / 2 - head, width / 2), (-length / 2, width / 2),
    ])  # fmt: skip
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = outline @ turn.T
    points -= points.min(axis=0) - 2
    stamp = np.zeros(tuple(np.ceil(points.max(axis=0)[::-1] + 3).astype(int)), np.uint8)
    return cv2.fillPoly(stamp, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


if __name__ == "__main__":
    main()
