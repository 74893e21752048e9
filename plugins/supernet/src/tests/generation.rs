//! Networks measured together: what they share, and which leave early.

use super::{kernels::trained, *};
use crate::{
    network::Precision,
    population::Population,
    shared::{How, Normal, Shared},
};

#[test]
fn what_networks_share_is_there_once() {
    let network = &growing().0;
    let genomes: Vec<Genome> =
        [[0, 1], [0, 2], [0, 3], [1, 1], [2, 1], [3, 1], [0, 1]].map(|genes| Genome(genes.to_vec())).to_vec();
    let population = Population::new(network, &genomes.iter().collect::<Vec<_>>());
    // Identity and absent compute the same, so [0, 2] and [0, 3] are one network, and so are [2, 1]
    // and [3, 1], and the last is the first again.
    assert_eq!(population.members.len(), 4);
    let [first, second, third, .., fourth, fifth, last] = population.networks[..] else { panic!("seven genomes") };
    assert_eq!((first, second, fourth), (last, third, fifth));
    // One stem, two first layers, three second layers after different first ones, four heads.
    assert_eq!(population.values.len(), 1 + 2 + 3 + 4);
    let all = population.readers(&[true; 4]);
    assert_eq!(all[0], 3, "the stem is read by two first layers and a second one");
    let mut one = [false; 4];
    one[first] = true;
    assert!(population.readers(&one).iter().all(|readers| *readers <= 1));
}

#[test]
fn memory_for_what_is_shared_changes_no_measurement() {
    let with = |megabytes| trained(|config| config.shared_memory = megabytes).1;
    assert_eq!(with(1024), with(0));
    // A cell whose nodes read each other several times.
    let network = cell();
    let genomes: Vec<Genome> = {
        let mut generator = Seed(4).generator();
        (0..12).map(|_| Region::full(&network).sample(&mut generator)).collect()
    };
    let weights = Weights::new(&network, false, Device::Cpu, Seed(1)).expect("weights can be made");
    random::seed(1);
    let shape = batch_of(10, &network);
    let images = random::channels_last(shape);
    let population = Population::new(&network, &genomes.iter().collect::<Vec<_>>());
    let wanted = vec![true; population.members.len()];
    let how = How { precision: Precision::Single, own_kernels: true };
    for room in [0, 4000, usize::MAX] {
        let mut shared = Shared::new(&network, &weights, &population, room, how);
        let mut found: Vec<Option<Tensor>> = population.members.iter().map(|_| None).collect();
        let each = |index: usize, logits: std::result::Result<Tensor, tch::TchError>| {
            found[index] = Some(logits.expect("it computes"));
            Ok::<(), ()>(())
        };
        tch::no_grad(|| shared.pass(&images, Normal::Batch, &wanted, each)).expect("nothing stops it");
        for (genome, index) in genomes.iter().zip(&population.networks) {
            let expected = tch::no_grad(|| forward(&network, &weights, genome, &images, Mode::Batch));
            assert_eq!(found[*index], Some(expected.expect("it computes")), "{genome} with room for {room}");
        }
    }
}

#[test]
fn a_race_measures_the_best_as_it_would_without_and_others_on_fewer_images() {
    let genomes: Vec<Genome> = (0..3).flat_map(|one| (0..4).map(move |two| Genome(vec![one, two]))).collect();
    let measured = |race| {
        let config = Config { race, evaluation_batch: 10, shared_memory: 64, ..config() };
        let mut estimator = build_with(config, Edges::new(), 1).expect("the configuration is sound");
        // Choice 1 of the first layer stays as it began, so networks with it know little.
        estimator.train(&plan([&[0, 2], &[0, 1]], 6.0), Seed(2)).expect("training works");
        values(&mut estimator, &genomes)
    };
    let (all, raced) = (measured(0), measured(2));
    let mut order: Vec<usize> = (0..genomes.len()).collect();
    order.sort_by(|one, other| all[*other][0].total_cmp(&all[*one][0]));
    for best in &order[..2] {
        assert_eq!(raced[*best], all[*best], "{}", genomes[*best]);
    }
    let differ = all.iter().zip(&raced).filter(|(all, raced)| all != raced).count();
    assert!(differ >= 2, "networks left the race: {all:?} and {raced:?}");
}

/// The cell of NAS-Bench-201.
fn cell() -> Network {
    let text = include_str!("networks/cell.json");
    let description: Description = pleach_sdk::serde_json::from_str(text).expect("it is a description");
    Network::new(description).expect("it is sound")
}
