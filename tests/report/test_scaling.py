"""Speedup, efficiency, Amdahl and Karp-Flatt against hand-worked numbers."""

import numpy as np
import pytest

from xray.report import scaling


def test_speedup_is_baseline_over_seconds():
    assert scaling.speedup(100.0, 25.0) == 4.0
    assert scaling.speedup(100.0, 200.0) == 0.5


@pytest.mark.parametrize("seconds", [(0.0, 5.0), (5.0, 0.0)])
def test_speedup_of_an_unmeasured_time_is_undefined(seconds):
    assert scaling.speedup(*seconds) is None


def test_efficiency_is_speedup_per_processor():
    assert scaling.efficiency(3.0, 4) == 0.75


def test_karp_flatt_hand_worked():
    # S = 2 on p = 4: (1/2 - 1/4) / (1 - 1/4) = 1/3.
    assert scaling.karp_flatt(2.0, 4) == pytest.approx(1 / 3)
    # Ideal speedup leaves no serial part; twice as slow on 2: (2 - 1/2) / (1/2) = 3.
    assert scaling.karp_flatt(8.0, 8) == pytest.approx(0.0)
    assert scaling.karp_flatt(0.5, 2) == pytest.approx(3.0)


def test_karp_flatt_needs_two_processors():
    assert scaling.karp_flatt(1.0, 1) is None


def test_amdahl_hand_worked():
    # f = 0.25: S(1) = 1, S(4) = 1 / (0.25 + 0.75/4) = 16/7.
    assert scaling.amdahl(0.25, np.array([1, 4])) == pytest.approx([1, 16 / 7])


def test_amdahl_beyond_its_range_is_nan():
    assert np.isnan(scaling.amdahl(-0.5, np.array([8]))).all()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.6, 1.4])
def test_fit_recovers_a_known_serial_fraction(fraction):
    p = [1, 2, 4, 8]
    fit = scaling.fit_amdahl(p, scaling.amdahl(fraction, np.array(p)))
    assert fit.serial_fraction == pytest.approx(fraction)
    assert fit.points == 3
    assert fit.rms_error == pytest.approx(0.0, abs=1e-12)


def test_fit_agrees_with_karp_flatt_on_steady_points():
    speedups = [1 / (0.2 + 0.8 / p) for p in (2, 4)]
    fit = scaling.fit_amdahl([2, 4], speedups)
    assert fit.serial_fraction == pytest.approx(scaling.karp_flatt(speedups[1], 4))


@pytest.mark.parametrize("p", [[], [1], [1, 2], [4, 4]])
def test_fit_needs_two_sizes(p):
    assert scaling.fit_amdahl(p, [1.5] * len(p)) is None
