"""The Prometheus page, made from the meter's plain numbers when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
    "inhouse_model_context_length": ("Tokens of context per slot.", "context_length"),
}


class _Page(Collector):
    def __init__(self, meter: Meter, loaded: Sequence[Loaded], build: dict[str, str]) -> None:
        self._meter = meter
        self._loaded = loaded
        self._build = build

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._latencies()
        yield from self._models()

    def _requests(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "inhouse_build_info", "Versions in use.", labels=["version", *sorted(self._build)]
        )
        info.add_metric([__version__, *(self._build[k] for k in sorted(self._build))], 1)
        requests = CounterMetricFamily(
            "inhouse_requests",
            "Requests by outcome: ok, refused, overloaded, error, cancelled.",
            labels=["model", "endpoint", "outcome"],
        )
        for labels, count in self._meter.requests.items():
            requests.add_metric(labels, count)
        yield from (info, requests)
        for kind, counts in self._meter.tokens.items():
            tokens = CounterMetricFamily(f"inhouse_{kind}_tokens", f"Tokens: {kind}.", labels=["model"])
            for model, count in counts.items():
                tokens.add_metric([model], count)
            yield tokens

    def _latencies(self) -> Iterable[Metric]:
        for kind, (name, text) in _LATENCIES.items():
            family = HistogramMetricFamily(name, text, labels=["model"])
            for model, histogram in self._meter.latency[kind].items():
                family.add_metric([model], histogram.cumulative(), histogram.sum)
            yield family

    def _models(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("inhouse_models_loaded", "Loaded models.", value=len(self._loaded))
        for name, (text, attribute) in _LOADED.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for one in self._loaded:
                gauge.add_metric([str(one.card.name)], getattr(one, attribute))
            yield gauge
        for name, text, counts in (
            ("inhouse_model_loads", "Times a model was loaded.", self._meter.loads),
            ("inhouse_worker_restarts", "Workers started again after a failure.", self._meter.restarts),
        ):
            counter = CounterMetricFamily(name, text, labels=["model"])
            for model, count in counts.items():
                counter.add_metric([model], count)
            yield counter
        seconds = CounterMetricFamily("inhouse_model_load_seconds", "Time spent loading.", labels=["model"])
        for model, milliseconds in self._meter.load_seconds.items():
            seconds.add_metric([model], milliseconds / 1000)
        yield seconds
        evictions = CounterMetricFamily(
            "inhouse_model_evictions", "Models unloaded, by reason.", labels=["model", "reason"]
        )
        for labels, count in self._meter.evictions.items():
            evictions.add_metric(labels, count)
        yield evictions


def exposition(meter: Meter, loaded: Sequence[Loaded], build: dict[str, str]) -> tuple[bytes, str]:
    """The page and its media type, in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(meter, loaded, build))
    return generate_latest(registry), CONTENT_TYPE_LATEST
