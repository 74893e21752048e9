//! What a run file says of the SuperNet.

use pleach_sdk::{
    config,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::network::Precision;

config! {
    /// A SuperNet with shared weights.
    ///
    /// Defaults for training follow FairNAS (Chu et al. 2021) and SPOS (Guo et al. 2020) as
    /// gathered for G-EvoNAS; none of them is from its paper.
    pub struct Config {
        /// Where to compute: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA where there is one.
        pub device: String = "auto".to_owned(),
        /// Threads on the CPU; 0 for one a core. Results are the same for the same number.
        #[schemars(range(max = 1024))]
        pub threads: u32 = 0,
        /// On the CPU: whether the C allocator keeps pages that tensors gave back. Holds for the
        /// whole process; false is for measuring what it is worth.
        pub keep_pages: bool = true,
        /// On CUDA: whether cuDNN tries which of its algorithms is fastest, once for each shape.
        pub autotune: bool = false,
        /// On CUDA: a training split of at most so many MiB stays on the device, as bytes; a data
        /// set that draws random views of its images is always fetched.
        #[schemars(range(max = 1_048_576))]
        pub resident: u32 = 4096,
        /// `mixed` computes with 16 bits (bfloat16): for CUDA.
        pub precision: Precision = Precision::Single,
        /// Whether the plugin's own kernels compute what they are made for: on the CPU with AVX2 or
        /// AVX-512 where the processor has them, and on CUDA; false is for measuring what they are
        /// worth.
        pub own_kernels: bool = true,
        /// Whether the paths of a step are trained side by side: on the CPU each by a thread of its own where there are
        /// at least as many paths as threads, on CUDA each on one of `streams`; false is for measuring what it is worth.
        pub side_by_side: bool = true,
        /// On CUDA: how many paths of a step are trained at the same time. Each takes memory for what it computes.
        #[schemars(range(min = 1, max = 32))]
        pub streams: u32 = 4,
        /// Images in a training batch. A training that finds no room on the device starts again
        /// with one path at a time, and then with half of them.
        #[schemars(range(min = 2, max = 65536))]
        pub batch: u32 = 128,
        /// Whether a training goes on with the weights of the one before; otherwise each starts
        /// from first weights, to measure what inheriting them is worth.
        pub inherit: bool = true,
        /// How paths are drawn in training.
        pub sampling: Sampling = Sampling::StrictlyFair,
        /// Learning rate of SGD at the start of each training.
        #[schemars(range(min = 0.0, max = 10.0))]
        pub learning_rate: f64 = 0.05,
        /// Learning rate at the end of each training; between them it follows a cosine.
        #[schemars(range(min = 0.0, max = 10.0))]
        pub learning_rate_min: f64 = 0.0,
        /// Momentum of SGD.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub momentum: f64 = 0.9,
        /// Weight decay (L2), added to gradients.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub weight_decay: f64 = 3e-4,
        /// Largest norm of all gradients of a step together; 0 for no limit.
        #[schemars(range(min = 0.0))]
        pub clip: f64 = 5.0,
        /// How often a training that diverges starts again, each time with a third of the learning
        /// rate, before it fails.
        #[schemars(range(max = 10))]
        pub restarts: u32 = 2,
        /// Share of the target that is spread over all classes.
        #[schemars(range(min = 0.0, max = 0.9))]
        pub label_smoothing: f64 = 0.0,
        /// What is done to training images.
        pub augment: Augmentation = Augmentation::default(),
        /// Images of the training split that are held out, by the run's seed, to measure with.
        #[schemars(range(min = 1))]
        pub held_out: u64 = 5000,
        /// Images to train with; 0 for all that are not held out.
        pub train_images: u64 = 0,
        /// Held-out images to measure with; 0 for all.
        pub evaluate_images: u64 = 0,
        /// Images in an evaluation batch.
        #[schemars(range(min = 1, max = 65536))]
        pub evaluation_batch: u32 = 250,
        /// MiB on the device for results of layers that several candidates share, so that they are
        /// computed once; 0 for none.
        #[schemars(range(max = 1_048_576))]
        pub shared_memory: u32 = 1024,
        /// How many of the candidates that are measured together are measured on all images, at
        /// least; others stop at the batch after which, by three standard errors, they cannot be
        /// among these, and have the accuracy that they came to. 0 measures all on all images.
        #[schemars(range(max = 1_000_000))]
        pub race: u32 = 0,
        /// How batch norm is treated.
        pub batch_norm: BatchNormConfig = BatchNormConfig::default(),
    }
}

config! {
    /// What is done to training images, drawn anew for each.
    pub struct Augmentation {
        /// Pixels of black margin, of which a window of the image's size is cut; 0 for none.
        #[schemars(range(max = 64))]
        pub crop: u32 = 4,
        /// Whether half of the images are mirrored.
        pub flip: bool = true,
        /// Side in pixels of a square that is set to the mean (DeVries and Taylor 2017); 0 for none.
        #[schemars(range(max = 256))]
        pub cutout: u32 = 0,
    }
}

config! {
    /// How batch norm is treated. No statistics are kept between calls.
    pub struct BatchNormConfig {
        /// Whether every batch norm has a scale and a shift. Without, only the last one of an
        /// operation with a shortcut has a scale, which starts new layers near identity.
        pub affine: bool = false,
        /// What candidates are normalised by when they are measured.
        pub evaluation: Normalisation = Normalisation::Recalibrated,
        /// Training images, not augmented, that statistics are taken from for each candidate.
        #[schemars(range(min = 1))]
        pub recalibration_images: u64 = 2000,
    }
}

/// How paths are drawn in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Sampling {
    /// A step trains every allowed operation of every layer once (FairNAS).
    StrictlyFair,
    /// A step trains one path drawn uniformly (SPOS).
    Uniform,
}

/// What batch norm normalises by when a candidate is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Normalisation {
    /// Statistics taken for each candidate from training images, and forgotten after it.
    Recalibrated,
    /// The statistics of the evaluation batch itself.
    BatchStatistics,
}
