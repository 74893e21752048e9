//! Times training and evaluation of the SuperNet and their parts, against what the machine can do.
//!
//! `cargo bench -p pleach-supernet --bench supernet -- --help` says how. Images are made up, so the
//! program needs no file. Variants take turns within each round, and medians over rounds are told:
//! on a machine that others use, compare numbers of one run.

mod network;
mod report;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Instant};

use pleach_sdk::{
    BuildEstimator, Context, Dataset, Estimator, Generator, Genome, Network, Region, Result, Seed, TrainPlan,
    rand::{Rng, seq::IndexedRandom},
    serde_json::{Value, json},
};
use pleach_supernet::{
    Augmentation, BatchNormConfig, Config, Normalisation, Precision, Sampling, WeightSharing,
    bench::{self, Bench},
};
use tch::{Device, Kind, Tensor};

use self::{
    network::{Made, Space},
    report::{Report, median},
};

const HELP: &str = "\
usage: supernet [options]
  --device D       cpu (default), cuda, cuda:N
  --precision P    single (default), mixed
  --threads N      threads on the CPU (default: one a core)
  --rounds N       rounds that medians are taken over (default 3)
  --steps N        training steps in a round (default 6)
  --layers A,B,C   layers of the networks (default 4,12,20)
  --batch N        images in a training batch (default 128)
  --streams A,B,C  paths that are trained at the same time on CUDA (default 4)
  --sampling S     paths of a training step: uniform (one, default), strictly-fair
  --children N     networks of a generation (default 50)
  --generations N  how long the population they come from has evolved (default 0: five random networks)
  --evaluate N     images to measure with (default 1000)
  --recalibrate N  images to take statistics from (default 400)
  --scale X        factor on all widths (default 1)
  --own-only       leaves out what libtorch's layers alone come to: on CUDA they choose algorithms for half a minute
  --json FILE      write all numbers there
  --peer FILE      write the largest network, its weights and FILE.safetensors for peer.py
";

/// What was asked for.
struct Options {
    device: String,
    precision: Precision,
    threads: u32,
    rounds: usize,
    steps: u64,
    layers: Vec<u32>,
    batch: u32,
    streams: Vec<u32>,
    sampling: Sampling,
    children: usize,
    generations: usize,
    evaluate: u64,
    recalibrate: u64,
    scale: f64,
    own_only: bool,
    json: Option<PathBuf>,
    peer: Option<PathBuf>,
}

fn options() -> std::result::Result<Options, String> {
    let mut options = Options {
        device: "cpu".to_owned(),
        precision: Precision::Single,
        threads: 0,
        rounds: 3,
        steps: 6,
        layers: vec![4, 12, 20],
        batch: 128,
        streams: vec![4],
        sampling: Sampling::Uniform,
        children: 50,
        generations: 0,
        evaluate: 1000,
        recalibrate: 400,
        scale: 1.0,
        own_only: false,
        json: None,
        peer: None,
    };
    fn parse<T: std::str::FromStr>(name: &str, text: &str) -> std::result::Result<T, String> {
        text.parse().map_err(|_| format!("{name} takes no `{text}`"))
    }
    fn list(name: &str, text: &str) -> std::result::Result<Vec<u32>, String> {
        text.split(',').map(|one| parse(name, one)).collect()
    }
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            // Cargo says it to every benchmark.
            "--bench" => continue,
            "--help" => return Err(String::new()),
            "--own-only" => {
                options.own_only = true;
                continue;
            }
            _ => {}
        }
        let text = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--device" => options.device = text,
            "--precision" => {
                options.precision = match text.as_str() {
                    "single" => Precision::Single,
                    "mixed" => Precision::Mixed,
                    _ => return Err(format!("{name} takes no `{text}`")),
                };
            }
            "--threads" => options.threads = parse(&name, &text)?,
            "--rounds" => options.rounds = parse::<usize>(&name, &text)?.max(1),
            "--steps" => options.steps = parse::<u64>(&name, &text)?.max(1),
            "--layers" => options.layers = list(&name, &text)?,
            "--streams" => options.streams = list(&name, &text)?,
            "--sampling" => {
                options.sampling = match text.as_str() {
                    "uniform" => Sampling::Uniform,
                    "strictly-fair" => Sampling::StrictlyFair,
                    _ => return Err(format!("{name} takes no `{text}`")),
                };
            }
            "--batch" => options.batch = parse(&name, &text)?,
            "--children" => options.children = parse(&name, &text)?,
            "--generations" => options.generations = parse(&name, &text)?,
            "--evaluate" => options.evaluate = parse(&name, &text)?,
            "--recalibrate" => options.recalibrate = parse(&name, &text)?,
            "--scale" => options.scale = parse(&name, &text)?,
            "--json" => options.json = Some(text.into()),
            "--peer" => options.peer = Some(text.into()),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprint!("{error}\n{HELP}");
        std::process::exit(2);
    });
    if let Err(error) = run(&options) {
        eprintln!("error: {}", error.message);
        std::process::exit(3);
    }
}

fn run(options: &Options) -> Result<()> {
    let largest = options.layers.iter().copied().max().unwrap_or(20);
    let mut report = Report::new();
    let config = config(options);
    let dataset = Arc::new(Made::new(images(options)));
    let probe = Bench::new(config.clone(), network::network(largest, options.scale)?, dataset, Seed(1))?;
    let device = probe.device();
    report.line("device", format!("{device:?}"));
    report.line("threads", tch::get_num_threads().to_string());
    report.line("kernels for", bench::instruction_set().unwrap_or("no instruction set of this processor").to_owned());
    let ceiling = ceiling(&probe, options, &mut report);
    for layers in &options.layers {
        training(options, *layers, ceiling, &mut report)?;
    }
    parts(options, &probe, largest, &mut report)?;
    evaluation(options, &probe, largest, &mut report)?;
    let bytes = bench::peak_memory(device)?;
    report.line("peak memory", format!("{:.0} MiB", bytes as f64 / 1048576.0));
    report.value("peak_memory", json!(bytes));
    if let Some(file) = &options.peer {
        peer(options, &probe, largest, file, &report)?;
    }
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    Ok(())
}

/// How many images the data set has: those of the steps of a round, and those to measure with.
fn images(options: &Options) -> u64 {
    options.evaluate + (options.steps * u64::from(options.batch)).max(options.recalibrate)
}

fn config(options: &Options) -> Config {
    Config {
        device: options.device.clone(),
        precision: options.precision,
        threads: options.threads,
        batch: options.batch,
        sampling: options.sampling,
        held_out: options.evaluate,
        augment: Augmentation { crop: 4, flip: true, cutout: 0 },
        batch_norm: BatchNormConfig {
            recalibration_images: options.recalibrate,
            evaluation: Normalisation::Recalibrated,
            ..BatchNormConfig::default()
        },
        ..Config::default()
    }
}

fn build(options: &Options, config: Config, layers: u32) -> Result<WeightSharing> {
    let space = Arc::new(Space(network::network(layers, options.scale)?));
    let dataset: Arc<dyn Dataset> = Arc::new(Made::new(images(options)));
    WeightSharing::build(config, space, Some(dataset), &Context { seed: Seed(1), ..Context::default() })
}

fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// What a matrix product reaches, in multiply-adds a second: no layer is faster.
fn ceiling(probe: &Bench, options: &Options, report: &mut Report) -> f64 {
    let rounds = options.rounds;
    let side = if probe.device() == Device::Cpu { 1536 } else { 8192 };
    let matrix = Tensor::randn([side, side], (Kind::Float, probe.device()));
    let matrix = match options.precision {
        Precision::Single => matrix,
        Precision::Mixed => matrix.to_kind(Kind::BFloat16),
    };
    let large = Tensor::zeros([64 << 20], (Kind::Uint8, probe.device()));
    let time = |work: &dyn Fn() -> Tensor| {
        let once = || {
            let start = Instant::now();
            drop(work());
            probe.synchronise();
            start.elapsed().as_secs_f64()
        };
        once();
        (0..rounds + 2).map(|_| once()).fold(f64::INFINITY, f64::min)
    };
    let products = (side as f64).powi(3) / time(&|| matrix.matmul(&matrix));
    let bytes = 2.0 * (64 << 20) as f64 / time(&|| large.copy());
    report.line("matrix product", format!("{:.0} GFLOP/s", 2.0 * products / 1e9));
    report.line("copy", format!("{:.1} GB/s read and written", bytes / 1e9));
    report.value("matrix_product_gflops", json!(2.0 * products / 1e9));
    report.value("copy_gbps", json!(bytes / 1e9));
    products
}

/// Training in a whole region, as a search does it, with our own kernels and paths side by side, and without.
fn training(options: &Options, layers: u32, ceiling: f64, report: &mut Report) -> Result<()> {
    let streams = if options.device == "cpu" { &options.streams[..1] } else { &options.streams };
    let own = |streams: &u32| Config { streams: *streams, ..config(options) };
    let mut configs: Vec<Config> = streams.iter().map(own).collect();
    if !options.own_only {
        configs.push(Config { own_kernels: false, side_by_side: false, ..config(options) });
    }
    let mut variants = Vec::new();
    for config in configs {
        variants.push(build(options, config, layers)?);
    }
    let network = network::network(layers, options.scale)?;
    let plan = |epochs| TrainPlan { region: Region::full(&network), epochs, stage: 0, notes: Value::Null };
    for variant in &mut variants {
        variant.train(&plan(1.0), Seed(0))?;
    }
    let mut times = vec![Vec::new(); variants.len()];
    let mut images = 0;
    for round in 0..options.rounds {
        for (variant, times) in variants.iter_mut().zip(&mut times) {
            times.push(seconds(|| {
                images = variant.train(&plan(1.0), Seed(round as u64))?.images;
                Ok(())
            })?);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let without = medians.get(streams.len());
    // A backward pass is two forward passes' worth of products.
    let mean = mean_flops(&network);
    for (count, own) in streams.iter().zip(&medians) {
        let share = 3.0 * mean * images as f64 / own / ceiling;
        let speed = |time: &f64| images as f64 / time;
        let (name, key) = match streams.len() {
            1 => Default::default(),
            _ => (format!(", {count} streams"), format!("_{count}_streams")),
        };
        let mut line = format!(
            "{:.0} images/s, {:.1} GFLOP/s ({:.0} % of the product)",
            speed(own),
            6.0 * mean * speed(own) / 1e9,
            100.0 * share,
        );
        if let Some(without) = without {
            let ratio = without / own;
            line += &format!("; {:.0} without own kernels and paths side by side (x {ratio:.2})", speed(without));
        }
        report.line(&format!("training, {layers} layers{name}"), line);
        report.value(
            &format!("training_{layers}{key}"),
            json!({ "images_per_second": speed(own), "without_own_kernels": without.map(speed), "share": share }),
        );
    }
    Ok(())
}

/// The multiply-adds of a network, on average.
fn mean_flops(network: &Network) -> f64 {
    let mut generator = Seed(9).generator();
    let region = Region::full(network);
    (0..500).map(|_| network.cost(&region.sample(&mut generator)).flops as f64).sum::<f64>() / 500.0
}

/// The parts of a training step, each waited for.
fn parts(options: &Options, probe: &Bench, layers: u32, report: &mut Report) -> Result<()> {
    let network = network::network(layers, options.scale)?;
    let mut generator = Seed(4).generator();
    let names = ["data and augmentation", "forward", "backward", "optimiser"];
    let mut times = names.map(|_| Vec::new());
    for step in 0..options.steps * options.rounds as u64 {
        let path = Region::full(&network).sample(&mut generator);
        let mut lap = Instant::now();
        let mut part = |index: usize| {
            probe.synchronise();
            times[index].push(lap.elapsed().as_secs_f64());
            lap = Instant::now();
        };
        let batch = probe.batch(step)?;
        part(0);
        let loss = probe.forward(&batch, &path)?;
        part(1);
        let gradients = probe.backward(&loss, &path)?;
        part(2);
        probe.step(gradients)?;
        part(3);
    }
    let medians = times.map(|mut times| median(&mut times));
    let whole: f64 = medians.iter().sum();
    for (name, time) in names.iter().zip(medians) {
        report.line(&format!("  {name}"), format!("{:.2} ms a step, {:.1} %", time * 1e3, 100.0 * time / whole));
        report.value(&format!("step_{}", name.replace(' ', "_")), json!(time));
    }
    Ok(())
}

/// Children as the operators of `examples/gevonas-cifar10.yaml` make them, half by mutation of one gene in ten and
/// a quarter each by uniform crossover and crossover of whole stages: of five random parents, or of the best
/// five of a population that has evolved for some generations, by a worth of each choice of each layer that is
/// drawn at random.
fn generation(network: &Network, options: &Options) -> Vec<Genome> {
    let region = Region::full(network);
    let mut generator = Seed(6).generator();
    let mut parents: Vec<Genome> = (0..5).map(|_| region.sample(&mut generator)).collect();
    let children = |parents: &[Genome], generator: &mut Generator| -> Vec<Genome> {
        let child = || {
            let mut parent = || parents.choose(generator).expect("there are five").clone();
            let (one, other) = (parent(), parent());
            let way: f64 = generator.random();
            let stages: Vec<bool> = network.blocks().iter().map(|_| generator.random_bool(0.5)).collect();
            let stage_of = |slot: usize| network.blocks().iter().position(|block| block.slots.contains(&slot));
            let genes = one.0.iter().zip(&other.0).enumerate().map(|(slot, (one, other))| {
                if way < 0.5 {
                    if generator.random_bool(0.1) { region.sample_slot(slot, generator) } else { *one }
                } else if way < 0.75 {
                    if generator.random_bool(0.5) { *one } else { *other }
                } else {
                    let takes_one = stage_of(slot).is_none_or(|stage| stages[stage]);
                    if takes_one { *one } else { *other }
                }
            });
            Genome(genes.collect())
        };
        // As a search does, which asks for no network twice.
        let mut seen: BTreeSet<Genome> = parents.iter().cloned().collect();
        std::iter::repeat_with(child).filter(|child| seen.insert(child.clone())).take(options.children).collect()
    };
    let worth: Vec<Vec<f64>> = network
        .nodes()
        .iter()
        .filter(|node| node.slot.is_some())
        .map(|node| node.candidates.iter().map(|_| generator.random()).collect())
        .collect();
    let worth_of = |genome: &Genome| -> f64 {
        genome.0.iter().zip(&worth).map(|(choice, worth)| worth[usize::from(*choice)]).sum()
    };
    let mut population: Vec<Genome> = (0..options.children).map(|_| region.sample(&mut generator)).collect();
    for _ in 0..options.generations {
        population.sort_by(|one, other| worth_of(other).total_cmp(&worth_of(one)));
        population.truncate(options.children);
        parents = population.iter().take(5).cloned().collect();
        population.extend(children(&parents, &mut generator));
    }
    children(&parents, &mut generator)
}

/// A generation measured: one network after the other, and together.
fn evaluation(options: &Options, probe: &Bench, layers: u32, report: &mut Report) -> Result<()> {
    let network = network::network(layers, options.scale)?;
    let children = generation(&network, options);
    let (all, different) = probe.layers(&children);
    report.line(
        &format!("{} children, {layers} layers", children.len()),
        format!("{all} layers, {different} different ({:.0} % saved)", 100.0 * (1.0 - different as f64 / all as f64)),
    );
    let base = config(options);
    let mut variants = vec![("together", base.clone()), ("one by one", Config { shared_memory: 0, ..base.clone() })];
    if !options.own_only {
        variants.push(("one by one, without own kernels", Config { shared_memory: 0, own_kernels: false, ..base }));
    }
    let mut estimators = Vec::new();
    for (_, config) in &variants {
        estimators.push(build(options, config.clone(), layers)?);
    }
    let mut times = vec![Vec::new(); variants.len()];
    let mut recalibration = Vec::new();
    let mut accuracies = Vec::new();
    for round in 0..options.rounds {
        for (estimator, times) in estimators.iter_mut().zip(&mut times) {
            // The images are fetched before the first evaluation.
            if round == 0 {
                estimator.evaluate(&children[..1], Seed(0))?;
            }
            times.push(seconds(|| {
                let outcomes = estimator.evaluate(&children, Seed(0))?;
                accuracies
                    .push(outcomes.into_iter().map(|outcome| outcome.map(|values| values[0])).collect::<Vec<_>>());
                Ok(())
            })?);
        }
        recalibration.push(seconds(|| probe.recalibrate(&children))?);
    }
    let images = children.len() as f64 * (options.evaluate + options.recalibrate) as f64;
    let together = median(&mut times[0].clone());
    for ((name, _), times) in variants.iter().zip(&mut times) {
        let time = median(times);
        report.line(
            &format!("  {name}"),
            format!("{time:.2} s, {:.0} images/s with recalibration, x {:.2}", images / time, time / together),
        );
        report.value(&format!("evaluation_{}", name.replace(&[' ', ','][..], "_")), json!(time));
    }
    let time = median(&mut recalibration);
    report.line("  of it recalibration", format!("{time:.2} s, {:.0} %", 100.0 * time / together));
    report.value("recalibration", json!(time));
    let same = accuracies.iter().all(|one| one == &accuracies[0]);
    report.line("  accuracies", if same { "the same in all" } else { "different" }.to_owned());
    report.value("same_accuracies", json!(same));
    Ok(())
}

/// What peer.py needs to do the same.
fn peer(options: &Options, probe: &Bench, layers: u32, file: &std::path::Path, report: &Report) -> Result<()> {
    let network = network::network(layers, options.scale)?;
    let region = Region::full(&network);
    let mut generator = Seed(8).generator();
    let paths: Vec<Genome> = (0..8).map(|_| region.sample(&mut generator)).collect();
    let steps: Vec<Vec<Genome>> = (0..64).map(|_| bench::paths(options.sampling, &region, &mut generator)).collect();
    let batch = probe.batch(0)?;
    probe.write(&batch, &file.with_extension("safetensors"))?;
    let mut losses = Vec::new();
    for path in &paths {
        losses.push(probe.forward(&batch, path)?.double_value(&[]));
    }
    let config = config(options);
    let document = json!({
        "description": network.description(),
        "paths": paths,
        "steps": steps,
        "losses": losses,
        "children": generation(&network, options),
        "batch": config.batch,
        "precision": config.precision,
        "evaluation_batch": config.evaluation_batch,
        "evaluate": options.evaluate,
        "recalibrate": options.recalibrate,
        "learning_rate": config.learning_rate,
        "momentum": config.momentum,
        "weight_decay": config.weight_decay,
        "clip": config.clip,
        "crop": config.augment.crop,
        "threads": tch::get_num_threads(),
        "ours": report.values(),
        "layers": layers,
    });
    std::fs::write(file, document.to_string()).map_err(|error| pleach_sdk::Error::failed(error.to_string()))
}
