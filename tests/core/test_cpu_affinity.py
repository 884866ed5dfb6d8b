"""A process leaves its core when others want it and another one is freer."""

import pytest

from bridge.core.cpu_affinity import Shares, better_core

ALLOWED = (2, 0, 1)


def shares(*cores: float, process: float = 0.0) -> Shares:
    return Shares(cores=dict(enumerate(cores)), process=process)


@pytest.mark.parametrize(
    ("core", "used", "moves_to"),
    [
        pytest.param(None, shares(0.9, 0.2, 0.5), 1, id="at first, to the freest"),
        pytest.param(None, shares(0.5, 0.2, 0.2), 2, id="of equal ones to the first"),
        pytest.param(0, shares(1.0, 0.0, 0.0, process=1.0), None, id="what it uses itself is no reason"),
        pytest.param(0, shares(1.0, 0.0, 0.1, process=0.5), 1, id="others want half of it"),
        pytest.param(0, shares(0.24, 0.0, 0.0, process=0.0), None, id="others want little of it"),
        pytest.param(0, shares(1.0, 0.4, 0.5, process=0.5), None, id="nowhere is it much better"),
        pytest.param(2, shares(0.1, 0.9, 0.6, process=0.1), 0, id="any core may be the freest"),
        pytest.param(2, shares(0.9, 0.3), 1, id="its core is there no more"),
        pytest.param(0, Shares(cores={}, process=0.0), None, id="nothing is known"),
    ],
)
def test_it_stays_until_another_core_is_freer(core: int | None, used: Shares, moves_to: int | None) -> None:
    assert better_core(core, ALLOWED, used) == moves_to


def test_a_core_that_is_not_allowed_is_never_chosen() -> None:
    assert better_core(None, (1, 2), shares(0.0, 0.5, 0.9)) == 1
