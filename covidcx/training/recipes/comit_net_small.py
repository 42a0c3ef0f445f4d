"""COMiT-Net at a quarter of its width and 192 pixels, from a random start, for a CPU.

Command: `covidcx train comit-net-small --data MANIFEST --out runs/comit-net --set leaks=drop`
Cost and result: two and a half minutes an epoch of 1,368 images on two cores; see `docs/results/comit-net-small.md`,
which also has the smaller sizes that the shipped weights went through first.

Beyond the paper: cross-entropy with Dice for the masks, random geometry instead of the five copies, some of the
degradations of `covid-cxnet` against recognising an image's source, a heavier loss for the disease region, which one
image in nineteen tells anything about, classes that weigh alike (fewer than one adult in four is healthy, and one pixel
in ten diseased), and the lungs that `lung-unet` finds where an image has no lung mask, which six of seven have not.
"""

from dataclasses import replace

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings
from covidcx.training.recipes.comit_net import RECIPE as PAPER

RECIPE = replace(
    PAPER,
    name="comit-net-small",
    model=ModelSettings("comit-net", {"width": 0.25, "dropout": 0.1}),
    preprocessing=Preprocessing(size=(192, 192), channels=("clahe",), winsorise=99.0, winsorise_low=1.0),
    augmentation=Augmentation(
        flip=0.5, rotate=12, shift=0.06, scale=0.15, brightness=0.1, noise=0.05, jpeg=0.05, tone=0.1,
    ),
    copies=(),
    loss=LossSettings(
        smoothing=0.02, dice_weight=0.6, head_weights={"lung": 10.0, "disease": 7.0, "healthy": 3.0, "infection": 6.0},
        balanced=("disease", "healthy", "infection"),
    ),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=1e-3, weight_decay=1e-3, schedule="cosine", warmup_epochs=0.3
    ),
    epochs=24,
    batch=8,
    monitor="epoch",
    train_splits=("train",),
    head_splits={},
    missing_lungs="segmenter",
    initial_weights=None,
)  # fmt: skip
