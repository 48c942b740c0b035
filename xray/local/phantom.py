"""A drawn chest X-ray: a plain thorax and one visible mark for each finding.

The pictures have no medical value. Each mark sits where the finding is seen and differs
from the others in shape, place or texture, always on the same side, so that a small
network that gets some hundred pictures at 64x64 can tell them apart.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIZE = 256  # Pixels along each side while drawing; the result is scaled to its size.

_AXIS = np.linspace(-1, 1, SIZE, dtype=np.float32)
_X, _Y = np.meshgrid(_AXIS, _AXIS)
# The left and right edge of the picture: a patient's right lung is on its left.
RIGHT, LEFT = -1, 1


@dataclass
class Lung:
    """One lung field with coordinates of its own.

    Attributes:
        across: (256, 256), -1 at the midline's side to 1 at the chest wall.
        down: (256, 256), -1 at the apex to 1 below the base.
        mask: (256, 256) in [0, 1], soft at the edge.
    """

    across: np.ndarray
    down: np.ndarray
    mask: np.ndarray


class Thorax:
    """A picture being drawn: pixels in [0, 1], bright is dense."""

    def __init__(self, rng: np.random.Generator, findings: Collection[str]):
        self.rng = rng
        # Position and size of the patient; a tenth is what a technician lets pass.
        scale = rng.uniform(0.97, 1.04)
        self.x = (_X - rng.uniform(-0.03, 0.03)) / scale
        self.y = (_Y - rng.uniform(-0.03, 0.03)) / scale
        # Air trapped in the lungs makes them long, dark and the heart slim.
        self.inflation = 1.2 if "Emphysema" in findings else 1.0
        heart_width = rng.uniform(0.25, 0.29)
        self.heart_width = heart_width * (2.0 if "Cardiomegaly" in findings else 1.0)
        self.pixels = np.empty_like(self.x)
        self._draw_body()
        self.lungs = {side: self._draw_lung(side) for side in (RIGHT, LEFT)}
        self._draw_spine_and_heart()

    def blend(self, mask: np.ndarray, value: float | np.ndarray) -> None:
        """Move the pixels under `mask` (in [0, 1]) towards `value`."""
        self.pixels += mask * (value - self.pixels)

    def ellipse(
        self,
        x: float,
        y: float | np.ndarray,
        width: float,
        height: float,
        softness: float = 0.2,
    ) -> np.ndarray:
        """Mask of an ellipse in picture coordinates, by centre and half axes."""
        return disc((self.x - x) / width, (self.y - y) / height, softness)

    def _draw_body(self) -> None:
        self.pixels[:] = 0.06
        shoulders = 1.02 - 0.42 * step(-0.72 - self.y, 0.35)
        self.blend(step(shoulders - np.abs(self.x), 0.08), 0.54)
        self.blend(0.5 * step(self.y - 0.35, 0.5), 0.7)

    def _draw_lung(self, side: int) -> Lung:
        height = 0.68 * self.inflation
        down = (self.y + 0.1) / height
        width = 0.31 + 0.07 * down
        across = (side * self.x - 0.43) / width
        mask = disc(across, down, 0.15)
        # The diaphragm is a dome in the normal chest and flat in the inflated one.
        dome = 0.12 * across**2 if self.inflation == 1 else 0
        mask *= step(0.62 + dome - down, 0.1)
        self.blend(mask, 0.06 if self.inflation > 1 else 0.3)
        ribs = np.sin(
            28 * (self.y + 0.35 * (side * self.x - 0.45) ** 2) - 7 * side * self.x
        )
        self.pixels += 0.05 * mask * np.clip(ribs, 0, 1)
        return Lung(across, down, mask)

    def _draw_spine_and_heart(self) -> None:
        spine = 0.8 * step(0.11 - np.abs(self.x), 0.06)
        self.blend(spine, 0.7 + 0.04 * np.sign(np.sin(22 * self.y)))
        slope = 0.3 * (self.x - 0.13)
        heart = self.ellipse(0.13, 0.3 + slope, self.heart_width, 0.3)
        self.blend(heart, 0.8)
        # What the heart hides stays hidden.
        for lung in self.lungs.values():
            lung.mask *= 1 - heart


def step(distance: np.ndarray, softness: float) -> np.ndarray:
    """1 where `distance` is positive, 0 where negative, a ramp `softness` wide."""
    return np.clip(distance / softness + 0.5, 0, 1)


def disc(u: np.ndarray, v: np.ndarray, softness: float = 0.2) -> np.ndarray:
    """Mask of the unit disc in the coordinates (u, v)."""
    return step(1 - u * u - v * v, 2 * softness)


def draw(findings: Collection[str], size: int, rng: np.random.Generator) -> np.ndarray:
    """One chest X-ray.

    Args:
        findings: names out of DRAWN_FINDINGS; empty for a healthy chest.
        size: height and width in pixels.
        rng: makes everything that differs between pictures with equal findings.

    Returns:
        (size, size) uint8.
    """
    thorax = Thorax(rng, findings)
    for name, mark in _MARKS.items():
        if name in findings:
            mark(thorax)
    return _expose(thorax.pixels, size, rng)


def _expose(pixels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Uneven exposure, brightness and film grain; then 8 bits at the final size."""
    coarse = rng.normal(0, 0.015, (6, 6)).astype(np.float32)
    uneven = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    bright = pixels * rng.uniform(0.96, 1.04) + rng.uniform(-0.02, 0.02)
    levels = np.clip((bright + np.asarray(uneven)) * 252, 0, 252).astype(np.uint8)
    scaled = Image.fromarray(levels).resize((size, size), Image.Resampling.BILINEAR)
    # One bit of grain a pixel: the file gets as big as a real one, and no bigger.
    grain = np.frombuffer(rng.bytes(size * size), np.uint8).reshape(size, size) & 1
    return np.asarray(scaled) + grain


def _atelectasis(thorax: Thorax) -> None:
    """Plates: oblique bright lines above the diaphragm."""
    lung = thorax.lungs[RIGHT]
    shift = thorax.rng.uniform(-0.08, 0.08)
    for height in (0.0, 0.34):
        line = lung.down - height - shift + 0.25 * lung.across
        thorax.blend(lung.mask * step(0.075 - np.abs(line), 0.05), 0.85)


def _cardiomegaly(thorax: Thorax) -> None:
    """A wide heart; Thorax has it already."""


def _consolidation(thorax: Thorax) -> None:
    """A white upper lobe that ends at the fissure."""
    lung = thorax.lungs[RIGHT]
    fissure = -0.22 + thorax.rng.uniform(-0.06, 0.06) - 0.1 * lung.across
    thorax.blend(lung.mask * step(fissure - lung.down, 0.06), 0.85)


def _edema(thorax: Thorax) -> None:
    """Haze on both sides of the hilum, like the wings of a bat."""
    for lung in thorax.lungs.values():
        wing = disc((lung.across + 0.6) / 1.3, (lung.down - 0.05) / 0.7, 0.5)
        thorax.blend(0.95 * lung.mask * wing, 0.7)


def _effusion(thorax: Thorax) -> None:
    """Fluid at the base, higher at the chest wall than in the middle."""
    lung = thorax.lungs[LEFT]
    level = 0.2 + thorax.rng.uniform(-0.1, 0.1) - 0.3 * lung.across**2
    thorax.blend(lung.mask * step(lung.down - level, 0.06), 0.95)


def _emphysema(thorax: Thorax) -> None:
    """Long dark lungs; Thorax has them already."""


def _fibrosis(thorax: Thorax) -> None:
    """A net of lines in the lower half of both lungs."""
    phase = thorax.rng.uniform(0, 6.28, 2)
    for lung in thorax.lungs.values():
        waves = [np.sin(27 * thorax.x + phase[0]), np.sin(27 * thorax.y + phase[1])]
        lines = step(np.maximum(*waves) - 0.7, 0.4)
        thorax.blend(lung.mask * step(lung.down, 0.3) * lines, 0.8)


def _hernia(thorax: Thorax) -> None:
    """Stomach behind the heart: a bright ring around air."""
    x, y = 0.04 + thorax.rng.uniform(-0.05, 0.05), 0.42
    thorax.blend(thorax.ellipse(x, y, 0.22, 0.2), 0.95)
    thorax.blend(thorax.ellipse(x, y - 0.03, 0.14, 0.11), 0.15)


def _infiltration(thorax: Thorax) -> None:
    """Scattered soft patches through one lung."""
    lung, rng = thorax.lungs[LEFT], thorax.rng
    for u, v in rng.uniform((-0.5, -0.4), (0.6, 0.35), (12, 2)):
        patch = disc((lung.across - u) / 0.27, (lung.down - v) / 0.125, 0.4)
        thorax.blend(0.9 * lung.mask * patch, 0.75)


def _mass(thorax: Thorax) -> None:
    """A large bright disc."""
    lung, rng = thorax.lungs[RIGHT], thorax.rng
    u, v = rng.uniform((-0.1, -0.3), (0.3, 0.0))
    disc_mask = disc((lung.across - u) / 0.6, (lung.down - v) / 0.27, 0.15)
    thorax.blend(lung.mask * disc_mask, 0.92)


def _nodule(thorax: Thorax) -> None:
    """A small bright disc."""
    lung, rng = thorax.lungs[LEFT], thorax.rng
    u, v = rng.uniform((-0.2, -0.6), (0.4, -0.2))
    disc_mask = disc((lung.across - u) / 0.27, (lung.down - v) / 0.125, 0.15)
    thorax.blend(lung.mask * disc_mask, 1.0)


def _pleural_thickening(thorax: Thorax) -> None:
    """A white band along the chest wall."""
    lung = thorax.lungs[RIGHT]
    rim = 1 - lung.across**2 - lung.down**2
    band = step(0.5 - rim, 0.1) * step(lung.across - 0.1, 0.2)
    thorax.blend(lung.mask * band, 0.95)


def _pneumonia(thorax: Thorax) -> None:
    """A dense patch beside the heart with dark air-filled bronchi in it."""
    lung, rng = thorax.lungs[RIGHT], thorax.rng
    u, v = rng.uniform((-0.2, 0.25), (0.1, 0.4))
    patch = disc((lung.across - u) / 0.95, (lung.down - v) / 0.3, 0.3)
    bronchi = 0.5 + 0.5 * np.sin(30 * (thorax.x + 0.3 * thorax.y))
    thorax.blend(lung.mask * patch, 0.3 + 0.65 * bronchi)


def _pneumothorax(thorax: Thorax) -> None:
    """Black air at the apex and the wall, with the edge of the lung as a line."""
    lung = thorax.lungs[LEFT]
    gap = 1 - (lung.across + 0.45) ** 2 / 0.8 - (lung.down - 0.25) ** 2
    thorax.blend(lung.mask * step(-gap, 0.08), 0.0)
    thorax.blend(0.8 * lung.mask * step(0.06 - np.abs(gap), 0.06), 0.6)


# From wide and faint to small and bright, in the order of drawing: a mark may hide part
# of another, never all of it.
_MARKS: dict[str, Callable[[Thorax], None]] = {
    "Cardiomegaly": _cardiomegaly,
    "Emphysema": _emphysema,
    "Edema": _edema,
    "Fibrosis": _fibrosis,
    "Consolidation": _consolidation,
    "Infiltration": _infiltration,
    "Pneumonia": _pneumonia,
    "Effusion": _effusion,
    "Pneumothorax": _pneumothorax,
    "Pleural_Thickening": _pleural_thickening,
    "Atelectasis": _atelectasis,
    "Mass": _mass,
    "Nodule": _nodule,
    "Hernia": _hernia,
}
# The 14 findings as NIH spells them, in alphabetical order.
DRAWN_FINDINGS = tuple(sorted(_MARKS))
