//! The estimator `tabular/nas-bench-201`: the published table of NAS-Bench-201.

use std::{path::PathBuf, sync::Arc};

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Outcome, Result,
    SIMULATED_SECONDS, SearchSpace, Seed, TrainPlan, TrainReport, config,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    state,
};

use super::{
    cell::{EDGES, OPERATIONS, number_of},
    latency,
    table::Table,
};
use crate::noise::normal;

config! {
    /// What the published trainings of a cell came to. Measures `accuracy`, `seconds` (what
    /// training and measuring a network costs, on CIFAR-10 and CIFAR-100) and, where a device is
    /// named, `latency` in milliseconds.
    ///
    /// The table is a CSV file, plain or gzipped, with the columns `index`, `arch`,
    /// `cifar10_train_seconds_per_epoch`, `cifar10_valid_seconds`, and for each of
    /// `cifar10`, `cifar100` and `imagenet16` accuracies `..._valid_12`, `..._valid_200`,
    /// `..._test_200` in percent.
    pub struct NasBench201Config {
        /// The table.
        pub table: PathBuf = PathBuf::from("data/nas-bench-201.csv.gz"),
        /// What the networks were trained on.
        pub data_set: DataSet = DataSet::Cifar10,
        /// Which of the published accuracies.
        pub accuracy: Accuracy = Accuracy::Validation12,
        /// How often a training stops to validate, whose seconds count.
        pub validated: Validated = Validated::AtTheEnd,
        /// Standard deviation of normal noise that is added, in points of accuracy. The same
        /// network has the same noise for the same seed of the run.
        #[schemars(range(min = 0.0, max = 100.0))]
        pub noise: f64 = 0.0,
        /// Where the latencies of a device are.
        pub latency: Option<LatencyConfig> = None,
    }
}

config! {
    /// Latencies of a device.
    pub struct LatencyConfig {
        /// A CSV file, plain or gzipped: a column `index` and one for each device, in milliseconds.
        pub table: PathBuf = PathBuf::from("data/nb201_latency_ms.csv.gz"),
        /// The device: a column of the file.
        pub device: String = "pixel3".to_owned(),
    }
}

/// A data set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum DataSet {
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
    /// ImageNet16-120; the table has no training times of it.
    Imagenet16,
}

/// Which accuracy of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Accuracy {
    /// On validation images after a schedule of 12 epochs.
    #[serde(rename = "validation-12")]
    Validation12,
    /// On validation images after a schedule of 200 epochs.
    #[serde(rename = "validation-200")]
    Validation200,
    /// On test images after a schedule of 200 epochs: to judge what was found, not to search by.
    #[serde(rename = "test-200")]
    Test200,
    /// On validation images after the 12 or 200 epochs that the strategy has trained for, all
    /// trainings together. Each of the two is a schedule of its own and costs its own time.
    Trained,
}

/// How often a training stops to validate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Validated {
    /// Once, as the published code counts.
    AtTheEnd,
    /// After each epoch, as the networks of the table were trained.
    EachEpoch,
}

/// Accuracies of a published table.
pub struct NasBench201 {
    space: Arc<dyn SearchSpace>,
    config: NasBench201Config,
    table: Arc<Table>,
    latency: Option<Vec<f64>>,
    seed: Seed,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    /// Epochs that the strategy has trained for.
    epochs: f64,
}

/// The epochs of the two published schedules.
const SHORT: f64 = 12.0;
const LONG: f64 = 200.0;

impl Component for NasBench201 {
    type Config = NasBench201Config;
    const NAME: &'static str = "nas-bench-201";
    const SUMMARY: &'static str = "accuracies, training times and latencies of the cells of NAS-Bench-201";

    fn example() -> NasBench201Config {
        NasBench201Config::default()
    }
}

impl BuildEstimator for NasBench201 {
    fn build(
        config: NasBench201Config,
        space: Arc<dyn SearchSpace>,
        _: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        let fits = |slot: &pleach_sdk::description::Slot| slot.choices == OPERATIONS;
        if space.network().slots().len() != EDGES.len() || !space.network().slots().iter().all(fits) {
            return Err(Error::config(format!(
                "the cells of NAS-Bench-201 have {} slots with the choices {}; the run's space has others, use \
                 tabular/nas-bench-201",
                EDGES.len(),
                OPERATIONS.join(", ")
            )));
        }
        let table = Table::open(&config.table)?;
        let latency = config.latency.as_ref();
        let latency = latency.map(|one| latency::read(&one.table, &one.device, &config.table)).transpose()?;
        let seed = context.seed.derive("noise", 0);
        Ok(NasBench201 { space, config, table, latency, seed, state: State::default() })
    }
}

impl NasBench201 {
    fn has_seconds(&self) -> bool {
        self.config.data_set != DataSet::Imagenet16
    }

    /// The column of accuracies and the epochs that they take.
    fn column(&self) -> Result<(String, f64)> {
        let data_set = match self.config.data_set {
            DataSet::Cifar10 => "cifar10",
            DataSet::Cifar100 => "cifar100",
            DataSet::Imagenet16 => "imagenet16",
        };
        let (kind, epochs) = match self.config.accuracy {
            Accuracy::Validation12 => ("valid", SHORT),
            Accuracy::Validation200 => ("valid", LONG),
            Accuracy::Test200 => ("test", LONG),
            Accuracy::Trained => ("valid", self.state.epochs),
        };
        if ![SHORT, LONG].contains(&epochs) {
            return Err(Error::failed(format!(
                "the table knows networks after {SHORT} and after {LONG} epochs, the strategy has trained for {epochs}"
            )));
        }
        Ok((format!("{data_set}_{kind}_{epochs}"), epochs))
    }
}

impl Estimator for NasBench201 {
    fn objectives(&self) -> Vec<Measured> {
        let measured = |name: &str, goal, unit: &str| Measured { name: name.to_owned(), goal, unit: unit.to_owned() };
        let mut all = vec![measured("accuracy", Goal::Maximise, "")];
        all.extend(self.has_seconds().then(|| measured(SIMULATED_SECONDS, Goal::Minimise, "s")));
        all.extend(self.latency.is_some().then(|| measured("latency", Goal::Minimise, "ms")));
        all
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        let (name, epochs) = self.column()?;
        let accuracy = self.table.column(&name)?;
        let training = self.table.column("cifar10_train_seconds_per_epoch")?;
        let validation = self.table.column("cifar10_valid_seconds")?;
        let validations = match self.config.validated {
            Validated::AtTheEnd => 1.0,
            Validated::EachEpoch => epochs,
        };
        let one = |genome: &Genome| -> Outcome {
            self.space.network().validate(genome).map_err(|error| error.message)?;
            let number = number_of(genome);
            let mut percent = accuracy[number];
            if self.config.noise > 0.0 {
                percent += self.config.noise * normal(self.seed.derive("cell", number as u64));
            }
            let seconds = epochs * training[number] + validations * validation[number];
            let mut values = vec![percent / 100.0];
            values.extend(self.has_seconds().then_some(seconds));
            values.extend(self.latency.as_ref().map(|latency| latency[number]));
            Ok(values)
        };
        Ok(genomes.iter().map(one).collect())
    }

    fn train(&mut self, plan: &TrainPlan, _: Seed) -> Result<TrainReport> {
        let is_counted = self.config.accuracy == Accuracy::Trained && plan.epochs > 0.0;
        if is_counted {
            self.state.epochs += plan.epochs;
            self.column()?;
        }
        Ok(TrainReport { weights_changed: is_counted, ..TrainReport::default() })
    }

    fn save(&self, folder: &std::path::Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &std::path::Path) -> Result<()> {
        self.state = state::load(folder)?;
        Ok(())
    }
}
