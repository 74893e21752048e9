//! The component `supernet/zero-cost`.

pub(crate) mod codes;
pub(crate) mod proxies;

use std::sync::Arc;

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SearchSpace, Seed, config,
    host::{self, Progress},
    rand::seq::index::sample,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};
use tch::{Device, TchError};

use self::proxies::{naswot, saliency, synflow};
use crate::{
    data::{Images, LabelledBatch},
    device, fit,
    weights::Weights,
};

config! {
    /// What networks with first weights say of themselves, without any training; more is better in
    /// all of it.
    ///
    /// `synflow` (Tanaka et al. 2020, as Abdelfattah et al. 2021 sum it up) is ln(1 + s), where s is
    /// the sum of |weight x gradient| over convolutions and linear layers. The gradient is of the
    /// sum of all outputs for an image of ones, with absolute weights, without batch norms, in
    /// double precision. Where s is more than a double holds (1.8e308, very deep networks), the
    /// candidate fails; a network whose output depends on no weight has 0.
    /// `naswot` (Mellor et al. 2021) is the logarithm of the determinant of the matrix that says of
    /// each two images for how many activations they agree in whether it is above zero. relu, relu6,
    /// silu, hard-swish and gelu count. A candidate without any of them, or with two images that agree in
    /// all, fails.
    /// `grad-norm` (Abdelfattah et al. 2021) is the sum of the norms of the gradients of convolutions
    /// and linear layers, `snip` (Lee et al. 2019) the sum of |weight x gradient|, both of the
    /// cross-entropy of the batch in double precision.
    /// `parameters` and `multiply-adds` are what `params` and `flops` of a run file count, as numbers
    /// to be ranked by.
    ///
    /// First weights follow from the run's seed, layer by layer, so a layer that two networks have
    /// in the same place begins with the same weights in both.
    pub struct ZeroCostConfig {
        /// Where to compute: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA where there is one.
        pub device: String = "auto".to_owned(),
        /// Threads on the CPU; 0 for one a core. Results are the same for the same number.
        #[schemars(range(max = 1024))]
        pub threads: u32 = 0,
        /// On the CPU: whether the C allocator keeps pages that tensors gave back.
        pub keep_pages: bool = true,
        /// What is measured, each one a number of its own by its name.
        #[schemars(length(min = 1))]
        pub proxies: Vec<Proxy> = vec![Proxy::Synflow, Proxy::Naswot],
        /// Training images that naswot, grad-norm and snip look at, drawn by the run's seed,
        /// normalised by their own mean and deviation and not augmented.
        #[schemars(range(min = 2, max = 65536))]
        pub batch: u32 = 64,
        /// First weights of each network, drawn one after the other, whose mean is its number.
        #[schemars(range(min = 1, max = 1000))]
        pub initialisations: u32 = 1,
    }
}

/// A number that needs no training; [`ZeroCostConfig`] says how each is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Proxy {
    /// What flows through all paths.
    Synflow,
    /// How different a network finds images.
    Naswot,
    /// The norms of gradients.
    GradNorm,
    /// How sensitive the loss is to weights.
    Snip,
    /// Trainable numbers.
    Parameters,
    /// Multiply-adds of convolutions and linear layers for one image.
    MultiplyAdds,
}

impl Proxy {
    fn name(self) -> &'static str {
        match self {
            Proxy::Synflow => "synflow",
            Proxy::Naswot => "naswot",
            Proxy::GradNorm => "grad-norm",
            Proxy::Snip => "snip",
            Proxy::Parameters => "parameters",
            Proxy::MultiplyAdds => "multiply-adds",
        }
    }

    fn needs_images(self) -> bool {
        matches!(self, Proxy::Naswot | Proxy::GradNorm | Proxy::Snip)
    }
}

/// Numbers of networks that were not trained.
pub struct ZeroCost {
    config: ZeroCostConfig,
    space: Arc<dyn SearchSpace>,
    device: Device,
    seed: Seed,
    /// Of the proxies that need images.
    images: Option<Minibatch>,
}

/// The images that networks are looked at with.
struct Minibatch {
    dataset: Arc<dyn Dataset>,
    indices: Vec<u64>,
    /// Made at first use: `pleach check` builds an estimator and spends nothing.
    batch: Option<LabelledBatch>,
}

impl Minibatch {
    fn get(&mut self, device: Device) -> Result<&LabelledBatch> {
        if self.batch.is_none() {
            let images = Images::new(Arc::clone(&self.dataset), &self.indices, device, 0, None)?;
            self.batch = Some(images.plain(&images.fetch(&self.indices)?)?);
        }
        Ok(self.batch.as_ref().expect("it was made above"))
    }
}

impl Component for ZeroCost {
    type Config = ZeroCostConfig;
    const NAME: &'static str = "zero-cost";
    const SUMMARY: &'static str = "numbers that tell good networks from bad ones without training";
    const NEEDS: &'static str = "a data set, for naswot, grad-norm and snip";

    fn example() -> ZeroCostConfig {
        ZeroCostConfig::default()
    }
}

impl BuildEstimator for ZeroCost {
    fn build(
        config: ZeroCostConfig,
        space: Arc<dyn SearchSpace>,
        dataset: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        if config.proxies.is_empty() {
            return Err(Error::config("no proxy is asked for, so there is nothing to measure").at("/proxies"));
        }
        for (index, proxy) in config.proxies.iter().enumerate() {
            if config.proxies[..index].contains(proxy) {
                let message = format!("{} is asked for twice", proxy.name());
                return Err(Error::config(message).at(format!("/proxies/{index}")));
            }
        }
        if let Some(dataset) = &dataset {
            fit::check(space.as_ref(), dataset.as_ref())?;
        }
        let images = match (config.proxies.iter().find(|proxy| proxy.needs_images()), dataset) {
            (None, _) => None,
            (Some(_), Some(dataset)) => {
                let (asked, there) = (u64::from(config.batch), dataset.info().train);
                if asked > there {
                    let message = format!("a batch of {asked} is more than the {there} training images");
                    return Err(Error::config(message).at("/batch"));
                }
                let mut generator = context.seed.derive("zero-cost images", 0).generator();
                let drawn = sample(&mut generator, there as usize, asked as usize);
                let indices = drawn.into_iter().map(|index| index as u64).collect();
                Some(Minibatch { dataset, indices, batch: None })
            }
            (Some(proxy), None) => {
                let name = proxy.name();
                return Err(Error::config(format!("{name} looks at images: add `dataset:` to the run file")));
            }
        };
        let device = device::prepare(&config.device, config.threads, config.keep_pages, false)?;
        let seed = context.seed.derive("zero-cost weights", 0);
        Ok(ZeroCost { config, space, device, seed, images })
    }
}

impl ZeroCost {
    /// The proxies of one network, in the order of the configuration.
    fn candidate(&mut self, genome: &Genome) -> Result<Outcome> {
        let canonical = match self.space.canonical(genome) {
            Ok(canonical) => canonical,
            Err(error) => return Ok(Err(error.message)),
        };
        let batch = self.images.as_mut().map(|images| images.get(self.device)).transpose()?;
        let network = self.space.network();
        let mut sums = vec![0.0; self.config.proxies.len()];
        for number in 0..self.config.initialisations {
            let seed = self.seed.derive("initialisation", u64::from(number));
            let weights = Weights::of_genome(network, &canonical, self.device, seed)?;
            let mut of_gradient = None;
            for (sum, proxy) in sums.iter_mut().zip(&self.config.proxies) {
                let value = match (proxy, batch) {
                    (Proxy::Parameters, _) => Ok(network.cost(genome).params as f64),
                    (Proxy::MultiplyAdds, _) => Ok(network.cost(genome).flops as f64),
                    (Proxy::Synflow, _) => synflow(network, &weights, &canonical).map_err(failure).and_then(logarithm),
                    (Proxy::Naswot, Some(batch)) => {
                        naswot(network, &weights, &canonical, batch).map_err(failure).flatten()
                    }
                    (Proxy::GradNorm | Proxy::Snip, Some(batch)) => of_gradient
                        .get_or_insert_with(|| saliency(network, &weights, &canonical, batch).map_err(failure))
                        .clone()
                        .and_then(|found| finite(if *proxy == Proxy::Snip { found.snip } else { found.grad_norm })),
                    (_, None) => Err("there are no images".to_owned()),
                };
                match value {
                    Ok(value) => *sum += value,
                    Err(why) => return Ok(Err(format!("{}: {why}", proxy.name()))),
                }
            }
        }
        let count = f64::from(self.config.initialisations);
        Ok(Ok(sums.into_iter().map(|sum| sum / count).collect()))
    }
}

/// What is reported of a flow.
fn logarithm(flow: f64) -> std::result::Result<f64, String> {
    if flow.is_finite() {
        Ok(flow.ln_1p())
    } else {
        Err("it is more than a double holds: the network is too deep for it".to_owned())
    }
}

fn finite(value: f64) -> std::result::Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("it is {value}")) }
}

/// What the host is told where libtorch failed with one candidate.
fn failure(error: TchError) -> String {
    let text = error.to_string();
    format!("libtorch failed: {}", text.lines().next().unwrap_or("no reason given"))
}

impl Estimator for ZeroCost {
    fn objectives(&self) -> Vec<Measured> {
        let measured =
            |proxy: &Proxy| Measured { name: proxy.name().to_owned(), goal: Goal::Maximise, unit: String::new() };
        self.config.proxies.iter().map(measured).collect()
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(genomes.len());
        for genome in genomes {
            if host::is_cancelled() {
                return Err(Error::cancelled());
            }
            outcomes.push(self.candidate(genome)?);
            let (done, total) = (outcomes.len() as u64, genomes.len() as u64);
            host::progress(Progress { task: "evaluate", done, total, note: "" });
        }
        Ok(outcomes)
    }
}
