"""Prefetching: work runs in a pool ahead of its consumer, who gets the results in order.

`in_order` submits a bounded number of calls to a pool that the caller owns. `prefetch` also runs
the iteration over its tasks on a thread, bounds the memory of the results, and reports when the
tasks pause.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_PAUSE = 0.2  # seconds


def in_order(
    submit: Callable[[Task], Future[Result]], tasks: Iterable[Task], ahead: int
) -> Generator[Result, None, None]:
    """Submit tasks to a pool and yield their results in the order of the tasks.

    When the generator ends early, by an exception or by being closed, the tasks that wait are
    cancelled.

    Args:
        submit: Hands a task to the pool and returns its future.
        tasks: The tasks; the caller's thread iterates over them.
        ahead: The number of tasks that may be under way while a result is consumed.
    """
    futures: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            futures.append(submit(task))
            if len(futures) > ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def prefetch(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    size: Callable[[Result], int],
    threads: int,
    max_results: int,
    max_size: int,
) -> Generator[Result | None, None, None]:
    """Yield the result of `work` for each task in order, and None while the tasks pause.

    Tasks pause when they bring nothing new for a fifth of a second.

    Args:
        tasks: The tasks. A thread of its own iterates over them; an exception of the iteration is
            raised here, after the results of the tasks before it.
        work: The function that turns a task into a result, called on a pool of threads.
        size: The function that measures a result, in any unit.
        threads: The number of threads in the pool.
        max_results: The number of results that may be ahead of the consumer.
        max_size: The total size of the results that may be ahead of the consumer.
    """
    pool = ThreadPoolExecutor(threads)
    budget = _Budget(2 * threads, max_size)
    futures: queue.Queue[Future[Result] | None] = queue.Queue(max_results)
    ended = threading.Event()

    def run(task: Task) -> Result:
        result = work(task)
        budget.give_back(1, -size(result))
        return result

    # A daemon thread, because it may be waiting for a line of stdin when the program ends.
    arguments = (tasks, lambda task: pool.submit(run, task), budget, futures, ended)
    threading.Thread(target=_feed, args=arguments, name="crnn-inputs", daemon=True).start()
    try:
        while True:
            try:
                future = futures.get(timeout=_PAUSE)
            except queue.Empty:
                yield None
                continue
            if future is None:
                return
            result = future.result()
            budget.give_back(0, size(result))
            yield result
    finally:
        ended.set()
        budget.give_back(1, 2**60)
        pool.shutdown(wait=False, cancel_futures=True)
        while not futures.empty():  # so that the feeder can continue and notice the end
            futures.get()


def _feed(
    tasks: Iterable[Task],
    submit: Callable[[Task], Future[Result]],
    budget: _Budget,
    futures: queue.Queue[Future[Result] | None],
    ended: threading.Event,
) -> None:
    """Submit the tasks in order as the budget allows, and end with None or an exception."""
    try:
        for task in tasks:
            budget.take_task()
            futures.put(submit(task))  # blocks while `max_results` futures are ahead
            if ended.is_set():
                return
        futures.put(None)
    except BaseException as fault:  # of any kind, as the consumer handles it
        failed: Future[Result] = Future()
        failed.set_exception(fault)
        futures.put(failed)


class _Budget:
    """The number of further tasks, and the total size of further results, that may be under way."""

    def __init__(self, tasks: int, size: int) -> None:
        self._tasks = tasks
        self._size = size
        self._changed = threading.Condition()

    def take_task(self) -> None:
        """Wait until the budget allows a task, and take it from the budget."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks > 0 and self._size > 0)
            self._tasks -= 1

    def give_back(self, tasks: int, size: int) -> None:
        """Add to both parts of the budget; a negative size charges a finished result."""
        with self._changed:
            self._tasks += tasks
            self._size += size
            self._changed.notify()
