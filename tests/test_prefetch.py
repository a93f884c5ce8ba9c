"""Laws of prefetching: results come in order, few tasks are ahead, and none is left behind."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_cli.prefetch import in_order


class Pool:
    """A pool that runs no task by itself."""

    def __init__(self) -> None:
        self.futures: list[Future[int]] = []

    def submit(self, task: int) -> Future[int]:
        self.futures.append(Future())
        return self.futures[-1]


@given(count=st.integers(0, 30), ahead=st.integers(0, 8), workers=st.integers(1, 4))
def test_results_come_in_the_order_of_the_tasks(count, ahead, workers):
    with ThreadPoolExecutor(workers) as pool:
        results = in_order(lambda task: pool.submit(pow, task, 2), range(count), ahead)
        assert list(results) == [task**2 for task in range(count)]


def test_as_many_tasks_are_ahead_as_was_asked_for():
    pool = Pool()

    def submit(task: int) -> Future[int]:
        future = pool.submit(task)
        future.set_result(task)
        return future

    results = in_order(submit, range(100), ahead=3)
    for number in range(10):
        assert next(results) == number
        assert len(pool.futures) == number + 4


@pytest.mark.parametrize("fault", [None, ValueError("broken")])
def test_waiting_tasks_are_cancelled_when_the_results_end_early(fault):
    pool = Pool()

    def submit(task: int) -> Future[int]:
        future = pool.submit(task)
        if task == 0 and fault is None:
            future.set_result(task)
        elif task == 0:
            future.set_exception(fault)
        return future

    results = in_order(submit, range(100), ahead=3)
    if fault is None:
        assert next(results) == 0
        results.close()
    else:
        with pytest.raises(ValueError, match="broken"):
            next(results)
    assert [future.cancelled() for future in pool.futures] == [False, True, True, True]
