//! What workers are asked for together: its parts, how far each is, and how often it was tried.

use std::collections::VecDeque;

use pleach_sdk::{Genome, Seed};

use super::{
    Death,
    protocol::{Answer, Call},
};

/// What all workers together are to do.
pub(super) enum Job {
    /// Nothing but to be there.
    Start,
    /// One call for one worker, and what it is called.
    Call { call: Call, operation: &'static str },
    /// Networks to measure, each a part that any worker can do, alone or with its neighbours.
    Candidates { genomes: Vec<Genome>, seed: Seed },
}

impl Job {
    /// How many parts it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Job::Start => 0,
            Job::Call { .. } => 1,
            Job::Candidates { genomes, .. } => genomes.len(),
        }
    }

    pub(super) fn is_candidates(&self) -> bool {
        matches!(self, Job::Candidates { .. })
    }

    /// Whether it is given up when the user wants to stop: a state is saved also then, above all then.
    pub(super) fn may_be_stopped(&self) -> bool {
        matches!(self, Job::Candidates { .. } | Job::Call { call: Call::Train { .. }, .. })
    }

    /// What asks a worker for some parts of it.
    pub(super) fn request(&self, parts: &[usize]) -> Option<Call> {
        match self {
            Job::Start => None,
            Job::Call { call, .. } => Some(call.clone()),
            Job::Candidates { genomes, seed } => {
                let genomes = parts.iter().map(|part| genomes[*part].clone()).collect();
                Some(Call::Evaluate { genomes, seed: *seed })
            }
        }
    }

    /// What some parts of it are called, and the network that they are about if it is one.
    pub(super) fn describe(&self, parts: &[usize]) -> (&'static str, Option<Genome>) {
        match (self, parts) {
            (Job::Start, _) => ("start", None),
            (Job::Call { operation, .. }, _) => (operation, None),
            (Job::Candidates { genomes, .. }, [part]) => ("evaluate", Some(genomes[*part].clone())),
            (Job::Candidates { .. }, _) => ("evaluate", None),
        }
    }
}

/// What came of a part of a job.
pub(super) enum Done {
    Answer(Answer),
    /// It has cost too many workers.
    GivenUp(String),
}

/// How often something was tried in vain.
#[derive(Clone, Copy, Default)]
pub(super) struct Tries {
    failed: u32,
    foreign: u32,
}

impl Tries {
    /// Notes one more, and says whether there may be another.
    pub(super) fn again(&mut self, death: &Death, retries: u32, foreign_ends: u32) -> bool {
        if death.is_foreign {
            self.foreign += 1;
        } else {
            self.failed += 1;
        }
        self.failed <= retries && self.foreign < foreign_ends
    }

    pub(super) fn count(self) -> u32 {
        self.failed + self.foreign
    }
}

pub(super) fn given_up(death: &Death, tries: Tries) -> String {
    let times = match tries.count() {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    };
    format!("the worker {}; tried {times}", death.reason)
}

/// How far a job is.
pub(super) struct Work {
    pub(super) waiting: VecDeque<usize>,
    pub(super) done: Vec<Option<Done>>,
    pub(super) tries: Vec<Tries>,
    /// Those that a worker was lost with beside others are asked for alone.
    pub(super) alone: Vec<bool>,
    pub(super) left: usize,
}

impl Work {
    pub(super) fn of(parts: usize) -> Self {
        Work {
            waiting: (0..parts).collect(),
            done: (0..parts).map(|_| None).collect(),
            tries: vec![Tries::default(); parts],
            alone: vec![false; parts],
            left: parts,
        }
    }

    pub(super) fn is_done(&mut self, part: usize, done: Done) {
        self.done[part] = Some(done);
        self.left -= 1;
    }
}
