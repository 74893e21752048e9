//! Runs the networks of a population over a batch: what several of them compute is computed once,
//! and kept for the others as far as there is room.

use pleach_sdk::{Network, description::Meaning};
use tch::{Kind, TchError, Tensor};

use crate::{
    batch_norm::{Mode, Statistics},
    network::{Pass, Precision, combine, run, zeros},
    population::{Input, Member, Population},
    weights::Weights,
};

/// What batch norms normalise by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normal {
    /// The batch's own statistics.
    Batch,
    /// The batch's own statistics, which are recorded.
    Record,
    /// What was recorded.
    Recorded,
}

/// The networks of a population with shared weights.
///
/// The statistics of a layer depend on what comes before it alone, so networks that share that
/// share them too.
pub(crate) struct Shared<'a> {
    network: &'a Network,
    weights: &'a Weights,
    population: &'a Population,
    /// For each value those of its own batch norms.
    statistics: Vec<Statistics>,
    /// Batches recorded.
    recorded: u32,
    /// Bytes that may be kept for other networks.
    room: usize,
    how: How,
}

/// How networks are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) precision: Precision,
    pub(crate) own_kernels: bool,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(
        network: &'a Network,
        weights: &'a Weights,
        population: &'a Population,
        room: usize,
        how: How,
    ) -> Self {
        let statistics = population.values.iter().map(|_| Statistics::default()).collect();
        Shared { network, weights, population, statistics, recorded: 0, room, how }
    }

    /// Gives `each` the logits of every network that is wanted, by its index.
    pub(crate) fn pass<E>(
        &mut self,
        images: &Tensor,
        normal: Normal,
        wanted: &[bool],
        mut each: impl FnMut(usize, Result<Tensor, TchError>) -> Result<(), E>,
    ) -> Result<(), E> {
        if normal == Normal::Record {
            self.recorded += 1;
        }
        let mut kept = Kept::new(self.population.readers(wanted));
        let population = self.population;
        for (index, member) in population.members.iter().enumerate().filter(|(index, _)| wanted[*index]) {
            kept.begin(population, member);
            let result = match member.result {
                Input::Images => self.how.precision.narrow(images),
                Input::Value(value) => self.value(value, images, normal, &mut kept),
            };
            kept.finish(member, self.room);
            each(index, result.and_then(|result| result.f_flatten(1, -1)?.f_to_kind(Kind::Float)))?;
        }
        Ok(())
    }

    fn value(&mut self, index: usize, images: &Tensor, normal: Normal, kept: &mut Kept) -> Result<Tensor, TchError> {
        if let Some(result) = &kept.results[index] {
            return Ok(result.shallow_clone());
        }
        let value = &self.population.values[index];
        let mut inputs = Vec::with_capacity(value.inputs.len());
        for input in &value.inputs {
            inputs.push(match input {
                Input::Images => self.how.precision.narrow(images)?,
                Input::Value(read) => self.value(*read, images, normal, kept)?,
            });
        }
        let (node, operation) = value.of(self.network);
        let combined = || combine(node, &inputs.iter().collect::<Vec<_>>());
        let result = match operation.meaning {
            Meaning::Zero => zeros(&self.how.precision.narrow(images)?, node)?,
            Meaning::Identity | Meaning::Absent => combined()?,
            Meaning::Sequence => {
                let input = combined()?;
                inputs.clear();
                let (weights, How { precision, own_kernels }) = (self.weights, self.how);
                let layers = weights.of(value.node, value.candidate);
                let pass = Pass::from(self.mode(index, normal));
                let mut pass = pass.with_precision(precision).with_own_kernels(own_kernels);
                run(operation, weights, layers, input, &mut pass)?
            }
        };
        kept.put(index, &result, value.reads());
        Ok(result)
    }

    fn mode(&mut self, index: usize, normal: Normal) -> Mode<'_> {
        let statistics = &mut self.statistics[index];
        match normal {
            Normal::Recorded => Mode::Recorded(statistics),
            // What was computed for one network and not kept for the next is not recorded twice.
            Normal::Record if statistics.batches() < self.recorded => {
                statistics.begin_batch();
                Mode::Record(statistics)
            }
            Normal::Record | Normal::Batch => Mode::Batch,
        }
    }
}

/// Results of one batch that are still read.
struct Kept {
    results: Vec<Option<Tensor>>,
    /// How many operations and ends of networks have yet to read each value for the first time.
    waiting: Vec<u32>,
    /// Whether a value was computed before.
    computed: Vec<bool>,
    /// How many operations of the present network may yet read each value.
    needed: Vec<u32>,
    bytes: usize,
}

impl Kept {
    fn new(waiting: Vec<u32>) -> Self {
        let count = waiting.len();
        let results = std::iter::repeat_with(|| None).take(count).collect();
        Kept { results, waiting, computed: vec![false; count], needed: vec![0; count], bytes: 0 }
    }

    fn begin(&mut self, population: &Population, member: &Member) {
        for index in &member.path {
            population.values[*index].reads().for_each(|read| self.needed[read] += 1);
        }
    }

    /// Keeps a result, and lets go of what it was the last to read.
    fn put(&mut self, index: usize, result: &Tensor, reads: impl Iterator<Item = usize>) {
        let is_first = !std::mem::replace(&mut self.computed[index], true);
        for read in reads {
            self.waiting[read] -= u32::from(is_first);
            self.needed[read] = self.needed[read].saturating_sub(1);
            if self.waiting[read] == 0 && self.needed[read] == 0 {
                self.forget(read);
            }
        }
        self.bytes += size(result);
        self.results[index] = Some(result.shallow_clone());
    }

    /// After a network: keeps what others will read, as far as there is room. What begins a path
    /// goes first: after it has branched, the deeper branches come next.
    fn finish(&mut self, member: &Member, room: usize) {
        if let Input::Value(index) = member.result {
            self.waiting[index] = self.waiting[index].saturating_sub(1);
        }
        for index in &member.path {
            self.needed[*index] = 0;
            if self.waiting[*index] == 0 {
                self.forget(*index);
            }
        }
        for index in &member.path {
            if self.bytes > room {
                self.forget(*index);
            }
        }
    }

    fn forget(&mut self, index: usize) {
        if let Some(result) = self.results[index].take() {
            self.bytes -= size(&result);
        }
    }
}

/// Bytes of a result.
fn size(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}
