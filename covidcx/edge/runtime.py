"""The LiteRT predictor: a radiograph in, a finding with its lungs and heat map out."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcx.bundle import DISEASE_OUTPUTS, Bundle, calibrate, decide
from covidcx.edge.gate import Gate
from covidcx.edge.lite import load_network
from covidcx.errors import BundleError, UnsupportedImageError
from covidcx.finding import Finding
from covidcx.imaging.preprocessing import Prepared, prepare
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read
from covidcx.imaging.resize import SummedImage, count_columns
from covidcx.imaging.roi import NO_LUNGS, VAGUE_LUNGS, enhancement_of_channel, segment_lungs

log = logging.getLogger(__name__)

UNSURE_LUNGS = 0.90
"""Below this mean probability an answer carries a warning."""
OWN_MASKS = ("lung", *DISEASE_OUTPUTS)
"""Outputs of a network with several heads that mark a region; their last channel is the probability."""
SMALL_LUNGS = 0.10
"""Below this share an answer carries a warning."""
ONE_SIDED = 0.05
"""Below this share of all lung pixels in one half of the lungs' box, the answer carries a warning: a white-out or a
missed lung. It is no reason to refuse, because severe disease looks like this."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything found in one radiograph.

    Attributes:
        finding: probabilities and class at the operating point.
        radiograph: what was analysed.
        lungs: bool, H x W in the radiograph's own pixels, by the segmenter or the network's own output `lung`; None
            where the bundle has neither.
        heat: float32, H x W in the radiograph's own pixels, >= 0: Grad-CAM of the called class, not normalised and not
            cut to the lungs; all zero where nothing speaks for the class. Of a network that marks disease, its
            probability inside the marked region. None for a bundle without either.
        disease: bool, H x W in the radiograph's own pixels: what the network's output `disease` or `opacity` marks, or
            None.
    """

    finding: Finding
    radiograph: Radiograph
    lungs: np.ndarray | None
    heat: np.ndarray | None
    disease: np.ndarray | None = None


class Predictor:
    """A classifier bundle with its gate and lung segmenter, ready to run.

    Example:
        >>> predictor = load("covid-cxnet")  # doctest: +SKIP
        >>> predictor("chest.dcm").label  # doctest: +SKIP
        'normal'
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Load the bundle's networks.

        Args:
            bundle: a verified bundle of task `classify` or `multi`.
            threads: threads per inference; up to four of this machine's cores by default.

        Raises:
            BundleError: the bundle, its segmenter or its gate cannot be used.
        """
        if not bundle.classifies:
            raise BundleError(
                f"bundle {bundle.name!r} is of task {bundle.task!r}; predictions need a classifier such as covid-cxnet"
            )
        self.bundle = bundle
        self.segmenter = bundle.open_segmenter()
        self._classifier = load_network(bundle, "probabilities", threads)
        self._segmenter = None
        if self.segmenter is not None:
            self._segmenter = load_network(self.segmenter, "lung", threads)
            _check_enhancement(bundle, self.segmenter)
        opened = bundle.open_gate()
        self.gate = None if opened is None else Gate(opened)

    @property
    def checksum(self) -> str:
        """Names everything an answer depends on: the bundle, its segmenter and its gate."""
        gate = None if self.gate is None else self.gate.bundle
        parts = [b.checksum[:16] for b in (self.bundle, self.segmenter, gate) if b is not None]
        return "+".join(parts)

    def __call__(self, image: str | Path | Radiograph) -> Finding:
        """Read and analyse one image.

        Args:
            image: a file, or a radiograph in memory.

        Returns:
            The finding, of status `ok`.

        Raises:
            ImageError: the file is damaged, or shows no upright frontal chest radiograph, or no lungs.
        """
        return self.analyse(image).finding

    def analyse(self, image: str | Path | Radiograph, source: str | None = None) -> Analysis:
        """Read and analyse one image, and keep its lungs and heat map.

        Args:
            image: a file, or a radiograph in memory.
            source: how the finding refers to it; the file's name by default.

        Returns:
            The analysis.

        Raises:
            ImageError: the file is damaged, or shows no upright frontal chest radiograph, or no lungs.
        """
        start = time.perf_counter()
        if isinstance(image, Radiograph):
            radiograph, name = image, "radiograph"
        else:
            radiograph, name = read(image), Path(image).name
        pixels = SummedImage(radiograph.pixels)
        frontal = None if self.gate is None else self.gate.check(pixels)
        lungs, area, warnings = self._find_lungs(pixels)
        prepared = prepare(pixels, self.bundle.preprocessing, lungs)
        if not prepared.geometry.lungs_found:
            warnings += ("the lungs are too scattered to crop to; the whole image was used",)
        outputs = self._classifier(prepared.network_input)
        probabilities = calibrate(outputs["probabilities"], self.bundle.temperature)
        label = decide(probabilities, self.bundle.labels, self.bundle.operating_points)[0]
        heat, peak = self._restore_heat(outputs.get("heatmap"), label, prepared)
        own = {name: prepared.geometry.restore(outputs[name][0, ..., -1]) for name in OWN_MASKS if name in outputs}
        if lungs is None and "lung" in own:
            lungs = own["lung"] > 0.5
            area, remarks = _checked(lungs, outputs["lung"][0, ..., -1])
            warnings += remarks
        marked = next((own[name] for name in DISEASE_OUTPUTS if name in own), None)
        disease = None if marked is None else marked > 0.5
        if heat is None and disease is not None:
            heat = np.where(disease, marked, np.float32(0))
        elif heat is not None and not peak:
            warnings += (f"no region of the image speaks for {label}: the heat map is empty",)
        finding = Finding(
            source=source if source is not None else name,
            status="ok",
            label=label,
            probabilities={key: float(p) for key, p in zip(self.bundle.labels, probabilities[0], strict=True)},
            frontal=None if frontal is None else round(frontal, 4),
            lung_area=None if area is None else round(area, 4),
            view=radiograph.view,
            bundle=self.bundle.name,
            seconds=round(time.perf_counter() - start, 3),
            warnings=warnings,
            disclaimer=self.bundle.disclaimer,
        )
        return Analysis(finding, radiograph, lungs, heat, disease)

    def _find_lungs(self, pixels: SummedImage) -> tuple[np.ndarray | None, float | None, tuple[str, ...]]:
        """Return the lungs, bool H x W, their share of the image, and remarks on them.

        Raises:
            UnsupportedImageError: there are none, or the segmenter is only guessing.
        """
        if self._segmenter is None:
            return None, None, ()
        seen: list[np.ndarray] = []

        def segment(image: np.ndarray) -> np.ndarray:
            seen.append(self._segmenter(image)["lung"])
            return seen[-1]

        lungs = segment_lungs(pixels, segment, enhancement_of_channel(self.segmenter.preprocessing.channels[0]))
        return lungs, *_checked(lungs, seen[0].reshape(seen[0].shape[1:3]))

    def _restore_heat(
        self, maps: np.ndarray | None, label: str, prepared: Prepared
    ) -> tuple[np.ndarray | None, float]:
        """Bring the called class's map back to the original pixels; return it and its highest value."""
        if maps is None:
            return None, 0.0
        index = self.bundle.labels.index(label)
        if maps.shape[-1] == 1 and len(self.bundle.labels) == 2:
            # A single sigmoid has evidence for its second class only.
            maps = np.concatenate([np.zeros_like(maps), maps], axis=-1)
        grid = np.maximum(maps[0, :, :, index], 0.0)
        return prepared.geometry.restore(grid), float(grid.max())


def load(bundle: str | Path | Bundle = "covid-cxnet", threads: int | None = None) -> Predictor:
    """Load a classifier bundle for prediction.

    Args:
        bundle: name, folder or opened bundle.
        threads: threads per inference; up to four of this machine's cores by default.

    Returns:
        The predictor.

    Raises:
        BundleError: not found, altered or unfit.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    start = time.perf_counter()
    _keep_freed_memory()
    predictor = Predictor(bundle if isinstance(bundle, Bundle) else Bundle.open(bundle), threads)
    log.info("loaded %s in %.2f s", predictor.bundle.name, time.perf_counter() - start)
    return predictor


def _keep_freed_memory() -> None:
    """Teach glibc's allocator, by example, not to hand image-sized blocks back to the system after each analysis.

    It takes the size of the largest block ever freed, up to 32 MiB, as what is worth keeping (mallopt(3),
    M_MMAP_THRESHOLD). Fetching the pages anew for every image costs a tenth of its analysis. No page of this block is
    touched, so it takes no memory; other allocators ignore it.
    """
    np.empty(31 * 2**20, np.uint8)


def _check_enhancement(bundle: Bundle, segmenter: Bundle) -> None:
    roi = bundle.preprocessing.roi
    enhance = enhancement_of_channel(segmenter.preprocessing.channels[0])
    if roi is not None and roi.enhance != enhance:
        raise BundleError(
            f"bundle {bundle.name!r} was trained on lungs found after {roi.enhance!r}, its segmenter "
            f"{segmenter.name!r} was trained on {enhance!r}; export one of them again"
        )


def _checked(lungs: np.ndarray, probability: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Return the lungs' share of the image and remarks on them.

    Args:
        lungs: bool, H x W.
        probability: float32, on the network's grid: what they were found in.

    Raises:
        UnsupportedImageError: there are none, or what found them is only guessing.
    """
    # All that is asked of the mask, in one pass over it.
    columns = count_columns(lungs)
    area = int(columns.sum()) / lungs.size
    if area < NO_LUNGS:
        raise UnsupportedImageError(
            f"no lungs found: they cover {area:.1%} of the image, at least {NO_LUNGS:.0%} is expected; "
            "give a frontal chest radiograph"
        )
    inside = probability > 0.5
    certainty = float(np.vdot(probability, inside)) / max(np.count_nonzero(inside), 1)
    if certainty < VAGUE_LUNGS:
        raise UnsupportedImageError(
            f"no clear lungs found: what looks like lung does so with a mean probability of {certainty:.2f}, at "
            f"least {VAGUE_LUNGS:.2f} is expected; give an upright frontal chest radiograph"
        )
    return area, _lung_warnings(columns, area, certainty)


def _lung_warnings(columns: np.ndarray, area: float, certainty: float) -> tuple[str, ...]:
    """Return remarks on lungs of which the number of pixels in each column is given."""
    found = []
    if area < SMALL_LUNGS:
        found.append(f"the lungs cover only {area:.1%} of the image; is it a frontal chest radiograph?")
    if certainty < UNSURE_LUNGS:
        found.append(f"the lungs are hard to make out (mean probability {certainty:.2f}); check the outline")
    occupied = np.flatnonzero(columns)
    middle = (int(occupied[0]) + int(occupied[-1]) + 1) // 2
    left = int(columns[:middle].sum()) / int(columns.sum())
    if min(left, 1.0 - left) < ONE_SIDED:
        found.append("lung was found on one side only")
    return tuple(found)
