//! The forward pass and proxies without training against PyTorch's, for the same weights: the networks of `networks/` are built
//! again by `pytorch.py` from nothing but their description. `tests/pytorch.sh` runs it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::{
    network::Pass,
    weights::channels_last,
    zero_cost::proxies::{naswot, saliency, synflow},
};
use pleach_sdk::serde_json::{self, json};

/// Random networks of each description.
const GENOMES: usize = 8;

/// Images in a batch.
const IMAGES: i64 = 6;

pub(crate) fn networks() -> Vec<(String, Network)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/networks");
    let mut paths: Vec<PathBuf> =
        folder.read_dir().expect("it is there").map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    let network = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let description: Description = serde_json::from_str(&text).expect("it is a description");
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        (name, Network::new(description).expect("it is sound"))
    };
    paths.into_iter().map(network).collect()
}

/// Scales, shifts and biases that begin as constants get values of their own: a pass that forgot
/// one would otherwise go unnoticed.
pub(crate) fn unsettle(weights: &mut Weights) {
    tch::no_grad(|| {
        for parameter in &mut weights.parameters {
            if parameter.value.dim() == 1 {
                let _ = parameter
                    .value
                    .f_add_(&(random::uniform(&parameter.value.size()) * 0.5))
                    .expect("the shape is its own");
            }
        }
    });
}

/// Proxies of a network, which PyTorch has to come to too.
fn proxies(network: &Network, weights: &Weights, genome: &Genome, images: &Tensor, labels: &Tensor) -> Value {
    let batch = crate::data::LabelledBatch { images: images.shallow_clone(), labels: labels.shallow_clone() };
    let synflow = synflow(network, weights, genome).expect("the network computes");
    let naswot = naswot(network, weights, genome, &batch).expect("the network computes").expect("random images differ");
    let found = saliency(network, weights, genome, &batch).expect("the network computes");
    json!({ "synflow": synflow, "naswot": naswot, "grad-norm": found.grad_norm, "snip": found.snip })
}

/// Writes weights, images, logits and proxies of one network.
fn write_case(folder: &Path, name: &str, network: &Network, genome: &Genome, mut weights: Weights) {
    unsettle(&mut weights);
    let shape = batch_of(IMAGES, network);
    let batch = || random::normal(&shape);
    let (images, recorded) = (batch(), [batch(), batch(), batch()]);
    // A SuperNet's are computed as candidates are measured: a few images at a time, channels-last.
    let in_pieces = name.ends_with("supernet");
    let pass = |images: &Tensor, mode: Mode<'_>| {
        let compute = || match in_pieces {
            true => forward(network, &weights, genome, &channels_last(images)?, Pass::from(mode).in_pieces_of(60_000)),
            false => forward(network, &weights, genome, images, mode),
        };
        tch::no_grad(compute).expect("the network computes")
    };
    let labels = random::below(network.description().classes.into(), &[IMAGES], Kind::Int64);
    let proxies = proxies(network, &weights, genome, &images, &labels);
    let mut statistics = Statistics::default();
    for images in &recorded {
        statistics.begin_batch();
        let _ = pass(images, Mode::Record(&mut statistics));
    }
    let mut tensors: Vec<(String, Tensor)> = weights
        .used_by(network, genome)
        .into_iter()
        .map(|index| &weights.parameters[index])
        .map(|parameter| (format!("weight:{}", parameter.name()), parameter.value.detach().contiguous()))
        .collect();
    tensors.extend(recorded.into_iter().enumerate().map(|(index, images)| (format!("recorded:{index}"), images)));
    tensors.push(("logits:batch".to_owned(), pass(&images, Mode::Batch)));
    tensors.push(("logits:recorded".to_owned(), pass(&images, Mode::Recorded(&statistics))));
    tensors.extend([("images".to_owned(), images), ("labels".to_owned(), labels)]);
    Tensor::write_safetensors(&tensors, folder.join(format!("{name}.safetensors"))).expect("it can be written");
    let case = json!({ "description": network.description(), "genome": genome, "proxies": proxies });
    std::fs::write(folder.join(format!("{name}.json")), case.to_string()).expect("it can be written");
}

#[test]
fn logits_and_proxies_are_those_of_pytorch() {
    let Some(python) = std::env::var_os("PLEACH_TEST_PYTORCH") else {
        eprintln!("SKIPPED: PLEACH_TEST_PYTORCH names no Python with torch; `bash tests/pytorch.sh` makes one");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    random::seed(5);
    for (name, network) in networks() {
        let mut generator = Seed(7).derive(&name, 0).generator();
        for number in 0..GENOMES {
            let genome = Region::full(&network).sample(&mut generator);
            let seed = Seed(number as u64);
            let supernet = Weights::new(&network, number % 2 == 0, Device::Cpu, seed).expect("weights can be made");
            let alone = Weights::of_genome(&network, &genome, Device::Cpu, seed).expect("weights can be made");
            write_case(folder.path(), &format!("{name}-{number}-supernet"), &network, &genome, supernet);
            write_case(folder.path(), &format!("{name}-{number}-alone"), &network, &genome, alone);
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/pytorch.py");
    // The Python brings a libtorch of its own.
    let output = Command::new(python)
        .arg(script)
        .arg(folder.path())
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("Python starts");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    assert!(output.status.success(), "{said}{complained}");
    let cases = networks().len() * GENOMES * 2;
    assert!(said.contains(&format!("{cases} networks")), "every case was compared: {said}");
}
