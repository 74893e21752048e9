//! The networks of a population as one graph, in which what several of them compute is there once.
//! Pure: no tensor, no weights.

use std::collections::{BTreeMap, BTreeSet};

use pleach_sdk::{
    Genome, Network,
    description::Meaning,
    network::{ResolvedNode, ResolvedOperation, Source},
};

/// What an operation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    /// The images.
    Images,
    /// The result of another operation: its index among [`Population::values`].
    Value(usize),
}

/// An operation at its place, with all that comes before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) node: usize,
    pub(crate) candidate: usize,
    pub(crate) inputs: Vec<Input>,
}

impl Value {
    /// The node that it belongs to, and the operation.
    pub(crate) fn of<'a>(&self, network: &'a Network) -> (&'a ResolvedNode, &'a ResolvedOperation) {
        let node = &network.nodes()[self.node];
        (node, &node.candidates[self.candidate])
    }

    /// The values that it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Images => None,
            Input::Value(index) => Some(*index),
        })
    }
}

/// A network of the population.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The values that lead to its result, first to last.
    pub(crate) path: Vec<usize>,
    /// Its logits.
    pub(crate) result: Input,
}

/// The networks of several genomes.
pub(crate) struct Population {
    pub(crate) values: Vec<Value>,
    /// The different networks. Those with a common beginning stand together.
    pub(crate) members: Vec<Member>,
    /// For each genome the index of its network among the members.
    pub(crate) networks: Vec<usize>,
}

impl Population {
    /// The networks of genomes that are valid.
    pub(crate) fn new(network: &Network, genomes: &[&Genome]) -> Self {
        let mut values = BTreeMap::new();
        let results: Vec<Input> = genomes.iter().map(|genome| place(network, genome, &mut values)).collect();
        let mut ordered: Vec<(Value, usize)> = values.into_iter().collect();
        ordered.sort_by_key(|(_, index)| *index);
        let values: Vec<Value> = ordered.into_iter().map(|(value, _)| value).collect();
        let distinct: BTreeSet<Input> = results.iter().copied().collect();
        let mut members: Vec<Member> =
            distinct.into_iter().map(|result| Member { path: path(&values, result), result }).collect();
        members.sort();
        let position = |result: &Input| members.iter().position(|member| member.result == *result);
        let networks = results.iter().map(|result| position(result).expect("each result made a member")).collect();
        Population { values, members, networks }
    }

    /// How many operations read each value, and whether a network ends in it, of those networks
    /// that are wanted.
    pub(crate) fn readers(&self, wanted: &[bool]) -> Vec<u32> {
        let mut readers = vec![0; self.values.len()];
        let members = self.members.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(member, _)| member);
        let mut used = BTreeSet::new();
        for member in members {
            used.extend(&member.path);
            if let Input::Value(index) = member.result {
                readers[index] += 1;
            }
        }
        used.into_iter().flat_map(|index: usize| self.values[index].reads()).for_each(|read| readers[read] += 1);
        readers
    }
}

/// Adds the operations of one network and gives what its logits are.
fn place(network: &Network, genome: &Genome, values: &mut BTreeMap<Value, usize>) -> Input {
    let mut outputs: Vec<Input> = Vec::with_capacity(network.nodes().len());
    for (index, node) in network.nodes().iter().enumerate() {
        let candidate = node.chosen(genome);
        let of_source = |source: &Source| match source {
            Source::Image => Input::Images,
            Source::Node(index) => outputs[*index],
        };
        let inputs: Vec<Input> = node.inputs.iter().map(of_source).collect();
        let output = match (node.candidates[candidate].meaning, inputs.as_slice()) {
            (Meaning::Identity | Meaning::Absent, [only]) => *only,
            // Zeros do not depend on what comes before them.
            (Meaning::Zero, _) => number(values, Value { node: index, candidate, inputs: Vec::new() }),
            _ => number(values, Value { node: index, candidate, inputs }),
        };
        outputs.push(output);
    }
    outputs.last().copied().unwrap_or(Input::Images)
}

fn number(values: &mut BTreeMap<Value, usize>, value: Value) -> Input {
    let next = values.len();
    Input::Value(*values.entry(value).or_insert(next))
}

/// What a result needs, first to last.
fn path(values: &[Value], result: Input) -> Vec<usize> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<usize> = match result {
        Input::Images => Vec::new(),
        Input::Value(index) => vec![index],
    };
    while let Some(index) = open.pop() {
        if needed.insert((values[index].node, index)) {
            open.extend(values[index].reads());
        }
    }
    needed.into_iter().map(|(_, index)| index).collect()
}
