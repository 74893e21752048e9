//! Whole searches against a fitness that is a formula or a published table.

use std::collections::BTreeMap;

use pleach_sdk::{BuildOperator, Objective, Operator};

use super::*;
use crate::{
    BlockCrossover, NoConfig, OperationMutation, OperationMutationConfig, UniformCrossover,
    growth::region_at,
    prune::Keep,
    space::tests::{nas_bench_macro, table},
};

fn accuracy() -> Objective {
    Objective { name: "accuracy".to_owned(), goal: Some(Goal::Maximise), at_most: None, at_least: None }
}

fn build(config: GrowAndPruneConfig, objectives: Vec<Objective>) -> Result<GrowAndPrune> {
    let space: Arc<dyn SearchSpace> = Arc::new(nas_bench_macro());
    let context = Context { objectives: Objectives(objectives), ..Context::default() };
    let with =
        |name: &str, weight, operator: Arc<dyn Operator>| WeightedOperator { name: name.to_owned(), weight, operator };
    let operators = vec![
        with("uniform", 0.25, Arc::new(UniformCrossover::build(NoConfig {}, Arc::clone(&space), &context)?)),
        with("block", 0.25, Arc::new(BlockCrossover::build(NoConfig {}, Arc::clone(&space), &context)?)),
        with(
            "mutation",
            0.5,
            Arc::new(OperationMutation::build(OperationMutationConfig::default(), Arc::clone(&space), &context)?),
        ),
    ];
    GrowAndPrune::build(config, space, operators, &context)
}

fn small() -> GrowAndPruneConfig {
    GrowAndPruneConfig { population: 16, generations: 6, patience: 3, ..GrowAndPruneConfig::default() }
}

/// A formula that prefers some operations, more strongly in earlier layers.
fn formula(genome: &Genome) -> std::result::Result<Vec<f64>, String> {
    let layer = |(slot, gene): (usize, &u16)| [0.2, 0.7, 1.0, 0.0][usize::from(*gene)] / (slot + 1) as f64;
    Ok(vec![genome.iter().enumerate().map(layer).sum()])
}

/// Runs a search, and answers with every step that was asked for.
fn drive(
    strategy: &mut GrowAndPrune,
    root: Seed,
    fitness: &dyn Fn(&Genome) -> std::result::Result<Vec<f64>, String>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..10_000 {
        let step = strategy.next(root.derive("strategy", number)).expect("the search goes on");
        steps.push(step.clone());
        match step {
            Step::Train(_) => {}
            Step::Evaluate(batch) => {
                let tell = |candidate: &Candidate| Evaluation {
                    genome: candidate.genome.clone(),
                    outcome: fitness(&candidate.genome),
                };
                let evaluations: Vec<Evaluation> = batch.candidates.iter().map(tell).collect();
                strategy.tell(&evaluations).expect("the search goes on");
            }
            Step::Finished(_) => return steps,
        }
    }
    panic!("the search does not end");
}

fn regions(steps: &[Step]) -> Vec<Region> {
    let region = |step: &Step| match step {
        Step::Train(plan) => Some(plan.region.clone()),
        _ => None,
    };
    steps.iter().filter_map(region).collect()
}

fn batches(steps: &[Step]) -> Vec<&Batch> {
    fn batch(step: &Step) -> Option<&Batch> {
        match step {
            Step::Evaluate(batch) => Some(batch),
            _ => None,
        }
    }
    steps.iter().filter_map(batch).collect()
}

#[test]
fn a_search_trains_evolves_prunes_and_grows_stage_by_stage() {
    let mut strategy = build(small(), vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(1), &formula);
    let space = nas_bench_macro();
    let network = space.network();
    let regions = regions(&steps);
    assert_eq!(regions.len(), 3);
    assert_eq!(regions[0], region_at(network, &[1, 1, 1]).expect("no slot is empty"));
    for (stage, depths) in [[1, 1, 1], [2, 2, 2], [2, 3, 3]].iter().enumerate() {
        let open = region_at(network, depths).expect("no slot is empty");
        for slot in 0..8 {
            assert!(regions[stage].allowed(slot).iter().all(|choice| open.allows(slot, *choice)), "stage {stage}");
            let was_born = stage > 0 && regions[stage - 1].allowed(slot) != [3];
            if was_born {
                assert!(regions[stage].allowed(slot).iter().all(|choice| regions[stage - 1].allows(slot, *choice)));
            } else {
                assert_eq!(regions[stage].allowed(slot), open.allowed(slot), "a newborn layer is open");
            }
        }
    }
    assert!(regions.windows(2).any(|pair| !prune::removed(&pair[0], &pair[1])[0].is_empty()), "something was pruned");
    let mut stage = None;
    for step in &steps {
        match step {
            Step::Train(plan) => stage = Some(plan.stage as usize),
            Step::Evaluate(batch) => {
                let region = &regions[stage.expect("training comes first")];
                assert!(batch.candidates.iter().all(|candidate| region.contains(&candidate.genome)));
            }
            Step::Finished(notes) => assert_eq!(notes["elites"].as_array().map(Vec::len), Some(5)),
        }
    }
}

#[test]
fn what_is_kept_is_the_union_of_the_five_best_of_the_stage() {
    let mut strategy = build(small(), vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(2), &formula);
    let regions = regions(&steps);
    let first_stage = steps.iter().skip(1).take_while(|step| !matches!(step, Step::Train(_)));
    let mut evaluated: Vec<(f64, Genome)> = Vec::new();
    for step in first_stage {
        let Step::Evaluate(batch) = step else { panic!("only evaluations stand between two trainings") };
        evaluated.extend(batch.candidates.iter().map(|candidate| {
            (formula(&candidate.genome).expect("the formula has no gaps")[0], candidate.genome.clone())
        }));
    }
    evaluated.sort_by(|one, other| other.0.total_cmp(&one.0));
    let union = Region::union_of(evaluated.iter().take(5).map(|(_, genome)| genome)).expect("five genomes");
    for slot in [0, 2, 5] {
        assert_eq!(regions[1].allowed(slot), union.allowed(slot), "slot {slot}");
    }
}

#[test]
fn no_network_is_proposed_twice_in_a_stage() {
    let mut strategy = build(small(), vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(3), &formula);
    let space = nas_bench_macro();
    let mut seen = BTreeSet::new();
    for step in &steps {
        match step {
            Step::Train(_) => seen.clear(),
            Step::Evaluate(batch) => {
                for candidate in &batch.candidates {
                    assert!(seen.insert(space.canonical(&candidate.genome).expect("it is of the space")));
                }
            }
            Step::Finished(_) => {}
        }
    }
}

#[test]
fn one_block_grows_at_a_time() {
    let config = GrowAndPruneConfig { growth: Growth::OneBlock, ..small() };
    let mut strategy = build(config, vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(4), &formula);
    let grown: Vec<usize> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Train(plan) => Some(plan.notes["grown"].as_array().map_or(0, Vec::len)),
            _ => None,
        })
        .collect();
    assert_eq!(grown, [0, 1, 1, 1, 1, 1]);
}

#[test]
fn patience_ends_a_stage() {
    let constant = |_: &Genome| Ok(vec![1.0]);
    let config = GrowAndPruneConfig { generations: 50, patience: 2, prune: keep(Keep::All), ..small() };
    let mut strategy = build(config, vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(5), &constant);
    let mut per_stage = BTreeMap::new();
    for batch in batches(&steps) {
        *per_stage.entry(batch.notes["stage"].as_u64()).or_insert(0) += 1;
    }
    // The first population and two generations without a better network; the first stage has
    // only 27 networks, of which the second generation leaves none.
    assert_eq!(per_stage[&Some(1)], 3);
    assert_eq!(per_stage[&Some(2)], 3);
}

fn keep(keep: Keep) -> PruneConfig {
    PruneConfig { keep, ..PruneConfig::default() }
}

#[test]
fn limits_on_costs_are_kept_by_every_proposal() {
    let limit = |at_most, at_least| Objective { name: "params".to_owned(), goal: None, at_most, at_least };
    let objectives = vec![accuracy(), limit(Some(1.0e6), Some(0.8e6))];
    let fitness = |genome: &Genome| {
        let params = nas_bench_macro().network().cost(genome).params as f64;
        formula(genome).map(|values| vec![values[0], params])
    };
    let mut strategy = build(small(), objectives).expect("the limits can be kept");
    let steps = drive(&mut strategy, Seed(6), &fitness);
    let space = nas_bench_macro();
    let mut of_last_stage = 0;
    for batch in batches(&steps) {
        for candidate in &batch.candidates {
            let params = space.network().cost(&candidate.genome).params;
            assert!(params <= 1_000_000);
            if batch.notes["stage"] == 2 {
                assert!(params >= 800_000, "lower limits count in the last stage");
                of_last_stage += 1;
            }
        }
    }
    assert!(of_last_stage > 10);
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let check = |config: GrowAndPruneConfig, objectives: Vec<Objective>, expected: &str| {
        let error = build(config, objectives).err().expect("it cannot work");
        assert!(error.message.contains(expected), "{error}");
        assert_eq!(error.kind, pleach_sdk::ErrorKind::Config);
    };
    let limit = |at_most, at_least| Objective { name: "params".to_owned(), goal: None, at_most, at_least };
    check(small(), vec![accuracy(), limit(Some(1000.0), None)], "no network can keep params at most 1000");
    check(small(), vec![accuracy(), limit(None, Some(1e9))], "no network can keep params at least 1000000000");
    check(small(), vec![accuracy(), accuracy()], "follows one objective, the run has 2");
    check(GrowAndPruneConfig { elites: 16, ..small() }, vec![accuracy()], "16 elites leave no room");
    let space: Arc<dyn SearchSpace> = Arc::new(nas_bench_macro());
    let error =
        GrowAndPrune::build(small(), space, Vec::new(), &Context::default()).err().expect("it has no operators");
    assert!(error.message.contains("add some to `operators:`"), "{error}");
}

#[test]
fn failed_candidates_are_data() {
    let mostly_fails = |genome: &Genome| match genome[0] {
        2 => formula(genome),
        _ => Err("no memory".to_owned()),
    };
    let mut strategy = build(small(), vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(7), &mostly_fails);
    assert_eq!(regions(&steps)[1].allowed(0), [2]);
    let never = |_: &Genome| Err("no memory".to_owned());
    let mut strategy = build(small(), vec![accuracy()]).expect("the configuration is sound");
    let steps = drive(&mut strategy, Seed(8), &never);
    assert_eq!(regions(&steps).len(), 3, "without elites nothing is pruned and growth goes on");
}

#[test]
fn the_same_seed_gives_the_same_search() {
    let search = |seed| drive(&mut build(small(), vec![accuracy()]).expect("it is sound"), Seed(seed), &formula);
    assert_eq!(search(9), search(9));
    assert_ne!(search(9), search(10));
}

#[test]
fn saving_and_loading_between_any_two_steps_changes_nothing() {
    let whole = drive(&mut build(small(), vec![accuracy()]).expect("it is sound"), Seed(11), &formula);
    let mut strategy = build(small(), vec![accuracy()]).expect("it is sound");
    for (number, expected) in whole.iter().enumerate() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        strategy.save(folder.path()).expect("the state can be written");
        strategy = build(small(), vec![accuracy()]).expect("it is sound");
        strategy.load(folder.path()).expect("the state can be read");
        let step = strategy.next(Seed(11).derive("strategy", number as u64)).expect("the search goes on");
        assert_eq!(step, *expected, "step {number}");
        if let Step::Evaluate(batch) = step {
            let tell =
                |candidate: Candidate| Evaluation { outcome: formula(&candidate.genome), genome: candidate.genome };
            let evaluations: Vec<Evaluation> = batch.candidates.into_iter().map(tell).collect();
            strategy.tell(&evaluations).expect("the search goes on");
        }
    }
}

#[test]
fn a_state_that_is_damaged_or_of_another_search_is_refused() {
    let check = |text: &str, expected: &str| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(state::FILE), text).expect("the file can be written");
        let error = build(small(), vec![accuracy()]).expect("it is sound").load(folder.path()).expect_err(expected);
        assert!(error.message.contains(expected), "{error}");
    };
    let strategy = build(small(), vec![accuracy()]).expect("it is sound");
    let whole = pleach_sdk::serde_json::to_string(&strategy.state).expect("a state is JSON");
    check(&whole[..whole.len() / 2], "failed to read");
    check(&whole.replace("\"stage\":0", "\"stage\":9"), "it is in stage 10, this search has 3");
    check(&whole.replacen("[[0,1,2],", "[", 1), "a region has 7 slots, the space has 8");
    let missing = tempfile::tempdir().expect("a temporary folder");
    assert!(build(small(), vec![accuracy()]).expect("it is sound").load(missing.path()).is_err());
}

#[test]
fn the_best_of_nas_bench_macro_is_nearly_found_with_a_share_of_its_evaluations() {
    let Some(table) = table() else { return };
    // A shallow network stands for the completions of it by identity, as the table has them.
    let fitness: BTreeMap<Genome, f64> = table.into_iter().map(|entry| (entry.genome, entry.mean_accuracy)).collect();
    let look_up = |genome: &Genome| {
        let complete = Genome(genome.iter().map(|gene| if *gene == 3 { 0 } else { *gene }).collect());
        fitness.get(&complete).map(|mean| vec![*mean]).ok_or_else(|| "not in the table".to_owned())
    };
    for seed in 0..3 {
        let config = GrowAndPruneConfig::default();
        let mut strategy = build(config, vec![accuracy()]).expect("the configuration is sound");
        let steps = drive(&mut strategy, Seed(seed), &look_up);
        let all: Vec<&Candidate> = batches(&steps).into_iter().flat_map(|batch| &batch.candidates).collect();
        let best = all.iter().map(|one| look_up(&one.genome).expect("it is in the table")[0]).fold(0.0, f64::max);
        assert!(best > 93.13 - 0.2, "seed {seed}: {best}");
        assert!(all.len() < 1500, "seed {seed}: {} evaluations", all.len());
    }
}
