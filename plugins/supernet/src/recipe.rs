//! What a run file says of training a network from scratch.

use pleach_sdk::{
    config,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

use crate::{config::Augmentation, network::Precision};

config! {
    /// A network trained from scratch, by itself.
    ///
    /// The defaults are the recipe of the DARTS family for CIFAR (Liu et al. 2019): 600 epochs,
    /// batch 96, learning rate 0.025 with a cosine, weight decay 3e-4, cutout 16, drop-path 0.2,
    /// an auxiliary head; label smoothing 0.1 is added.
    pub struct Recipe {
        /// Where to compute: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA where there is one.
        pub device: String = "auto".to_owned(),
        /// Threads on the CPU; 0 for one a core. Results are the same for the same number.
        #[schemars(range(max = 1024))]
        pub threads: u32 = 0,
        /// On the CPU: whether the C allocator keeps pages that tensors gave back.
        pub keep_pages: bool = true,
        /// On CUDA: whether cuDNN tries which of its algorithms is fastest, once for each shape.
        pub autotune: bool = false,
        /// On CUDA: a training split of at most so many MiB stays on the device, as bytes; a data
        /// set that draws random views of its images is always fetched.
        #[schemars(range(max = 1_048_576))]
        pub resident: u32 = 4096,
        /// Whether the plugin's own kernels compute what they are made for: on the CPU with AVX2 or
        /// AVX-512 where the processor has them, and on CUDA.
        pub own_kernels: bool = true,
        /// Whether candidates that are measured together are trained at the same time: on the CPU each by one thread,
        /// also where there is a single one; on CUDA each on one of `streams`. Otherwise they are trained one after the
        /// other, by all threads.
        pub side_by_side: bool = false,
        /// On CUDA: how many candidates are trained at the same time.
        #[schemars(range(min = 1, max = 32))]
        pub streams: u32 = 4,
        /// On CUDA: whether a step forward and back is taken up as a CUDA graph and repeated from then on, so that
        /// nothing waits for kernels to be started.
        pub graphs: bool = false,
        /// How many times the training images are seen.
        #[schemars(range(min = 1, max = 100_000))]
        pub epochs: u32 = 600,
        /// How many of the epochs a candidate is trained for.
        pub schedule: Schedule = Schedule::Recipe,
        /// Images in a training batch.
        #[schemars(range(min = 2, max = 65536))]
        pub batch: u32 = 96,
        /// Learning rate of SGD after the warm-up; from there it follows a cosine to zero.
        #[schemars(range(min = 0.0, max = 10.0))]
        pub learning_rate: f64 = 0.025,
        /// Epochs in which the learning rate grows from zero (Goyal et al. 2017).
        #[schemars(range(max = 10_000))]
        pub warm_up_epochs: u32 = 0,
        /// Momentum of SGD.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub momentum: f64 = 0.9,
        /// Weight decay (L2), added to gradients.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub weight_decay: f64 = 3e-4,
        /// Largest norm of all gradients of a step together; 0 for no limit.
        #[schemars(range(min = 0.0))]
        pub clip: f64 = 5.0,
        /// Share of the target that is spread over all classes (Szegedy et al. 2016).
        #[schemars(range(min = 0.0, max = 0.9))]
        pub label_smoothing: f64 = 0.1,
        /// What is done to training images.
        pub augment: Augmentation = Augmentation { cutout: 16, ..Augmentation::default() },
        /// Probability that a branch beside a shortcut is left out, image by image (Huang et al.
        /// 2016); it grows from zero to this over the training.
        #[schemars(range(min = 0.0, max = 0.9))]
        pub drop_path: f64 = 0.2,
        /// Weight of the loss of a second classifier, which reads the last Block but one
        /// (Szegedy et al. 2015) and is thrown away afterwards; 0 for none.
        #[schemars(range(min = 0.0, max = 10.0))]
        pub auxiliary: f64 = 0.4,
        /// Decay of an exponential moving average of the weights, taken after each step, which
        /// is then the network that is measured and kept; 0 for none.
        #[schemars(range(min = 0.0, max = 0.999999))]
        pub moving_average: f64 = 0.0,
        /// `mixed` computes with 16 bits (bfloat16): for CUDA.
        pub precision: Precision = Precision::Single,
        /// What the trained network is measured on.
        pub measure: Measure = Measure::HeldOut,
        /// Images of the training split that are held out, by the run's seed. With
        /// `measure: test` it may be 0, and is what is not trained on all the same.
        pub held_out: u64 = 5000,
        /// Images to train with; 0 for all that are not held out.
        pub train_images: u64 = 0,
        /// Images to measure with; 0 for all.
        pub evaluate_images: u64 = 0,
        /// Images in an evaluation batch.
        #[schemars(range(min = 1, max = 65536))]
        pub evaluation_batch: u32 = 250,
        /// Trainings with different seeds whose mean is a candidate's fitness.
        #[schemars(range(min = 1, max = 100))]
        pub trainings: u32 = 1,
    }
}

/// How long candidates are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Schedule {
    /// For all epochs, whatever the strategy trains.
    Recipe,
    /// For as many epochs as the strategy's trainings come to by then, a schedule of its own from
    /// first weights on: what Hyperband asks for. `epochs` are the most.
    Strategy,
}

/// What a trained network is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Measure {
    /// Held-out images of the training split: for searches, and whatever chooses.
    HeldOut,
    /// The test split: once, for the network that is chosen.
    Test,
}
