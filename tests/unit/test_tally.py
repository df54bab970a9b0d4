"""Tallies give what single observations give."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from strongroomd.telemetry.tally import CounterTally, HistogramTally

VALUES = [0.0, 0.001, 0.0011, 0.01, 5.0, 0.25, 0.25]
BUCKETS = (0.001, 0.01, 0.25)


def histogram(name: str) -> tuple[CollectorRegistry, Histogram]:
    registry = CollectorRegistry()
    return registry, Histogram("h", name, ("method",), buckets=BUCKETS, registry=registry).labels("m")


def samples(registry: CollectorRegistry) -> list[bytes]:
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def test_a_histogram_tally_gives_what_single_observations_give() -> None:
    registry, child = histogram("x")
    tallied_registry, tallied = histogram("x")
    tally = HistogramTally(tallied)

    for value in VALUES:
        child.observe(value)
        tally.observe(value)
    tally.flush()

    assert samples(tallied_registry) == samples(registry)


def test_a_tally_hands_each_count_over_once() -> None:
    registry = CollectorRegistry()
    tally = CounterTally(Counter("c", "x", registry=registry))

    tally.inc()
    tally.inc(2)
    tally.flush()
    tally.flush()

    assert b"c_total 3.0" in generate_latest(registry)
