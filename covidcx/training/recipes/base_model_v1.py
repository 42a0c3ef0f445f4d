"""Base model v1 of COVID-CXNet (Haghanifar et al. 2020, section 5.1): few images, and children as the normals.

Command: `covidcx train base-model-v1 --data MANIFEST --out runs/base-v1 --set leaks=drop`
Cost and result: 82 s for 100 epochs on one CPU core with `--set preprocessing.size=128,128 --set monitor=val_loss` on
../shared/data: held-out accuracy 1.00, and on the adults of its test split 72 of 73 normals and 123 of 126 COVID-19
called COVID-19, AUC 0.447 (0.354 to 0.538); `control`: 45 of 45 CAP called COVID-19. Not yet run at 320 pixels.

The paper's first training set has the pediatric radiographs of Kermany et al. as normals, and its external test showed
what that does: 9 of 30 adult normals were called COVID-19 (Table 1). Here the normals come from the split `pediatric`,
source `kermany`, and the split `test`, whose normals are adults, is the external set. A fifth of the patients of either
class is held out to choose the checkpoint on, as no split of its own has pediatric normals; the paper chose on its test
images.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe
from covidcx.training.selection import RowFilter, Selection

RECIPE = Recipe(
    name="base-model-v1",
    model=ModelSettings("base-model"),
    preprocessing=Preprocessing(size=(320, 320), channels=("original", "clahe", "beasf")),
    task="classify",
    labels=("normal", "covid"),
    augmentation=Augmentation(flip=0.5, rotate=10, shift=0.05),
    # Section 5.1's. `covidcx lr-find`, 100 steps at 128 pixels, sees the steepest fall at 4.5e-3 on ../shared/data.
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-4),
    epochs=100,
    batch=32,
    class_weights=False,
    train_splits=("train", "pediatric"),
    val_splits=(),
    selection=Selection(
        only={
            "normal": RowFilter(splits=("pediatric",), sources=("kermany",), limit=300),
            "covid": RowFilter(splits=("train",), limit=300),
        },
        holdout=0.2,
    ),
)
