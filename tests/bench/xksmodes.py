"""What `scripts/bench xks` runs: each mode on a daemon of its own, or some of them on a proxy that is there."""

from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench import apart, rig, xks, xksrig
from tests.bench.xkscalls import Target

FEW = 4
QUOTA, QUIET_RATE = 100, 300.0  # of the loud store, and what is asked of the quiet one, a second
SETTLING = 2.0  # seconds at the rate before it is measured


@dataclass(frozen=True)
class Plan:
    """The options.

    Attributes:
        slow: seconds that each call takes in the token besides, as in one across a network.
        apart: the generators have a processor of their own.
    """

    rate: float
    seconds: float
    rounds: int
    workers: int
    connections: int
    many: int
    slow: float = 0.0
    apart: bool = False


def run(folder: Path, plan: Plan, wanted: list[str]) -> None:
    """Run the modes that are wanted, by default the rate."""
    for name in wanted or ["rate"]:
        place = folder / name
        place.mkdir()
        slow = f"; the token takes {plan.slow * 1e3:g} ms a call besides" if plan.slow else ""
        where = "; the generator has a processor of its own" if plan.apart else ""
        print(f"-- {name}; {plan.workers} workers, TLS and audit on{slow}{where}", flush=True)
        with apart.keep(apart=plan.apart):
            _MODES[name](place, plan)


def run_against(
    url: str, credentials: Path, keys: tuple[str, ...], ca: str, plan: Plan, wanted: list[str]
) -> None:
    """Run modes against a proxy that is there."""
    target = Target.from_console(url, credentials, keys, ca)
    for name in wanted or ["rate"]:
        _on(target, name, plan, None)


def _on(target: Target, name: str, plan: Plan, memory: xks.Memory | None) -> None:
    match name:
        case "search":
            xks.search(target, seconds=plan.seconds, connections=plan.connections)
        case "overload":
            xks.overload(target, rounds=plan.rounds, seconds=plan.seconds, times=5.0, memory=memory)
        case "rate":
            with xks.generator() as load:
                load.ask(target, SETTLING, rate=plan.rate, connections=plan.connections)
                found = load.ask(target, plan.seconds, rate=plan.rate, connections=plan.connections)
            xks.tell(f"{plan.rate:g}/s", found)
            print("the aims hold" if xks.holds(found, plan.rate) else "the aims do NOT hold")
        case _:
            raise ValueError(f"{name} needs a daemon of its own")


def _one_store(place: Path, plan: Plan, name: str) -> None:
    with xksrig.serving(xksrig.found(place, plan.workers), plan.slow) as stores:
        _on(stores.make("blue", FEW), name, plan, xks.Memory(stores.daemon.pid))


def _noisy(place: Path, plan: Plan) -> None:
    with xksrig.serving(xksrig.found(place, plan.workers), plan.slow) as stores:
        quiet, loud = stores.make("quiet", FEW), stores.make("loud", FEW, per_second=QUOTA)
        seconds = min(plan.seconds, 10.0)
        xks.noisy(
            quiet, loud, rounds=plan.rounds, seconds=seconds, quiet_rate=QUIET_RATE, quota=QUOTA, times=10.0
        )


def _keys(place: Path, plan: Plan) -> None:
    """Keys of a store: four of four against four of many, then against many that are all in use and held."""
    stores, configs = {"few": FEW, "many": plan.many}, []
    for name in stores:
        (place / name).mkdir()
        configs.append(xksrig.found(place / name, 1, handles=plan.many + plan.many // 5))
    ids = [xksrig.fill(config, *store) for config, store in zip(configs, stores.items(), strict=True)]
    with xksrig.serving(configs[0]) as here, xksrig.serving(configs[1]) as there:
        few, many = here.target(ids[0], "few", FEW), there.target(ids[1], "many", plan.many)
        print(f"{FEW} keys in use, of {FEW} and of {plan.many} in the store")
        some = replace(many, keys=many.keys[:FEW])
        xks.keys(few, some, rounds=plan.rounds, seconds=min(plan.seconds, 5.0))
        print(f"{FEW} keys in use against {plan.many}, each loaded before")
        xks.load_all(many)
        xks.keys(few, many, rounds=plan.rounds, seconds=min(plan.seconds, 5.0))


def _objects(place: Path, plan: Plan) -> None:
    """Adopted keys: four of few objects in a token against four of many."""
    configs, labels = [], []
    for name, objects in (("few", FEW), ("many", plan.many)):
        (place / name).mkdir()
        configs.append(xksrig.found(place / name, 1))
        labels.append(xksrig.plant(configs[-1], objects)[-FEW:])
    with xksrig.serving(configs[0]) as here, xksrig.serving(configs[1]) as there:
        targets = here.adopt("few", labels[0]), there.adopt("many", labels[1])
        print(f"{FEW} adopted keys, of {FEW} and of {plan.many} objects in the token")
        xks.keys(*targets, rounds=plan.rounds, seconds=min(plan.seconds, 5.0))


def _efficiency(place: Path, plan: Plan) -> None:
    config = xksrig.found(place, plan.workers)
    with (
        xksrig.serving(config) as stores,
        rig.raw(config) as raw,
    ):
        target = stores.make("blue", FEW)
        with xksrig.echo(stores.daemon.tls, plan.workers, target) as echo:
            xks.efficiency(target, echo, raw, rounds=plan.rounds, seconds=min(plan.seconds, 5.0))


_MODES = {
    "rate": lambda place, plan: _one_store(place, plan, "rate"),
    "search": lambda place, plan: _one_store(place, plan, "search"),
    "overload": lambda place, plan: _one_store(place, plan, "overload"),
    "noisy": _noisy,
    "keys": _keys,
    "objects": _objects,
    "efficiency": _efficiency,
}
