//! What a training leaves for exports. With `PLEACH_TEST_EXPORT` naming a folder, folders of
//! trainings of random networks stay there: `tests/export.sh` exports them.

use std::path::{Path, PathBuf};

use super::{
    pytorch::{networks, unsettle},
    *,
};
use crate::{
    finished::{self, CHECK, SCRIPT},
    model::{WEIGHTS, batch_norms},
};
use pleach_sdk::serde_json::json;

/// Random networks of each description that are exported.
const GENOMES: usize = 20;

/// Writes what a training with `pleach train` leaves, of a network that was not trained: each
/// weight has some value, and statistics are those of random images.
fn write_training(folder: &Path, network: &Network, genome: &Genome, seed: u64) -> Result<()> {
    let model = folder.join("model");
    std::fs::create_dir_all(&model).expect("it can be made");
    let mut weights = Weights::of_genome(network, genome, Device::Cpu, Seed(seed))?;
    unsettle(&mut weights);
    let shape = batch_of(6, network);
    let mut statistics = Statistics::default();
    statistics.begin_batch();
    let batch = random::normal(&shape);
    let _ = tch::no_grad(|| forward(network, &weights, genome, &batch, Mode::Record(&mut statistics)))
        .expect("the network computes");
    let parameters = weights.parameters.iter();
    let mut tensors: Vec<(String, Tensor)> =
        parameters.map(|parameter| (parameter.name().to_owned(), parameter.value.detach().contiguous())).collect();
    for (name, (mean, variance)) in batch_norms(network, genome).iter().zip(statistics.layers()) {
        tensors.push((format!("{name}/mean"), mean.shallow_clone()));
        tensors.push((format!("{name}/variance"), variance.shallow_clone()));
    }
    for (name, values) in [("mean", [120.0, 110.0, 100.0]), ("deviation", [60.0, 70.0, 80.0])] {
        tensors.push((format!("input/{name}"), finished::pixels(&values).expect("three numbers")));
    }
    Tensor::write_safetensors(&tensors, model.join(WEIGHTS)).expect("it can be written");
    let images = random::below(256, &shape, Kind::Uint8);
    finished::hand_over(network, genome, (&images, &Tensor::zeros([6], (Kind::Int64, Device::Cpu))), &model)?;
    let documents = [
        ("network.json", json!(network.description())),
        ("run.json", json!({ "genome": genome, "config": { "name": "random" }, "dataset": null })),
        ("result.json", json!({ "seed": seed, "epochs": 0, "measured": {}, "metrics": {}, "seconds": 0.0 })),
    ];
    for (name, document) in documents {
        std::fs::write(folder.join(name), document.to_string()).expect("it can be written");
    }
    Ok(())
}

#[test]
fn networks_as_torchscript_give_their_own_logits() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let (folder, genomes) = match std::env::var_os("PLEACH_TEST_EXPORT") {
        Some(folder) => (PathBuf::from(folder), GENOMES),
        None => (temporary.path().to_owned(), 3),
    };
    random::seed(11);
    for (name, network) in networks() {
        let mut generator = Seed(13).derive(&name, 0).generator();
        for number in 0..genomes {
            let genome = Region::full(&network).sample(&mut generator);
            let training = folder.join(format!("{name}-{number}"));
            // It compares by itself.
            write_training(&training, &network, &genome, number as u64).expect("the script is right");
            let module = tch::CModule::load(training.join("model").join(SCRIPT)).expect("it is TorchScript");
            let image = batch_of(1, &network);
            let bytes = Tensor::zeros(image, (Kind::Uint8, Device::Cpu));
            let logits = module.forward_ts(&[bytes]).expect("one image of bytes will do");
            assert_eq!(logits.size(), [1, i64::from(network.description().classes)]);
        }
    }
}

#[test]
fn a_script_of_another_network_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    random::seed(17);
    let network = growing().0.clone();
    let genome = |genes: [u16; 2]| Genome(genes.to_vec());
    for (name, genes, seed) in [("one", [0, 1], 1), ("other", [0, 1], 2)] {
        write_training(&folder.path().join(name), &network, &genome(genes), seed).expect("the script is right");
    }
    let of = |name: &str, file: &str| folder.path().join(name).join("model").join(file);
    let check = Tensor::read_safetensors(of("one", CHECK)).expect("it can be read");
    let find = |wanted: &str| &check.iter().find(|(name, _)| name == wanted).expect("it is there").1;
    let compare = |name: &str| finished::compare(&of(name, SCRIPT), find("images"), find("logits"));
    compare("one").expect("it is its own");
    let error = compare("other").expect_err("it is another one's");
    assert!(error.message.contains("1e-4 is allowed"), "{error}");
}
