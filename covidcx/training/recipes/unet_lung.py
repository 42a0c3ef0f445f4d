"""U-Net on lungs, a comparison of COMiT-Net's segmentation (section 4.1, Fig. 5).

Command: `covidcx train unet-lung --data MANIFEST --out runs/unet-lung`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net figure-5` measures both.

As the paper says (section 3.3): 224 pixels, batch 4, 25 epochs, binary cross-entropy, Adam of learning rate 0.0001.
For the segmenter that the other models crop by see `lung-unet`.
"""

from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="unet-lung",
    model=ModelSettings("lung-unet", {"filters": 64, "output": "lung"}),
    preprocessing=Preprocessing(size=(224, 224), channels=("original",)),
    task="multi",
    labels=("lung",),
    heads=("lung",),
    loss=LossSettings(dice_weight=0.0),
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-4),
    epochs=25,
    batch=4,
    class_weights=False,
    train_splits=("train", "pediatric"),
)
