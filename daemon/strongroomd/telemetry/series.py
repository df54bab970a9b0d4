"""How a process's series are made, shared between workers, and rendered for Prometheus.

Workers share a folder of memory-mapped files, named by the supervisor in PROMETHEUS_MULTIPROC_DIR before this
module is imported; any worker then answers for all. Files are named by the worker's index, not its pid: a
successor goes on counting in its predecessor's file, so their number is bounded however often workers are
replaced.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import prometheus_client.values
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "strongroom_"
_Mode = Literal["livesum", "livemax", "livemin", "liveall", "mostrecent"]


class Series:
    """The series of one process.

    Args:
        index: the worker's index; None outside a worker, where nothing is shared.
    """

    def __init__(self, index: int | None) -> None:
        self._directory = os.environ.get(DIRECTORY_VARIABLE) if index is not None else None
        if self._directory is not None and index is not None:
            _name_files_by(index, Path(self._directory))
        self.registry = CollectorRegistry()

    def rendered(self, extra: Iterable[Collector]) -> bytes:
        """Render what Prometheus scrapes: all workers' values where they are shared, else this process's.

        Args:
            extra: collectors of values that no worker keeps.
        """
        registry = self.registry
        if self._directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._directory)  # type: ignore[no-untyped-call]
        output = generate_latest(registry)
        for collector in extra:
            output += generate_latest(_Only(collector))
        return output

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, mode: _Mode, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(PREFIX + name, text, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(PREFIX + name, text, labels, registry=self.registry, buckets=buckets)


class _Only:
    """The one method of a registry that rendering needs, around a single collector."""

    def __init__(self, collector: Collector) -> None:
        self.collect: Callable[[], Iterable[Metric]] = collector.collect


def _name_files_by(index: int, directory: Path) -> None:
    """Make this process's metric files those of the worker index, without the predecessor's live gauges."""
    for stale in directory.glob(f"gauge_live*_{index}.db"):
        stale.unlink(missing_ok=True)
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(  # type: ignore[no-untyped-call]
        process_identifier=lambda: index
    )
