//! Training from scratch, promise by promise.

use super::*;
use crate::{
    Measure, Precision, Recipe, Schedule, StandAlone,
    model::{TRAINING, WEIGHTS},
    network::{Pass, kept_branches},
};

fn recipe() -> Recipe {
    Recipe {
        device: "cpu".to_owned(),
        threads: 1,
        epochs: 8,
        batch: 32,
        learning_rate: 0.05,
        warm_up_epochs: 1,
        augment: crate::Augmentation { crop: 1, flip: false, cutout: 2 },
        held_out: 120,
        evaluation_batch: 50,
        moving_average: 0.9,
        ..Recipe::default()
    }
}

fn build_with(recipe: Recipe, dataset: Arc<Edges>, seed: u64) -> Result<StandAlone> {
    let context = Context { seed: Seed(seed), ..Context::default() };
    StandAlone::build(recipe, growing(), Some(dataset), &context)
}

fn build(seed: u64) -> StandAlone {
    build_with(recipe(), Edges::new(), seed).expect("the recipe is sound")
}

const GENOME: [u16; 2] = [0, 1];

fn measure(estimator: &mut StandAlone) -> Vec<f64> {
    let outcomes = estimator.evaluate(&[Genome(GENOME.to_vec())], Seed(0)).expect("evaluation works");
    outcomes.into_iter().next().expect("one was asked for").expect("it can be trained")
}

fn epochs(count: f64) -> TrainPlan {
    plan([&GENOME[..1], &GENOME[1..]], count)
}

#[test]
fn a_network_learns_what_can_be_learned() {
    let values = measure(&mut build(1));
    assert!(values[0] > 0.9, "accuracy {}", values[0]);
    assert!(values[1] < 0.9, "loss {}", values[1]);
}

#[test]
fn epochs_one_by_one_are_the_same_training() {
    let whole = measure(&mut build(1));
    let mut stepwise = build(1);
    for epoch in 1..=8 {
        let report = stepwise.train(&epochs(1.0), Seed(99)).expect("training works");
        assert_eq!((report.metrics["epoch"], report.metrics["epochs"]), (f64::from(epoch), 8.0));
        assert_eq!(report.images, 480);
    }
    let report = stepwise.train(&epochs(1.0), Seed(99)).expect("there is nothing left to do");
    assert!(!report.weights_changed && report.images == 0);
    assert_eq!(measure(&mut stepwise), whole);
    assert_ne!(measure(&mut build(2)), whole);
}

#[test]
fn candidates_side_by_side_are_those_of_one_thread() {
    // Five genomes, one of which is none of the space.
    let genomes: Vec<Genome> = [[0, 1], [1, 0], [7, 7], [1, 1], [0, 0]].map(|genes| Genome(genes.to_vec())).into();
    let outcomes = |threads: u32, side_by_side: bool, genomes: &[Genome]| {
        let recipe = Recipe { threads, side_by_side, trainings: 2, epochs: 3, ..recipe() };
        let mut estimator = build_with(recipe, Edges::new(), 1).expect("the recipe is sound");
        estimator.evaluate(genomes, Seed(0)).expect("evaluation works")
    };
    let expected = outcomes(1, false, &genomes);
    assert_eq!(expected.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true, true]);
    for threads in [1, 2, 3, 16] {
        assert_eq!(outcomes(threads, true, &genomes), expected, "{threads} threads");
    }
    // The result of one is the same without the others.
    assert_eq!(outcomes(2, true, &genomes[1..2]), expected[1..2]);
}

#[test]
fn candidates_on_streams_of_cuda_learn_what_they_learn_alone() {
    if super::cuda::cuda().is_none() {
        return;
    }
    let genomes: Vec<Genome> = [[0, 1], [1, 0], [1, 1], [0, 0]].map(|genes| Genome(genes.to_vec())).into();
    let measured = |side_by_side| {
        let device = "cuda".to_owned();
        let recipe = Recipe { device, side_by_side, streams: 3, trainings: 2, epochs: 6, ..recipe() };
        let mut estimator = build_with(recipe, Edges::new(), 1).expect("the recipe is sound");
        let outcomes = estimator.evaluate(&genomes, Seed(0)).expect("evaluation works");
        outcomes.into_iter().map(|outcome| outcome.expect("each is measured")[0]).collect::<Vec<_>>()
    };
    for (beside, alone) in measured(true).into_iter().zip(measured(false)) {
        assert!((beside - alone).abs() < 0.1, "{beside} beside others, {alone} alone");
    }
}

#[test]
fn a_step_that_cuda_repeats_is_the_same() {
    if super::cuda::cuda().is_none() {
        return;
    }
    for precision in [Precision::Single, Precision::Mixed] {
        let trained = |graphs| {
            let device = "cuda".to_owned();
            let recipe = Recipe { device, graphs, precision, drop_path: 0.2, auxiliary: 0.4, ..recipe() };
            let mut estimator = build_with(recipe, Edges::new(), 1).expect("the recipe is sound");
            let mut epoch = || estimator.train(&epochs(1.0), Seed(0)).expect("training works").metrics["loss"];
            // Branches are left out from the second epoch on, which makes it another step.
            let losses: Vec<f64> = (0..8).map(|_| epoch()).collect();
            assert_eq!(estimator.is_repeated(), graphs);
            (losses, measure(&mut estimator)[0])
        };
        let ((found, accuracy), (expected, its_accuracy)) = (trained(true), trained(false));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.05 * expected + 0.02, "{precision:?}: {found} for {expected}");
        }
        assert!((accuracy - its_accuracy).abs() < 0.05, "{precision:?}: {accuracy} for {its_accuracy}");
    }
}

#[test]
fn what_was_saved_goes_on_as_if_nothing_had_happened() {
    let whole = measure(&mut build(1));
    let mut first = build(1);
    first.train(&epochs(3.0), Seed(0)).expect("training works");
    let folder = tempfile::tempdir().expect("a temporary folder");
    first.save(folder.path()).expect("it can be written");
    let mut resumed = build(1);
    resumed.load(folder.path()).expect("it can be read");
    // Also a checkpoint that is written before anything else is done.
    let again = tempfile::tempdir().expect("a temporary folder");
    resumed.save(again.path()).expect("it can be written");
    for file in [WEIGHTS, TRAINING] {
        let bytes = |folder: &std::path::Path| std::fs::read(folder.join(file)).expect("it was written");
        assert_eq!(bytes(again.path()), bytes(folder.path()), "{file}");
    }
    let report = resumed.train(&epochs(1.0), Seed(0)).expect("training works");
    assert_eq!(report.metrics["epoch"], 4.0);
    assert_eq!(measure(&mut resumed), whole);
    // Another recipe does not take up what it cannot use, and damage is named.
    let plain = Recipe { auxiliary: 0.4, moving_average: 0.5, ..recipe() };
    let mut other = build_with(plain, Edges::new(), 1).expect("the recipe is sound");
    other.load(folder.path()).expect("the same tensors are wanted");
    std::fs::write(folder.path().join(WEIGHTS), "damage").expect("it can be written");
    let error = build(1).load(folder.path()).expect_err("the weights are damaged");
    assert!(error.message.contains("reading weights"), "{error}");
}

#[test]
fn without_a_checkpoint_there_is_nothing_to_load() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    build(1).save(empty.path()).expect("nothing is written");
    let mut fresh = build(1);
    fresh.load(empty.path()).expect("nothing is read");
    assert_eq!(measure(&mut fresh), measure(&mut build(1)));
}

#[test]
fn training_held_out_and_test_images_do_not_mix() {
    let check = |measured_on: Measure, held_out: u64, trained_on: usize, split: Split, count: usize| {
        let dataset = Edges::new();
        let recipe = Recipe { measure: measured_on, held_out, epochs: 2, ..recipe() };
        let mut estimator = build_with(recipe, Arc::clone(&dataset), 1).expect("the recipe is sound");
        let taken = || std::mem::take(&mut *dataset.asked.lock().expect("no test panics while it holds this"));
        estimator.train(&epochs(2.0), Seed(0)).expect("training works");
        let trained = taken();
        assert!(trained.iter().all(|(split, _)| *split == Split::Train), "training looks at test images");
        let trained: std::collections::BTreeSet<u64> = trained.into_iter().map(|(_, index)| index).collect();
        assert_eq!(trained.len(), trained_on);
        measure(&mut estimator);
        let measured = taken();
        assert!(measured.iter().all(|(of, _)| *of == split));
        assert_eq!(measured.len(), count, "each is looked at once");
        if split == Split::Train {
            assert!(measured.iter().all(|(_, index)| !trained.contains(index)));
        }
    };
    check(Measure::HeldOut, 120, 480, Split::Train, 120);
    check(Measure::Test, 0, 600, Split::Test, 50);
    check(Measure::Test, 120, 480, Split::Test, 50);
}

#[test]
fn the_held_out_images_are_those_of_the_weight_sharing_estimator() {
    let (of_search, of_training) = (Edges::new(), Edges::new());
    let mut search = super::build_with(config(), Arc::clone(&of_search), 5).expect("it is sound");
    values(&mut search, &genomes()[..1]);
    let mut training = build_with(Recipe { epochs: 2, ..recipe() }, Arc::clone(&of_training), 5).expect("it is sound");
    measure(&mut training);
    let asked = |dataset: &Edges| -> Vec<u64> {
        dataset.asked.lock().expect("no test panics").iter().map(|(_, index)| *index).collect()
    };
    let measured_last: Vec<u64> = asked(&of_training).into_iter().rev().take(120).collect();
    let measured: std::collections::BTreeSet<u64> = asked(&of_search).into_iter().collect();
    assert!(measured_last.iter().all(|index| measured.contains(index)));
}

#[test]
fn the_file_of_weights_is_the_network_and_nothing_else() {
    let mut estimator = build(1);
    estimator.train(&epochs(1.0), Seed(0)).expect("training works");
    let folder = tempfile::tempdir().expect("a temporary folder");
    estimator.save(folder.path()).expect("it can be written");
    let tensors = Tensor::read_safetensors(folder.path().join(WEIGHTS)).expect("it can be read");
    let is_statistic = |name: &str| crate::script::is_statistic(name);
    let numbers: usize = tensors.iter().filter(|(name, _)| !is_statistic(name)).map(|(_, tensor)| tensor.numel()).sum();
    assert_eq!(numbers as u64, growing().network().cost(&Genome(GENOME.to_vec())).params);
    // One batch norm in the stem, three in each layer, and pixels.
    assert_eq!(tensors.iter().filter(|(name, _)| is_statistic(name)).count(), 2 * 7 + 2);
    assert!(tensors.iter().all(|(name, _)| !name.contains("auxiliary") && !name.contains("small/7/scale.")));
}

#[test]
fn several_trainings_make_a_mean() {
    let recipe = Recipe { epochs: 2, trainings: 2, ..recipe() };
    let mean = measure(&mut build_with(recipe.clone(), Edges::new(), 1).expect("the recipe is sound"));
    let first = measure(&mut build_with(Recipe { trainings: 1, ..recipe }, Edges::new(), 1).expect("it is sound"));
    assert_ne!(mean, first);
    assert!(mean[0].is_finite() && mean[1].is_finite());
}

#[test]
fn a_training_that_diverges_is_the_candidates_failure() {
    let recipe =
        Recipe { learning_rate: 10.0, clip: 0.0, momentum: 1.0, weight_decay: 1.0, warm_up_epochs: 0, ..recipe() };
    let mut estimator = build_with(Recipe { epochs: 60, ..recipe }, Edges::new(), 1).expect("the recipe is sound");
    let outcomes = estimator.evaluate(&[Genome(GENOME.to_vec())], Seed(0)).expect("the batch is measured");
    assert!(outcomes[0].as_ref().is_err_and(|reason| reason.contains("lower learning_rate")), "{outcomes:?}");
}

#[test]
fn a_region_of_several_networks_has_nothing_to_train() {
    let report = build(1).train(&plan([&[0, 1], &[0]], 5.0), Seed(0)).expect("nothing happens");
    assert_eq!(report, pleach_sdk::TrainReport::default());
}

#[test]
fn the_strategy_may_say_how_long_each_network_is_trained() {
    let by_strategy = || {
        let recipe = Recipe { schedule: Schedule::Strategy, ..recipe() };
        build_with(recipe, Edges::new(), 1).expect("the recipe is sound")
    };
    let after = |epochs| measure(&mut build_with(Recipe { epochs, ..recipe() }, Edges::new(), 1).expect("it is sound"));
    let several = |epochs| plan([&[0, 1], &[1]], epochs);
    let mut estimator = by_strategy();
    let error = estimator.evaluate(&[Genome(GENOME.to_vec())], Seed(0)).expect_err("nothing was trained");
    assert!(error.message.contains("it has trained for none"), "{error}");
    assert!(estimator.train(&several(2.0), Seed(0)).expect("2 epochs are allowed").weights_changed);
    assert_eq!(measure(&mut estimator), after(2));
    let folder = tempfile::tempdir().expect("a temporary folder");
    estimator.save(folder.path()).expect("it can be written");
    let mut resumed = by_strategy();
    resumed.load(folder.path()).expect("it can be read");
    resumed.train(&epochs(3.0), Seed(0)).expect("5 epochs are allowed");
    assert_eq!(measure(&mut resumed), after(5), "a schedule of its own, for one network too");
    let error = resumed.train(&several(4.0), Seed(0)).expect_err("9 epochs are too many");
    assert!(error.message.contains("trained for 9 epochs, the recipe of supernet/stand-alone has 8"), "{error}");
}

#[test]
fn recipes_that_cannot_work_are_refused() {
    let check = |change: fn(&mut Recipe), place: &str, expected: &str| {
        let mut recipe = recipe();
        change(&mut recipe);
        let error = build_with(recipe, Edges::new(), 1).err().expect(expected);
        assert_eq!(error.place.as_deref(), Some(place), "{error}");
        assert!(error.message.contains(expected), "{error}");
    };
    check(|recipe| recipe.held_out = 0, "/held_out", "nothing to measure on");
    check(|recipe| recipe.warm_up_epochs = 8, "/warm_up_epochs", "a warm-up of 8 epochs leaves none of 8");
    check(
        |recipe| {
            recipe.measure = Measure::Test;
            recipe.evaluate_images = 51;
        },
        "/evaluate_images",
        "asks for 51 images, there are 50",
    );
    check(|recipe| recipe.held_out = 600, "/held_out", "asks for 600 images, there are 600");
}

fn logits<'a>(pass: impl Into<Pass<'a>>) -> Tensor {
    let network = growing().0.clone();
    let genome = Genome(GENOME.to_vec());
    let weights = Weights::of_genome(&network, &genome, Device::Cpu, Seed(1)).expect("weights can be made");
    random::seed(3);
    let images = random::normal(&[400, 3, 8, 8]);
    tch::no_grad(|| forward(&network, &weights, &genome, &images, pass)).expect("it computes")
}

#[test]
fn drop_path_leaves_out_a_share_of_branches_and_keeps_their_mean() {
    let with = |rate, seed| {
        let genome = Genome(GENOME.to_vec());
        let kept = kept_branches(&growing().0, &genome, rate, 400, Device::Cpu, Seed(seed)).expect("they can be drawn");
        logits(Pass::from(Mode::Batch).with_branches(Some(&kept)))
    };
    let plain = logits(Mode::Batch);
    assert_eq!(with(0.0, 1), plain);
    assert_eq!(with(0.3, 1), with(0.3, 1));
    assert_ne!(with(0.3, 1), with(0.3, 2));
    let mean = |tensor: &Tensor| tensor.mean(Kind::Float).double_value(&[]);
    let many: f64 = (0..40).map(|seed| mean(&with(0.3, seed))).sum::<f64>() / 40.0;
    assert!((many - mean(&plain)).abs() < 0.02, "{many} {}", mean(&plain));
}

#[test]
fn mixed_precision_computes_nearly_the_same() {
    let single = logits(Mode::Batch);
    let mixed = logits(Pass::from(Mode::Batch).with_precision(Precision::Mixed));
    assert_ne!(single, mixed);
    let difference = (&single - &mixed).abs().max().double_value(&[]);
    // Eight bits of fraction and some ten layers.
    assert!(difference < 0.1 * single.abs().max().double_value(&[]), "{difference}");
    let recipe = Recipe { precision: Precision::Mixed, ..recipe() };
    let values = measure(&mut build_with(recipe, Edges::new(), 1).expect("the recipe is sound"));
    assert!(values[0] > 0.9, "accuracy {}", values[0]);
}

/// A data set on a device that has no room for 32 images at once.
struct Narrow(Arc<Edges>);

impl Dataset for Narrow {
    fn info(&self) -> &DatasetInfo {
        self.0.info()
    }

    fn fetch(&self, split: Split, indices: &[u64], images: &mut [u8], labels: &mut [u32]) -> Result<()> {
        if indices.len() == 32 {
            return Err(pleach_sdk::Error::failed("CUDA out of memory. Tried to allocate 2.00 GiB"));
        }
        self.0.fetch(split, indices, images, labels)
    }
}

#[test]
fn a_batch_that_has_no_room_is_halved_for_the_whole_training_and_remembered() {
    let build = || {
        let context = Context { seed: Seed(1), ..Context::default() };
        StandAlone::build(recipe(), growing(), Some(Arc::new(Narrow(Edges::new()))), &context).expect("it is sound")
    };
    let whole = measure(&mut build());
    assert!(whole[0] > 0.9, "accuracy {}", whole[0]);
    let mut first = build();
    let report = first.train(&epochs(3.0), Seed(0)).expect("half of the batch has room");
    assert_eq!((report.metrics["batch"], report.images), (16.0, 3 * 480));
    let folder = tempfile::tempdir().expect("a temporary folder");
    first.save(folder.path()).expect("it can be saved");
    let mut second = build();
    second.load(folder.path()).expect("it was saved");
    assert_eq!(second.train(&epochs(1.0), Seed(0)).expect("it goes on").metrics["batch"], 16.0);
    assert_eq!(measure(&mut second), whole);
}
