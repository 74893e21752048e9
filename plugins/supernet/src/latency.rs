//! The component `supernet/latency`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, LATENCY, Measured, Outcome, Result,
    SearchSpace, Seed, config,
    host::{self, Progress},
    rand::Rng,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    state,
};
use tch::{Device, TchError, Tensor, no_grad};

use crate::{
    batch_norm::{Mode, Statistics},
    device, kernels,
    network::{Pass, Precision, forward},
    weights::Weights,
};

/// Images that the statistics of batch norms are taken from: one alone has no variance.
const RECORDED: i64 = 2;

config! {
    /// How long a network takes for a batch, as `latency` in milliseconds: with weights as drawn, in
    /// inference mode as candidates are evaluated (batch norms folded into the convolutions before
    /// them), on libtorch, layer by layer.
    ///
    /// It is time that passed, so it differs a little each time, and grows where other programs use
    /// the same cores. `pleach profile` makes a table of it that predicts a whole space.
    pub struct LatencyConfig {
        /// Where to compute: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA where there is one.
        pub device: String = "cpu".to_owned(),
        /// Threads on the CPU; 0 for one a core.
        #[schemars(range(max = 1024))]
        pub threads: u32 = 1,
        /// Images that go through at once.
        #[schemars(range(min = 1, max = 65536))]
        pub batch: u32 = 1,
        /// The numbers that are computed with.
        pub precision: Precision = Precision::Single,
        /// Passes that do not count, before those that do.
        #[schemars(range(max = 1000))]
        pub warm_up: u32 = 2,
        /// Passes that count, at least.
        #[schemars(range(min = 1, max = 100000))]
        pub repeats: u32 = 10,
        /// How long passes go on at least, so that short ones are repeated more often.
        #[schemars(range(max = 60000))]
        pub milliseconds: u32 = 5,
        /// What of all passes is the latency.
        pub take: Take = Take::Median,
    }
}

/// One number for several passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Take {
    /// Half of the passes took no longer.
    Median,
    /// What the quickest took: least disturbed where others use the same cores.
    Least,
}

/// How long networks take.
pub struct Latency {
    config: LatencyConfig,
    space: Arc<dyn SearchSpace>,
    device: Device,
    seed: Seed,
}

/// What `latency` was measured on: the state that it saves, for whoever keeps the numbers.
#[derive(Serialize)]
#[serde(crate = "pleach_sdk::serde")]
struct MeasuredOn {
    device: String,
    libtorch: String,
    batch: u32,
    precision: Precision,
    /// On the CPU.
    threads: Option<i32>,
}

impl Component for Latency {
    type Config = LatencyConfig;
    const NAME: &'static str = "latency";
    const SUMMARY: &'static str = "how long networks take on a device, measured";

    fn example() -> LatencyConfig {
        LatencyConfig::default()
    }
}

impl BuildEstimator for Latency {
    fn build(
        config: LatencyConfig,
        space: Arc<dyn SearchSpace>,
        _: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        let before = tch::get_num_threads();
        let device = device::prepare(&config.device, config.threads, true, false)?;
        // Other estimators of this process compute with threads of their own; see `evaluate`.
        tch::set_num_threads(before);
        Ok(Latency { config, space, device, seed: context.seed.derive("latency", 0) })
    }
}

impl Latency {
    fn threads(&self) -> i32 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.config.threads == 0 { cores as i32 } else { self.config.threads as i32 }
    }

    /// Waits for what was started on the device.
    fn synchronise(&self) {
        if let Device::Cuda(index) = self.device {
            tch::Cuda::synchronize(index as i64);
        }
    }

    /// So many images of random numbers.
    fn images(&self, count: i64) -> std::result::Result<Tensor, TchError> {
        let shape = self.space.network().description().input;
        let shape = [count, shape.channels.into(), shape.height.into(), shape.width.into()];
        let mut generator = self.seed.derive("images", 0).generator();
        let values: Vec<f32> = (0..shape.iter().product()).map(|_: i64| generator.random_range(-1.0f32..1.0)).collect();
        device::upload(&Tensor::f_from_slice(&values)?.f_view(shape)?, self.device)
    }

    /// Milliseconds of one network.
    fn candidate(&self, genome: &Genome) -> std::result::Result<f64, TchError> {
        let network = self.space.network();
        let weights = Weights::of_genome(network, genome, self.device, self.seed.derive("weights", 0))
            .map_err(|error| TchError::Torch(error.message))?;
        let mut statistics = Statistics::default();
        statistics.begin_batch();
        drop(forward(network, &weights, genome, &self.images(RECORDED)?, Mode::Record(&mut statistics))?);
        let images = self.images(self.config.batch.into())?;
        let pass = || -> std::result::Result<Duration, TchError> {
            let pass = Pass::from(Mode::Recorded(&statistics)).with_precision(self.config.precision);
            let started = Instant::now();
            drop(forward(network, &weights, genome, &images, pass)?);
            self.synchronise();
            Ok(started.elapsed())
        };
        self.synchronise();
        for _ in 0..self.config.warm_up {
            pass()?;
        }
        let least = Duration::from_millis(self.config.milliseconds.into());
        let (mut times, mut sum) = (Vec::new(), Duration::ZERO);
        while times.len() < self.config.repeats as usize || sum < least {
            let time = pass()?;
            sum += time;
            times.push(time.as_secs_f64() * 1e3);
            if host::is_cancelled() {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(match self.config.take {
            Take::Median => times[times.len() / 2],
            Take::Least => times[0],
        })
    }
}

impl Estimator for Latency {
    fn objectives(&self) -> Vec<Measured> {
        vec![Measured { name: LATENCY.to_owned(), goal: Goal::Minimise, unit: "ms".to_owned() }]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        let before = tch::get_num_threads();
        tch::set_num_threads(self.threads());
        let mut outcomes = Vec::with_capacity(genomes.len());
        for genome in genomes {
            let outcome = match self.space.network().validate(genome) {
                Ok(()) => no_grad(|| self.candidate(genome)).map(|time| vec![time]).map_err(|error| error.to_string()),
                Err(error) => Err(error.message),
            };
            if host::is_cancelled() {
                break;
            }
            outcomes.push(outcome.map_err(|text| text.lines().next().unwrap_or("no reason given").to_owned()));
            let (done, total) = (outcomes.len() as u64, genomes.len() as u64);
            host::progress(Progress { task: "measure", done, total, note: "" });
        }
        tch::set_num_threads(before);
        if outcomes.len() < genomes.len() { Err(Error::cancelled()) } else { Ok(outcomes) }
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let is_cpu = self.device == Device::Cpu;
        let measured_on = MeasuredOn {
            device: device::name(self.device),
            libtorch: kernels::torch_version(),
            batch: self.config.batch,
            precision: self.config.precision,
            threads: is_cpu.then(|| self.threads()),
        };
        state::save(folder, &measured_on)
    }
}
