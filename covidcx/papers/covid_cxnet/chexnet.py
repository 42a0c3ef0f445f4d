"""Figure 14 and section 4.2: CheXNet as it is, its fourteen outputs, and a combination of them as a classifier."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.cache import prepare_manifest
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError
from covidcx.evaluation.intervals import bootstrap_all
from covidcx.evaluation.plots import bars_figure, roc_figure, save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.roc import auc
from covidcx.explain import grad_cam
from covidcx.imaging import Preprocessing, prepare
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.covid_cxnet.images import Study
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import outputs_of

if TYPE_CHECKING:
    from covidcx.models.weights import ImportedWeights

SIZE = 224
PREPROCESSING = Preprocessing(size=(SIZE, SIZE), channels=("original",) * 3)


@dataclass(frozen=True, eq=False)
class CheXNet:
    """CheXNet's network and how images are prepared for it.

    Attributes:
        weights: the imported model with its labels.
        preprocessing: the whole radiograph at 224 pixels, unenhanced, in three equal channels.
    """

    weights: "ImportedWeights"
    preprocessing: Preprocessing = PREPROCESSING

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return float64 N x outputs for prepared images, uint8 N x H x W x 3."""
        return outputs_of(self.weights.model, images)["probabilities"].astype(np.float64)

    def index(self, finding: str) -> int:
        """Return the column of a finding."""
        return self.weights.labels.index(finding)


def chexnet_of(context: Context) -> CheXNet:
    """Open the CheXNet file that was given.

    Raises:
        MissingDataError: none was given; a random network is never put in its place.
        WeightsError: it does not fit, or its labels stand in another order.
    """
    if "chexnet" not in context.weights:
        raise MissingDataError(
            "CheXNet's weights have no lasting address to download from; give a published file (Keras .h5, PyTorch "
            ".pth.tar or torchxrayvision) as --weights chexnet=FILE"
        )
    from covidcx.models.weights import chexnet

    return CheXNet(chexnet(context.weights["chexnet"], input_shape=(SIZE, SIZE, 3)))


def chexnet_heat(network: CheXNet, study: Study) -> np.ndarray:
    """Return CheXNet's Grad-CAM of pneumonia in a radiograph's pixels: float32 H x W."""
    prepared = prepare(study.pixels, network.preprocessing)
    grid = grad_cam(network.weights.model, prepared.network_input, network.index("Pneumonia"), output="probabilities")[
        0
    ]
    return prepared.geometry.restore(grid)


def figure_14(context: Context) -> Result:
    """Show CheXNet's outputs for both classes and test their combination as a classifier without fine-tuning."""
    figures, notes = [], []

    def rows() -> list[Comparison]:
        from covidcx.models.chexnet_score import pneumonia_weights

        network = chexnet_of(context)
        manifest = context.manifest.subset(split="test", labels=("normal", "covid"))
        for label in ("normal", "covid"):
            context.rows("CheXNet as it is", split=("test",), labels=(label,))
        done = prepare_manifest(manifest, network.preprocessing, None)
        found = network.probabilities(done.images)
        positive = (done.rows["label"] == "covid").to_numpy()
        names = network.weights.labels
        means = {
            f"{label} (mean of {int(of.sum())})": found[of].mean(axis=0).tolist()
            for label, of in (("covid", positive), ("normal", ~positive))
        }
        figure = bars_figure(means, [name.replace("_", " ") for name in names], "Probability", "CheXNet's outputs")
        figures.append(save_figure(figure, context.out / "figure-14.png"))
        score = found @ pneumonia_weights(names)
        curve = roc_figure(
            {"covid against normal": (positive, score)},
            "CheXNet as it is: outputs weighted by co-occurrence with pneumonia",
        )
        figures.append(save_figure(curve, context.out / "figure-14-roc.png"))
        groups = patients_of(done.rows)
        intervals = bootstrap_all(
            {
                "AUC, outputs weighted by co-occurrence with pneumonia": lambda w: auc(positive, score, w),
                **{f"AUC, {name}": lambda w, k=k: auc(positive, found[:, k], w) for k, name in enumerate(names)},
            },
            groups, context.budget.bootstrap, context.seed,
        )  # fmt: skip
        higher = int((found[positive].mean(axis=0) > found[~positive].mean(axis=0)).sum())
        notes.append(f"{higher} of {len(names)} outputs are higher on average for COVID-19; the paper: most of them")
        notes.append(
            f"weights {network.weights.source}, sha256 {network.weights.sha256[:12]}; labels in the file's order"
        )
        notes.extend(network.weights.notes)
        return [context.judge("CheXNet as it is", name, None, value) for name, value in intervals.items()]

    comparisons = attempt("CheXNet as it is", {"AUC, COVID-19 against normal": None}, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=tuple(notes),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


ITEMS = (
    Item("figure-14", "CheXNet's 14 probabilities, and their combination as a classifier", figure_14,
         "split test with normal and covid; weights chexnet"),
)  # fmt: skip
