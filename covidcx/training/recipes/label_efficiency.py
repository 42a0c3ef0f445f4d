"""What a start is worth: DenseNet-121 for normal, pneumonia and COVID-19 on 96-pixel images, a few hundred steps.

Command: `covidcx train label-efficiency --data MANIFEST --out RUN --set label_share=0.1 --set passes=10
--set initial_weights=RUN/encoder.weights.h5`; the whole comparison is `covidcx reproduce siim label-efficiency`.

Images and architecture are those of the baseline of SIIM multi-class. Size and budget are small enough for a CPU;
every start gets the same steps, whatever its share of the labels.
Cost and result: three epochs, about 190 steps of 16 images on the shared data; that command tells what each start
reached.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="label-efficiency",
    model=ModelSettings("cnn-baseline", {"backbone": "densenet121"}),
    preprocessing=Preprocessing(size=(96, 96), channels=("original", "original", "original"), winsorise=92.5),
    task="classify",
    labels=("normal", "cap", "covid"),
    augmentation=Augmentation(flip=0.5, rotate=10, scale=0.2),
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-3, schedule="cosine", warmup_epochs=0.5),
    epochs=3,
    batch=16,
    class_weights=True,
    leaks="drop",
)
