"""How unlike the pictures that a model was trained on another picture looks.

Shrunk to a few cells, and freed of its own brightness and contrast, an X-ray of a
chest is a mean chest and some principal components (as of faces: Turk and Pentland
1991). What probabilistic PCA (Tipping and Bishop 1999) finds improbable is unlike them:
a picture of something else, upside down or inverted. The network has no part in it.
"""

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from xray.records.scores import Part

if TYPE_CHECKING:
    from xray.data.dataset import Subset
    from xray.data.reader import ImageReader

SIDE = 32  # cells along a picture
COMPONENTS = 16
FLAT = 8  # grey levels of contrast (standard deviation) below which nothing is seen
MAX_UNLIKE = 99.0
LEAST_IMAGES, MOST_IMAGES = 20, 1000  # of either set
BORNE = 0.995
"""Share of the test pictures that counts as alike; of few all but the last one."""


class Appearance(Part):
    """What pictures of a training set look like, and how far others may be from that.

    Arrays are base64 of little-endian float32.
    """

    mean: str
    """(SIDE * SIDE,)."""
    components: str
    """(n, SIDE * SIDE), orthonormal."""
    variances: list[float]
    """Of the training pictures along each component."""
    noise: float
    """Their mean variance along every other direction."""
    bound: float
    """Squared distance that `BORNE` of the test pictures keep."""
    train_images: int
    test_images: int

    def unlike(self, pixels: Iterable[np.ndarray]) -> np.ndarray:
        """How far each picture is from the training pictures, as a share of the bound.

        Args:
            pixels: uint8 (S, S, 1) of each, of any size.

        Returns:
            float32 (N,): above 1 beyond the bound, `MAX_UNLIKE` for a flat picture.
        """
        with np.errstate(invalid="ignore"):
            distances = self._distances(to_cells(pixels)) / self.bound
        return np.minimum(np.nan_to_num(distances, nan=MAX_UNLIKE), MAX_UNLIKE).astype(
            np.float32
        )

    def _distances(self, cells: np.ndarray) -> np.ndarray:
        centred = cells - _decoded(self.mean)
        along = centred @ _decoded(self.components).reshape(-1, cells.shape[1]).T
        rest = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
        return (along**2 / self.variances).sum(axis=1) + rest / self.noise


def find_appearance(
    train: "Subset", test: "Subset", reader: "ImageReader"
) -> Appearance | None:
    """That of a data set, from at most `MOST_IMAGES` evenly spaced ones of either set.

    Args:
        train: readable training images.
        test: readable test images.
        reader: of both.

    Returns:
        None where fewer than `LEAST_IMAGES` of either set show different things.

    Raises:
        UserError: S3 itself or a staged shard fails.
    """
    samples = [_sample(subset, reader) for subset in (train, test)]
    if min(len(np.unique(cells, axis=0)) for cells in samples) < LEAST_IMAGES:
        return None
    return fit_appearance(*samples)


def _sample(subset: "Subset", reader: "ImageReader") -> np.ndarray:
    """The cells of some pictures that can be read still, and are not flat."""
    count = min(len(subset), MOST_IMAGES)
    some = subset.take(np.linspace(0, len(subset) - 1, count).round().astype(int))
    found = np.full((count, SIDE**2), np.nan)
    for number, outcome in reader.outcomes(some.uris, some.etags):
        if not isinstance(outcome, str):
            found[number] = to_cells([outcome])
    return found[np.isfinite(found).all(axis=1)]


def fit_appearance(train: np.ndarray, test: np.ndarray) -> Appearance:
    """The appearance of training pictures, with a bound that test pictures set.

    Args:
        train: pictures as `to_cells` gives them, without NaN.
        test: likewise.
    """
    mean = train.mean(axis=0)
    _, singular, directions = np.linalg.svd(train - mean, full_matrices=False)
    variances = singular**2 / (len(train) - 1)
    others = train.shape[1] - COMPONENTS
    found = Appearance(
        mean=_encoded(mean),
        components=_encoded(directions[:COMPONENTS]),
        variances=variances[:COMPONENTS].tolist(),
        noise=float(variances[COMPONENTS:].sum() / others),
        bound=1.0,
        train_images=len(train),
        test_images=len(test),
    )
    found.bound = float(np.quantile(found._distances(test), BORNE))
    return found


def to_cells(pixels: Iterable[np.ndarray]) -> np.ndarray:
    """Pictures in few cells: float64 (N, SIDE * SIDE), each of mean 0 and variance 1.

    Args:
        pixels: uint8 (S, S, 1) of each, of any size. One that is flat gives NaN.
    """
    shrunk = [
        np.asarray(Image.fromarray(one[..., 0]).resize((SIDE, SIDE), Image.BOX))
        for one in pixels
    ]
    cells = np.stack(shrunk).reshape(len(shrunk), -1).astype(float)
    contrast = cells.std(axis=1, keepdims=True)
    contrast[contrast < FLAT] = np.nan
    return (cells - cells.mean(axis=1, keepdims=True)) / contrast


def _encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(float)
