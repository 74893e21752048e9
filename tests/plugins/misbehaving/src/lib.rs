//! Components that do their work well, or badly in the way that a run file asks for.
//!
//! Without `badly` they are a tiny but whole plugin: a chain of layers whose fitness is a formula.

use std::{path::Path, sync::Arc};

use pleach_sdk::{
    BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, Component, Context, Dataset, DatasetInfo,
    Description, Error, Estimator, Evaluation, Genome, Goal, Measured, Network, Operator, Outcome, Region, Result,
    SIMULATED_SECONDS, SearchSpace, Seed, Shape, Split, Step, Strategy, TrainPlan, TrainReport, WeightedOperator,
    config,
    description::{
        Apply, Block, Combine, DESCRIPTION_FORMAT, Meaning, Node, Operation, Primitive, Slot, Stride, Width,
    },
    export_plugin, host,
    rand::Rng,
};

config! {
    /// How a component misbehaves.
    pub struct Behaviour {
        /// `WORD:METHOD`, where the word is panic, fail, segfault, abort, exit, hang, memory or
        /// once, or another word that a component knows.
        pub badly: String = String::new(),
        /// Layers of the space, evaluations of the strategy.
        #[schemars(range(min = 1, max = 100_000))]
        pub size: usize = 4,
        /// Seconds that the estimator gives for each large layer and one more; with 0 it gives none.
        pub seconds: f64 = 0.0,
    }
}

impl Behaviour {
    /// Does what was asked for in this method.
    fn act(&self, method: &str) -> Result<()> {
        let Some((word, at)) = self.badly.split_once(':') else { return Ok(()) };
        if at != method {
            return Ok(());
        }
        match word {
            "panic" => panic!("asked to panic in {method}"),
            "fail" => Err(Error::failed(format!("asked to fail in {method}"))),
            "segfault" => segfault(),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(0),
            "hang" => loop {
                std::thread::park();
            },
            "memory" => hoard(),
            // The first process that comes here does not come back; it leaves a file.
            "once" if std::fs::File::create_new("was-here").is_ok() => segfault(),
            _ => Ok(()),
        }
    }
}

fn segfault() -> ! {
    println!("now comes a segmentation fault");
    // SAFETY: none. It ends the process as a faulty plugin would.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }
    unreachable!("nobody can write there")
}

/// Takes memory until somebody does something about it, but not so much that others suffer.
fn hoard() -> ! {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        if taken.len() < 60 {
            taken.push(vec![1; 10_000_000]);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

macro_rules! component {
    ($name:ident, $text:literal, $summary:literal) => {
        impl Component for $name {
            type Config = Behaviour;
            const NAME: &'static str = $text;
            const SUMMARY: &'static str = $summary;

            fn example() -> Behaviour {
                Behaviour::default()
            }
        }
    };
}

/// A chain of layers, each a convolution or nothing.
pub struct Chain {
    behaviour: Behaviour,
    network: Network,
}
component!(Chain, "chain", "a chain of layers");

impl BuildSpace for Chain {
    fn build(behaviour: Behaviour, context: &Context) -> Result<Self> {
        behaviour.act("build")?;
        let shape = Shape { channels: 3, height: 8, width: 8 };
        let input = context.dataset.as_ref().map_or(shape, |dataset| dataset.shape);
        let classes = context.dataset.as_ref().map_or(2, |dataset| dataset.classes.len() as u32);
        let mut description = description(behaviour.size, input, classes);
        if behaviour.badly == "nonsense" {
            description.slots[0].choices.push("nowhere".to_owned());
        }
        let network = match Network::new(description.clone()) {
            Ok(network) => network,
            Err(error) if behaviour.badly.is_empty() => return Err(error),
            // The document crosses as it is: the host has to find the fault itself.
            Err(_) => return Err(Error::failed("a space cannot even be built from nonsense")),
        };
        Ok(Chain { behaviour, network })
    }
}

fn description(layers: usize, input: Shape, classes: u32) -> Description {
    let convolution = |name: &str, kernel| Operation {
        name: name.to_owned(),
        meaning: Meaning::Sequence,
        primitives: vec![
            Primitive::Convolution {
                kernel,
                stride: Stride::Node,
                groups: Default::default(),
                channels: Width::Output,
                dilation: 1,
                bias: false,
            },
            Primitive::BatchNorm,
        ],
        residual: true,
    };
    let passing =
        |name: &str, meaning| Operation { name: name.to_owned(), meaning, primitives: Vec::new(), residual: false };
    let head = Operation {
        name: "head".to_owned(),
        meaning: Meaning::Sequence,
        primitives: vec![Primitive::GlobalAverage, Primitive::Linear { features: Width::Output }],
        residual: false,
    };
    let operations = vec![
        convolution("small", 1),
        convolution("large", 3),
        passing("identity", Meaning::Identity),
        passing("absent", Meaning::Absent),
        head,
    ];
    let choices: Vec<String> = operations[..4].iter().map(|operation| operation.name.clone()).collect();
    let slots = (0..layers).map(|layer| Slot { name: format!("layer{layer}"), choices: choices.clone() }).collect();
    let node = |name: String, input: String, apply, channels| Node {
        name,
        inputs: vec![input],
        combine: Combine::Sum,
        apply,
        channels,
        stride: 1,
    };
    let mut network = Vec::new();
    let mut before = "input".to_owned();
    for layer in 0..layers {
        let name = format!("layer{layer}");
        network.push(node(name.clone(), before, Apply::Slot(layer), None));
        before = name;
    }
    network.push(node("head".to_owned(), before, Apply::Operation("head".to_owned()), Some(classes)));
    Description {
        format: DESCRIPTION_FORMAT,
        name: "chain".to_owned(),
        input,
        classes,
        operations,
        slots,
        blocks: vec![Block { name: "Block 1".to_owned(), slots: (0..layers).collect() }],
        network,
    }
}

impl SearchSpace for Chain {
    fn network(&self) -> &Network {
        if self.behaviour.badly == "panic:spec" {
            panic!("asked to panic in spec");
        }
        &self.network
    }

    fn canonical(&self, genome: &Genome) -> Result<Genome> {
        self.behaviour.act("canonical")?;
        if self.behaviour.badly == "short" {
            return Ok(Genome(Vec::new()));
        }
        Ok(self.network.canonical(genome))
    }
}

/// Grey images.
pub struct Grey {
    behaviour: Behaviour,
    info: DatasetInfo,
}
component!(Grey, "grey", "grey images");

impl BuildDataset for Grey {
    fn build(behaviour: Behaviour, _: &Context) -> Result<Self> {
        behaviour.act("build")?;
        let info = DatasetInfo {
            name: "grey".to_owned(),
            shape: Shape { channels: 3, height: 8, width: 8 },
            classes: vec!["dark".to_owned(), "light".to_owned()],
            train: 100,
            test: 10,
            views: false,
        };
        Ok(Grey { behaviour, info })
    }
}

impl Dataset for Grey {
    fn info(&self) -> &DatasetInfo {
        if self.behaviour.badly == "panic:info" {
            panic!("asked to panic in info");
        }
        &self.info
    }

    fn fetch(&self, _: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        self.behaviour.act("fetch")?;
        let bytes = self.info.image_bytes();
        for ((index, image), label) in indices.iter().zip(images.chunks_mut(bytes)).zip(labels) {
            *label = (index % 2) as u32;
            image.fill(if *label == 0 { 50 } else { 200 });
        }
        Ok(())
    }
}

/// Draws one gene anew.
pub struct Redraw(Behaviour);
component!(Redraw, "redraw", "draws one gene anew");

impl BuildOperator for Redraw {
    fn build(behaviour: Behaviour, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        behaviour.act("build")?;
        Ok(Redraw(behaviour))
    }
}

impl Operator for Redraw {
    fn arity(&self) -> usize {
        if self.0.badly == "panic:arity" {
            panic!("asked to panic in arity");
        }
        1
    }

    fn vary(&self, parents: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        self.0.act("vary")?;
        let mut child = parents[0].clone();
        if self.0.badly == "short" {
            child.0.pop();
            return Ok(child);
        }
        let mut generator = seed.generator();
        let slot = generator.random_range(0..child.len());
        child.0[slot] = region.sample_slot(slot, &mut generator);
        Ok(child)
    }
}

/// Fitness by a formula: the share of `large` layers, and a little more after each training.
pub struct Formula {
    behaviour: Behaviour,
    dataset: Option<Arc<dyn Dataset>>,
    trainings: u32,
}
component!(Formula, "formula", "fitness by a formula");

impl BuildEstimator for Formula {
    fn build(
        behaviour: Behaviour,
        _: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        _: &Context,
    ) -> Result<Self> {
        behaviour.act("build")?;
        Ok(Formula { behaviour, dataset, trainings: 0 })
    }
}

impl Estimator for Formula {
    fn objectives(&self) -> Vec<Measured> {
        if self.behaviour.badly == "panic:objectives" {
            panic!("asked to panic in objectives");
        }
        let mut all = vec![Measured { name: "accuracy".to_owned(), goal: Goal::Maximise, unit: String::new() }];
        if self.behaviour.seconds != 0.0 {
            all.push(Measured { name: SIMULATED_SECONDS.to_owned(), goal: Goal::Minimise, unit: "s".to_owned() });
        }
        all
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        self.behaviour.act("evaluate")?;
        if let Some(dataset) = &self.dataset {
            let mut image = vec![0; dataset.info().image_bytes()];
            dataset.fetch(Split::Train, &[0], &mut image, &mut [0])?;
        }
        if self.behaviour.badly == "wait" {
            while !host::is_cancelled() {
                std::thread::yield_now();
            }
            return Err(Error::cancelled());
        }
        let is_odd = |genome: &Genome| genome.iter().filter(|choice| **choice == 1).count() % 2 == 1;
        if genomes.iter().any(is_odd) {
            self.behaviour.act("odd")?;
        }
        if self.behaviour.badly == "slow" {
            genomes.iter().for_each(|_| std::thread::sleep(std::time::Duration::from_millis(50)));
        }
        // One worker would be done before another one has to load anything.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while self.behaviour.badly == "once:load"
            && !std::path::Path::new("was-here").exists()
            && std::time::Instant::now() < patience
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // As long as a test wants.
        while self.behaviour.badly == "held" && std::path::Path::new("hold").exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if self.behaviour.badly == "chatty" {
            println!("here is chatty");
            pleach_sdk::tracing::warn!("chatty warns");
        }
        let fitness = |genome: &Genome| -> Outcome {
            let large = genome.iter().filter(|choice| **choice == 1).count();
            let share = large as f64 / genome.len() as f64 + 1e-3 * f64::from(self.trainings);
            match self.behaviour.badly.as_str() {
                "nan" => Ok(vec![f64::NAN]),
                "some-fail" if large % 2 == 1 => Err("an odd number of large layers".to_owned()),
                "two-numbers" => Ok(vec![share, share]),
                _ if self.behaviour.seconds != 0.0 => Ok(vec![share, self.behaviour.seconds * (large + 1) as f64]),
                _ => Ok(vec![share]),
            }
        };
        let mut outcomes: Vec<Outcome> = genomes.iter().map(fitness).collect();
        if self.behaviour.badly == "one-less" {
            outcomes.pop();
        }
        Ok(outcomes)
    }

    fn train(&mut self, _: &TrainPlan, _: Seed) -> Result<TrainReport> {
        self.behaviour.act("train")?;
        self.trainings += 1;
        Ok(TrainReport { weights_changed: true, ..TrainReport::default() })
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.behaviour.act("save")?;
        std::fs::write(folder.join("trainings"), self.trainings.to_string())
            .map_err(|error| Error::failed(format!("failed to write: {error}")))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.behaviour.act("load")?;
        let text =
            std::fs::read_to_string(folder.join("trainings")).map_err(|error| Error::failed(error.to_string()))?;
        self.trainings = text.parse().map_err(|_| Error::failed("the file `trainings` holds no number"))?;
        Ok(())
    }
}

/// Proposes random networks, trains once in the middle.
pub struct Guess {
    behaviour: Behaviour,
    space: Arc<dyn SearchSpace>,
    operators: Vec<WeightedOperator>,
    done: usize,
}
component!(Guess, "guess", "random networks");

impl BuildStrategy for Guess {
    fn build(
        behaviour: Behaviour,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        _: &Context,
    ) -> Result<Self> {
        behaviour.act("build")?;
        Ok(Guess { behaviour, space, operators, done: 0 })
    }
}

impl Strategy for Guess {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        self.behaviour.act("next")?;
        let region = Region::complete(self.space.network());
        if self.done == self.behaviour.size {
            return Ok(Step::Finished(serde_json_null()));
        }
        self.done += 1;
        if self.done == 1 {
            return Ok(Step::Train(TrainPlan { region, epochs: 1.0, stage: 0, notes: serde_json_null() }));
        }
        let mut generator = seed.generator();
        let mut genome = region.sample(&mut generator);
        let mut origin = pleach_sdk::Origin::new("random");
        if let Some(weighted) = self.operators.first() {
            let child = weighted.operator.vary(std::slice::from_ref(&genome), &region, seed)?;
            origin = pleach_sdk::Origin { by: weighted.name.clone(), parents: vec![genome] };
            genome = child;
        }
        if self.behaviour.badly == "outside" {
            genome.0[0] = 99;
        }
        let candidates = vec![pleach_sdk::Candidate { genome, origin }];
        Ok(Step::Evaluate(pleach_sdk::Batch { candidates, notes: serde_json_null() }))
    }

    fn tell(&mut self, _: &[Evaluation]) -> Result<()> {
        self.behaviour.act("tell")
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.behaviour.act("save")?;
        std::fs::write(folder.join("done"), self.done.to_string())
            .map_err(|error| Error::failed(format!("failed to write: {error}")))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.behaviour.act("load")?;
        let text = std::fs::read_to_string(folder.join("done")).map_err(|error| Error::failed(error.to_string()))?;
        self.done = text.parse().map_err(|_| Error::failed("the file `done` holds no number"))?;
        Ok(())
    }
}

fn serde_json_null() -> pleach_sdk::serde_json::Value {
    pleach_sdk::serde_json::Value::Null
}

export_plugin! {
    name: "misbehaving",
    summary: "components that misbehave on request",
    spaces: [Chain],
    datasets: [Grey],
    operators: [Redraw],
    estimators: [Formula],
    strategies: [Guess],
}
