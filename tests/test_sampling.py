"""Laws of sampling: full batches, samples drawn equally often, draws from seed and epoch alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.data.keyed_random import mix, uniforms
from crnn_cli.data.sampling import Sampler


def sampler(n: int, batch_size: int, seed: int = 0) -> Sampler:
    widths = np.random.default_rng(1).integers(32, 400, n)
    return Sampler(widths, np.zeros(n, np.int64), None, batch_size, seed)


@given(n=st.integers(1, 200), batch_size=st.integers(1, 40), epochs=st.integers(1, 4))
def test_batches_are_full_and_samples_drawn_equally_often(
    n: int, batch_size: int, epochs: int
) -> None:
    source = sampler(n, batch_size)
    draws = [draw for number in range(epochs) for draw in source.epoch(number)]
    assert {len(draw.samples) for draw in draws} == {batch_size}
    counts = np.bincount(np.concatenate([draw.samples for draw in draws]), minlength=n)
    assert counts.max() - counts.min() <= 1


@given(n=st.integers(1, 60), number=st.integers(0, 50))
def test_no_two_draws_of_an_epoch_share_a_key(n: int, number: int) -> None:
    keys = np.concatenate([draw.keys for draw in sampler(n, 16).epoch(number)])
    assert len(np.unique(keys)) == len(keys)


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    def flat(source: Sampler, number: int) -> list[int]:
        return np.concatenate([draw.samples for draw in source.epoch(number)]).tolist()

    assert flat(sampler(100, 16), 3) == flat(sampler(100, 16), 3)
    assert flat(sampler(100, 16), 3) != flat(sampler(100, 16), 4)
    assert flat(sampler(100, 16), 3) != flat(sampler(100, 16, seed=1), 3)


def test_like_widths_meet() -> None:
    source = sampler(2000, 16)
    columns = [
        (source.widths[draw.samples].sum(), 16 * source.widths[draw.samples].max())
        for draw in source.epoch(0)
    ]
    used, padded = np.sum(columns, axis=0)
    assert used / padded > 0.9


def test_numbers_are_uniform_and_a_function_of_their_key() -> None:
    keys = mix(np.arange(20000, dtype=np.uint64))
    numbers = uniforms(keys, 4)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(4), atol=0.03)
    np.testing.assert_array_equal(uniforms(keys[7:9], 4), numbers[7:9])
