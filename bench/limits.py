"""Shares of what this machine can do at most, from the C++ benchmarks.

    cmake -S . -B build-bench -DSPARSE_ENGINE_BUILD_BENCH=ON && cmake --build build-bench
    python bench/limits.py build-bench --markdown docs/limits.md

The limit of a benchmark is the longest of: its multiply-adds at the peak of the fused multiply-add, its loads of X at two a
cycle, and one pass over W, X and Y at the bandwidth of the level they fit in. All three are measured by the same binary
(bench/cpp/limits.cpp) beside every run. A share is the median of repeated runs.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe

MIN_SECONDS = 0.05


@dataclass(frozen=True)
class Group:
    title: str
    concept: str  # of bench/cpp/bench_<concept>
    names: str  # regular expression
    goal: float | None = None


GROUPS = (
    Group("`A @ X`, 50–90%, N ≥ 128", "linear", r"^product/bert/.*/n(128|384)/", 0.7),
    Group("linear, 50–90%, N ≥ 128", "linear", r"^linear/bert/.*/n(128|384)/", 0.7),
    Group("blocks 4×1 and 8×1, N ≥ 128", "bsr", r"/n(128|512)/", 0.8),
    Group("blocks 4×1 and 8×1, N = 1", "bsr", r"/n1/", 0.8),
    Group("2:4, N = 128", "nm", r"/n128", 0.8),
    Group("2:4, N = 1", "nm", r"/n1/", 0.8),
    Group("CSR, N = 1, beyond L3", "bitmask", r"^csr/float32/4096x9216/n1/", 0.8),
    Group("CSR, N = 1, beyond L3, 16 bits", "bitmask", r"^csr/b?float16/4096x9216/n1/", 0.8),
    Group("bitmask, N = 1, beyond L3", "bitmask", r"^bitmask/float32/4096x9216/n1/0.[57]", 0.8),
    Group("bitmask, N = 1, beyond L3, 16 bits", "bitmask", r"^bitmask/b?float16/4096x9216/n1/0.[57]", 0.8),
    Group("convolution of ResNet-50, NCHW", "conv", r"^conv/resnet50/.*/b[18]/[0-9.]+/real_time$"),
)


def run(build: Path, group: Group, repetitions: int) -> list[dict[str, Any]]:
    """One median per benchmark of the group."""
    command = [
        str(build / "bench" / "cpp" / f"bench_{group.concept}"),
        f"--benchmark_filter={group.names}",
        f"--benchmark_min_time={MIN_SECONDS}",
        f"--benchmark_repetitions={repetitions}",
        "--benchmark_report_aggregates_only=true",
        "--benchmark_format=json",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    output = json.loads(text or '{"benchmarks": []}')
    failed = [b["name"] for b in output["benchmarks"] if b.get("error_occurred")]
    medians = [b for b in output["benchmarks"] if b.get("aggregate_name") == "median"]
    if failed or not medians:
        raise SystemExit(f"{group.title}: {failed or 'no benchmark has such a name'}")
    return medians


def row(group: Group, medians: list[dict[str, Any]]) -> str:
    shares = [b["share_of_limit"] for b in medians]
    mean = math.exp(statistics.fmean(map(math.log, shares)))
    goal = "–" if group.goal is None else f"≥ {group.goal:.0%}: {'yes' if mean >= group.goal else 'NO'}"
    flops = statistics.median(b["flops"] for b in medians) / 1e9
    gbytes = statistics.median(b["bytes"] for b in medians) / 1e9
    return (
        f"| {group.title} | {len(shares)} | {mean:.0%} | {min(shares):.0%} | {max(shares):.0%} | {goal} "
        f"| {flops:.0f} | {gbytes:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="a CMake build folder with SPARSE_ENGINE_BUILD_BENCH=ON")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        "| benchmarks | number | share of the limit | least | most | goal | GFLOP/s | GB/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for group in GROUPS:
        lines.append(row(group, run(options.build, group, options.repetitions)))
        print(lines[-1], flush=True)
    if options.markdown:
        about = " ".join(__doc__.split("\n\n")[-1].split())
        head = [
            "# Shares of the physical limit",
            "",
            f"Written by `python bench/limits.py {' '.join(sys.argv[1:])}`. {describe()}",
        ]
        more = ["Geometric means over the benchmarks of a group; GFLOP/s (stored weights only) and GB/s are medians."]
        options.markdown.write_text("\n".join([*head, "", about, *more, "", *lines]) + "\n")


if __name__ == "__main__":
    main()
