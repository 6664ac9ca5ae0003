"""The tables of benchmarks/*.json: what pages about the engine write between {{ and }}."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from numbers_of_results import cells, cost_row, folder, table, written

from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import CARDS
from robo_orl.cost.predict.communication import LINKS, StepTime, step_time
from robo_orl.results.intervals import wilson
from robo_orl.results.store import read_manifest

ROOT = Path(__file__).parents[2]


@cache
def benchmark(name: str) -> Any:
    """The content of benchmarks/NAME.json."""
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())


# ----------------------------------------------------------------------------------------------------------- simulation


def stepper() -> str:
    """Control steps per second, in multiples of stock."""
    columns = ("exact", "fast", "physics", "reset", "exact, picture every 8th step")
    rows = [
        [
            task,
            f"{row['rows']['stock']['per_s_median']:.0f}",
            *(f"{row['rows'][c]['ratio_median']:.2f}" for c in columns),
        ]
        for task, row in sorted(benchmark("stepper")["rows"].items())
    ]
    return table(["task", "stock, steps per second", "exact", "fast", "physics alone", "reset", columns[-1]], rows)


def experts(*regimes: str) -> str:
    """How often the scripted demonstrators of these regimes succeed."""
    rows = []
    for row in benchmark("experts"):
        if row["regime"] in regimes:
            low, high = wilson(row["k"], row["n"])
            median = row["decisions_of_successes_median"]
            stages = ", ".join(map(str, row["stages_k"]))
            share = f"{row['k']} of {row['n']} [{100 * low:.0f}, {100 * high:.0f}]"
            rows.append([row["task"], row["regime"], share, stages, "" if median is None else f"{median:.0f}"])
    return table(["task", "regime", "successes [95 %]", "episodes that reached each stage", "decisions, median"], rows)


def rollout_loop() -> str:
    """Our evaluation beside robomimic's rollout loop."""
    rows = [
        [task, f"{r['ratio_median']:.2f} ({r['ratio_min']:.2f} to {r['ratio_max']:.2f})",
         f"{r['lent_ratio_median']:.2f} ({r['lent_ratio_min']:.2f} to {r['lent_ratio_max']:.2f})",
         r["n"], r["successes_of_all"]]
        for task, r in benchmark("rollout_loop")["rows"].items()
    ]  # fmt: skip
    return table(
        ["task", "times robomimic's rate, as shipped", "with our resets and sensors", "episodes", "successes"], rows
    )


def evaluation_shares() -> str:
    """Microseconds per decision and shares of the parts of an evaluation, by robomimic's loop and by ours."""
    rows = [
        [task, "ours" if side == "ours" else "robomimic's",
         *(f"{part['us']:,.0f} ({100 * part['share']:.0f} %)" for part in row[side].values()), row["decisions"]]
        for task, row in benchmark("evaluation_shares")["rows"].items()
        for side in ("robomimic", "ours")
    ]  # fmt: skip
    parts = next(iter(benchmark("evaluation_shares")["rows"].values()))["ours"]
    return table(["task", "loop", *(f"{part}, µs" for part in parts), "decisions"], rows)


def closed_loop() -> str:
    """Episodes of a trained policy under `exact` and `stock`."""
    rows = [
        [task, r["n"], r["identical_episodes"], " / ".join(map(str, r["successes"])), f"{r['decisions']:,}"]
        for task, r in sorted(benchmark("closed_loop")["rows"].items())
    ]
    return table(["task", "episodes", "identical to the last bit", "successes, exact / stock", "decisions"], rows)


def decision_time() -> str:
    """Where a decision's time goes."""
    parts = benchmark("scaling")["rows"]["profile"]["parts"]
    return table(
        ["part", "microseconds", "share"],
        [[n, f"{p['us']:.0f}", f"{100 * p['share']:.0f} %"] for n, p in parts.items()],
    )


def fast_loop() -> str:
    """Outcomes of `fast` beside those of `exact`."""
    rows = [
        [task, r["n"], f"{r['exact_successes']} / {r['fast_successes']}",
         f"{r['only_exact_succeeds']} / {r['only_fast_succeeds']}",
         f"{r['mcnemar_p']:.2f}", r["equal_lengths"]]
        for task, r in benchmark("fast_loop")["rows"].items()
    ]  # fmt: skip
    return table(
        ["task", "pairs", "successes, exact / fast", "only one succeeds", "McNemar's p", "equal lengths"], rows
    )


# ----------------------------------------------------------------------------------------------------------------- cost


def claim() -> str:
    """Every layout of a critic in one interleaved run on a CPU."""
    rows = [
        [f"`{r['policy']}`", f"{r['flops_relative']:.2f}" if "flops_relative" in r else "1.00",
         f"{r.get('memory_relative', 1.0):.2f}", _quartiles(r["step_relative"], r["step_relative_quartiles"])]
        for r in benchmark("claim")["rows"]
    ]  # fmt: skip
    return table(["layout", "FLOPs, x bc_flow", "peak memory, x bc_flow", "step time, x bc_flow"], rows)


def critic_price(size: str) -> str:
    """Steps and decisions relative to deterministic cloning's, at B and at 2B observations a step."""
    rows = [
        [f"`{written(r['policy'].removesuffix('_2B'))}`", r["batch"],
         r["batch"] // 2 if r["parameters"].get("critic") else "",
         f"{r['flops_per_step_relative']:.2f}", f"{r['memory_relative']:.2f}",
         _quartiles(r["step_relative"], r["step_relative_quartiles"]),
         _quartiles(r["act_relative"], r["act_relative_quartiles"])]
        for r in benchmark("critic_price")["sizes"][size]
    ]  # fmt: skip
    header = ["policy", "observations", "transitions of the critic", "FLOPs", "peak memory", "step", "decision"]
    return table(header, rows)


def critic_cost(size: str = "m") -> str:
    """Predicted peak memory and FLOPs of layouts in bf16."""
    rows = [r for r in benchmark("critic_cost")["rows"] if r["size"] == size]
    base = rows[0]
    cells = [
        [f"`{r['policy']}`", gigabytes(r["memory"]["peak_bytes"]),
         f"{r['memory']['peak_bytes'] / base['memory']['peak_bytes']:.2f}",
         f"{r['flops'] / base['flops']:.2f}"]
        for r in rows
    ]  # fmt: skip
    return table(["policy", "peak memory", "x bc_flow", "FLOPs, x bc_flow"], cells)


def best_of_n() -> str:
    """The time of one decision by the best of N samples."""
    rows = []
    for reads in ("vectors", "two cameras"):
        for r in benchmark("best_of_n")[reads]["rows"]:
            parts = [
                f"{1e3 * r['parts_s'][p]:.1f} ms" if r["parts_s"].get(p) else ""
                for p in ("backbone", "samples", "critic")
            ]
            rows.append(
                [
                    reads,
                    r["candidates"],
                    *parts,
                    f"{1e3 * r['seconds']:.1f} ms",
                    _quartiles(r["relative"], r["relative_quartiles"]),
                ]
            )
    return table(["reads", "samples", "backbone", "sampling", "critic", "all", "x one sample"], rows)


def largest_model() -> str:
    """The largest backbone that fits a card, per policy."""
    rows = benchmark("largest_model")["rows"]
    cards, policies = list(dict.fromkeys(r["card"] for r in rows)), list(dict.fromkeys(r["policy"] for r in rows))
    found = {(r["policy"], r["card"]): r["largest"] for r in rows}
    cells = [
        [f"`{p}`", *(f"{found[p, c]['backbone_parameters'] / 1e9:.2f} B ({found[p, c]['depth']})" for c in cards)]
        for p in policies
    ]
    return table(["policy", *cards], cells)


def predicted_memory(size: str = "s") -> str:
    """Predicted and measured peaks on one process."""
    rows = [
        [f"`{r['policy']}`", f"{r['predicted_peak_bytes'] / 1e6:.2f} MB", f"{r['measured_peak_bytes'] / 1e6:.2f} MB"]
        for r in benchmark("predicted_memory")["rows"]
        if r["size"] == size
    ]
    return table(["policy", "predicted", "measured"], rows)


def largest_prediction_error() -> str:
    """'39 rows, largest error 0.005 %'."""
    rows = benchmark("predicted_memory")["rows"]
    return f"{len(rows)} rows, largest error {100 * max(abs(r['error']) for r in rows):.3f} %"


def largest_on_card() -> str:
    """Predicted and measured peaks of the deepest backbones on a real card."""
    rows = []
    for r in benchmark("largest_on_card")["rows"]:
        predicted = gigabytes(r["predicted_bytes"]) if r["predicted_bytes"] else "does not fit"
        measured = "out of memory" if r["oom"] else gigabytes(r["peak_bytes"])
        rows.append([f"`{r['policy']}`", r["depth"], predicted, measured])
    return table(["policy", "depth", "predicted", "measured"], rows)


def evidence() -> str:
    """Each way of making a step cheaper, before and after."""
    rows = []
    for row in benchmark("evidence")["cpu"].values():
        if "variants" in row:
            variants = [_variant(name, v) for name, v in row["variants"].items()]
            rows.append([row["what"], "<br>".join(variants), row["engine"]])
    return table(["what", "variants", "the engine"], rows)


def _variant(name: str, v: dict) -> str:
    memory = f", {v['peak_bytes'] / 1e6:.0f} MB" if "peak_bytes" in v else ""
    return f"{name}: {1e3 * v['cpu_seconds']:.3g} ms ({v['cpu_relative']:.2f}){memory}"


# ----------------------------------------------------------------------------------------------------- beside robomimic


def bc_training() -> str:
    """Cloning beside robomimic's BC-Transformer, data loading included."""
    rows = []
    for r in benchmark("bc_training")["rows"]:
        speed = r["speed"]["ours over robomimic_all"]
        rows.append(
            [
                r["size"],
                r["batch"],
                f"{1e3 * r['ours_step_s']:.0f} ms",
                f"{1e3 * r['robomimic_all_step_s']:.0f} ms",
                _quartiles(speed["median"], speed["quartiles"]),
            ]
        )
    return table(["size", "batch", "a step, ours", "robomimic", "observations per second, ours over robomimic"], rows)


def image_loader() -> str:
    """Reading pictures beside robomimic's data set."""
    rows = [
        [r["history"], f"{r['ours_windows_per_s']:.0f}", f"{r['robomimic_windows_per_s']:.0f}",
         f"{r['ratio_median']} ({r['ratio_min']} to {r['ratio_max']})"]
        for r in benchmark("image_loader")["rows"]
    ]  # fmt: skip
    return table(["frames per observation", "ours, windows/s", "robomimic, windows/s", "frames, ratio"], rows)


def loader(content: str = "paired", batch: int = 64) -> str:
    """Reading vectors beside robomimic's data set, per cache mode of it."""
    rows = [
        [r["robomimic_cache_mode"], f"{r['ratio_median']:.0f} ({r['ratio_min']:.0f} to {r['ratio_max']:.0f})"]
        for r in benchmark("loader")["rows"]
        if (r["content"], r["windows_per_batch"]) == (content, batch)
    ]
    return table(["robomimic's cache", "windows per second, ours over robomimic's"], rows)


def lerobot() -> str:
    """Sizes and processor times of conversions from and to LeRobot folders."""
    rows = [
        [r["what"], f"{r['frames']:,}", r["cameras"], f"{r['source_bytes'] / 1e6:.2f}", f"{r['bytes'] / 1e6:.2f}",
         f"{r['seconds_median']:.1f} ({r['seconds_min']:.1f} to {r['seconds_max']:.1f})"]
        for r in benchmark("lerobot")["rows"]
    ]  # fmt: skip
    return table(["conversion", "frames", "cameras", "MB before", "MB after", "processor seconds (range of 3)"], rows)


def recordings(part: str) -> str:
    """Recordings of others, part "files", or made here by robosuite alone, "recorded", in today's physics."""
    rows = benchmark("recordings")[part]
    if part == "files":
        cells = [
            [f"`{r['file']}`", r["robosuite"], r["task"] if r["task"] != "own" else f"`{r['env']}`",
             f"{r['restored_k']} of {r['episodes']}", f"{r['replayed_k']} of {r['episodes']}",
             f"{r['joint_difference']:.2f}", f"{r['frames']:,}",
             f"{r['source_bytes'] / 1e6:.2f} to {r['bytes'] / 1e6:.2f}", f"{r['seconds']:.2f}"]
            for r in rows
        ]  # fmt: skip
        head = ["file", "robosuite", "task", "states restored", "actions replayed", "joints after 1 s, rad", "frames"]
        return table([*head, "MB", "processor seconds"], cells)
    cells = [
        [f"{r['env']}, {' and '.join(r['robots'])}", r["frames"], f"{r['joint_difference']:.0e}",
         "; ".join(f"`{key}` {value:.2g}" for key, value in r["observations"].items() if value > FAR) or "nothing",
         f"{r['source_bytes'] / 1e6:.2f} to {r['bytes'] / 1e6:.2f}", f"{r['seconds']:.2f}"]
        for r in rows
    ]  # fmt: skip
    return table(
        ["recording", "frames", "joints after 1 s, rad", "observed otherwise", "MB", "processor seconds"], cells
    )


FAR = 5e-3  # metres, radians, shares: more than a physics step moves anything


# -------------------------------------------------------------------------------------------------------------- oracles


def lock() -> str:
    """Errors of Q on the combination lock."""
    rows = sorted(benchmark("lock")["rows"], key=lambda r: (r["horizon"], r["arm"]))
    cells = [
        [r["horizon"], r["arm"], *(_range(r[key]) for key in ("q_error", "td_error")), f"{r['opened']} of {r['of']}"]
        for r in rows
    ]
    return table(["H", "learner", "error of Q", "TD error", "locks opened"], cells)


def trunk_gradients(policy: str) -> str:
    """'0.91 / 0.038': the gradient norms of critic and policy on the backbone that they share."""
    row = benchmark("trunk_gradients")["rows"].get(policy)
    if row is None:
        return ""
    critic = sum(value for name, value in row.items() if name != "actor")
    return f"{critic:.2g} / {row['actor']:.2g}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _quartiles(median: float, quartiles: Sequence[float]) -> str:
    return f"{median:.2f} ({quartiles[0]:.2f} to {quartiles[1]:.2f})"


def launches() -> str:
    """Kernels of the two passes of a step, before and now, and the ratios to cloning now."""
    found = benchmark("launches")["rows"]
    base = {row["size"]: row for row in found if row["policy"] == "bc+flow"}
    rows = [
        [
            row["size"],
            row["policy"],
            *(f"{row[key]['passes']:,}" for key in ("norms_in_bf16", "as_cuda_casts", "now")),
            f"{row['now']['passes'] / row['norms_in_bf16']['passes']:.2f}",
            f"{row['now']['passes'] / row['as_cuda_casts']['passes']:.2f}",
            f"{row['now']['passes'] / base[row['size']]['now']['passes']:.2f}",
            f"{row.get('one_euler_step', row['now']['passes']) / base[row['size']]['now']['passes']:.2f}",
            f"{row['one_call'] / base[row['size']]['one_call']:.2f}",
        ]
        for row in found
    ]
    columns = ["size", "policy", "before", "with CUDA's casts", "now", "x before", "x with casts", "x cloning"]
    return table([*columns, "x cloning, one Euler step", "x cloning, sampler as one call"], rows)


def compiled_launches() -> str:
    """Kernels of the two passes of a step that is compiled whole, beside the eager ones, and the ratio to cloning."""
    found = benchmark("compiled_launches")["rows"]
    base = {row["size"]: row["passes"] for row in found if row["policy"] == "bc+flow"}
    before = {(row["size"], row["policy"]): row["norms_in_bf16"]["passes"] for row in benchmark("launches")["rows"]}
    rows = [
        [
            row["size"],
            row["policy"],
            f"{before[row['size'], row['policy']]:,}" if (row["size"], row["policy"]) in before else "",
            f"{row['eager']:,}",
            f"{row['passes']:,}" + (" *" if "from" in row else ""),
            *(sum(row[one].get(kind, 0) for one in ("forward", "backward")) for kind in COMPILED),
            f"{row['passes'] / row['eager']:.2f}",
            f"{row['passes'] / base[row['size']]:.3f}",
        ]
        for row in found
    ]
    columns = ["size", "policy", "before", "eager", "compiled", "of them Triton", "products", "attention", "sampler"]
    return table([*columns, "x eager", "x cloning"], rows)


def compiled_steps() -> str:
    """What compiling the whole step does on a CPU: its ratio to the step as it is, and what it changes."""
    rows = []
    for row in benchmark("capture")["training"]:
        made = row["ways"]["compile"]
        low, middle, high = made["ratio"]
        rows.append([row["size"], row["policy"], f"{middle:.2f} [{low:.2f}, {high:.2f}]", f"{made['first_s']:.0f}",
                     f"{made['loss_difference']:.1g}", f"{made['largest_weight_difference']:.1g}"])  # fmt: skip
    return table(
        ["size", "policy", "x eager, median [quartiles]", "s to compile", "loss differs by", "a weight by"], rows
    )


def outside_kernels() -> str:
    """The share of a small step outside of torch's operators."""

    def percent(value: float) -> str:
        return f"{100 * value:.0f}"

    rows = [
        [
            policy,
            f"{row['step_ms']:.1f} ms",
            row["operators"],
            f"{percent(row['outside'])} % ({' to '.join(map(percent, row['outside_quartiles']))})",
            f"{percent(row['outside_at_most'])} %",
        ]
        for policy, row in benchmark("outside_kernels")["rows"].items()
    ]
    return table(["policy", "step", "operators", "outside (quartiles)", "at most"], rows)


COMPILED = ("triton", "products", "attention", "sampler")


def price_by_batch(suite: str, sizes: Sequence[str], batches: Sequence[int], device: str = "h100-80gb") -> str:
    """The step of critics over cloning's by the cost model, at several numbers of observations, and what binds it."""
    counted = {(row["size"], row["policy"]): row["now"]["total"] for row in benchmark("launches")["rows"]}
    rows = []
    for size in sizes:
        for policy in ("qc", "iql"):
            arithmetic = cost_row(suite, size, policy).flops_relative
            pairs = [
                [modelled_step(suite, size, one, batch, counted, device) for one in (policy, "bc_flow")]
                for batch in batches
            ]
            prices = [f"{ours.compute_s / base.compute_s:.2f}, {ours.bound}" for ours, base in pairs]
            rows.append([size, policy, *prices, f"{arithmetic:.2f}"])
    return table(["size", "policy", *(f"{batch:,} observations" for batch in batches), "FLOPs"], rows)


def modelled_step(suite: str, size: str, policy: str, batch: int, counted: dict, device: str) -> StepTime:
    """One step in one process by the cost model: its FLOPs from the record, its kernels as counted now."""
    flops = cost_row(suite, size, policy).flops_per_sample * batch
    launches = counted[size, policy.replace("bc_flow", "bc+flow")]
    return step_time(flops, {}, Layout(), CARDS[device].bf16, LINKS["NVLink 4 in a node"], device, launches)


def demo_minutes() -> str:
    """'8.0': how long the demo took."""
    return f"{read_manifest(folder('quick')).wall_s / 60:.1f}"


def demo_shares() -> str:
    """What the demo's time on all cores goes to: its records, and the benchmark of its parts."""
    rows, run = benchmark("demo_loops")["rows"], [record for record, _ in cells("quick").values()]
    whole = read_manifest(folder("quick")).wall_s * run[0].hardware.cores
    data = {(r.task.name, r.regime): (r.task.name.split("_")[0], r.data.episodes) for r in run}
    parts = {
        "data": sum(rows[task]["s_per_episode_recorded"]["exact"] * episodes for task, episodes in data.values()),
        "training": sum({r.train.run: r.train.wall_s for r in run}.values()),
        "evaluation": sum(r.evaluation.wall_s for r in run),
        "costs": sum(rows["costs"]["processor_s"].values()),
    }
    parts["starts of processes, and a core that waits"] = whole - sum(parts.values())
    return table(
        ["part", "seconds of a core", "share"],
        [[name, f"{seconds:.0f}", f"{100 * seconds / whole:.0f} %"] for name, seconds in parts.items()],
    )


def target_flow_steps() -> str:
    """The target of a trained `qc` with fewer Euler steps, beside that of the most."""
    found = benchmark("target_flow_steps")
    rows = [
        [r["steps"], f"{r['mean']:.4f}", f"{r['difference']:.4f}", f"{r['bias']:.4f}", f"{r['correlation']:.4f}"]
        for r in found["rows"]
    ]
    return table(["Euler steps", "mean target", "mean absolute difference", "bias", "correlation"], rows)


def attention_entropy() -> str:
    """The attention of a critic's own backbone by size, logged and held, a number a training; and the successes."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, row in benchmark("attention_entropy")["rows"].items():
        size, measure, _ = name.split()
        rows.setdefault(size, {"log": [], "control": []})[measure].append(row)
    return table(
        ["size", "entropy of the critic's attention at the end", "its lowest layer on the way", "successes",
         "entropy, held", "successes, held"],
        [
            [
                size,
                _numbers(own["log"], lambda row: f"{fmean(row['critic_backbone']['last']):.2f}"),
                _numbers(own["log"], lambda row: f"{row['critic_backbone']['lowest']:.2f}"),
                _numbers(own["log"], lambda row: row["k"]),
                _numbers(own["control"], lambda row: f"{fmean(row['critic_backbone']['last']):.2f}"),
                _numbers(own["control"], lambda row: row["k"]),
            ]
            for size, own in rows.items()
        ],
    )  # fmt: skip


def _numbers(rows: Sequence[dict[str, Any]], of: Callable[[dict[str, Any]], object]) -> str:
    return ", ".join(str(of(row)) for row in rows)


def gigabytes(count: float) -> str:
    """'0.611 GB'."""
    return f"{count / 1e9:.3g} GB"


FUNCTIONS = {
    f.__name__: f
    for f in (
        benchmark, stepper, experts, rollout_loop, closed_loop, decision_time, fast_loop, claim, critic_cost,
        critic_price, best_of_n, largest_model, predicted_memory, largest_prediction_error, largest_on_card, evidence,
        bc_training, image_loader, launches, lerobot, loader, lock, recordings, target_flow_steps, trunk_gradients,
        gigabytes, compiled_launches, compiled_steps, demo_minutes, demo_shares, evaluation_shares, outside_kernels,
        price_by_batch, attention_entropy,
    )
}  # fmt: skip
