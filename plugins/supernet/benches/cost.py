"""How the cost of the SuperNet grows with depth, width, population and images.

usage: cost.py [--rounds N] [--quick] [--draw FILE.svg] RESULTS.json

Runs `cargo bench -p pleach-supernet --bench supernet` once for each point, one size varied at a time, and writes
times, peak memory and, for each line, the exponent that fits it best (1: in proportion; by least squares of
logarithms). `--draw` draws them with matplotlib.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

# What all points have, where they do not vary it. Few images and children: what grows can be seen.
BASE = {"layers": 8, "scale": 1.0, "children": 10, "images": 250}

SIZES = {
    "layers": [4, 8, 12, 16, 20],
    "scale": [0.5, 1.0, 1.5, 2.0],
    "children": [5, 10, 20, 40],
    "images": [125, 250, 500, 1000],
}

NAMES = {"layers": "layers", "scale": "factor on widths", "children": "children of a generation", "images": "images"}

# What is told of each point, and in what.
QUANTITIES = {
    "training": "a training step of 64 images, ms",
    "evaluation": "a generation measured, s",
    "memory": "peak of the process, MiB",
}


def point(sizes, rounds):
    """Runs the benchmark once."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "bench.json"
        options = {
            "layers": sizes["layers"],
            "scale": sizes["scale"],
            "children": sizes["children"],
            "evaluate": sizes["images"],
            "recalibrate": sizes["images"],
            "batch": 64,
            "steps": 2,
            "rounds": rounds,
            "json": file,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = ["cargo", "bench", "--quiet", "-p", "pleach-supernet", "--bench", "supernet", "--", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        values = json.loads(file.read_text())
    speed = values[f"training_{sizes['layers']}"]["images_per_second"]
    return {
        "training": 64e3 / speed,
        "evaluation": values["evaluation_together"],
        "memory": values["peak_memory"] / 2**20,
    }


def exponent(xs, ys):
    """The slope of a line through the logarithms, by least squares."""
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


def draw(results, file):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(len(QUANTITIES), len(SIZES), figsize=(12, 8), layout="constrained")
    for row, (quantity, label) in zip(rows, QUANTITIES.items()):
        for axes, (size, line) in zip(row, results.items()):
            xs, ys = line["at"], line[quantity]["values"]
            axes.plot(xs, ys, "o-", color="#2a6f97")
            axes.set_ylim(0, max(ys) * 1.15)
            axes.set_xlim(0, max(xs) * 1.05)
            axes.set_xlabel(NAMES[size])
            axes.set_title(f"exponent {line[quantity]['exponent']:.2f}", fontsize=9)
        row[0].set_ylabel(label)
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the first and the last of each line")
    parser.add_argument("--draw", type=pathlib.Path)
    options = parser.parse_args()
    results = {}
    for size, at in SIZES.items():
        at = [at[0], at[-1]] if options.quick else at
        points = []
        for value in at:
            points.append(point({**BASE, size: value}, options.rounds))
            told = ", ".join(f"{quantity} {points[-1][quantity]:.1f}" for quantity in QUANTITIES)
            print(f"{NAMES[size]} {value}: {told}", flush=True)
        results[size] = {"at": at}
        for quantity in QUANTITIES:
            values = [one[quantity] for one in points]
            results[size][quantity] = {"values": values, "exponent": exponent(at, values)}
            print(f"  {QUANTITIES[quantity]}: exponent {results[size][quantity]['exponent']:.2f}", flush=True)
    options.results.write_text(json.dumps(results, indent=2) + "\n")
    if options.draw:
        draw(results, options.draw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
