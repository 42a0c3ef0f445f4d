"""MoCo-CXR (Sowrirajan et al. 2021): two views by flip and rotation up to 10 degrees, as SIIM multi-class section 4.

Command: `covidcx pretrain moco-cxr --data MANIFEST --out runs/moco-cxr`
The original learns from 224,316 radiographs with a queue of 65,536 keys and a momentum of 0.999; the defaults here
suit some thousand radiographs: a queue of 512, so that most negatives are other images, and a momentum of 0.99, so
that the key encoder is not still the random start when the run ends. With large data:
`--set contrast.queue=65536 --set contrast.momentum=0.999`. Images are prepared as `siim-baseline` prepares them.
"""

from covidcx.data.contrast_views import ContrastViews
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.pretraining import ContrastSettings, Pretraining
from covidcx.training.recipe import OptimizerSettings

RECIPE = Pretraining(
    name="moco-cxr",
    preprocessing=Preprocessing(size=(224, 224), channels=("original", "original", "original"), winsorise=92.5),
    contrast=ContrastSettings(ContrastViews(flip=0.5, rotate=10), temperature=0.2),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", warmup_epochs=0.5
    ),
    epochs=30,
    batch=32,
)
