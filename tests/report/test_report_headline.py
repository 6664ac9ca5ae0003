"""The generated answer says no more than the comparisons carry."""

from types import SimpleNamespace

from robo_orl.report.headline import headline
from robo_orl.report.verdicts import verdicts
from robo_orl.results.endpoints import Endpoint

SUCCESS, RETURN = Endpoint("success"), Endpoint("return")


def board(index: int, critic: int, free: int, n: int = 50, seeds: int = 1, oracle: int | None = 50) -> SimpleNamespace:
    def row(name: str, k: int, learned: bool, bound: bool = False) -> SimpleNamespace:
        share = SimpleNamespace(k=k, n=n, rate=k / n, low=max(0, k / n - 0.1), high=min(1, k / n + 0.1))
        return SimpleNamespace(policy=name, reference=None, critic=learned, oracle=bound, success=share, seeds=seeds,
                               floor=False, time_relative=1.1 if learned else 1.0, memory_relative=1.2,
                               discounted_return=SimpleNamespace(mean=k / n), cost_source="interleaved")  # fmt: skip

    return SimpleNamespace(index=index, task=f"synthetic{index}", regime="mg", size="tiny", control="bc",
                           rows=[row("qc", critic, True), row("bc", free, False),
                                 *([row("oracle", oracle, False, True)] if oracle is not None else [])])  # fmt: skip


def comparison(
    index: int, verdict: str, against: str = "bc", n: int = 50, endpoint: Endpoint = SUCCESS
) -> SimpleNamespace:
    return SimpleNamespace(board=index, policy="qc", critic=True, against=against, against_control=against == "bc",
                           task=f"synthetic{index}", regime="mg", size="tiny", verdict=verdict, n=n,
                           endpoint=endpoint.name)  # fmt: skip


def made_of(boards, rows, endpoints=(SUCCESS,), costs=()):
    return headline(boards, rows, verdicts(boards, rows, endpoints), endpoints, costs)


def test_undecided_comparisons_are_no_win_and_the_overlap_is_said():
    made = made_of([board(1, 45, 42, oracle=48)], [comparison(1, "undecided")])
    assert made.short == "Not shown in these results." and made.tallies[0].ahead == 0
    text = " ".join(made.sentences)
    assert "no oracle is 15 points above bc (synthetic1 (mg))" in text and "the intervals overlap" in text
    assert made.tallies[0].undecided == 1


def test_a_critic_that_only_beats_cloning_is_not_said_to_pay():
    rows = [comparison(1, "better"), comparison(1, "undecided", "filtered_bc")]
    made = made_of([board(1, 48, 30)], rows)
    assert made.tallies[0].better == 1 and made.tallies[0].ahead == 0
    assert made.short == "Not shown in these results."
    assert "ahead of every policy without one on none of 1 board." in made.sentences[0]
    assert "Against bc alone, a critic is by success better in 1 of 1" in " ".join(made.sentences)


def test_a_critic_that_beats_every_policy_without_one_is_named_with_its_place():
    rows = [comparison(1, "better"), comparison(1, "better", "filtered_bc"), comparison(2, "worse")]
    made = made_of([board(1, 48, 30), board(2, 40, 20)], rows)
    assert made.short == "By success within the limit on 1 of 2 boards: a lead, from one training a row."
    assert "qc on synthetic1 (mg)" in made.sentences[0]
    tally = made.tallies[0]
    assert (tally.better, tally.worse, tally.undecided, tally.ahead) == (1, 1, 0, 1)


def test_every_endpoint_has_its_own_answer():
    rows = [comparison(1, "undecided"), comparison(1, "better", endpoint=RETURN)]
    made = made_of([board(1, 48, 30)], rows, (RETURN, SUCCESS))
    assert made.short.startswith("By return on 1 of 1 board and by success within the limit on none of 1")
    assert "By return, a critic is ahead of every policy without one on 1 of 1 board: qc on synth" in made.sentences[0]


def test_a_board_that_cannot_answer_is_not_counted_and_says_why():
    made = made_of([board(1, 50, 48), board(2, 40, 20)], [comparison(1, "better"), comparison(2, "undecided")])
    assert (made.tallies[0].boards, made.tallies[0].ahead) == (1, 0)
    text = " ".join(made.sentences)
    assert "answer on 1 of 2 boards: cloning is at the ceiling: bc is above 90 % (synthetic1 (mg))." in text


def test_a_board_on_which_nobody_measured_an_oracle_leaves_the_headline_by_success():
    rows = [comparison(1, "better"), comparison(1, "better", endpoint=RETURN)]
    made = made_of([board(1, 48, 30, oracle=None)], rows, (RETURN, SUCCESS))
    assert made.short == "By return on 1 of 1 board: a lead, from one training a row."
    assert "cannot answer on 1 of 1 board: no oracle was measured (synthetic1 (mg))." in " ".join(made.sentences)


def test_three_trainings_a_row_make_a_claim_and_one_a_lead():
    one, three = ([board(1, 48, 30, seeds=seeds)] for seeds in (1, 3))
    assert made_of(one, [comparison(1, "better")]).short.endswith(": a lead, from one training a row.")
    assert made_of(three, [comparison(1, "better")]).short == "By success within the limit on 1 of 1 board."
    assert "a claim needs three" in " ".join(made_of(one, [comparison(1, "better")]).sentences)


def test_boards_of_three_trainings_beside_boards_of_one_are_told_apart():
    made = made_of([board(1, 48, 30, seeds=3), board(2, 40, 38)], [comparison(1, "better"), comparison(2, "undecided")])
    assert made.short == "By success within the limit on 1 of 2 boards, with three trainings a row there."
    assert "On synthetic2 (mg) a row is one training of its policy" in " ".join(made.sentences)


def test_one_training_is_enough_for_uniform_actions():
    claimed = board(1, 48, 30, seeds=3)
    claimed.rows.append(SimpleNamespace(**vars(claimed.rows[1]) | {"policy": "bc_random", "seeds": 1, "floor": True}))
    rows = [comparison(1, "better"), comparison(1, "better", "bc_random")]
    assert made_of([claimed], rows).short == "By success within the limit on 1 of 1 board."


def test_harm_is_said():
    made = made_of([board(1, 20, 45)], [comparison(1, "worse")])
    text = " ".join(made.sentences)
    assert "worse in 1" in text and made.tallies[0].worse == 1
    assert "the intervals are apart" in text


def test_the_price_of_the_critic_closes_the_answer():
    rows = [SimpleNamespace(topology=t, policy=f"qc_{t}", step_relative=s, memory_relative=1.2, steps=20)
            for t, s in ((None, 1.0), ("shared", 1.04), ("separate", 2.7))]  # fmt: skip
    table = SimpleNamespace(reference="bc_flow", sizes=["s"], rows=rows)
    made = made_of([board(1, 48, 45)], [comparison(1, "undecided")], costs=[table])
    price = "A training step with a critic takes 1.04× (qc_shared) to 2.70× (qc_separate) the time and 1.20× the peak"
    assert made.sentences[-1] == f"{price} memory of bc_flow at size s (interleaved, n = 20 steps a row)."
    assert "cells' own clocks" in made_of([board(1, 48, 45)], [comparison(1, "undecided")]).sentences[-1]


def test_without_a_critic_or_without_cells_nothing_is_claimed():
    free = board(1, 48, 45)
    free.rows = free.rows[1:]
    for boards in ([], [free]):
        made = made_of(boards, [])
        assert made.short == "These results do not say." and len(made.sentences) == 1
