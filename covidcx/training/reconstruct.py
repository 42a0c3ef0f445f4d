"""What an inpainting network puts into the holes of images it has not seen."""

from dataclasses import dataclass

import numpy as np

from covidcx.errors import RecipeError
from covidcx.training.fit_encoder import PretrainingResult, build_network
from covidcx.training.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Images with holes and what was put into them.

    Attributes:
        images: float32, N x H x W x C, 0..1.
        masked: the same with holes.
        holes: bool, N x H x W.
        output: float32, N x H x W x C, 0..1: the network's whole answer.
    """

    images: np.ndarray
    masked: np.ndarray
    holes: np.ndarray
    output: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """The images with their holes filled by the network, N x H x W x C."""
        return np.where(self.holes[..., None], self.output, self.images)

    def error(self, filling: np.ndarray) -> np.ndarray:
        """Return the mean squared error inside each image's holes, float64 N, of a filling N x H x W x C."""
        squares = np.square(filling.astype(np.float64) - self.images).mean(axis=-1)
        return (squares * self.holes).sum(axis=(1, 2)) / self.holes.sum(axis=(1, 2))


def reconstruct(run: PretrainingResult, images: np.ndarray, seed: int = 0) -> Reconstruction:
    """Cut holes into images and let a finished inpainting run fill them.

    Args:
        run: of a recipe with `inpainting` settings.
        images: uint8, N x H x W x C, prepared as the run's own.
        seed: of the holes.

    Raises:
        RecipeError: the run learnt something else.
        WeightsError: its weights cannot be read.
    """
    from covidcx.models import load_weights
    from covidcx.models.inpainting import OUTPUT

    if run.recipe.inpainting is None:
        raise RecipeError(f"{run.out} is a run of {run.recipe.name}, which fills no holes; give one of inpainting")
    network = build_network(run.recipe)
    load_weights(network, RunFolder(run.out).weights)
    masked, holes = run.recipe.inpainting.masks.apply_batch(images, np.random.default_rng(seed))
    whole, masked = (x.astype(np.float32) / np.float32(255) for x in (images, masked))
    answers = [
        np.asarray(network.predict_on_batch(masked[start : start + 32])[OUTPUT]) for start in range(0, len(masked), 32)
    ]
    return Reconstruction(whole, masked, holes, np.concatenate(answers))
