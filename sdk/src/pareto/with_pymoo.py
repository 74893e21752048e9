"""Writes what pymoo makes of random points: fronts, crowding, survivors, hypervolume.

usage: python3 -m venv VENV && VENV/bin/pip install pymoo==0.6.2
       VENV/bin/python sdk/src/pareto/with_pymoo.py > sdk/src/pareto/pymoo.json

Limits are one number for each point, its violation, as pymoo has them.
"""

import json
import sys

import numpy
from pymoo.algorithms.moo.nsga2 import RankAndCrowdingSurvival
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.problems import get_problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting


def survivors(costs, violations, count):
    problem = Problem(n_var=1, n_obj=costs.shape[1], n_ieq_constr=1)
    population = Population.new("F", costs, "G", violations[:, None], "X", numpy.arange(len(costs))[:, None])
    kept = RankAndCrowdingSurvival().do(problem, population, n_survive=count, random_state=numpy.random.default_rng(0))
    return sorted(int(one.X[0]) for one in kept)


def case(name, costs, violations, reference):
    feasible = violations <= 0
    sorted_fronts = NonDominatedSorting().do(costs[feasible]) if feasible.any() else []
    indices = numpy.flatnonzero(feasible)
    fronts = [sorted(int(indices[index]) for index in front) for front in sorted_fronts]
    crowding = get_crowding_function("cd")
    of_fronts = []
    for front in fronts:
        # pymoo divides by the number of objectives, Deb et al. do not.
        distances = crowding.do(costs[front]) * costs.shape[1]
        of_fronts.append([None if numpy.isinf(one) else float(one) for one in distances])
    return {
        "name": name,
        "costs": costs.tolist(),
        "violations": violations.tolist(),
        "fronts_inside_limits": fronts,
        "crowding": of_fronts,
        "survivors": survivors(costs, violations, len(costs) // 2),
        "reference": reference.tolist(),
        "hypervolume": float(HV(ref_point=reference)(costs[feasible])) if feasible.any() else 0.0,
    }


def main():
    generator = numpy.random.default_rng(20020402)
    cases = []
    for objectives, count in [(1, 12), (2, 40), (2, 41), (3, 40), (4, 24), (5, 16)]:
        costs = generator.random((count, objectives))
        violations = numpy.maximum(generator.normal(-0.5, 1, count), 0)
        reference = numpy.full(objectives, 0.9)
        cases.append(case(f"random {objectives}", costs, violations, reference))
    # Few levels: many equal costs, and equal points.
    costs = generator.integers(0, 6, (40, 2)).astype(float)
    cases.append(case("levels 2", costs, numpy.zeros(40), numpy.array([6.0, 5.0])))
    costs = generator.integers(0, 5, (40, 3)).astype(float)
    cases.append(case("levels 3", costs, numpy.zeros(40), numpy.array([5.0, 5.0, 5.0])))
    for name, variables in [("zdt1", 30), ("zdt3", 30), ("zdt6", 10), ("dtlz2", 10)]:
        problem = get_problem(name, n_var=variables)
        costs = problem.evaluate(generator.random((30, variables)) ** 4)
        cases.append(case(name, costs, numpy.zeros(30), costs.max(axis=0) * 1.1))
    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()


main()
