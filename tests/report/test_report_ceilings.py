"""The share of an oracle's gain: a quotient over shared starts, refused where the oracle gains nothing for certain."""

from dataclasses import replace

import numpy as np
import pytest

from robo_orl.report.ceilings import gain_share, gain_shares
from robo_orl.report.contents import load
from robo_orl.report.document import document


def test_the_share_is_a_quotient_of_means_and_its_interval_a_bootstrap_over_starts():
    draw = np.random.default_rng(0)
    base = draw.uniform(0, 0.3, 60)
    most = base + draw.uniform(0, 0.6, 60)
    critic = base + 0.5 * (most - base) + draw.normal(0, 0.05, 60)
    gain, low, high, share, share_low, share_high = gain_share(base, critic, most)
    assert gain == pytest.approx((most - base).mean()) and 0 < low < gain < high
    assert share == pytest.approx((critic - base).mean() / (most - base).mean())
    other = np.random.default_rng(5)  # by plain loops, and other draws
    shares = []
    for _ in range(4000):
        at = other.integers(60, size=60)
        shares.append((critic[at].mean() - base[at].mean()) / (most[at].mean() - base[at].mean()))
    assert [share_low, share_high] == pytest.approx(np.percentile(shares, [2.5, 97.5]), abs=0.01)
    assert gain_share(base, most, most)[3:] == (1.0, 1.0, 1.0) and gain_share(base, base, most)[3:] == (0.0, 0.0, 0.0)


def test_without_a_certain_gain_of_the_oracle_there_is_no_share():
    draw = np.random.default_rng(1)
    base, critic, oracle = draw.uniform(0, 1, (3, 30))
    gain, low, high, *share = gain_share(base, critic, oracle)
    assert low <= 0 <= high and share == [None, None, None]
    assert gain_share(base, critic, base)[:3] == (0.0, 0.0, 0.0) and gain_share(base, critic, base)[3] is None


@pytest.fixture
def judged(make_results, results_plan, tmp_path):
    """A board with cloning, its oracle of one training, a critic with a ranking, and one without best-of-N."""
    bc, flow, _, _, qc, separate = results_plan().policies
    folder = make_results(tmp_path, results_plan(tasks=["synthetic1"], policies=[bc, flow, qc, separate], cost=False))
    cells = load(folder)
    base, critic = (next(r for r in cells.records if r.policy.name == name) for name in ("bc_flow", "qc_shared"))
    config = base.policy.config | {"selection": {"num_samples": 4, "look_ahead": 80}}
    ceiling = base.model_copy(
        update={"cell": "f" * 64, "policy": base.policy.model_copy(update={"name": "ceiling", "config": config})}
    )
    rows = cells.rows | {
        ceiling.cell: [
            r.model_copy(update={"discounted_return": r.discounted_return + 0.2}) for r in cells.rows[base.cell]
        ],
        critic.cell: [
            r.model_copy(update={"discounted_return": r.discounted_return + 0.1}) for r in cells.rows[base.cell]
        ],
    }
    order = {"states": 20, "tied": 4, "kendall": 0.4, "low": 0.1, "high": 0.6, "spearman": 0.5}
    ranking = {
        "episodes": 5, "starts": "test", "seed": 0, "every": 8, "samples": 4, "look_ahead": 200, "gamma": 0.995,
        "overall": order, "stages": [], "simulated": 900,
    }  # fmt: skip
    ranked = type(critic).model_validate(critic.model_dump() | {"ranking": ranking})
    records = [ranked if r.cell == critic.cell else r for r in cells.records]
    return replace(cells, records=[*records, ceiling], rows=rows), critic, ceiling


def test_a_critic_is_measured_between_the_sample_and_the_oracle_of_one_training(judged):
    cells, critic, ceiling = judged
    share = gain_shares(cells)[critic.cell]
    assert (share.base, share.oracle, share.n) == ("bc_flow", "ceiling", 50)
    assert share.share == pytest.approx(0.5) and share.gain == pytest.approx(0.2)
    assert ceiling.cell not in gain_shares(cells)


def test_the_page_shows_both_beside_the_value_error(judged):
    from robo_orl.report.build import render

    made = document(judged[0])
    row = next(r for r in made["value_errors"] if r["policy"] == "qc_shared")
    assert row["ranking"]["kendall"] == 0.4 and row["share"]["share"] == 0.5
    other = next(r for r in made["value_errors"] if r["policy"] == "qc_separate")
    assert other["ranking"] is None and other["share"] is not None
    page = render(made)
    assert "share of the oracle's gain" in page and "Order of samples" in page
