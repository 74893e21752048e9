//! The promises of a variation operator.

use std::sync::Arc;

use super::{
    Check, Stop,
    bench::{Bench, broken, from_threads},
};
use crate::{
    error::Result as ComponentResult,
    operator::Operator,
    seed::Seed,
    space::{Genome, Region, SearchSpace},
};

/// How many children are made in each space.
const CHILDREN: u64 = 120;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "takes-parents",
        tried: "ask how many parents it takes",
        expected: "1 to 16, the same number from every one that is built",
        run: takes_parents,
    },
    Check {
        name: "child-inside-the-region",
        tried: "children in whole, narrow and single-network regions of each space, of parents inside and outside",
        expected: "every child lies in its region",
        run: child_inside,
    },
    Check {
        name: "same-seed-same-child",
        tried: "make each child again, and with a second one of the same configuration",
        expected: "the same children",
        run: same_child,
    },
    Check {
        name: "no-memory",
        tried: "make children in the opposite order",
        expected: "the same children",
        run: no_memory,
    },
    Check {
        name: "many-threads",
        tried: "make children from four threads at once",
        expected: "the children that one thread gets",
        run: many_threads,
    },
];

/// What a child is made from.
struct Question {
    parents: Vec<Genome>,
    region: Region,
    seed: Seed,
}

impl Question {
    fn ask(&self, operator: &dyn Operator) -> ComponentResult<Genome> {
        operator.vary(&self.parents, &self.region, self.seed)
    }
}

/// Regions of every width with parents inside and outside of them.
fn questions(space: &dyn SearchSpace, arity: usize) -> Vec<Question> {
    let network = space.network();
    let full = Region::full(network);
    let question = |number: u64| {
        let mut generator = Seed(2).derive("question", number).generator();
        let region = match number % 4 {
            0 => full.clone(),
            1 => Region::complete(network),
            // Two networks and what lies between, or one alone.
            kind => {
                let some: Vec<Genome> = (kind..4).map(|_| full.sample(&mut generator)).collect();
                Region::union_of(&some).expect("there is a genome")
            }
        };
        let from = if number % 8 < 4 { &region } else { &full };
        let parents = (0..arity).map(|_| from.sample(&mut generator)).collect();
        Question { parents, region, seed: Seed(number) }
    };
    (0..CHILDREN).map(question).collect()
}

/// Every space with an operator over it and what it is asked.
fn each_space(
    bench: &Bench<'_>,
    mut look: impl FnMut(&Arc<dyn SearchSpace>, &dyn Operator, &[Question]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    for space in bench.spaces() {
        let operator = bench.operator(&bench.config(), &space)?;
        let questions = questions(space.as_ref(), operator.arity());
        look(&space, operator.as_ref(), &questions)?;
    }
    Ok(())
}

fn takes_parents(bench: &Bench<'_>) -> Result<(), Stop> {
    let mut arities = Vec::new();
    for space in bench.spaces().iter().chain(&bench.spaces()) {
        arities.push(bench.operator(&bench.config(), space)?.arity());
    }
    match arities[0] {
        first @ 1..=16 if arities.iter().all(|arity| *arity == first) => Ok(()),
        _ => broken(format!("{arities:?}")),
    }
}

fn child_inside(bench: &Bench<'_>) -> Result<(), Stop> {
    each_space(bench, |space, operator, questions| {
        for question in questions {
            let child = question.ask(operator)?;
            if !question.region.contains(&child) {
                let Question { parents, region, seed } = question;
                let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
                return broken(format!(
                    "in the space `{}` the child {child} of {} with seed {}, outside of the region {:?}",
                    space.network().description().name,
                    parents.join(" and "),
                    seed.0,
                    region.slots()
                ));
            }
        }
        Ok(())
    })
}

fn same_child(bench: &Bench<'_>) -> Result<(), Stop> {
    each_space(bench, |space, operator, questions| {
        let second = bench.operator(&bench.config(), space)?;
        for question in questions {
            let child = question.ask(operator)?;
            for (again, who) in [(question.ask(operator)?, "again"), (question.ask(second.as_ref())?, "a second one")] {
                if again != child {
                    return broken(format!("with seed {} {child}, then ({who}) {again}", question.seed.0));
                }
            }
        }
        Ok(())
    })
}

fn no_memory(bench: &Bench<'_>) -> Result<(), Stop> {
    each_space(bench, |_, operator, questions| {
        let forth: Vec<Genome> = questions.iter().map(|question| question.ask(operator)).collect::<Result<_, _>>()?;
        for (question, expected) in questions.iter().zip(&forth).rev() {
            let child = question.ask(operator)?;
            if child != *expected {
                return broken(format!("with seed {} {expected}, in the other order {child}", question.seed.0));
            }
        }
        Ok(())
    })
}

fn many_threads(bench: &Bench<'_>) -> Result<(), Stop> {
    each_space(bench, |_, operator, questions| {
        let all = || questions.iter().map(|question| question.ask(operator)).collect::<ComponentResult<Vec<_>>>();
        let expected = all()?;
        if from_threads(all)?.iter().any(|children| *children != expected) {
            return broken("other children");
        }
        Ok(())
    })
}
