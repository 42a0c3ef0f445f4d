"""CheXNet as it is: its fourteen findings, and their combination as a classifier without fine-tuning.

COVID-CXNet (Haghanifar et al. 2020, section 4.2): pneumonia is correlated with other thoracic findings (Fig. 7, the
co-occurrence diagram of Wang et al. 2017), so "we can use a combination of CheXNet output neurons to use as the
classifier without any fine-tuning". The paper gives no weights. The rule here: a finding weighs as the share of the
pneumonia images of ChestX-ray14 that also carry it; pneumonia itself weighs one; the score is the weighted mean of the
probabilities.
"""

from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import layers

from covidcx.errors import WeightsError
from covidcx.models.weights import CHEXNET_LABELS, ImportedWeights

PNEUMONIA = "Pneumonia"
FINDINGS = "findings"

COOCCURRENCE: Mapping[str, int] = {
    "Atelectasis": 262, "Cardiomegaly": 41, "Effusion": 269, "Infiltration": 605, "Mass": 71, "Nodule": 70,
    "Pneumonia": 1431, "Pneumothorax": 41, "Consolidation": 123, "Edema": 340, "Emphysema": 23, "Fibrosis": 11,
    "Pleural_Thickening": 48, "Hernia": 3,
}  # fmt: skip
"""Images of ChestX-ray14 that carry pneumonia and the finding, by `cooccurrence` of its `Data_Entry_2017_v2020.csv`
(112,120 images; 322 of the 1,431 with pneumonia carry nothing else). Fig. 7 shows the same pairs."""


def cooccurrence(findings: Iterable[str], label: str = PNEUMONIA) -> dict[str, int]:
    """Count which findings stand beside one.

    Args:
        findings: of each image, separated by `|` as ChestX-ray14's `Finding Labels`.
        label: the finding looked at.

    Returns:
        For every finding of `CHEXNET_LABELS` the number of images with it and `label`; `label`'s own is their number.
    """
    counts = dict.fromkeys(CHEXNET_LABELS, 0)
    for text in findings:
        there = {part.strip() for part in str(text).split("|")}
        if label in there:
            for name in there & counts.keys():
                counts[name] += 1
    return counts


def pneumonia_weights(labels: Sequence[str], counts: Mapping[str, int] = COOCCURRENCE) -> np.ndarray:
    """Return each output's weight in the pneumonia score, by the rule above.

    Args:
        labels: of a network's outputs, in order; one that ChestX-ray14 does not have weighs nothing.
        counts: from `cooccurrence`.

    Returns:
        float32, K, sum 1.

    Raises:
        WeightsError: the network does not tell pneumonia.
    """
    names = [name.strip().replace(" ", "_").replace("-", "_").lower() for name in labels]
    if PNEUMONIA.lower() not in names:
        raise WeightsError(f"no output tells {PNEUMONIA}; the outputs are {', '.join(labels)}")
    known = {name.lower(): count for name, count in counts.items()}
    weights = np.array([known.get(name, 0) / counts[PNEUMONIA] for name in names], np.float32)
    return weights / weights.sum()


def pneumonia_classifier(chexnet: ImportedWeights) -> keras.Model:
    """Make a classifier of CheXNet's outputs, with nothing to train.

    Args:
        chexnet: from `covidcx.models.weights.chexnet`.

    Returns:
        Model from float32 N x H x W x 3 in 0..1 to `{"probabilities": N x 1, "findings": N x K}`: the score, and the
        findings in the order of `chexnet.labels`. The score ranks images; its threshold must be chosen on validation
        images, as CheXNet's outputs are not calibrated.

    Raises:
        WeightsError: the network does not tell pneumonia.
    """
    findings = chexnet.model.output["probabilities"]
    score = layers.Dense(1, use_bias=False, trainable=False, dtype="float32", name="pneumonia_score")
    outputs = {"probabilities": score(findings), FINDINGS: findings}
    score.set_weights([pneumonia_weights(chexnet.labels)[:, None]])
    return keras.Model(chexnet.model.input, outputs, name="chexnet_pneumonia")


def named_findings(chexnet: ImportedWeights, images: np.ndarray) -> list[dict[str, float]]:
    """Return CheXNet's findings of images by name (Fig. 14).

    Args:
        chexnet: from `covidcx.models.weights.chexnet`.
        images: float32, N x H x W x 3, 0..1: the same grey image in all three channels, as CheXNet was trained.

    Returns:
        One dictionary per image: finding to probability, in the network's order.
    """
    values = np.asarray(chexnet.model.predict_on_batch(np.asarray(images, np.float32))["probabilities"])
    return [dict(zip(chexnet.labels, map(float, row), strict=True)) for row in values]
