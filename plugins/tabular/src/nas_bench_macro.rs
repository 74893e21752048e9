//! The estimator `tabular/nas-bench-macro`: the published table of NAS-Bench-Macro (Su et al. 2021).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pleach_sdk::{
    BuildEstimator, Component, Context, Dataset, Error, Estimator, Genome, Goal, Measured, Network, Outcome, Result,
    SearchSpace, Seed, config,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    serde_json::{self, Value},
};

use crate::{noise::normal, shared::Shared};

config! {
    /// Accuracies of the published table, by operations: of layers named `identity`, `projection`
    /// or `absent` (0), `mb3_k3` (1) and `mb6_k5` (2), in Blocks of 2, 3 and 3 layers. Widths are
    /// not looked at, so a narrow SuperNet can be held against it.
    pub struct NasBenchMacroConfig {
        /// The published file, `nas-bench-macro_cifar10.json`.
        pub table: PathBuf = PathBuf::from("data/nas-bench-macro_cifar10.json"),
        /// Which of the published accuracies.
        pub column: Column = Column::Mean,
        /// Standard deviation of normal noise that is added, in points of accuracy. The same
        /// network has the same noise for the same seed of the run.
        #[schemars(range(min = 0.0, max = 100.0))]
        pub noise: f64 = 0.0,
    }
}

/// Which accuracy of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Column {
    /// The mean of three trainings.
    Mean,
    /// The first training.
    First,
    /// The second training.
    Second,
    /// The third training.
    Third,
}

/// Layers of each Block.
const LAYERS: [usize; 3] = [2, 3, 3];

/// Layers of a network: the digits of a key.
const DIGITS: usize = LAYERS[0] + LAYERS[1] + LAYERS[2];

/// What a layer can be: the values of a digit.
const OPERATIONS: usize = 3;

/// Networks of the table.
const NETWORKS: usize = OPERATIONS.pow(DIGITS as u32);

/// What a network of the table is there.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct Entry {
    /// In percent, of three trainings.
    test_acc: [f64; 3],
    mean_acc: f64,
}

/// The entries, by the key read as a number.
type Table = Vec<Entry>;

static TABLES: Shared<Table> = Shared::new();

/// Accuracies of a published table.
pub struct NasBenchMacro {
    space: Arc<dyn SearchSpace>,
    column: Column,
    noise: f64,
    seed: Seed,
    table: Arc<Table>,
    /// The digit of each choice, by slot.
    digits: Vec<Vec<u8>>,
}

impl Component for NasBenchMacro {
    type Config = NasBenchMacroConfig;
    const NAME: &'static str = "nas-bench-macro";
    const SUMMARY: &'static str = "accuracies of the 6,561 networks of NAS-Bench-Macro";
    const NEEDS: &'static str = "the published table, and a space with its Blocks and operations";

    fn example() -> NasBenchMacroConfig {
        NasBenchMacroConfig::default()
    }
}

impl BuildEstimator for NasBenchMacro {
    fn build(
        config: NasBenchMacroConfig,
        space: Arc<dyn SearchSpace>,
        _: Option<Arc<dyn Dataset>>,
        context: &Context,
    ) -> Result<Self> {
        let digits = digits(space.network())?;
        let table = TABLES.get(&config.table, read)?;
        let seed = context.seed.derive("noise", 0);
        Ok(NasBenchMacro { space, column: config.column, noise: config.noise, seed, table, digits })
    }
}

/// The table's digit for each choice of each slot of a space.
fn digits(network: &Network) -> Result<Vec<Vec<u8>>> {
    let layers: Vec<usize> = network.blocks().iter().map(|block| block.slots.len()).collect();
    if layers != LAYERS || network.slots().len() != DIGITS {
        return Err(Error::config(format!(
            "the networks of NAS-Bench-Macro have Blocks of {LAYERS:?} layers, those of the space {layers:?}"
        )));
    }
    let digit = |operation: &String| match operation.as_str() {
        "identity" | "projection" | "absent" => Ok(0),
        "mb3_k3" => Ok(1),
        "mb6_k5" => Ok(2),
        other => Err(Error::config(format!(
            "NAS-Bench-Macro has no operation `{other}`; it has identity (projection where the shape changes), \
             mb3_k3 and mb6_k5"
        ))),
    };
    network.slots().iter().map(|slot| slot.choices.iter().map(digit).collect()).collect()
}

/// Reads the published file.
fn read(path: &Path) -> Result<Table> {
    let wrong = |why: String| Error::config(format!("{}: {why}", path.display())).at("/table");
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("failed to read the table: {error}")))?;
    let entries: serde_json::Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("this is not the published table of NAS-Bench-Macro: {error}")))?;
    let mut table = vec![None; NETWORKS];
    for (key, entry) in &entries {
        let wrong = |why: String| wrong(format!("the entry `{key}`: {why}"));
        let number =
            number_of(key).ok_or_else(|| wrong(format!("a network has {DIGITS} digits of 0 to {}", OPERATIONS - 1)))?;
        let entry = Entry::deserialize(entry).map_err(|error| wrong(error.to_string()))?;
        let mut accuracies = entry.test_acc.iter().chain([&entry.mean_acc]);
        if let Some(accuracy) = accuracies.find(|accuracy| !(0.0..=100.0).contains(*accuracy)) {
            return Err(wrong(format!("{accuracy} is no accuracy in percent")));
        }
        table[number] = Some(entry);
    }
    let found = entries.len();
    let whole: Option<Table> = table.into_iter().collect();
    whole.ok_or_else(|| wrong(format!("the table has {found} networks, the published one {NETWORKS}")))
}

/// A key as a number.
fn number_of(key: &str) -> Option<usize> {
    let digit = |letter: char| letter.to_digit(OPERATIONS as u32).map(|digit| digit as usize);
    let digits: Option<Vec<usize>> = key.chars().map(digit).collect();
    let digits = digits.filter(|digits| digits.len() == DIGITS)?;
    Some(digits.into_iter().fold(0, |number, digit| OPERATIONS * number + digit))
}

impl NasBenchMacro {
    /// The accuracy of a network, 0 to 1.
    fn accuracy(&self, genome: &Genome) -> Outcome {
        let network = self.space.network();
        network.validate(genome).map_err(|error| error.message)?;
        // Networks of different genomes that are the same one have entries of their own, each
        // with its noise of training; the canonical form's counts for all of them.
        let canonical = network.canonical(genome);
        let digits = || canonical.iter().zip(&self.digits).map(|(choice, digits)| digits[usize::from(*choice)]);
        let entry = &self.table[digits().fold(0, |number, digit| OPERATIONS * number + usize::from(digit))];
        let mut percent = match self.column {
            Column::Mean => entry.mean_acc,
            Column::First => entry.test_acc[0],
            Column::Second => entry.test_acc[1],
            Column::Third => entry.test_acc[2],
        };
        if self.noise > 0.0 {
            let key: String = digits().map(|digit| char::from(b'0' + digit)).collect();
            percent += self.noise * normal(self.seed.derive(&key, 0));
        }
        Ok(vec![percent / 100.0])
    }
}

impl Estimator for NasBenchMacro {
    fn objectives(&self) -> Vec<Measured> {
        vec![Measured { name: "accuracy".to_owned(), goal: Goal::Maximise, unit: String::new() }]
    }

    fn evaluate(&mut self, genomes: &[Genome], _: Seed) -> Result<Vec<Outcome>> {
        Ok(genomes.iter().map(|genome| self.accuracy(genome)).collect())
    }
}

#[cfg(test)]
mod tests;
