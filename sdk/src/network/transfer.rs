//! A network taken to another space: its operations by name, its widths to a target.

use super::{Cost, Network};
use crate::{
    description::{Description, Node, Slot},
    error::{Error, Result, unknown_name},
    space::Genome,
};

/// Channels are rounded to a multiple of this, as is usual since MobileNetV2 (Sandler et al. 2018).
const CHANNEL_DIVISOR: f64 = 8.0;

/// Widths are multiplied by at most this, and by at least its inverse.
const LARGEST_FACTOR: f64 = 16.0;

/// How often the interval of factors is halved: afterwards it is shorter than a channel of
/// thousands.
const HALVINGS: usize = 40;

/// What a network may cost after its widths were scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CostLimit {
    /// So many parameters.
    Params(f64),
    /// So many multiply-adds.
    Flops(f64),
}

impl CostLimit {
    fn holds(self, cost: Cost) -> bool {
        match self {
            CostLimit::Params(limit) => cost.params as f64 <= limit,
            CostLimit::Flops(limit) => cost.flops as f64 <= limit,
        }
    }
}

impl std::fmt::Display for CostLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CostLimit::Params(limit) => write!(formatter, "{:.3} million parameters", limit / 1e6),
            CostLimit::Flops(limit) => write!(formatter, "{:.3} million multiply-adds", limit / 1e6),
        }
    }
}

impl Network {
    /// The genome of another space that has the same operations, by name, in the same order.
    ///
    /// Where both spaces have Blocks, Block j of J takes its layers from Block floor(j I / J) of
    /// the I here, counted from 0: from 3 to 5 Blocks the first and the second stand twice. Layers
    /// that pass their input through are left out, and fill what remains of a deeper Block.
    /// Slots outside of Blocks take the choice of the slot of their name.
    ///
    /// # Errors
    ///
    /// A genome that is not of this space, an operation that the other space does not have where
    /// it is needed, a Block of it with too few layers, or a layer there that cannot be left out.
    pub fn transferred(&self, genome: &Genome, to: &Network) -> Result<Genome> {
        self.validate(genome)?;
        let (here, there) = (self.blocks(), to.blocks());
        let mut choices: Vec<Option<u16>> = vec![None; to.slots().len()];
        for (index, block) in there.iter().enumerate().filter(|_| !here.is_empty()) {
            let from = &here[index * here.len() / there.len()];
            let mut operations = from
                .slots
                .iter()
                .filter(|slot| !self.meaning(**slot, genome[**slot]).passes_through())
                .map(|slot| self.operation(*slot, genome[*slot]));
            for slot in &block.slots {
                choices[*slot] = Some(match operations.next() {
                    Some(operation) => to.choice_named(*slot, operation)?,
                    None => to.passing_choice(*slot)?,
                });
            }
            let left = operations.count();
            if left > 0 {
                return Err(Error::failed(format!(
                    "`{}` has {} layers that compute something, `{}` has room for {}: give it {left} more",
                    from.name,
                    block.slots.len() + left,
                    block.name,
                    block.slots.len(),
                )));
            }
        }
        let chosen = choices.into_iter().enumerate().map(|(slot, choice)| match choice {
            Some(choice) => Ok(choice),
            None => {
                let name = &to.slots()[slot].name;
                let own = self.slots().iter().position(|own| own.name == *name).ok_or_else(|| {
                    let known: Vec<&str> = self.slots().iter().map(|own| own.name.as_str()).collect();
                    Error::failed(unknown_name("slot", name, &known))
                })?;
                to.choice_named(slot, self.operation(own, genome[own]))
            }
        });
        Ok(Genome(chosen.collect::<Result<_>>()?))
    }

    /// The widest network of the same form that keeps a limit: the channels of every node but the
    /// last are multiplied by one factor and rounded to a multiple of 8. Widths that an operation
    /// fixes stay.
    ///
    /// # Errors
    ///
    /// A limit that no factor from 1/16 to 16 comes to, or a description that cannot be scaled.
    pub fn scaled_to(&self, genome: &Genome, limit: CostLimit) -> Result<Network> {
        let at = |factor: f64| Network::new(self.description().scaled(factor));
        let (mut low, mut high) = (1.0 / LARGEST_FACTOR, LARGEST_FACTOR);
        let smallest = at(low)?;
        if !limit.holds(smallest.cost(genome)) {
            let Cost { params, flops, .. } = smallest.cost(genome);
            return Err(Error::failed(format!(
                "no widths come to {limit}: at a sixteenth the network still has {params} parameters and {flops} \
                 multiply-adds"
            )));
        }
        let widest = at(high)?;
        if limit.holds(widest.cost(genome)) {
            return Err(Error::failed(format!("{limit} is more than 16 times the widths of this space can use")));
        }
        let mut found = smallest;
        for _ in 0..HALVINGS {
            // Halved by ratio, for widths are multiplied.
            let middle = (low * high).sqrt();
            let network = at(middle)?;
            if limit.holds(network.cost(genome)) {
                (low, found) = (middle, network);
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    fn choice_named(&self, slot: usize, operation: &str) -> Result<u16> {
        let Slot { name, choices } = &self.slots()[slot];
        choices.iter().position(|choice| choice == operation).map(|choice| choice as u16).ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(String::as_str).collect();
            Error::failed(format!("slot `{name}`: {}", unknown_name("operation", operation, &known)))
        })
    }

    fn passing_choice(&self, slot: usize) -> Result<u16> {
        let count = self.slots()[slot].choices.len() as u16;
        let passes = (0..count).filter(|choice| self.meaning(slot, *choice).passes_through());
        // Identity is what a complete network has; absent would be a layer that is not born.
        passes.min_by_key(|choice| Some(*choice) == self.absent(slot)).ok_or_else(|| {
            Error::failed(format!(
                "the network has no layer for slot `{}`, which cannot be left out: use a template with fewer layers",
                self.slots()[slot].name
            ))
        })
    }
}

impl Description {
    /// The same network with other widths; see [`Network::scaled_to`].
    pub fn scaled(&self, factor: f64) -> Description {
        let scaled = |channels: u32| {
            let rounded = (f64::from(channels) * factor / CHANNEL_DIVISOR).round().max(1.0) * CHANNEL_DIVISOR;
            rounded as u32
        };
        let last = self.network.len().saturating_sub(1);
        let node = |(index, node): (usize, &Node)| match node.channels {
            Some(channels) if index != last => Node { channels: Some(scaled(channels)), ..node.clone() },
            _ => node.clone(),
        };
        Description { network: self.network.iter().enumerate().map(node).collect(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{
        Apply, Block, Combine, DESCRIPTION_FORMAT, Meaning, Operation, Primitive, Shape, Stride, Width,
    };

    /// A network of Blocks of 3 x 3 and 5 x 5 convolutions; the first of each may not be left out.
    fn space(layers: &[usize], channels: u32) -> Network {
        let convolution = |name: &str, kernel| Operation {
            name: name.to_owned(),
            meaning: Meaning::Sequence,
            primitives: vec![Primitive::Convolution {
                kernel,
                stride: Stride::Node,
                groups: Default::default(),
                channels: Width::Output,
                dilation: 1,
                bias: false,
            }],
            residual: false,
        };
        let passing =
            |name: &str, meaning| Operation { name: name.to_owned(), meaning, primitives: vec![], residual: false };
        let head = Operation {
            primitives: vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }],
            ..convolution("head", 1)
        };
        let (mut slots, mut blocks, mut network): (Vec<Slot>, Vec<Block>, Vec<Node>) = Default::default();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut node = |name: String, apply, channels| {
            let inputs = vec![network.last().map_or("input".to_owned(), |node: &Node| node.name.clone())];
            network.push(Node { name, inputs, combine: Combine::Sum, apply, channels: Some(channels), stride: 1 });
        };
        for (index, layers) in layers.iter().enumerate() {
            blocks.push(Block {
                name: format!("Block {}", index + 1),
                slots: (slots.len()..slots.len() + layers).collect(),
            });
            for layer in 0..*layers {
                let name = format!("{index}.{layer}");
                node(name.clone(), Apply::Slot(slots.len()), channels << index);
                let choices =
                    if layer == 0 { words(&["c3", "c5"]) } else { words(&["absent", "identity", "c3", "c5"]) };
                slots.push(Slot { name, choices });
            }
        }
        node("head".to_owned(), Apply::Operation("head".to_owned()), 10);
        let input = Shape { channels: 3, height: 8, width: 8 };
        let operations = vec![
            convolution("c3", 3),
            convolution("c5", 5),
            passing("identity", Meaning::Identity),
            passing("absent", Meaning::Absent),
            head,
        ];
        let description = Description {
            format: DESCRIPTION_FORMAT,
            name: "test".to_owned(),
            input,
            classes: 10,
            operations,
            slots,
            blocks,
            network,
        };
        Network::new(description).expect("the description is sound")
    }

    fn check(from: &[usize], genome: &[u16], to: &[usize], expected: std::result::Result<&[u16], &str>) {
        let (from, to) = (space(from, 8), space(to, 16));
        match (from.transferred(&Genome(genome.to_vec()), &to), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.0, expected),
            (Err(found), Err(expected)) => assert!(found.message.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} and not {expected:?}"),
        }
    }

    #[test]
    fn operations_keep_their_names_and_order() {
        // One Block to one: identities move to the end, of which there is more.
        check(&[3], &[1, 1, 2], &[4], Ok(&[1, 2, 1, 1]));
        check(&[3], &[1, 0, 0], &[1], Ok(&[1]));
        // Three Blocks to five: 0, 0, 1, 1, 2.
        check(&[1, 1, 1], &[0, 1, 0], &[1, 1, 1, 1, 1], Ok(&[0, 0, 1, 1, 0]));
        check(&[2, 2], &[0, 3, 1, 2], &[2, 2], Ok(&[0, 3, 1, 2]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        check(&[3], &[1, 2, 3], &[2], Err("`Block 1` has 3 layers that compute something, `Block 1` has room for 2"));
        check(&[3], &[1, 2], &[3], Err("has 2 genes, the space has 3 slots"));
        let (mut other, from) = (space(&[2], 8).description().clone(), space(&[2], 8));
        other.slots[0].choices = vec!["c5".to_owned()];
        let other = Network::new(other).expect("it is sound");
        let error = from.transferred(&Genome(vec![0, 0]), &other).expect_err("there is no c3");
        assert!(error.message.contains("slot `0.0`: unknown operation `c3`"), "{error}");
    }

    #[test]
    fn without_blocks_slots_are_found_by_name() {
        let without = |channels| {
            let mut description = space(&[2], channels).description().clone();
            description.blocks.clear();
            Network::new(description).expect("it is sound")
        };
        let (from, to) = (without(8), without(16));
        assert_eq!(from.transferred(&Genome(vec![1, 3]), &to).expect("the names are the same"), Genome(vec![1, 3]));
        let mut renamed = to.description().clone();
        renamed.slots[1].name = "other".to_owned();
        let renamed = Network::new(renamed).expect("it is sound");
        let error = from.transferred(&Genome(vec![1, 3]), &renamed).expect_err("the name is new");
        assert!(error.message.contains("unknown slot `other`"), "{error}");
    }

    #[test]
    fn widths_grow_to_the_limit_and_not_past_it() {
        let (network, genome) = (space(&[2, 2], 8), Genome(vec![1, 3, 0, 2]));
        for limit in [3e4, 1e5, 1e6] {
            let scaled = network.scaled_to(&genome, CostLimit::Params(limit)).expect("widths can grow");
            let params = scaled.cost(&genome).params as f64;
            assert!(params <= limit && params > 0.5 * limit, "{params} of {limit}");
            assert!(scaled.nodes().iter().rev().skip(1).all(|node| node.output.channels % 8 == 0));
            assert_eq!(scaled.nodes().last().map(|node| node.output.channels), Some(10));
            let flops = scaled.cost(&genome).flops as f64;
            let by_flops = network.scaled_to(&genome, CostLimit::Flops(flops)).expect("widths can grow");
            assert_eq!(by_flops.cost(&genome), scaled.cost(&genome));
        }
        let error = network.scaled_to(&genome, CostLimit::Params(10.0)).expect_err("nothing is that small");
        assert!(error.message.contains("no widths come to 0.000 million parameters"), "{error}");
        let error = network.scaled_to(&genome, CostLimit::Params(1e12)).expect_err("nothing is that large");
        assert!(error.message.contains("more than 16 times"), "{error}");
    }
}
