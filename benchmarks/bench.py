"""Compare the ratios of `peers.py`, measured quickly, with those stored for this kind of processor.

    python benchmarks/bench.py             # `make bench`
    python benchmarks/bench.py --store     # keep the ratios of this run for later comparisons

A kind of processor is named by the instructions and the precision that torch uses on it, such as `avx512-bf16`. A
stage is slower where all ratios of this run lie below all stored ones; the command then exits with 1. Further
options are those of `peers.py`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from peers import measured, parse_arguments

from oasis.command import run_script

STORED = Path(__file__).parent / "stored"
QUICK = [
    "--base",
    "8",
    "--size",
    "96",
    "96",
    "--batch",
    "16",
    "--events",
    "16",
    "--side",
    "512",
    "--threads",
    "1",
    "--repeats",
    "7",
]


def slower(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """Return the ratios that are lower than the stored ones beyond the spread of both, in words."""
    lines = []
    for stage, peers in found.items():
        for name, row in peers.items():
            before = stored.get(stage, {}).get(name, {})
            if "ratio" in before and row["ratio_high"] < before["ratio_low"]:
                now = f"{row['ratio']:.2f} x ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
                then = f"{before['ratio']:.2f} x ({before['ratio_low']:.2f}-{before['ratio_high']:.2f})"
                lines.append(f"{stage}, {name}: {now}, stored {then}")
    return lines


def main() -> int:
    """Measure and compare, or store; return 1 if something is slower than stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="store the ratios instead of comparing them")
    parser.add_argument("--folder", type=Path, default=STORED, help="of the stored ratios")
    arguments, rest = parser.parse_known_args()
    found = measured(parse_arguments([*QUICK, *rest]))
    path = arguments.folder / f"{found['instructions']}-{found['precision']}.json".lower()
    if arguments.store:
        arguments.folder.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n")
        print(f"stored in {path}")
        return 0
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("settings") != found["settings"]:
        print(f"not compared: {path} has no ratios with these settings; --store keeps them")
        return 0
    lines = slower(found["stages"], stored["stages"])
    print("\n".join(["slower than stored:", *lines] if lines else ["nothing is slower than stored"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(run_script(main))
