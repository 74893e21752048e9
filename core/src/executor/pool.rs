//! An estimator whose work is done by workers.
//!
//! A request has one candidate or several that are alike, and every request of a step has the step's
//! seed: by the contract of `Estimator::evaluate` the numbers do not depend on what else a worker was
//! asked. Answers are put in the order of the candidates. So the result does not depend on the number
//! of workers, nor on what each of them did, nor on which of them were lost.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use pleach_sdk::{Error, Estimator, Genome, Measured, Outcome, Result, Seed, TrainPlan, TrainReport};

use super::{
    foreman::Foreman,
    job::{Done, Job},
    protocol::{Answer, Call},
    states::{copy, make_anew},
};

/// An estimator whose work is done by workers.
pub(crate) struct Pool {
    measured: Vec<Measured>,
    foreman: Mutex<Foreman>,
}

impl Pool {
    /// The estimator that a foreman's workers have built.
    pub(super) fn of(foreman: Foreman) -> Self {
        Pool { measured: foreman.measured.clone().unwrap_or_default(), foreman: Mutex::new(foreman) }
    }

    fn foreman(&mut self) -> &mut Foreman {
        self.foreman.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Estimator for Pool {
    fn objectives(&self) -> Vec<Measured> {
        self.measured.clone()
    }

    fn evaluate(&mut self, genomes: &[Genome], seed: Seed) -> Result<Vec<Outcome>> {
        let objectives = self.measured.len();
        let foreman = self.foreman();
        // Those with a common beginning stand together, and go to the same worker.
        let mut order: Vec<usize> = (0..genomes.len()).collect();
        order.sort_by_key(|index| &genomes[*index]);
        let genomes = order.iter().map(|index| genomes[*index].clone()).collect();
        let answers = foreman.carry_out(&Job::Candidates { genomes, seed })?;
        let outcome = |done: Done| match done {
            Done::GivenUp(reason) => Ok(Err(reason)),
            Done::Answer(Answer::Evaluated(mut measured)) if measured.len() == 1 => {
                let outcome = measured.pop().map_or(Err("no answer".to_owned()), Outcome::from);
                match &outcome {
                    Ok(values) if values.len() != objectives => Err(foreman.broken("evaluate")),
                    _ => Ok(outcome),
                }
            }
            Done::Answer(_) => Err(foreman.broken("evaluate")),
        };
        let mut outcomes: Vec<(usize, Outcome)> =
            order.into_iter().zip(answers).map(|(index, done)| Ok((index, outcome(done)?))).collect::<Result<_>>()?;
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn train(&mut self, plan: &TrainPlan, seed: Seed) -> Result<TrainReport> {
        let foreman = self.foreman();
        let folder = foreman.folder_of(foreman.state + 1);
        match foreman.carry_out_one(Call::Train { plan: plan.clone(), seed, folder }, "train")? {
            Answer::Trained(report) => Ok(report),
            _ => Err(foreman.broken("train")),
        }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let mut foreman = self.foreman.lock().unwrap_or_else(PoisonError::into_inner);
        if foreman.state > 0 {
            return copy(&foreman.folder_of(foreman.state), folder);
        }
        let folder = std::path::absolute(folder)
            .map_err(|error| Error::failed(format!("{} is no folder: {error}", folder.display())))?;
        foreman.carry_out_one(Call::Save { folder }, "save").map(|_| ())
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let foreman = self.foreman();
        let own = foreman.folder_of(foreman.state + 1);
        make_anew(&own)?;
        copy(folder, &own)?;
        foreman.carry_out_one(Call::Load { folder: own }, "load").map(|_| ())
    }
}
