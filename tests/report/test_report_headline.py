"""The generated answer says no more than the comparisons carry."""

from types import SimpleNamespace

from robo_orl.report.headline import headline


def board(index: int, critic: int, free: int, n: int = 50) -> SimpleNamespace:
    def row(name: str, k: int, learned: bool) -> SimpleNamespace:
        share = SimpleNamespace(k=k, n=n, rate=k / n, low=max(0, k / n - 0.1), high=min(1, k / n + 0.1))
        return SimpleNamespace(policy=name, reference=None, critic=learned, success=share,
                               time_relative=1.1 if learned else 1.0,
                               memory_relative=1.2, cost_source="interleaved")  # fmt: skip

    return SimpleNamespace(index=index, task=f"synthetic{index}", regime="mg", size="tiny", control="bc",
                           rows=[row("qc", critic, True), row("bc", free, False)])  # fmt: skip


def comparison(index: int, verdict: str, against: str = "bc", n: int = 50) -> SimpleNamespace:
    return SimpleNamespace(board=index, policy="qc", critic=True, against=against, against_control=against == "bc",
                           task=f"synthetic{index}", regime="mg", size="tiny", verdict=verdict, n=n)  # fmt: skip


def test_undecided_comparisons_are_no_win_and_the_overlap_is_said():
    made = headline([board(1, 48, 45)], [comparison(1, "undecided")])
    assert made.short == "Not shown in these results." and made.pays == 0
    text = " ".join(made.sentences)
    assert "cannot tell" in text and "the intervals overlap" in text and "50 paired episodes" in text


def test_a_critic_that_only_beats_cloning_is_not_said_to_pay():
    rows = [comparison(1, "better"), comparison(1, "undecided", "filtered_bc")]
    made = headline([board(1, 48, 30)], rows)
    assert made.better == 1 and made.pays == 0
    assert "nowhere against every policy without a critic" in made.short


def test_a_critic_that_beats_every_policy_without_one_is_named_with_its_place():
    rows = [comparison(1, "better"), comparison(1, "better", "filtered_bc"), comparison(2, "worse")]
    made = headline([board(1, 48, 30), board(2, 20, 40)], rows)
    assert made.short == "In 1 of the 2 comparisons made here."
    assert "qc on synthetic1 (mg, tiny)" in " ".join(made.sentences)
    assert (made.better, made.worse, made.undecided) == (1, 1, 0)


def test_harm_is_said():
    made = headline([board(1, 20, 45)], [comparison(1, "worse")])
    assert "lowers success" in made.short
    assert "the intervals are apart" in " ".join(made.sentences)


def test_the_price_of_the_critic_closes_the_answer():
    rows = [SimpleNamespace(topology=t, policy=f"qc_{t}", step_relative=s, memory_relative=1.2, steps=20)
            for t, s in ((None, 1.0), ("shared", 1.04), ("separate", 2.7))]  # fmt: skip
    table = SimpleNamespace(reference="bc_flow", sizes=["s"], rows=rows)
    made = headline([board(1, 48, 45)], [comparison(1, "undecided")], [table])
    price = "A training step with a critic takes 1.04× (qc_shared) to 2.70× (qc_separate) the time and 1.20× the peak"
    assert made.sentences[-1] == f"{price} memory of bc_flow at size s (interleaved, n = 20 steps a row)."
    assert "cells' own clocks" in headline([board(1, 48, 45)], [comparison(1, "undecided")]).sentences[-1]


def test_without_a_critic_or_without_cells_nothing_is_claimed():
    free = board(1, 48, 45)
    free.rows = free.rows[1:]
    for boards in ([], [free]):
        made = headline(boards, [])
        assert made.short == "These results do not say." and len(made.sentences) == 1
