"""The fair queue against a plain model: who is served when, and that nothing is lost or kept for ever."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from strongroomd.custody.fairqueue import FairQueue, Flow

FLOWS = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))
STEPS = st.lists(st.tuples(st.sampled_from(["push", "push", "pop", "remove", "longest"]), FLOWS), max_size=60)


@given(STEPS)
def test_what_goes_in_comes_out_once_and_each_line_in_order(steps: list[tuple[str, Flow]]) -> None:
    queue: FairQueue[int] = FairQueue()
    lines: dict[Flow, list[int]] = {}
    numbers = itertools.count()
    for what, flow in steps:
        line = lines.setdefault(flow, [])
        if what == "push":
            line.append(next(numbers))
            queue.push(flow, line[-1], 0.0)
        elif what == "remove" and line:
            queue.remove(flow, line.pop(len(line) // 2))
        elif what == "pop" and len(queue):
            item = queue.pop()
            assert any(others and others[0] == item for others in lines.values())
            next(others for others in lines.values() if item in others).remove(item)
        elif what == "longest" and len(queue):
            taken = queue.take_from_longest(flow)
            if taken is not None:
                source = next(others for others in lines.values() if taken in others)
                assert source.pop() == taken
        assert len(queue) == sum(map(len, lines.values()))
        assert queue.ahead(flow) <= len(queue)

    rest = [queue.pop() for _ in range(len(queue))]
    assert sorted(rest) == sorted(itertools.chain(*lines.values()))


@given(st.lists(FLOWS, min_size=1, max_size=40))
def test_nobody_gets_two_turns_more_than_another_who_waits(flows: list[Flow]) -> None:
    queue: FairQueue[tuple[int, Flow]] = FairQueue()
    for number, flow in enumerate(flows):
        queue.push(flow, (number, flow), 0.0)
    waiting, served = Counter(flow[0] for flow in flows), Counter[str]()
    for _ in flows:
        account = queue.pop()[1][0]
        waiting[account] -= 1
        served[account] += 1
        others = [served[name] for name in waiting if waiting[name] > 0]
        assert not others or served[account] <= min(others) + 1


def test_a_newcomer_is_served_next_however_long_another_line_is() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.push(("noisy", "n"), f"noisy {number}", 0.0)
    for _ in range(10):
        queue.pop()

    queue.push(("quiet", "q"), "quiet", 0.0)

    assert queue.pop() == "quiet"


def test_who_comes_back_at_once_has_no_second_turn_before_the_others() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(4):
        queue.push(("patient", "p"), f"patient {number}", 0.0)
    served = []
    for _ in range(4):
        queue.push(("hasty", "h"), "hasty", 0.0)
        served += [queue.pop(), queue.pop()]

    assert served.count("hasty") == 4
    assert "hasty hasty hasty" not in " ".join(served)


def test_names_that_went_away_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push(("stays", "s"), -1, 0.0)
    for number in range(5_000):
        flow = (f"account {number}", "p")
        queue.push(flow, number, 0.0)
        queue.remove(flow, number)

    assert len(queue._accounts._heap) < 200
    assert len(queue._accounts._due) < 200
