"""Writes plugins/tabular/tests/nats-tss-simple with nats_bench 1.8 (PyPI) and made-up numbers: what
the published folder looks like, and what the published code reads from it.

    python plugins/tabular/tests/write_nats_tss_simple.py plugins/tabular/tests/nats-tss-simple
"""

import collections
import csv
import random
import sys

import numpy
from nats_bench import pickle_save
from nats_bench.api_utils import ArchResults, ResultsCount

CELLS = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    7: "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|",
}
SETS = {
    "cifar10-valid": ["x-valid", "ori-test"],
    "cifar10": ["ori-test"],
    "cifar100": ["x-valid", "x-test", "ori-test"],
    "ImageNet16-120": ["x-valid", "x-test", "ori-test"],
}
COLUMNS = [
    ("cifar10_valid_12", "12", "cifar10-valid", "x-valid"),
    ("cifar100_valid_12", "12", "cifar100", "x-valid"),
    ("imagenet16_valid_12", "12", "ImageNet16-120", "x-valid"),
    ("cifar10_valid_200", "200", "cifar10-valid", "x-valid"),
    ("cifar100_valid_200", "200", "cifar100", "x-valid"),
    ("imagenet16_valid_200", "200", "ImageNet16-120", "x-valid"),
    ("cifar10_test_200", "200", "cifar10", "ori-test"),
    ("cifar100_test_200", "200", "cifar100", "x-test"),
    ("imagenet16_test_200", "200", "ImageNet16-120", "x-test"),
]


def training(data, epochs, seed, name, generator):
    curve = {epoch: generator.uniform(10, 90) for epoch in range(epochs)}
    config = {"channel": 16, "num_cells": 5, "arch_str": name, "class_num": 10}
    result = ResultsCount(data, None, curve, curve, 0.3, 40.1, config, seed, epochs, [0.01])
    result.update_train_info(curve, curve, curve, None)
    result.reset_pseudo_train_times(generator.uniform(5, 15))
    for one in SETS[data]:
        # Some of the published numbers are NumPy's.
        accuracies = {f"{one}@{epoch}": numpy.float64(generator.uniform(10, 90)) for epoch in range(epochs)}
        result.update_eval(accuracies, accuracies, {key: generator.uniform(1, 5) for key in accuracies})
    return result


def shorten(one):
    """Leaves out all but the last epochs of the long schedule, to keep the files small."""
    for curve in (one.eval_acc1es, one.eval_losses, one.eval_times):
        for key in [key for key in curve if int(key.split("@")[1]) < 198]:
            del curve[key]
    one.train_acc1es = one.train_acc5es = one.train_losses = {199: 99.0}
    one.train_times = collections.OrderedDict(list(one.train_times.items())[:3])


def main(folder):
    rows = []
    for index, name in CELLS.items():
        generator = random.Random(index)
        schedules = collections.OrderedDict()
        for epochs in (12, 200):
            results = ArchResults(index, name)
            for data in SETS:
                seeds = [777] if epochs == 12 else [777, 888]
                results.dataset_seed[data] = seeds
                for seed in seeds:
                    results.all_results[(data, seed)] = training(data, epochs, seed, name, generator)
            schedules[str(epochs)] = results
        short = schedules["12"].all_results[("cifar10-valid", 777)]
        row = [index, name, short.get_train()["cur_time"], short.get_eval("x-valid", 11)["cur_time"]]
        for _, epochs, data, one in COLUMNS:
            row.append(schedules[epochs].get_metrics(data, one, iepoch=int(epochs) - 1)["accuracy"])
        rows.append([value if isinstance(value, (int, str)) else repr(round(float(value), 5)) for value in row])
        for one in schedules["200"].all_results.values():
            shorten(one)
        pickle_save({key: value.state_dict() for key, value in schedules.items()}, f"{folder}/{index:06d}.pickle")
    pickle_save({"meta_archs": list(CELLS.values()), "evaluated_indexes": set(CELLS)}, f"{folder}/meta.pickle")
    with open(f"{folder}/expected.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "arch", "train", "validation"] + [column[0] for column in COLUMNS])
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1])
