"""COMiT-Net (Malhotra et al. 2021): four tasks on one VGG16 encoder, each silent where its label is missing.

Command: `covidcx train comit-net --data MANIFEST --out runs/comit-net`
Weights: ImageNet's VGG16 is downloaded; `--set initial_weights=FILE` names one that was fetched elsewhere,
`--set initial_weights=random` starts without. A subset of the tasks (Table 5): `--set heads=lung,infection`.
Cost and result: a GPU's work, not run here at this size; `comit-net-small` is the same at a fiftieth of the
multiplications, see `docs/results/comit-net-small.md`.

As the paper says: section 3.3 for size, batch, optimiser and epochs, section 3.1 for the copies of COVID-19 images and
the balanced views. Each loss is a mean over the labelled pixels or a sum over labels, weighted equally; equations 2 and
3 are written as sums over pixels, which would leave nothing to the classes. The checkpoint is chosen on the validation
rows where the paper takes the thirtieth epoch. Children teach the lungs only.
"""

from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

_ADULTS = ("train",)

RECIPE = Recipe(
    name="comit-net",
    model=ModelSettings("comit-net"),
    preprocessing=Preprocessing(size=(224, 224), channels=("original", "original", "original")),
    task="multi",
    labels=("normal", "other", "covid"),
    heads=("lung", "disease", "healthy", "infection"),
    head_splits={"disease": _ADULTS, "healthy": _ADULTS, "infection": _ADULTS},
    copies=("covid",),
    view_balance=True,
    loss=LossSettings(dice_weight=0.0),
    optimizer=OptimizerSettings(name="adam", learning_rate=5e-5),
    epochs=30,
    batch=16,
    class_weights=False,
    train_splits=("train", "pediatric"),
    initial_weights="imagenet",
)
