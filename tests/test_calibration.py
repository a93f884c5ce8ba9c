"""Calibration: honest confidences have no error, and the temperature of others is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crnn_cli.core.calibration import TEMPERATURES, best_temperature, calibration_error
from crnn_cli.core.decoding import best_labels, score, temper
from crnn_cli.training.validation import tempered_confidences


def readings(samples: int, sharpened: float):
    """Return log-probabilities, frames, labels and correctness of an overconfident model.

    Its images have one frame, and its logits are `sharpened` times those from which the truth is
    drawn, so that its confidences are honest at that temperature.
    """
    rng = np.random.default_rng(0)
    honest = temper((3 * rng.standard_normal((samples, 1, 6))).astype(np.float32), 1 + 1e-6)
    truth = (rng.random((samples, 1)) < np.exp(honest[:, 0]).cumsum(1)).argmax(1)
    log_probs = temper(honest, 1 / sharpened)
    labels = best_labels(log_probs, np.ones(samples, np.int64))
    expected = [(label,) if label else () for label in truth.tolist()]
    correct = np.array([a == b for a, b in zip(labels, expected, strict=True)])
    return log_probs, np.ones(samples, np.int64), labels, correct


def at_each_temperature(log_probs, frames, labels):
    return tempered_confidences(torch.from_numpy(log_probs), torch.from_numpy(frames), labels)


def test_confidences_at_a_temperature_are_those_of_tempered_readings():
    rng = np.random.default_rng(0)
    log_probs = temper((2 * rng.standard_normal((40, 12, 5))).astype(np.float32), 1 + 1e-6)
    frames = rng.integers(1, 13, 40)
    labels = best_labels(log_probs, frames)
    assert min(map(len, labels)) == 0
    confidences = at_each_temperature(log_probs, frames, labels)
    for row, temperature in zip(confidences, TEMPERATURES, strict=True):
        np.testing.assert_allclose(
            row, np.exp(score(temper(log_probs, temperature), frames, labels)), rtol=1e-4
        )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_temperature_of_overconfident_readings_is_found(temperature):
    log_probs, frames, labels, correct = readings(20_000, temperature)
    confidences = at_each_temperature(log_probs, frames, labels)
    found = best_temperature(confidences, correct)
    assert found == temperature
    assert calibration_error(confidences[TEMPERATURES.index(found)], correct) < 0.02


def test_readings_that_are_all_right_leave_confidences_as_they_are():
    log_probs, frames, labels, _ = readings(100, 1.0)
    assert (
        best_temperature(at_each_temperature(log_probs, frames, labels), np.ones(100, bool)) == 1.0
    )
    assert best_temperature(np.zeros((len(TEMPERATURES), 0)), np.zeros(0, bool)) == 1.0


def test_too_few_readings_leave_the_temperature_at_one():
    confidences = np.full((len(TEMPERATURES), 49), 0.9) ** np.array(TEMPERATURES)[:, None]
    assert best_temperature(confidences, np.zeros(49, bool)) == 1.0
    assert (
        best_temperature(np.repeat(confidences, 2, axis=1), np.zeros(98, bool)) == TEMPERATURES[-1]
    )


def test_one_wrong_label_among_many_does_not_decide():
    confidences = np.exp(-np.array(TEMPERATURES)[:, None] * np.full((1, 1000), 1e-3))
    assert best_temperature(confidences, np.arange(1000) > 0) == 1.0


def test_calibration_error_by_hand():
    assert (
        calibration_error(np.array([1.0, 1.0, 0.5, 0.5]), np.array([True, True, True, False])) == 0
    )
    assert calibration_error(np.array([0.9, 0.9]), np.array([True, False])) == pytest.approx(0.4)
    assert calibration_error(np.array([0.1, 0.9]), np.array([True, False])) == pytest.approx(0.9)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) == 0
