"""The Prometheus page, made from the meter's plain numbers when it is asked for.

It is made in a thread while requests go on being counted, hence the copies of what is gone through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ... import __version__
from ...core import kernels
from ...fleet import Loaded
from ...ledger import Meter

_LATENCIES = {
    "queue": ("inhouse_queue_seconds", "Time a request waited for a slot or a model to load."),
    "ttft": ("inhouse_time_to_first_token_seconds", "From the arrival of a request to its first token."),
    "inter_token": ("inhouse_inter_token_seconds", "Between two tokens of one answer."),
    "request": ("inhouse_request_seconds", "From the arrival of a request to the end of its answer."),
}
_LOADED = {
    "inhouse_model_memory_bytes": ("Resident memory of a loaded model's worker.", "memory"),
    "inhouse_model_slots": ("Requests a loaded model can run at once.", "slots"),
    "inhouse_model_busy_slots": ("Slots in use.", "busy"),
    "inhouse_model_waiting_requests": ("Requests that wait for a loaded model.", "waiting"),
    "inhouse_model_waiting_tokens": ("The work in line by estimate, in tokens of a prompt.", "queued_work"),
    "inhouse_model_context_length": ("Tokens of context per slot.", "context_length"),
    "inhouse_model_tokens_per_second": ("Tokens written per second, over the last five.", "rate"),
    "inhouse_model_device_memory_bytes": ("Memory of GPUs that it was planned with.", "device_memory"),
}


class _Page(Collector):
    def __init__(
        self, meter: Meter, loaded: Sequence[Loaded], build: dict[str, str], dropped: Mapping[str, int]
    ) -> None:
        self._meter = meter
        self._loaded = loaded
        self._build = build
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._latencies()
        yield from self._models()
        yield from self._happened()

    def _requests(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "inhouse_build_info", "Versions in use.", labels=["version", *sorted(self._build)]
        )
        info.add_metric([__version__, *(self._build[k] for k in sorted(self._build))], 1)
        yield info
        yield _counter(
            "inhouse_requests",
            "Requests by outcome: ok, refused, overloaded, error, cancelled.",
            ("model", "endpoint", "outcome"),
            self._meter.requests,
        )
        for kind, counts in self._meter.tokens.items():
            yield _counter(f"inhouse_{kind}_tokens", f"Tokens: {kind}.", ("model",), _keyed(counts))

    def _latencies(self) -> Iterable[Metric]:
        for kind, (name, text) in _LATENCIES.items():
            family = HistogramMetricFamily(name, text, labels=["model"])
            for model, histogram in list(self._meter.latency[kind].items()):
                family.add_metric([model], histogram.cumulative(), histogram.sum)
            yield family

    def _models(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("inhouse_models_loaded", "Loaded models.", value=len(self._loaded))
        for name, (text, attribute) in _LOADED.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for one in self._loaded:
                gauge.add_metric([str(one.card.name)], getattr(one, attribute))
            yield gauge
        yield from self._kernels()
        for name, text, counts in (
            ("inhouse_model_loads", "Times a model was loaded.", self._meter.loads),
            ("inhouse_worker_restarts", "Workers started again after a failure.", self._meter.restarts),
        ):
            yield _counter(name, text, ("model",), _keyed(counts))
        seconds = _keyed(self._meter.load_seconds)
        yield _counter("inhouse_model_load_seconds", "Time spent loading.", ("model",), seconds, 1000)
        evictions, labels = self._meter.evictions, ("model", "reason")
        yield _counter("inhouse_model_evictions", "Models unloaded, by reason.", labels, evictions)

    def _kernels(self) -> Iterable[Metric]:
        """What each worker tells of our kernels, read from its report: this runs in a thread."""
        on = GaugeMetricFamily(
            "inhouse_model_kernels", "1 where Inhouse's own kernels compute, else 0.", labels=["model"]
        )
        counts = GaugeMetricFamily(
            "inhouse_model_kernel_tensors",
            "Tensors of a loaded model that they compute with.",
            labels=["model", "type"],
        )
        for one in self._loaded:
            name, told = str(one.card.name), kernels.read(one.kernels)
            on.add_metric([name], int(bool(told and told.on)))
            for kind, count in told.tensors.items() if told and told.on else ():
                counts.add_metric([name, kind], count)
        yield on
        yield counts

    def _happened(self) -> Iterable[Metric]:
        meter = self._meter
        retries = Counter({model: n for (model, kind), n in list(meter.records.items()) if kind == "retry"})
        for name, text, counts in (
            ("inhouse_deadlines_missed", "Requests whose time was over.", meter.deadlines),
            ("inhouse_load_retries", "Loads tried again with a smaller plan.", retries),
            ("inhouse_prefix_restores", "Requests that began with what was saved on disk.", meter.restores),
            ("inhouse_prefix_restored_bytes", "Bytes read for them.", meter.restored_bytes),
        ):
            yield _counter(name, text, ("model",), _keyed(counts))
        steps, seconds = "inhouse_request_steps", "inhouse_request_step_seconds"
        labels = ("model", "step")
        yield _counter(steps, "Stretches of requests before they ran, such as queue.", labels, meter.steps)
        yield _counter(seconds, "Time spent in them.", labels, meter.step_seconds, 1000)
        refused = "Requests refused, by the code of the error."
        yield _counter("inhouse_refusals", refused, ("model", "reason"), meter.refusals)
        yield _counter("inhouse_events", "Records of the journal, by kind.", ("model", "kind"), meter.records)
        lost = "Lines of the journal and ways of requests that the disk did not take."
        yield _counter("inhouse_journal_dropped", lost, ("book",), _keyed(self._dropped))


def _keyed(counts: Mapping[str, int]) -> Mapping[tuple[str, ...], int]:
    return {(one,): count for one, count in list(counts.items())}


def _counter(
    name: str, text: str, labels: Sequence[str], counts: Mapping[Any, int], per: int = 1
) -> CounterMetricFamily:
    """One family from counts by label values; ``per`` of them make one."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in list(counts.items()):
        family.add_metric(values, count / per if per > 1 else count)
    return family


def exposition(
    meter: Meter, loaded: Sequence[Loaded], build: dict[str, str], dropped: Mapping[str, int]
) -> tuple[bytes, str]:
    """The page and its media type, in the Prometheus text format. ``dropped``: lines lost, by book."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(meter, loaded, build, dropped))
    return generate_latest(registry), CONTENT_TYPE_LATEST
