"""Work for a model in this process: one thread, and what is asked for while it is busy is done together."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from open_instruct_flip.client.request import RequestFailed
from open_instruct_flip.rewards import FailureKind

Result = TypeVar("Result")


class Asked(Protocol):
    """A piece of work, and who waits for it."""

    @property
    def result(self) -> Future[Any]: ...


Item = TypeVar("Item", bound=Asked)


class BatchThread(ABC, Generic[Item]):
    """Answers items in a thread of its own, so that no event loop waits for a model.

    Args:
        name: What the model is called where it fails.
    """

    def __init__(self, name: str) -> None:
        self._called = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flip-model")
        self._lock = threading.Lock()
        self._waiting: list[Item] = []

    @abstractmethod
    def split(self, items: Sequence[Item]) -> Iterable[Sequence[Item]]:
        """The batches of all that waits."""

    @abstractmethod
    def answer(self, batch: Sequence[Item]) -> Sequence[Any]:
        """The results of a batch, in order."""

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """Do something else in the thread."""
        return self._thread.submit(work, *arguments)

    def ask(self, item: Item) -> None:
        """Have an item answered: its `result` comes to be done, or fails with RequestFailed."""
        with self._lock:
            self._waiting.append(item)
        self._thread.submit(self._answer_waiting)

    def _answer_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        left = [item for item in waiting if item.result.set_running_or_notify_cancel()]
        try:
            batches = list(self.split(left))
        except Exception as error:  # whatever a model's own code raises: those who wait must know
            self._fail(left, error)
            return
        for batch in batches:
            try:
                results = list(zip(batch, self.answer(batch), strict=True))
            except Exception as error:  # the same, or out of memory
                self._fail(batch, error)
            else:
                for item, result in results:
                    item.result.set_result(result)

    def _fail(self, items: Sequence[Item], error: Exception) -> None:
        for item in items:
            item.result.set_exception(self._failed(error))

    def _failed(self, error: Exception) -> RequestFailed:
        reason = " ".join(str(error).split())[:200]
        detail = f"the {self._called} in this process failed: {type(error).__name__}: {reason}"
        return RequestFailed(FailureKind.SERVER_ERROR, detail, retryable=True)
