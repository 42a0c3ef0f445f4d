"""How many altered copies of real radiographs the audit finds, how many false pairs it reports, and how long it takes.

Run from the repository root: `python benchmarks/duplicates.py DATA [--splits train,val] [--originals 300]`, where DATA
is a folder with a `manifest.csv` of real radiographs. Copies are made in a temporary folder and removed; they are the
same for the same seed.

How it counts. A pair that the audit reports is true when both files come from one original file, and false
otherwise. Some of these 'false' pairs are true duplicates that the data set itself holds: every one is listed, and
`--sheet FOLDER` draws them to be looked at; those named in `--known` (a CSV with the columns first, second) count as
true. Two images of one patient that are no copies of each other (follow-ups) count as false. A copy is found when the
audit reports the very pair of the copy and its original; a copy of a copy in the same cluster does not help it.
"""

import argparse
import csv
import hashlib
import json
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from covidcx.data.contact_sheet import Row, Tile, write_sheets
from covidcx.data.duplicates import find_duplicates
from covidcx.data.manifest import Manifest

ORDER = ("flip", "turn", "crop", "window", "equalise", "mark", "frame", "rescale", "jpeg")
SINGLE = tuple(name for name in ORDER if name != "turn")
Rng = np.random.Generator


def main() -> None:
    """Make the copies, search, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="manifest.csv of real radiographs, or its folder")
    parser.add_argument("--splits", default="train,val", help="which images are searched (default: train,val)")
    parser.add_argument("--originals", type=int, default=300, help="images that are copied (default: 300)")
    parser.add_argument("--singles", type=int, default=2, help="copies with one alteration, each (default: 2)")
    parser.add_argument("--mixed", type=int, default=2, help="copies with three to five alterations, each (default: 2)")
    parser.add_argument("--limit", type=int, help="at most this many images of the splits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--known", type=Path, help="CSV of pairs that were seen to be true duplicates")
    parser.add_argument("--sheet", type=Path, help="draw the pairs between different originals to this folder")
    parser.add_argument("--missed", type=Path, help="draw the copies that were missed to this folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    manifest = Manifest.read(options.data).subset(split=options.splits.split(","))
    # Of files that are byte for byte the same, one: their copies would have two originals.
    named = sorted({manifest.file(image) for image in manifest.frame["image"]}, reverse=True)
    files = sorted({hashlib.sha256(path.read_bytes()).digest(): path for path in named}.values())
    rng = np.random.default_rng(options.seed)
    if options.limit:
        files = [files[i] for i in sorted(rng.permutation(len(files))[: options.limit])]
    chosen = sorted(rng.permutation(len(files))[: options.originals])
    with tempfile.TemporaryDirectory() as folder:
        copies = make_copies([files[i] for i in chosen], Path(folder), options.singles, options.mixed, options.seed)
        origin = {path: path for path in files} | {path: source for path, source, _ in copies}
        everything = [*files, *(path for path, _, _ in copies)]
        wall, cpu = time.perf_counter(), _cpu()
        found = find_duplicates(everything, workers=options.workers)
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
        pairs = {frozenset((everything[p.first], everything[p.second])): p for p in found.pairs}
        result = count(pairs, copies, origin, _known(options.known))
        result |= {"images": len(everything), "originals": len(files), "copies": len(copies), "seed": options.seed}
        result |= {"wall_seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "workers": options.workers}
        result |= {"splits": options.splits, "candidates": found.candidates, "failures": len(found.failures)}
        show(result)
        if options.sheet:
            _draw(options.sheet, [tuple(map(Path, pair["files"])) for pair in result["between_originals"]], pairs)
        if options.missed:
            _draw(options.missed, [(Path(source), Path(copy), kind) for source, copy, kind in result["missed"]], pairs)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


def count(pairs: dict, copies: list, origin: dict[Path, Path], known: set[frozenset]) -> dict:
    """Count the copies that were found, by what was done to them, and the pairs between different originals."""
    between = [pair for pair in pairs if len({origin[path] for path in pair}) == 2]
    seen = [pair for pair in between if frozenset(origin[path].name for path in pair) in known]
    by_kind, found = Counter(), Counter()
    missed = []
    for path, source, kind in copies:
        by_kind[kind] += 1
        hit = frozenset((path, source)) in pairs
        found[kind] += hit
        missed += [] if hit else [(str(source), str(path), kind)]
    family = defaultdict(list)
    for path, source, _ in copies:
        family[source].append(path)
    siblings = [frozenset(pair) for members in family.values() for pair in combinations(members, 2)]
    return {
        "found": sum(found.values()) / len(copies),
        "found_of_single": _share(found, by_kind, lambda kind: "+" not in kind),
        "found_of_mixed": _share(found, by_kind, lambda kind: "+" in kind),
        "found_between_two_copies": sum(pair in pairs for pair in siblings) / max(1, len(siblings)),
        "pairs": len(pairs),
        "between_originals": [
            {"files": [str(path) for path in sorted(pair)], "originals": sorted(origin[path].name for path in pair),
             "correlation": round(pairs[pair].correlation, 3), "keypoints": pairs[pair].keypoints,
             "known": pair in seen}
            for pair in sorted(between, key=sorted)
        ],
        "false_pairs": len(between) - len(seen),
        "false_share": (len(between) - len(seen)) / max(1, len(pairs)),
        "by_kind": {kind: [found[kind], by_kind[kind]] for kind in sorted(by_kind) if "+" not in kind},
        "by_step_in_mixed": {
            step: [sum(n for kind, n in found.items() if "+" in kind and step in kind.split("+")),
                   sum(n for kind, n in by_kind.items() if "+" in kind and step in kind.split("+"))]
            for step in ORDER
        },
        "missed": missed,
    }  # fmt: skip


def show(result: dict) -> None:
    """Print the figures."""
    print(f"{result['images']} images ({result['originals']} real of {result['splits']}, {result['copies']} copies), "
          f"{result['failures']} unreadable: {result['wall_seconds']} s wall, {result['cpu_seconds']} s CPU, "
          f"{result['workers']} workers")  # fmt: skip
    print(f"{result['pairs']} pairs reported, {result['candidates']} candidates looked at")
    print(f"found: {result['found']:.4f} of copies (single {result['found_of_single']:.4f}, "
          f"mixed {result['found_of_mixed']:.4f}), "
          f"{result['found_between_two_copies']:.4f} of pairs of two copies")  # fmt: skip
    print(f"pairs between different originals: {len(result['between_originals'])}, not known as duplicates: "
          f"{result['false_pairs']} ({result['false_share']:.4%} of pairs)")  # fmt: skip
    for pair in result["between_originals"]:
        print(f"  {' = '.join(pair['originals'])}  correlation {pair['correlation']} keypoints {pair['keypoints']}"
              f"{'  known' if pair['known'] else ''}")  # fmt: skip
    for title in ("by_kind", "by_step_in_mixed"):
        print(title + ": " + ", ".join(f"{name} {hit}/{total}" for name, (hit, total) in result[title].items()))
    for source, path, kind in result["missed"]:
        print(f"  missed {Path(path).name} of {Path(source).name}: {kind}")


def make_copies(
    sources: list[Path], folder: Path, singles: int, mixed: int, seed: int
) -> list[tuple[Path, Path, str]]:
    """Write altered copies; return path, original and alterations of each."""
    made = []
    for i, source in enumerate(sources):
        image = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
        for j in range(singles + mixed):
            rng = np.random.default_rng([seed, i, j])
            if j < singles:
                steps = [SINGLE[(i * singles + j) % len(SINGLE)]]
            else:
                drawn = rng.permutation(len(ORDER))[: rng.integers(3, 6)]
                steps = [ORDER[k] for k in sorted(drawn)]
            copy, quality = image, int(rng.integers(80, 96))
            for step in steps:
                if step == "jpeg":
                    quality = int(rng.integers(25, 50))
                else:
                    copy = ALTERATIONS[step](copy, rng)
            path = folder / f"copy{i:04d}_{j}.jpg"
            cv2.imwrite(str(path), copy, [cv2.IMWRITE_JPEG_QUALITY, quality])
            made.append((path, source, "+".join(steps)))
    return made


def flip(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Mirror (four of five) or turn upside down."""
    return np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.8 else image[::-1])


def turn(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Rotate by up to 4 degrees, as a slanted photograph or augmentation does."""
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-4, 4), 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC)


def crop(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Cut 5 to 20% off the height and the width, shared at random between the two sides."""
    height, width = image.shape
    off = rng.uniform(0.05, 0.20, 2)
    at = rng.uniform(0, 1, 2) * off
    top, left = int(at[0] * height), int(at[1] * width)
    return image[top : top + round((1 - off[0]) * height), left : left + round((1 - off[1]) * width)]


def window(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Gamma 0.45 to 2.2, an S-curve, or a window that clips both ends."""
    level = np.arange(256) / 255.0
    kind = rng.integers(3)
    if kind == 0:
        level = level ** (2 ** rng.uniform(-1.15, 1.15))
    elif kind == 1:
        steep = rng.uniform(5, 10)
        level = 1 / (1 + np.exp(-steep * (level - rng.uniform(0.4, 0.6))))
        level = (level - level[0]) / (level[-1] - level[0])
    else:
        low, high = np.percentile(image, [rng.uniform(2, 12), rng.uniform(88, 98)]) / 255.0
        level = np.clip((level - low) / max(high - low, 0.1), 0, 1)
    return cv2.LUT(image, np.round(level * 255).astype(np.uint8))


def equalise(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Histogram equalisation, or CLAHE of clip limit 2 to 6 on 4 to 12 tiles."""
    if rng.random() < 0.4:
        return cv2.equalizeHist(image)
    tiles = int(rng.integers(4, 13))
    return cv2.createCLAHE(rng.uniform(2, 6), (tiles, tiles)).apply(image)


def mark(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Two to six letters, dates, arrows and rectangles, some filled."""
    image = image.copy()
    height, width = image.shape
    thick = max(1, round(height / 200))
    for _ in range(rng.integers(2, 7)):
        x, y = int(rng.uniform(0.02, 0.85) * width), int(rng.uniform(0.08, 0.95) * height)
        grey = int(rng.choice([0, 255, 230]))
        kind = rng.integers(4)
        if kind == 0:
            text = str(rng.choice(["L", "R", "A", "PORTABLE", "12/03/2020 14:07", "B", "AP ERECT"]))
            cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, height / 400 * rng.uniform(0.7, 2), grey, thick)
        elif kind == 1:
            end = (x + int(rng.uniform(-0.15, 0.15) * width), y + int(rng.uniform(-0.15, 0.15) * height))
            cv2.arrowedLine(image, end, (x, y), grey, 2 * thick, tipLength=0.4)
        else:
            far = (x + int(rng.uniform(0.05, 0.25) * width), y + int(rng.uniform(0.05, 0.2) * height))
            cv2.rectangle(image, (x, y), far, grey, -1 if kind == 3 and rng.random() < 0.4 else thick)
    return image


def frame(image: np.ndarray, rng: Rng) -> np.ndarray:
    """A black or white margin of 2 to 12% on each side, as screenshots and padding to a square leave."""
    height, width = image.shape
    sides = [int(share * size) for share, size in zip(rng.uniform(0.02, 0.12, 4), (height, height, width, width),
                                                      strict=True)]  # fmt: skip
    return cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=int(rng.choice([0, 0, 255])))


def rescale(image: np.ndarray, rng: Rng) -> np.ndarray:
    """To 40 to 85% of its size; a third of them squeezed into a square of 224 to 320 pixels."""
    if rng.random() < 1 / 3:
        side = int(rng.integers(224, 321))
        return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    scale = rng.uniform(0.4, 0.85)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


ALTERATIONS = {
    "flip": flip, "turn": turn, "crop": crop, "window": window, "equalise": equalise, "mark": mark, "frame": frame,
    "rescale": rescale,
}  # fmt: skip


def _draw(folder: Path, wanted: list[tuple], pairs: dict) -> None:
    rows = []
    for first, second, *kind in wanted:
        pair = pairs.get(frozenset((first, second)))
        text = f"missed: {' '.join(kind)}"
        if pair:
            text = f"correlation {pair.correlation:.2f}, {pair.keypoints} keypoints"
        rows.append(Row(text, (Tile(first, (first.name,)), Tile(second, (second.name,)))))
    write_sheets(rows, folder, columns=2)


def _known(path: Path | None) -> set[frozenset]:
    if path is None:
        return set()
    with path.open(newline="", encoding="utf-8") as stream:
        return {frozenset((row["first"], row["second"])) for row in csv.DictReader(stream)}


def _share(found: Counter, total: Counter, wanted) -> float:
    return sum(n for kind, n in found.items() if wanted(kind)) / max(
        1, sum(n for kind, n in total.items() if wanted(kind))
    )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
