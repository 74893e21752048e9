//! Data sets for searches: CIFAR-10 from its published binary files, and images made from a seed.
//!
//! It knows files and pixels, and nothing of what is done with them.

pub mod cifar;
mod request;
mod synthetic;

pub use cifar::{Cifar10, Cifar10Config};
pub use synthetic::{Synthetic, SyntheticConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "datasets",
    summary: "CIFAR-10, and images made from a seed",
    datasets: [Cifar10, Synthetic],
}
