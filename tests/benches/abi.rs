//! What crossing the ABI costs: calls of every trait to a component that was loaded, beside the same
//! component linked in; and a search by a table, done with both.
//!
//!   cargo bench -p pleach-tests --bench abi
//!
//! PLEACH_TEST_DATA is the folder with the table of NAS-Bench-Macro (shared/data); without it the
//! search is one of `tabular/nk-landscape`.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use pleach::{
    assemble::Assembly,
    config::{self, Config},
    host::Process,
    plugins::{Loaded, load},
    run::RunDirectory,
    search::Search,
};
use pleach_baselines::{RegularizedEvolution, RegularizedEvolutionConfig};
use pleach_gevonas::{BlockConfig, GrowingBlocks, GrowingBlocksConfig, OperationMutation, OperationMutationConfig};
use pleach_misbehaving::{Behaviour, Chain, Formula, Grey, Guess, Redraw};
use pleach_sdk::{
    BuildDataset, BuildEstimator, BuildOperator, BuildSpace, BuildStrategy, Component, Context, Dataset, Estimator,
    Genome, Operator, Region, SearchSpace, Seed, Shape, Split, Step, Strategy, TrainPlan, WeightedOperator,
    conformance::fixtures, host::Host, serde_json::Value,
};
use pleach_tabular::{NasBenchMacro, NasBenchMacroConfig, NkLandscape, NkLandscapeConfig};
use pleach_tests::{checkout, profile_folder};

/// How long one measurement of many calls takes about.
const LONG_ENOUGH: Duration = Duration::from_millis(10);

const ROUNDS: usize = 21;

fn plugin(name: &str) -> Loaded {
    let host: Arc<dyn Host> = Arc::new(Process::default());
    let file = pleach::plugins::library_file(name);
    // Cargo puts the libraries of dependencies beside the benchmark.
    let path = profile_folder().join("deps").join(file);
    load(&path, None, &host).unwrap_or_else(|diagnostic| panic!("{diagnostic}"))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn seconds(calls: usize, call: &mut dyn FnMut()) -> f64 {
    let since = Instant::now();
    for _ in 0..calls {
        call();
    }
    since.elapsed().as_secs_f64()
}

/// Measures both in turn, so that what else the machine does meets both; the medians, in
/// nanoseconds a call.
fn compare(what: &str, mut linked: impl FnMut(), mut loaded: impl FnMut()) {
    let mut calls = 1;
    while seconds(calls, &mut loaded) < LONG_ENOUGH.as_secs_f64() {
        calls *= 2;
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(seconds(calls, &mut linked) / calls as f64 * 1e9);
        times[1].push(seconds(calls, &mut loaded) / calls as f64 * 1e9);
    }
    let [linked, loaded] = times.map(median);
    println!("| {what:<44} | {linked:>9.0} | {loaded:>9.0} | {:>8.0} |", loaded - linked);
}

fn calls_of_every_trait() {
    println!("| call | linked, ns | loaded, ns | crossing, ns |\n| --- | --- | --- | --- |");
    let misbehaving = plugin("misbehaving");
    let plugin = &misbehaving.plugin;
    let (behaviour, config) =
        (Behaviour { size: 16, ..Behaviour::default() }, pleach_sdk::serde_json::json!({ "size": 16 }));
    let context = Context { objectives: fixtures::accuracy(), ..Context::default() };
    let fine = "the component is sound";

    let linked_space: Arc<dyn SearchSpace> = Arc::new(Chain::build(behaviour.clone(), &context).expect(fine));
    let space = plugin.space(Chain::NAME, &config, &context).expect(fine);
    let region = Region::full(linked_space.network());
    let genomes: Vec<Genome> = (0..100).map(|number| region.sample(&mut Seed(number).generator())).collect();
    compare(
        "SearchSpace::network",
        || {
            std::hint::black_box(linked_space.network());
        },
        || {
            std::hint::black_box(space.network());
        },
    );
    compare(
        "SearchSpace::canonical, 16 slots",
        || drop(linked_space.canonical(&genomes[0]).expect(fine)),
        || drop(space.canonical(&genomes[0]).expect(fine)),
    );

    let linked = Redraw::build(behaviour.clone(), Arc::clone(&linked_space), &context).expect(fine);
    let loaded = plugin.operator(Redraw::NAME, &config, Arc::clone(&space), &context).expect(fine);
    compare(
        "Operator::vary, 16 slots",
        || drop(linked.vary(&genomes[..1], &region, Seed(1)).expect(fine)),
        || drop(loaded.vary(&genomes[..1], &region, Seed(1)).expect(fine)),
    );

    let linked = Grey::build(behaviour.clone(), &context).expect(fine);
    let loaded = plugin.dataset(Grey::NAME, &config, &context).expect(fine);
    for count in [1, 128] {
        let indices: Vec<u64> = (0..count).map(|index| index % 100).collect();
        let bytes = linked.info().image_bytes();
        let fetch = |dataset: &dyn Dataset| {
            let (mut images, mut labels) = (vec![0; indices.len() * bytes], vec![0; indices.len()]);
            dataset.fetch(Split::Train, &indices, &mut images, &mut labels).expect(fine);
        };
        compare(&format!("Dataset::fetch, {count} images of 192 bytes"), || fetch(&linked), || fetch(loaded.as_ref()));
    }

    let mut linked = Formula::build(behaviour.clone(), Arc::clone(&linked_space), None, &context).expect(fine);
    let mut loaded = plugin.estimator(Formula::NAME, &config, Arc::clone(&space), None, &context).expect(fine);
    for count in [1, 100] {
        compare(
            &format!("Estimator::evaluate, {count} genomes"),
            || drop(linked.evaluate(&genomes[..count], Seed(1)).expect(fine)),
            || drop(loaded.evaluate(&genomes[..count], Seed(1)).expect(fine)),
        );
    }
    let plan = TrainPlan { region: region.clone(), epochs: 1.0, stage: 0, notes: Value::Null };
    compare(
        "Estimator::train",
        || drop(linked.train(&plan, Seed(1)).expect(fine)),
        || drop(loaded.train(&plan, Seed(1)).expect(fine)),
    );

    let endless = Behaviour { size: usize::MAX, ..behaviour };
    let mut linked = Guess::build(endless, Arc::clone(&linked_space), Vec::new(), &context).expect(fine);
    let endless = pleach_sdk::serde_json::json!({ "size": usize::MAX });
    let mut loaded = plugin.strategy(Guess::NAME, &endless, Arc::clone(&space), Vec::new(), &context).expect(fine);
    compare(
        "Strategy::next, 1 candidate",
        || drop(linked.next(Seed(1)).expect(fine)),
        || drop(loaded.next(Seed(1)).expect(fine)),
    );
    let told: Vec<_> = genomes
        .iter()
        .map(|genome| pleach_sdk::Evaluation { genome: genome.clone(), outcome: Ok(vec![0.5]) })
        .collect();
    compare("Strategy::tell, 100 evaluations", || linked.tell(&told).expect(fine), || loaded.tell(&told).expect(fine));
}

/// What a search by a table works with.
struct Parts {
    space: Arc<dyn SearchSpace>,
    estimator: Box<dyn Estimator>,
    strategy: Box<dyn Strategy>,
}

const EVALUATIONS: usize = 3000;

struct Configs {
    space: GrowingBlocksConfig,
    operator: OperationMutationConfig,
    table: Option<NasBenchMacroConfig>,
    strategy: RegularizedEvolutionConfig,
    context: Context,
}

fn configs() -> Configs {
    let folder = std::env::var_os("PLEACH_TEST_DATA").map_or_else(|| checkout().join("shared/data"), PathBuf::from);
    let table = folder.join("nas-bench-macro/nas-bench-macro_cifar10.json");
    if !table.is_file() {
        println!("{} is not there: the table is tabular/nk-landscape", table.display());
    }
    let block = |layers, channels| BlockConfig { layers, channels, stride: 2 };
    Configs {
        space: GrowingBlocksConfig {
            blocks: vec![block(2, 64), block(3, 128), block(3, 256)],
            operations: ["identity", "mb3_k3", "mb6_k5"].map(str::to_owned).to_vec(),
            projection: true,
            input: Some(Shape { channels: 3, height: 32, width: 32 }),
            classes: Some(10),
            ..GrowingBlocksConfig::default()
        },
        operator: OperationMutationConfig::default(),
        table: table.is_file().then(|| NasBenchMacroConfig { table, ..NasBenchMacroConfig::default() }),
        strategy: RegularizedEvolutionConfig { evaluations: EVALUATIONS, ..RegularizedEvolutionConfig::default() },
        context: Context { objectives: fixtures::accuracy(), seed: Seed(1), ..Context::default() },
    }
}

fn linked(configs: &Configs) -> Parts {
    let (context, fine) = (&configs.context, "the configuration is sound");
    let space: Arc<dyn SearchSpace> = Arc::new(GrowingBlocks::build(configs.space.clone(), context).expect(fine));
    let operator = OperationMutation::build(configs.operator.clone(), Arc::clone(&space), context).expect(fine);
    let estimator: Box<dyn Estimator> = match &configs.table {
        Some(table) => Box::new(NasBenchMacro::build(table.clone(), Arc::clone(&space), None, context).expect(fine)),
        None => {
            Box::new(NkLandscape::build(NkLandscapeConfig::default(), Arc::clone(&space), None, context).expect(fine))
        }
    };
    let operators = vec![WeightedOperator { name: "mutation".to_owned(), weight: 1.0, operator: Arc::new(operator) }];
    let built = RegularizedEvolution::build(configs.strategy.clone(), Arc::clone(&space), operators, context);
    Parts { space, estimator, strategy: Box::new(built.expect(fine)) }
}

fn loaded(configs: &Configs, [gevonas, tabular, baselines]: &[Loaded; 3]) -> Parts {
    let (context, fine) = (&configs.context, "the configuration is sound");
    let document = |config: &dyn erased::Json| config.json();
    let space = gevonas.plugin.space(GrowingBlocks::NAME, &document(&configs.space), context).expect(fine);
    let operator =
        gevonas.plugin.operator(OperationMutation::NAME, &document(&configs.operator), Arc::clone(&space), context);
    let (name, config) = match &configs.table {
        Some(table) => (NasBenchMacro::NAME, document(table)),
        None => (NkLandscape::NAME, document(&NkLandscapeConfig::default())),
    };
    let estimator = tabular.plugin.estimator(name, &config, Arc::clone(&space), None, context).expect(fine);
    let operators =
        vec![WeightedOperator { name: "mutation".to_owned(), weight: 1.0, operator: operator.expect(fine) }];
    let config = document(&configs.strategy);
    let strategy =
        baselines.plugin.strategy(RegularizedEvolution::NAME, &config, Arc::clone(&space), operators, context);
    Parts { space, estimator, strategy: strategy.expect(fine) }
}

mod erased {
    use pleach_sdk::serde_json::{Value, to_value};

    /// A configuration of any component.
    pub trait Json {
        fn json(&self) -> Value;
    }

    impl<T: pleach_sdk::serde::Serialize> Json for T {
        fn json(&self) -> Value {
            to_value(self).expect("a configuration is JSON")
        }
    }
}

/// The host's loop and nothing else of it: no journal, no checkpoints. Seconds, and the best.
fn search(mut parts: Parts) -> (f64, f64) {
    let since = Instant::now();
    let fine = "the search goes on";
    let mut known: HashMap<Genome, Vec<f64>> = HashMap::new();
    let mut best = f64::NEG_INFINITY;
    for number in 0.. {
        match parts.strategy.next(Seed(1).derive("strategy", number)).expect(fine) {
            Step::Train(plan) => drop(parts.estimator.train(&plan, Seed(1)).expect(fine)),
            Step::Finished(_) => break,
            Step::Evaluate(batch) => {
                let mut told = Vec::new();
                for candidate in batch.candidates {
                    parts.space.network().validate(&candidate.genome).expect(fine);
                    let key = parts.space.canonical(&candidate.genome).expect(fine);
                    let values = known.entry(key.clone()).or_insert_with(|| {
                        let outcomes = parts.estimator.evaluate(std::slice::from_ref(&key), Seed(1)).expect(fine);
                        outcomes.into_iter().next().expect(fine).expect(fine)
                    });
                    best = best.max(values[0]);
                    told.push(pleach_sdk::Evaluation { genome: candidate.genome, outcome: Ok(values[..1].to_vec()) });
                }
                parts.strategy.tell(&told).expect(fine);
            }
        }
    }
    (since.elapsed().as_secs_f64(), best)
}

/// A search as `pleach run` does it, with its journal, its checkpoints and its result: seconds, and the
/// best.
fn recorded(parts: Parts, config: &Config) -> (f64, f64) {
    let fine = "the search goes on";
    let Parts { space, estimator, strategy } = parts;
    let measured = estimator.objectives();
    let assembly = Assembly {
        registry: Arc::default(),
        space,
        dataset: None,
        estimator,
        sources: vec![measured.iter().position(|one| one.name == "accuracy")],
        measured,
        seconds: None,
        strategy,
        judge: None,
        objectives: config.objectives(),
        profile: None,
        seed: Seed(config.seed),
        workshop: Arc::default(),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut directory = RunDirectory::create(Some(&folder.path().join("run")), &config.name).expect(fine);
    let since = Instant::now();
    let result = Search::new(config, assembly, &mut directory, Arc::new(Process::default())).run().expect(fine);
    (since.elapsed().as_secs_f64(), result.winner.expect("there is one").objectives["accuracy"])
}

fn share_of_a_search() {
    let configs = configs();
    let plugins = [plugin("gevonas"), plugin("tabular"), plugin("baselines")];
    let (config, _) = config::load(
        &checkout().join("examples/compare-nas-bench-macro.yaml"),
        &[format!("budget={{evaluations: {EVALUATIONS}}}")],
    )
    .expect("the run file is sound");
    type Searched<'a> = (&'a str, &'a dyn Fn(Parts) -> (f64, f64));
    let searches: [Searched<'_>; 2] =
        [("the loop alone", &search), ("as `pleach run` does it", &|parts| recorded(parts, &config))];
    for (what, search) in searches {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let (of_linked, best) = search(linked(&configs));
            let (of_loaded, same) = search(loaded(&configs, &plugins));
            assert_eq!(best, same, "both find the same");
            times[0].push(of_linked);
            times[1].push(of_loaded);
        }
        let [of_linked, of_loaded] = times.map(median);
        println!(
            "\n{EVALUATIONS} evaluations by a table, {what}: linked {:.1} ms, loaded {:.1} ms; crossing {:.1} ms, {:.1} % of it",
            of_linked * 1e3,
            of_loaded * 1e3,
            (of_loaded - of_linked) * 1e3,
            (of_loaded - of_linked) / of_loaded * 100.0
        );
    }
}

fn main() {
    calls_of_every_trait();
    share_of_a_search();
}
