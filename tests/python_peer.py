"""Regularized evolution on the table of NAS-Bench-201 in Python: 500 evaluations, three ways.

    python tests/python_peer.py TABLE.csv.gz [REPETITIONS]

prints the median CPU seconds of a run of each, without imports and without loading the table, and
CPU seconds and megabytes of loading it. `tests/python_peer.sh` holds pleach beside it.
"""

import collections
import contextlib
import csv
import gzip
import io
import json
import logging
import random
import resource
import statistics
import sys
import time

import numpy as np
import pandas as pd
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
from syne_tune.blackbox_repository import UserBlackboxBackend
from syne_tune.blackbox_repository.blackbox_tabular import BlackboxTabular
from syne_tune.config_space import choice, randint
from syne_tune.optimizer.baselines import REA
from syne_tune.optimizer.schedulers.searchers.regularized_evolution import RegularizedEvolution

EVALUATIONS, POPULATION, SAMPLE = 500, 100, 25
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
EDGES = [f"edge{edge}" for edge in range(6)]
SPACE = {edge: choice(OPERATIONS) for edge in EDGES}


def load(path):
    """Accuracy and seconds of each cell."""
    table = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            cell = tuple(
                edge.split("~")[0] for node in row["arch"].split("+") for edge in node.strip("|").split("|")
            )
            epoch, validation = float(row["cifar10_train_seconds_per_epoch"]), float(row["cifar10_valid_seconds"])
            table[cell] = (float(row["cifar10_valid_12"]), 12 * epoch + validation)
    return table


def plain(table, seed):
    """A loop as one writes it in an afternoon."""
    generator = random.Random(seed)
    population, best = collections.deque(), 0.0
    for evaluation in range(EVALUATIONS):
        if len(population) < POPULATION:
            cell = tuple(generator.choice(OPERATIONS) for _ in EDGES)
        else:
            cell = list(max(generator.sample(list(population), SAMPLE))[1])
            edge = generator.randrange(len(EDGES))
            cell[edge] = generator.choice([one for one in OPERATIONS if one != cell[edge]])
            cell = tuple(cell)
        accuracy, _ = table[cell]
        best = max(best, accuracy)
        population.append((accuracy, cell))
        if len(population) > POPULATION:
            population.popleft()
    return best


def searcher(table, seed):
    """Syne Tune's searcher alone, asked and told."""
    evolution = RegularizedEvolution(SPACE, population_size=POPULATION, sample_size=SAMPLE, random_seed=seed)
    best = 0.0
    for trial in range(EVALUATIONS):
        config = evolution.suggest()
        accuracy, _ = table[tuple(config[edge] for edge in EDGES)]
        best = max(best, accuracy)
        evolution.on_trial_complete(trial, config, -accuracy)
    return best


def simulated(blackbox, seed):
    """Syne Tune as its users run it on a table: a tuner over the simulated backend."""
    scheduler = REA(
        SPACE, metric="accuracy", do_minimize=False, random_seed=seed, population_size=POPULATION, sample_size=SAMPLE
    )
    tuner = Tuner(
        trial_backend=UserBlackboxBackend(blackbox=blackbox, elapsed_time_attr="seconds"),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_finished=EVALUATIONS),
        n_workers=1,
        sleep_time=0,
        callbacks=[SimulatorCallback()],
        save_tuner=False,
        print_update_interval=1e9,
        results_update_interval=1e9,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        tuner.run()


def blackbox_of(table):
    cells = pd.DataFrame(list(table), columns=EDGES)
    values = np.array(list(table.values())).reshape(len(table), 1, 1, 2)
    fidelity = {"epochs": randint(1, 1)}
    return BlackboxTabular(cells, SPACE, fidelity, values, objectives_names=["accuracy", "seconds"])


def median_seconds(run, repetitions):
    times = []
    for seed in range(repetitions):
        started = time.process_time()
        run(seed)
        times.append(time.process_time() - started)
    return statistics.median(times)


def main():
    logging.disable(logging.CRITICAL)
    path, repetitions = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    table = load(path)
    loading = time.process_time() - started
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    blackbox = blackbox_of(table)
    print(json.dumps({
        "loading_seconds": loading,
        "loading_megabytes": megabytes,
        "plain_seconds": median_seconds(lambda seed: plain(table, seed), repetitions),
        "searcher_seconds": median_seconds(lambda seed: searcher(table, seed), repetitions),
        "simulated_seconds": median_seconds(lambda seed: simulated(blackbox, seed), repetitions),
    }))


if __name__ == "__main__":
    main()
