//! Spaces, data sets and operators that break one promise each, as their configuration says.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::{
    BuildDataset, BuildOperator, BuildSpace, Component, Context, Dataset, DatasetInfo, Error, Genome, Network,
    Operator, Region, Result, SearchSpace, Seed, Split, config, conformance::fixtures,
};

config! {
    /// How a component misbehaves.
    pub struct Behaviour {
        /// A word that the component knows; empty for none.
        pub badly: String = String::new(),
    }
}

/// A number that is another one each time, as of a generator that was stored.
pub fn drawn() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Whether this is none of the threads that tests run on, which have names.
fn is_other_thread() -> bool {
    thread::current().name().is_none()
}

macro_rules! component {
    ($type:ty, $config:ty, $name:literal $(, needs: $needs:literal)?) => {
        impl Component for $type {
            type Config = $config;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "a component of a test";
            $(const NEEDS: &'static str = $needs;)?

            fn example() -> $config {
                <$config>::default()
            }
        }
    };
}
pub(super) use component;

pub struct Space {
    badly: String,
    network: Network,
}
component!(Space, Behaviour, "space");

impl BuildSpace for Space {
    fn build(config: Behaviour, _: &Context) -> Result<Self> {
        let mut description = fixtures::chain().network().description().clone();
        match config.badly.as_str() {
            "another-each-time" => description.name = format!("space {}", drawn()),
            "other-images" => description.input.height = 16,
            _ => {}
        }
        Ok(Space { badly: config.badly, network: Network::new(description)? })
    }
}

impl SearchSpace for Space {
    fn network(&self) -> &Network {
        &self.network
    }

    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        let mut canonical = genome.clone();
        match self.badly.as_str() {
            "takes-all" => return Ok(Genome(vec![0; 6])),
            "panics-at-foreign" if self.network.validate(genome).is_err() => panic!("asked to panic"),
            _ => self.network.validate(genome)?,
        }
        match self.badly.as_str() {
            "beyond" => canonical.0[0] = 9,
            // `absent` and `identity` trade places each time.
            "back-and-forth" => canonical.0[1] = [1, 0, 2, 3][usize::from(genome[1])],
            "smallest" => canonical = Genome(vec![0; 6]),
            "one-thread" if is_other_thread() => canonical.0[1] = 0,
            _ => canonical = self.network.canonical(genome),
        }
        Ok(canonical)
    }
}

pub struct Images {
    badly: String,
    info: DatasetInfo,
}
component!(Images, Behaviour, "images");

impl BuildDataset for Images {
    fn build(config: Behaviour, _: &Context) -> Result<Self> {
        let mut info = fixtures::dataset().info().clone();
        info.views = true;
        if config.badly == "no-images" {
            info.train = 0;
        }
        Ok(Images { badly: config.badly, info })
    }
}

impl Dataset for Images {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        let bytes = self.info.image_bytes();
        let fits = images.len() == indices.len() * bytes && labels.len() == indices.len();
        if !fits && self.badly != "any-buffer" {
            return Err(Error::failed("the buffers do not fit the indices"));
        }
        if indices.is_empty() && self.badly == "wants-one" {
            return Err(Error::failed("no index"));
        }
        for (position, ((index, image), label)) in indices.iter().zip(images.chunks_mut(bytes)).zip(labels).enumerate()
        {
            let len = self.info.len(split).max(1);
            let view = if split == Split::Train { index / len } else { 0 };
            let is_inside = view <= crate::VIEWS && (split == Split::Train || *index < len);
            if !is_inside && self.badly == "panics-beyond" {
                panic!("asked to panic");
            }
            if !is_inside && self.badly != "wraps-around" {
                return Err(Error::failed(format!("there is no image {index}")));
            }
            let value = match self.badly.as_str() {
                "own-generator" => drawn(),
                "by-position" => position as u64,
                "views-move" if view > 0 => drawn(),
                "one-thread" if is_other_thread() => 7,
                _ => index % len + view % 256,
            };
            *label = if self.badly == "no-such-class" { 9 } else { (index % len % 2) as u32 };
            let written = if self.badly == "half-an-image" { image.len() / 2 } else { image.len() };
            image[..written].fill(value as u8);
        }
        Ok(())
    }
}

pub struct Redraw {
    badly: String,
    /// The last two different seeds.
    seeds: Mutex<[u64; 2]>,
}
component!(Redraw, Behaviour, "redraw");

impl BuildOperator for Redraw {
    fn build(config: Behaviour, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        Ok(Redraw { badly: config.badly, seeds: Mutex::new([0; 2]) })
    }
}

impl Operator for Redraw {
    fn arity(&self) -> usize {
        usize::from(self.badly != "no-parents")
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        let seed = match self.badly.as_str() {
            "outside" => return Ok(parents[0].clone()),
            "panics" => panic!("asked to panic"),
            "own-generator" => Seed(drawn()),
            "one-thread" if is_other_thread() => Seed(!seed.0),
            "remembers" => {
                let mut seeds = self.seeds.lock().expect("nobody panicked");
                if seeds[1] != seed.0 {
                    *seeds = [seeds[1], seed.0];
                }
                seed.derive("before", seeds[0])
            }
            _ => seed,
        };
        Ok(region.sample(&mut seed.generator()))
    }
}

/// Declares an operator that does nothing, with something wrong about its configuration.
macro_rules! operator {
    ($type:ident, $config:ty, $name:literal, $built:expr $(, needs: $needs:literal)?) => {
        pub struct $type;
        component!($type, $config, $name $(, needs: $needs)?);

        impl BuildOperator for $type {
            fn build(_: $config, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
                $built
            }
        }

        impl Operator for $type {
            fn arity(&self) -> usize {
                1
            }

            fn vary(&self, _: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
                Ok(region.sample(&mut seed.generator()))
            }
        }
    };
}

operator!(Named, Behaviour, "Bad Name", Ok(Named));
operator!(Unbuilt, Behaviour, "unbuilt", Err(Error::config("no configuration will do")));
operator!(Needy, Behaviour, "needy", Err(Error::config("the file is not there")), needs: "a file of its own");
operator!(AnyKey, AnyKeyConfig, "any-key", Ok(AnyKey));
operator!(AnyType, AnyTypeConfig, "any-type", Ok(AnyType));

/// Keys that are not known are read over.
#[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct AnyKeyConfig {}

/// A text is a configuration too.
#[derive(Default, Clone, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(from = "Value")]
pub struct AnyTypeConfig {}

impl From<Value> for AnyTypeConfig {
    fn from(_: Value) -> Self {
        AnyTypeConfig {}
    }
}
