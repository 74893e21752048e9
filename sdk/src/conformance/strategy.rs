//! The promises of a search strategy.

use std::{path::Path, sync::Arc};

use super::{
    Check, Stop,
    bench::{Bench, Folder, broken, damaged},
    fixtures,
};
use crate::{
    error::{ErrorKind, Result as ComponentResult},
    objective::Objectives,
    operator::WeightedOperator,
    seed::Seed,
    space::{Genome, SearchSpace},
    strategy::{Evaluation, Step, Strategy},
};

/// How many steps of a search are looked at.
const STEPS: u64 = 60;

/// How many steps with a checkpoint before each.
const SAVED_STEPS: u64 = 25;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "steps-are-of-the-space",
        tried: "60 steps of a search of each space",
        expected: "genomes and regions of the space, a finite number of epochs",
        run: steps_are_of_the_space,
    },
    Check {
        name: "same-seed-same-steps",
        tried: "60 steps twice with the same seed",
        expected: "the same steps",
        run: same_steps,
    },
    Check {
        name: "loaded-goes-on",
        tried: "save before each of 25 steps, and go on with a new one that loads it",
        expected: "the steps of a search that goes through",
        run: loaded_goes_on,
    },
    Check {
        name: "damaged-state-refused",
        tried: "load states of which each file in turn is empty, overwritten, or all are gone",
        expected: "an error, or the next step of the whole state",
        run: damaged_state_refused,
    },
    Check {
        name: "foreign-state-refused",
        tried: "load the state of a search of another space, and go on",
        expected: "an error, or steps in the own space",
        run: foreign_state_refused,
    },
    Check {
        name: "failed-candidates",
        tried: "60 steps in which every third candidate cannot be evaluated, and 60 in which none can",
        expected: "the search goes on or ends, without an error",
        run: failed_candidates,
    },
    Check {
        name: "equal-candidates",
        tried: "60 steps in which all networks are equally good",
        expected: "the search goes on or ends, without an error",
        run: equal_candidates,
    },
    Check {
        name: "fewer-operators",
        tried: "search with a mutation alone, with a crossover alone, and with no operator",
        expected: "60 steps without an error, or a configuration error when it is built",
        run: fewer_operators,
    },
    Check {
        name: "several-objectives",
        tried: "search with one objective, with two, and with two and a limit",
        expected: "60 steps without an error, or a configuration error when it is built; one of them searches",
        run: several_objectives,
    },
    Check {
        name: "space-of-one-network",
        tried: "search a space in which each slot has one choice",
        expected: "60 steps without an error, or a configuration error when it is built",
        run: space_of_one_network,
    },
];

/// How a candidate with this number fares.
type Judge = fn(&Objectives, &dyn SearchSpace, &Genome, u64) -> Result<Vec<f64>, String>;

/// A search under way.
struct Drive<'a> {
    space: &'a dyn SearchSpace,
    objectives: Objectives,
    judge: Judge,
    number: u64,
    candidates: u64,
}

impl<'a> Drive<'a> {
    fn new(space: &'a dyn SearchSpace, objectives: Objectives, judge: Judge) -> Self {
        Drive { space, objectives, judge, number: 0, candidates: 0 }
    }

    /// Asks for a step, looks at it, and answers it as a host would.
    fn turn(&mut self, strategy: &mut dyn Strategy) -> Result<Step, Stop> {
        let step = strategy.next(Seed(5).derive("strategy", self.number))?;
        self.number += 1;
        let network = self.space.network();
        match &step {
            Step::Train(plan) => {
                if let Err(error) = plan.region.validate(network) {
                    return broken(error.to_string());
                }
                if !(plan.epochs >= 0.0 && plan.epochs.is_finite()) {
                    return broken(format!("{} epochs", plan.epochs));
                }
            }
            Step::Evaluate(batch) => {
                let mut evaluations = Vec::new();
                for candidate in &batch.candidates {
                    if let Err(error) = network.validate(&candidate.genome) {
                        return broken(error.to_string());
                    }
                    let outcome = (self.judge)(&self.objectives, self.space, &candidate.genome, self.candidates);
                    evaluations.push(Evaluation { genome: candidate.genome.clone(), outcome });
                    self.candidates += 1;
                }
                strategy.tell(&evaluations)?;
            }
            Step::Finished(_) => {}
        }
        Ok(step)
    }

    fn go(&mut self, strategy: &mut dyn Strategy, steps: u64) -> Result<Vec<Step>, Stop> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < steps && !matches!(taken.last(), Some(Step::Finished(_))) {
            taken.push(self.turn(strategy)?);
        }
        Ok(taken)
    }
}

/// Numbers that follow from the network alone, the same for equal networks.
fn well(objectives: &Objectives, space: &dyn SearchSpace, genome: &Genome, _: u64) -> Result<Vec<f64>, String> {
    let canonical = space.canonical(genome).map_err(|error| error.to_string())?;
    let cost = space.network().cost(genome);
    let drawn = |name: &str| Seed(9).derive(name, 0).derive(&canonical.to_string(), 0).0 as f64 / u64::MAX as f64;
    let value = |objective: &crate::Objective| objective.computed(cost).unwrap_or_else(|| drawn(&objective.name));
    Ok(objectives.0.iter().map(value).collect())
}

fn every_third_fails(
    objectives: &Objectives,
    space: &dyn SearchSpace,
    genome: &Genome,
    number: u64,
) -> Result<Vec<f64>, String> {
    if number.is_multiple_of(3) { Err("it failed".to_owned()) } else { well(objectives, space, genome, number) }
}

fn all_fail(_: &Objectives, _: &dyn SearchSpace, _: &Genome, _: u64) -> Result<Vec<f64>, String> {
    Err("it failed".to_owned())
}

fn all_equal(objectives: &Objectives, _: &dyn SearchSpace, _: &Genome, _: u64) -> Result<Vec<f64>, String> {
    Ok(vec![0.5; objectives.0.len()])
}

fn search(bench: &Bench<'_>, space: &Arc<dyn SearchSpace>, judge: Judge, steps: u64) -> Result<Vec<Step>, Stop> {
    let (mut strategy, objectives) = bench.strategy(&bench.config(), space)?;
    Drive::new(space.as_ref(), objectives, judge).go(strategy.as_mut(), steps)
}

fn steps_are_of_the_space(bench: &Bench<'_>) -> Result<(), Stop> {
    for space in bench.spaces() {
        search(bench, &space, well, STEPS)?;
    }
    Ok(())
}

fn same_steps(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    let (first, second) = (search(bench, &space, well, STEPS)?, search(bench, &space, well, STEPS)?);
    expect_equal(&first, &second, "the second time")
}

fn expect_equal(expected: &[Step], found: &[Step], when: &str) -> Result<(), Stop> {
    let differ = expected.iter().zip(found).position(|(one, other)| one != other);
    let shown = |step: Option<&Step>| {
        let text = step.map_or("no step".to_owned(), |step| format!("{step:?}"));
        if text.chars().count() > 200 { text.chars().take(200).collect::<String>() + " ..." } else { text }
    };
    match differ.or_else(|| (expected.len() != found.len()).then(|| expected.len().min(found.len()))) {
        None => Ok(()),
        Some(step) => {
            broken(format!("step {step} is {}, {when} {}", shown(expected.get(step)), shown(found.get(step))))
        }
    }
}

fn loaded_goes_on(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    let whole = search(bench, &space, well, SAVED_STEPS)?;
    let (mut strategy, objectives) = bench.strategy(&bench.config(), &space)?;
    let mut drive = Drive::new(space.as_ref(), objectives, well);
    let mut steps = Vec::new();
    for _ in &whole {
        let folder = Folder::new()?;
        strategy.save(folder.path())?;
        strategy = bench.strategy(&bench.config(), &space)?.0;
        strategy.load(folder.path())?;
        steps.push(drive.turn(strategy.as_mut())?);
    }
    expect_equal(&whole, &steps, "with loading in between")
}

/// A strategy after a few steps, and how it got there.
fn under_way<'a>(bench: &Bench<'_>, space: &'a Arc<dyn SearchSpace>) -> Result<(Box<dyn Strategy>, Drive<'a>), Stop> {
    let (mut strategy, objectives) = bench.strategy(&bench.config(), space)?;
    let mut drive = Drive::new(space.as_ref(), objectives, well);
    drive.go(strategy.as_mut(), 3)?;
    Ok((strategy, drive))
}

fn damaged_state_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    let (strategy, _) = under_way(bench, &space)?;
    let damaged = damaged(|folder: &Path| -> ComponentResult<()> { strategy.save(folder) })?;
    let (mut strategy, mut drive) = under_way(bench, &space)?;
    let expected = drive.turn(strategy.as_mut())?;
    for (what, folder) in damaged {
        let (_, mut drive) = under_way(bench, &space)?;
        let mut second = bench.strategy(&bench.config(), &space)?.0;
        match second.load(folder.path()) {
            Ok(()) => {
                let found = drive.turn(second.as_mut())?;
                expect_equal(std::slice::from_ref(&expected), &[found], &format!("with {what}"))?;
            }
            Err(error) if error.kind == ErrorKind::Panicked => return broken(format!("with {what}: {error}")),
            Err(_) => {}
        }
    }
    Ok(())
}

fn foreign_state_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let spaces = bench.spaces();
    let [own, other, ..] = &spaces[..] else {
        return Err(Stop::NotTried("one space was given".to_owned()));
    };
    let (strategy, _) = under_way(bench, other)?;
    let folder = Folder::new()?;
    strategy.save(folder.path())?;
    let (mut strategy, objectives) = bench.strategy(&bench.config(), own)?;
    match strategy.load(folder.path()) {
        Ok(()) => Drive::new(own.as_ref(), objectives, well).go(strategy.as_mut(), STEPS).map(|_| ()),
        Err(error) if error.kind == ErrorKind::Panicked => broken(error.to_string()),
        Err(_) => Ok(()),
    }
}

fn failed_candidates(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    search(bench, &space, every_third_fails, STEPS)?;
    search(bench, &space, all_fail, STEPS).map(|_| ())
}

fn equal_candidates(bench: &Bench<'_>) -> Result<(), Stop> {
    search(bench, &bench.first_space(), all_equal, STEPS).map(|_| ())
}

/// Whether it searches; a refusal of the configuration is none.
fn searches(
    bench: &Bench<'_>,
    space: &Arc<dyn SearchSpace>,
    operators: Vec<WeightedOperator>,
    objectives: &Objectives,
) -> Result<bool, Stop> {
    match bench.strategy_for(&bench.config(), space, operators, objectives.clone()) {
        Ok(mut strategy) => {
            Drive::new(space.as_ref(), objectives.clone(), well).go(strategy.as_mut(), STEPS)?;
            Ok(true)
        }
        Err(error) if error.kind == ErrorKind::Config => Ok(false),
        Err(error) => broken(error.to_string()),
    }
}

fn fewer_operators(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    let (_, objectives) = bench.strategy(&bench.config(), &space)?;
    let all = fixtures::operators();
    for operators in [vec![all[0].clone()], vec![all[1].clone()], Vec::new()] {
        searches(bench, &space, operators, &objectives)?;
    }
    Ok(())
}

fn several_objectives(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = bench.first_space();
    let (_, most) = space.network().cost_range(&crate::Region::complete(space.network()));
    let mut limited = fixtures::accuracy_and_params();
    limited.0.push(crate::Objective {
        name: "flops".to_owned(),
        goal: None,
        at_most: Some(most.flops as f64),
        at_least: None,
    });
    let mut wanted = vec![fixtures::accuracy(), fixtures::accuracy_and_params(), limited];
    wanted.extend(bench.surroundings.objectives.clone());
    let mut does_search = false;
    for objectives in wanted {
        does_search |= searches(bench, &space, bench.operators(), &objectives)?;
    }
    if does_search { Ok(()) } else { broken("a configuration error for all of them") }
}

fn space_of_one_network(bench: &Bench<'_>) -> Result<(), Stop> {
    let objectives = bench.strategy(&bench.config(), &bench.first_space())?.1;
    let space = fixtures::single();
    // A limit of a run file speaks of another space.
    let objectives = match bench.surroundings.objectives {
        Some(_) => fixtures::accuracy(),
        None => objectives,
    };
    searches(bench, &space, bench.operators(), &objectives).map(|_| ())
}
