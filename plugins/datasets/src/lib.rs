//! Data sets for searches: CIFAR-10 and CIFAR-100 from their published binary files, image folders
//! as ImageNet's, IDX files as MNIST's, and images made from a seed.
//!
//! It knows files and pixels, and nothing of what is done with them.

pub mod cifar;
mod decode;
#[doc(hidden)]
pub mod fuzzing;
mod idx;
mod image_folder;
mod records;
mod request;
mod synthetic;

pub use cifar::{Cifar10, Cifar10Config, Cifar100, Cifar100Config, Labels};
pub use idx::{Idx, IdxConfig};
pub use image_folder::{ImageFolder, ImageFolderConfig};
pub use synthetic::{Synthetic, SyntheticConfig};

use pleach_sdk::export_plugin;

export_plugin! {
    name: "datasets",
    summary: "CIFAR, image folders, IDX files, and images made from a seed",
    datasets: [Cifar10, Cifar100, Idx, ImageFolder, Synthetic],
}
