"""Speedup, efficiency, Amdahl's law and the Karp-Flatt metric, as plain functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_FIT_SIZES = 2


def speedup(baseline_seconds: float, seconds: float) -> float | None:
    """How many times as fast as the baseline; below 1 is slower.

    Returns None where either time is zero, which says that it was not measured.
    """
    if baseline_seconds <= 0 or seconds <= 0:
        return None
    return baseline_seconds / seconds


def efficiency(speedup: float, processors: int) -> float:
    """Share of the ideal speedup that was reached; 1 is ideal."""
    return speedup / processors


def karp_flatt(speedup: float, processors: int) -> float | None:
    """The experimentally determined serial fraction e = (1/S - 1/p) / (1 - 1/p).

    Steady as p grows: a serial part limits the speedup. Rising: overhead does. It is
    above 1 where the speedup is below 1, and below 0 where it is better than ideal.

    Args:
        speedup: S, above 0.
        processors: p; the metric is undefined, None, below 2.

    Source: Karp and Flatt, Measuring parallel processor performance, Communications
    of the ACM 33(5), 1990.
    """
    if processors < 2:
        return None
    return (1 / speedup - 1 / processors) / (1 - 1 / processors)


def amdahl(serial_fraction: float, processors: np.ndarray) -> np.ndarray:
    """The speedup S(p) = 1 / (f + (1 - f) / p).

    Args:
        serial_fraction: f, the share of the work that one processor must do alone.
        processors: p, of any shape.

    Returns:
        S in the shape of p; NaN where a negative f leaves no time at all.

    Source: Amdahl, Validity of the single processor approach, AFIPS 1967.
    """
    processors = np.asarray(processors, dtype=float)
    share_of_time = serial_fraction + (1 - serial_fraction) / processors
    return 1 / np.where(share_of_time > 0, share_of_time, np.nan)


@dataclass(frozen=True)
class AmdahlFit:
    """Amdahl's law fitted to measured speedups."""

    serial_fraction: float
    """f; above 1 where more processors were slower than one."""
    points: int
    """Measurements with p >= 2."""
    rms_error: float
    """Root mean square of measured minus fitted share of the baseline's time."""


def fit_amdahl(
    processors: Sequence[int], speedups: Sequence[float]
) -> AmdahlFit | None:
    """The serial fraction f that fits S(p) = 1 / (f + (1 - f) / p) best.

    The share of the baseline's time is linear in f, 1/S - 1/p = f (1 - 1/p), so least
    squares on that share, which is what was measured, have a closed form. A point at
    p = 1 says nothing about f and is left out.

    Args:
        processors: p of each point.
        speedups: S of each point, above 0.

    Returns:
        None with fewer than two different p of at least 2.
    """
    p, s = np.asarray(processors, dtype=float), np.asarray(speedups, dtype=float)
    p, s = p[p >= 2], s[p >= 2]
    if len(np.unique(p)) < MIN_FIT_SIZES:
        return None
    parallel, excess = 1 - 1 / p, 1 / s - 1 / p
    fraction = float(parallel @ excess / (parallel @ parallel))
    residuals = excess - fraction * parallel
    return AmdahlFit(fraction, len(p), float(np.sqrt(np.mean(residuals**2))))
