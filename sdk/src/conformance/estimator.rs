//! The promises of a fitness estimator.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Check, Stop,
    bench::{Bench, Folder, broken, damaged},
    fixtures,
};
use crate::{
    error::{ErrorKind, Result as ComponentResult},
    estimator::{Estimator, Outcome, TrainPlan, TrainReport},
    objective::{COMPUTED, LATENCY},
    seed::Seed,
    space::{Genome, Region, SearchSpace},
};

/// How many networks are measured.
const NETWORKS: usize = 6;

const SEED: Seed = Seed(3);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "says-what-it-measures",
        tried: "ask for its objectives, twice",
        expected: "the same both times: one at least, with distinct names, none of them params or flops",
        run: says_what_it_measures,
    },
    Check {
        name: "one-answer-each",
        tried: "measure six networks",
        expected: "six answers, each with one number per objective or a reason",
        run: one_answer_each,
    },
    Check {
        name: "numbers-are-finite",
        tried: "measure six networks",
        expected: "finite numbers; a network without one is a failed candidate with its reason",
        run: numbers_are_finite,
    },
    Check { name: "empty-batch", tried: "measure no network", expected: "no answer and no error", run: empty_batch },
    Check {
        name: "same-seed-same-numbers",
        tried: "measure six networks twice, and with a second one of the same configuration",
        expected: "the same numbers",
        run: same_numbers,
    },
    Check {
        name: "batch-does-not-matter",
        tried: "measure six networks together, in the opposite order, and one by one",
        expected: "the same numbers",
        run: batch_does_not_matter,
    },
    Check {
        name: "failed-candidate-is-data",
        tried: "measure genomes that are not of the space, among six that are",
        expected: "a reason for each that is not, the same numbers as ever for the others",
        run: failed_candidate_is_data,
    },
    Check {
        name: "same-seed-same-training",
        tried: "train two of the same configuration in the whole region and in that of one network",
        expected: "the same numbers afterwards",
        run: same_training,
    },
    Check {
        name: "says-when-weights-change",
        tried: "measure, train, measure again",
        expected: "other numbers only if the training reports that weights changed",
        run: says_when_weights_change,
    },
    Check {
        name: "loaded-goes-on",
        tried: "train, save, load into a new one, then measure and train on with both",
        expected: "the same numbers from both",
        run: loaded_goes_on,
    },
    Check {
        name: "damaged-state-refused",
        tried: "load states of which each file in turn is empty, overwritten, or all are gone",
        expected: "an error, or the numbers of the whole state",
        run: damaged_state_refused,
    },
    Check {
        name: "stops-when-asked",
        tried: "measure and train while the host says that the user wants to stop, then measure",
        expected: "answers or a cancellation, and the numbers from before after a cancellation",
        run: stops_when_asked,
    },
];

/// An estimator and the networks that it measures.
struct Subject {
    space: Arc<dyn SearchSpace>,
    estimator: Box<dyn Estimator>,
    genomes: Vec<Genome>,
    /// Which of its numbers is a time that passed, which is never the same twice.
    time: Option<usize>,
}

impl Subject {
    fn new(bench: &Bench<'_>) -> Result<Self, Stop> {
        let space = bench.first_space();
        let estimator = bench.estimator(&bench.config(), &space)?;
        let (region, mut generator) = (Region::complete(space.network()), Seed(2).generator());
        let mut genomes = BTreeSet::new();
        for _ in 0..50 * NETWORKS {
            if genomes.len() < NETWORKS {
                genomes.insert(region.sample(&mut generator));
            }
        }
        let time = estimator.objectives().iter().position(|one| one.name == LATENCY);
        Ok(Subject { space, estimator, genomes: genomes.into_iter().collect(), time })
    }

    fn measure(&mut self) -> ComponentResult<Vec<Outcome>> {
        self.evaluate(&self.genomes.clone())
    }

    /// What it says of networks; of a time that passed, that it passed.
    fn evaluate(&mut self, genomes: &[Genome]) -> ComponentResult<Vec<Outcome>> {
        let mut outcomes = self.estimator.evaluate(genomes, SEED)?;
        for numbers in outcomes.iter_mut().flatten() {
            let time = self.time.and_then(|time| numbers.get_mut(time));
            if let Some(time) = time.filter(|time| time.is_finite() && **time > 0.0) {
                *time = 1.0;
            }
        }
        Ok(outcomes)
    }

    fn train(&mut self, bench: &Bench<'_>, stage: u32, seed: Seed) -> ComponentResult<TrainReport> {
        let region = match stage {
            0 => Region::complete(self.space.network()),
            _ => Region::union_of(&self.genomes[..1]).expect("there is a genome"),
        };
        let notes = serde_json::Value::Null;
        self.estimator.train(&TrainPlan { region, epochs: bench.epochs(), stage, notes }, seed)
    }
}

/// Ends a check where two measurements of the same networks differ. NaN equals itself here.
fn expect_equal(what: &str, genomes: &[Genome], expected: &[Outcome], found: &[Outcome]) -> Result<(), Stop> {
    let is_same = |one: &Outcome, other: &Outcome| match (one, other) {
        (Ok(one), Ok(other)) => one.iter().map(|value| value.to_bits()).eq(other.iter().map(|value| value.to_bits())),
        (one, other) => one == other,
    };
    for ((genome, expected), found) in genomes.iter().zip(expected).zip(found) {
        if !is_same(expected, found) {
            return broken(format!("for {genome} {expected:?}, {what} {found:?}"));
        }
    }
    Ok(())
}

fn says_what_it_measures(bench: &Bench<'_>) -> Result<(), Stop> {
    let subject = Subject::new(bench)?;
    let measured = subject.estimator.objectives();
    let names: BTreeSet<&str> = measured.iter().map(|one| one.name.as_str()).collect();
    let is_taken = names.iter().any(|name| COMPUTED.contains(name) || name.is_empty());
    let second = bench.estimator(&bench.config(), &subject.space)?.objectives();
    if names.is_empty() || names.len() != measured.len() || is_taken || second != measured {
        return broken(format!("{:?}, then {:?}", measured, second));
    }
    Ok(())
}

fn one_answer_each(bench: &Bench<'_>) -> Result<(), Stop> {
    // The numbers are counted where the answer crosses.
    let mut subject = Subject::new(bench)?;
    match subject.measure()?.iter().flatten().next() {
        Some(_) => Ok(()),
        None => broken("a reason for each, and no number for any"),
    }
}

fn numbers_are_finite(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    for (outcome, genome) in subject.measure()?.iter().zip(&subject.genomes) {
        if let Ok(numbers) = outcome
            && numbers.iter().any(|number| !number.is_finite())
        {
            return broken(format!("{numbers:?} for {genome}"));
        }
    }
    Ok(())
}

fn empty_batch(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    Ok(subject.estimator.evaluate(&[], SEED).map(|_| ())?)
}

fn same_numbers(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    let first = subject.measure()?;
    let again = subject.measure()?;
    expect_equal("the second time", &subject.genomes, &first, &again)?;
    let second = Subject::new(bench)?.measure()?;
    expect_equal("from a second one", &subject.genomes, &first, &second)
}

fn batch_does_not_matter(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    let together = subject.measure()?;
    let backwards: Vec<Genome> = subject.genomes.iter().rev().cloned().collect();
    let mut found = subject.evaluate(&backwards)?;
    found.reverse();
    expect_equal("in the other order", &subject.genomes, &together, &found)?;
    for (index, genome) in subject.genomes.clone().iter().enumerate() {
        let alone = subject.evaluate(std::slice::from_ref(genome))?;
        expect_equal("alone", std::slice::from_ref(genome), &together[index..=index], &alone)?;
    }
    Ok(())
}

fn failed_candidate_is_data(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    let expected = subject.measure()?;
    let foreign = fixtures::foreign_genomes(subject.space.as_ref());
    let mut genomes = subject.genomes.clone();
    genomes.extend(foreign.iter().map(|(_, genome)| genome.clone()));
    let outcomes = subject.evaluate(&genomes)?;
    let (of_space, others) = outcomes.split_at(expected.len());
    for ((what, _), outcome) in foreign.iter().zip(others) {
        if let Ok(numbers) = outcome {
            return broken(format!("{what}: {numbers:?}"));
        }
    }
    expect_equal("among others", &subject.genomes, &expected, of_space)
}

fn same_training(bench: &Bench<'_>) -> Result<(), Stop> {
    let numbers = || -> Result<_, Stop> {
        let mut subject = Subject::new(bench)?;
        subject.train(bench, 0, SEED)?;
        subject.train(bench, 1, SEED)?;
        let outcomes = subject.measure()?;
        Ok((subject.genomes, outcomes))
    };
    let (genomes, first) = numbers()?;
    expect_equal("from a second one", &genomes, &first, &numbers()?.1)
}

fn says_when_weights_change(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    let before = subject.measure()?;
    let report = subject.train(bench, 0, SEED)?;
    let after = subject.measure()?;
    if report.weights_changed {
        return Ok(());
    }
    expect_equal("after a training that reported no change", &subject.genomes, &before, &after)
}

fn loaded_goes_on(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut first = Subject::new(bench)?;
    first.train(bench, 0, SEED)?;
    let folder = Folder::new()?;
    first.estimator.save(folder.path())?;
    let mut second = Subject::new(bench)?;
    second.estimator.load(folder.path())?;
    let genomes = first.genomes.clone();
    expect_equal("after loading", &genomes, &first.measure()?, &second.measure()?)?;
    first.train(bench, 1, Seed(4))?;
    second.train(bench, 1, Seed(4))?;
    expect_equal("after loading and training on", &genomes, &first.measure()?, &second.measure()?)
}

fn damaged_state_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    subject.train(bench, 0, SEED)?;
    let expected = subject.measure()?;
    let damaged = damaged(|folder| subject.estimator.save(folder))?;
    if damaged.is_empty() {
        return Err(Stop::NotTried("it saves nothing".to_owned()));
    }
    for (what, folder) in damaged {
        let mut second = Subject::new(bench)?;
        match second.estimator.load(folder.path()) {
            Ok(()) => {
                let found = second.measure()?;
                expect_equal(&format!("with {what}"), &subject.genomes, &expected, &found)?;
            }
            Err(error) if error.kind == ErrorKind::Panicked => return broken(format!("with {what}: {error}")),
            Err(_) => {}
        }
    }
    Ok(())
}

fn stops_when_asked(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut subject = Subject::new(bench)?;
    subject.train(bench, 0, SEED)?;
    let before = subject.measure()?;
    (bench.cancel)(true);
    let measured = subject.measure().map(|_| ());
    let trained = subject.train(bench, 0, Seed(4)).map(|_| ());
    (bench.cancel)(false);
    let has_trained = trained.is_ok();
    for outcome in [measured, trained] {
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Cancelled => {}
            Err(error) => return broken(error.to_string()),
        }
    }
    let after = subject.measure()?;
    if has_trained { Ok(()) } else { expect_equal("after a cancellation", &subject.genomes, &before, &after) }
}
