"""Work done on threads ahead of who takes its results: in order, and in bounded memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_PAUSE = 0.2  # seconds


def ahead(
    tasks: Iterable[Task],
    work: Callable[[Task], Result],
    size: Callable[[Result], int],
    threads: int,
    most: int,
    largest: int,
) -> Generator[Result | None, None, None]:
    """`work` of each task, in order; None whenever `tasks` has nothing new for a fifth of a second.

    Args:
        tasks: iterated on a thread of its own; what it raises is raised here, in its place.
        size: of a result, in any unit.
        most: results, and `largest`: their summed size, that may be ahead.
    """
    pool, room = ThreadPoolExecutor(threads), _Room(2 * threads, largest)
    futures: queue.Queue[Future[Result] | None] = queue.Queue(most)
    ended = threading.Event()

    def worked(task: Task) -> Result:
        result = work(task)
        room.change(1, -size(result))
        return result

    # a daemon: it may be waiting for a line of stdin when the program ends
    feeding = (tasks, lambda task: pool.submit(worked, task), room, futures, ended)
    threading.Thread(target=_feed, args=feeding, name="crnn-inputs", daemon=True).start()
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
            room.change(0, size(result))
            yield result
    finally:
        ended.set()
        room.change(1, 2**60)
        pool.shutdown(wait=False, cancel_futures=True)
        while not futures.empty():  # lets the feeder go on, and so see that it is over
            futures.get()


def _feed(
    tasks: Iterable[Task],
    submit: Callable[[Task], Future[Result]],
    room: _Room,
    futures: queue.Queue[Future[Result] | None],
    ended: threading.Event,
) -> None:
    """Submit the tasks in order, while there is room; then None, or what their iteration raised."""
    try:
        for task in tasks:
            room.wait()
            futures.put(submit(task))  # waits while as many as may be are ahead
            if ended.is_set():
                return
        futures.put(None)
    except BaseException as fault:  # whatever it is, it is the caller's
        failed: Future[Result] = Future()
        failed.set_exception(fault)
        futures.put(failed)


class _Room:
    """How much more may be under way: tasks at work, and results not yet taken by their size."""

    def __init__(self, tasks: int, size: int) -> None:
        self._tasks, self._size = tasks, size
        self._changed = threading.Condition()

    def wait(self) -> None:
        """Wait for room, and take a task's."""
        with self._changed:
            self._changed.wait_for(lambda: self._tasks > 0 and self._size > 0)
            self._tasks -= 1

    def change(self, tasks: int, size: int) -> None:
        with self._changed:
            self._tasks += tasks
            self._size += size
            self._changed.notify()
