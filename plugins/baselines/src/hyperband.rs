//! Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018), and successive halving
//! (Jamieson and Talwalkar 2016), which is Hyperband with one bracket.
//!
//! Epochs are those of the estimator's trainings: at each *rung* the estimator is trained until it
//! has had so many epochs, and the networks that are left are measured anew. Brackets do not know
//! of each other, so they climb the rungs together: one that begins at a later rung waits for it.
//! Thus epochs only ever grow, which is what trained weights can do.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Error, Evaluation, Genome, Goal, Origin, Region, Result,
    SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, config,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

use crate::{operators::not_used, proposals::Setting};

config! {
    /// Many networks with few epochs, and more epochs for the best of them. The defaults are those
    /// of Li et al. 2018 for 81 epochs: a third goes on, with three times the epochs.
    ///
    /// It needs an estimator that measures networks as they are after the trainings so far:
    /// shared weights do, `supernet/stand-alone` with `schedule: strategy`, and
    /// `tabular/nas-bench-201` with `accuracy: trained`, which knows 12 and 200 epochs.
    pub struct HyperbandConfig {
        /// Epochs at each rung, all trainings together; ascending.
        #[schemars(length(min = 1, max = 64))]
        pub rungs: Vec<f64> = vec![1.0, 3.0, 9.0, 27.0, 81.0],
        /// Of so many networks of a bracket one goes on to the next rung.
        #[schemars(range(min = 1.0, max = 1000.0))]
        pub eta: f64 = 3.0,
        /// Brackets: the first begins at the first rung with `networks`, each further one a rung
        /// later, with fewer. 1 is successive halving, 0 is one for each rung.
        #[schemars(range(max = 64))]
        pub brackets: usize = 0,
        /// Networks that the first bracket begins with.
        #[schemars(range(min = 1, max = 1_000_000))]
        pub networks: usize = 81,
    }
}

/// Brackets that climb rungs of epochs.
pub struct Hyperband {
    config: HyperbandConfig,
    setting: Setting,
    goal: (usize, Goal),
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde")]
struct State {
    /// The rung that is climbed.
    rung: usize,
    /// Whether the estimator has had the epochs of the rung.
    trained: bool,
    /// The networks that are left of each bracket; drawn at the first step.
    brackets: Option<Vec<Vec<Genome>>>,
}

impl Component for Hyperband {
    type Config = HyperbandConfig;
    const NAME: &'static str = "hyperband";
    const SUMMARY: &'static str = "more epochs for the best of many networks (Hyperband, Li et al. 2018)";

    fn example() -> HyperbandConfig {
        HyperbandConfig::default()
    }
}

impl BuildStrategy for Hyperband {
    fn build(
        config: HyperbandConfig,
        space: Arc<dyn SearchSpace>,
        operators: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let is_ascending = config.rungs.iter().zip(&config.rungs[1..]).all(|(one, next)| one < next);
        if !is_ascending || config.rungs.iter().any(|epochs| !(*epochs > 0.0 && epochs.is_finite())) {
            return Err(Error::config("rungs are numbers of epochs, each more than the one before").at("/rungs"));
        }
        if config.brackets > config.rungs.len() {
            let message = format!("{} brackets need as many rungs, there are {}", config.brackets, config.rungs.len());
            return Err(Error::config(message).at("/brackets"));
        }
        not_used("hyperband", &operators);
        let goal = context.objectives.only_goal("hyperband")?;
        Ok(Hyperband { config, setting: Setting::new(space, context)?, goal, state: State::default() })
    }
}

impl Strategy for Hyperband {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let brackets = match self.state.brackets.take() {
            Some(brackets) => brackets,
            None => self.draw(seed)?,
        };
        let step = self.step(&brackets)?;
        self.state.brackets = Some(brackets);
        Ok(step)
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        let rung = self.state.rung;
        let mut evaluations = evaluations.iter();
        for (start, bracket) in self.state.brackets.iter_mut().flatten().enumerate() {
            if start > rung {
                continue;
            }
            let count = bracket.len();
            let told = evaluations.by_ref().take(count);
            let mut measured: Vec<_> = told.filter_map(|one| Some((&one.genome, one.outcome.as_ref().ok()?))).collect();
            measured.sort_by(|(_, one), (_, other)| self.setting.objectives.compare(self.goal, one, other));
            let left = ((count as f64 / self.config.eta) as usize).max(1);
            *bracket = measured.into_iter().take(left).map(|(genome, _)| genome.clone()).collect();
        }
        self.state.rung += 1;
        self.state.trained = false;
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        self.setting.check_loaded(folder, state.brackets.iter().flatten().flatten())?;
        self.state = state;
        Ok(())
    }
}

impl Hyperband {
    /// The first networks of all brackets: as many as Li et al. 2018 have in each, in proportion.
    fn draw(&self, seed: Seed) -> Result<Vec<Vec<Genome>>> {
        let rungs = self.config.rungs.len();
        let brackets = if self.config.brackets == 0 { rungs } else { self.config.brackets };
        let share = |start: usize| {
            // Their bracket s has ceil((s_max + 1) / (s + 1) * eta^s) networks.
            let later = (rungs - 1 - start) as i32;
            rungs as f64 / f64::from(later + 1) * self.config.eta.powi(later)
        };
        let mut generator = seed.generator();
        let mut known = BTreeSet::new();
        let mut drawn = Vec::new();
        for start in 0..brackets {
            let count = (self.config.networks as f64 * share(start) / share(0)).ceil() as usize;
            let mut bracket = Vec::new();
            while bracket.len() < count {
                let random = |generator: &mut _| self.setting.random(generator);
                let Some(candidate) = self.setting.propose(&mut known, &mut generator, random)? else { break };
                bracket.push(candidate.genome);
            }
            drawn.push(bracket);
        }
        Ok(drawn)
    }

    fn step(&mut self, brackets: &[Vec<Genome>]) -> Result<Step> {
        let rung = self.state.rung;
        let Some(epochs) = self.config.rungs.get(rung) else { return Ok(Step::Finished(Value::Null)) };
        if brackets.iter().all(Vec::is_empty) {
            return Ok(Step::Finished(Value::Null));
        }
        let notes =
            json!({ "rung": rung, "epochs": epochs, "networks": brackets.iter().map(Vec::len).collect::<Vec<_>>() });
        if !std::mem::replace(&mut self.state.trained, true) {
            // Those that wait for their rung come there with trained weights too.
            let region = Region::union_of(brackets.iter().flatten())?;
            let before = rung.checked_sub(1).map_or(0.0, |before| self.config.rungs[before]);
            return Ok(Step::Train(TrainPlan { region, epochs: epochs - before, stage: rung as u32, notes }));
        }
        let candidate = |bracket: usize, genome: &Genome| {
            let origin = if bracket == rung { Origin::new("random") } else { Origin::new("survivor") };
            Candidate { genome: genome.clone(), origin }
        };
        let begun = brackets.iter().enumerate().take(rung + 1);
        let candidates = begun.flat_map(|(bracket, left)| left.iter().map(move |genome| candidate(bracket, genome)));
        Ok(Step::Evaluate(Batch { candidates: candidates.collect(), notes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, chain};

    fn build_with(config: HyperbandConfig) -> Result<Hyperband> {
        Hyperband::build(config, chain(), Vec::new(), &testing::context(None))
    }

    fn config() -> HyperbandConfig {
        HyperbandConfig { rungs: vec![1.0, 3.0, 9.0], networks: 9, ..HyperbandConfig::default() }
    }

    fn build(brackets: usize) -> Hyperband {
        build_with(HyperbandConfig { brackets, ..config() }).expect("the configuration is sound")
    }

    fn sizes(steps: &[Step]) -> Vec<usize> {
        steps
            .chunks(2)
            .filter_map(
                |pair| if let Step::Evaluate(batch) = pair.get(1)? { Some(batch.candidates.len()) } else { None },
            )
            .collect()
    }

    #[test]
    fn the_best_third_goes_on_with_three_times_the_epochs() {
        let steps = testing::drive(&mut build(1), Seed(1));
        let epochs: Vec<f64> = steps
            .iter()
            .filter_map(|step| if let Step::Train(plan) = step { Some(plan.epochs) } else { None })
            .collect();
        assert_eq!(epochs, [1.0, 2.0, 6.0], "with those before 1, 3 and 9");
        assert_eq!(sizes(&steps), [9, 3, 1]);
        let genomes = testing::genomes(&steps);
        let mut first = genomes[..9].to_vec();
        first.sort_by(|one, other| testing::fitness(other).total_cmp(&testing::fitness(one)));
        let fitness = |genomes: &[Genome]| genomes.iter().map(testing::fitness).collect::<Vec<_>>();
        assert_eq!(fitness(&genomes[9..12]), fitness(&first[..3]));
        assert_eq!(fitness(&genomes[12..]), fitness(&first[..1]));
        // What is trained shrinks to what is left.
        let Step::Train(plan) = &steps[4] else { panic!("the last rung is trained for") };
        assert_eq!(plan.region, Region::union_of(&genomes[12..]).expect("there is one"));
    }

    #[test]
    fn brackets_begin_rung_by_rung_with_the_numbers_of_the_paper() {
        // Li et al. 2018 have 9, 5 and 3 networks where 9 epochs are the most and eta is 3.
        let steps = testing::drive(&mut build(0), Seed(1));
        assert_eq!(sizes(&steps), [9, 3 + 5, 1 + 1 + 3]);
        let Step::Evaluate(second) = &steps[3] else { panic!("networks are measured after each training") };
        let random = second.candidates.iter().filter(|candidate| candidate.origin.by == "random").count();
        assert_eq!(random, 5);
        let Step::Train(plan) = &steps[0] else { panic!("training comes first") };
        assert_eq!(plan.notes["networks"], json!([9, 5, 3]));
        let paper = build_with(HyperbandConfig::default()).expect("the defaults are sound");
        let share = paper.draw(Seed(0)).expect("networks are drawn");
        // The space has 31 networks, and no more are drawn.
        assert!(share.iter().map(Vec::len).sum::<usize>() <= 31);
    }

    #[test]
    fn networks_that_fail_do_not_go_on() {
        let mut strategy = build(1);
        strategy.next(Seed(0)).expect("it trains");
        let Ok(Step::Evaluate(batch)) = strategy.next(Seed(0)) else { panic!("networks come next") };
        let fail = |candidate: &Candidate| Evaluation {
            genome: candidate.genome.clone(),
            outcome: Err("no memory".to_owned()),
        };
        strategy.tell(&batch.candidates.iter().map(fail).collect::<Vec<_>>()).expect("failures are data");
        assert!(matches!(strategy.next(Seed(0)), Ok(Step::Finished(_))));
    }

    #[test]
    fn it_is_deterministic_and_survives_saving_between_any_two_steps() {
        testing::check_state(|| build(0));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |config: HyperbandConfig, place: &str, expected: &str| {
            let error = build_with(config).err().expect("it cannot work");
            assert!(error.message.contains(expected), "{error}");
            assert_eq!(error.place.as_deref(), Some(place));
        };
        check(HyperbandConfig { rungs: vec![3.0, 3.0], ..config() }, "/rungs", "each more than the one before");
        check(HyperbandConfig { rungs: vec![0.0, 3.0], ..config() }, "/rungs", "each more than the one before");
        check(HyperbandConfig { brackets: 4, ..config() }, "/brackets", "4 brackets need as many rungs, there are 3");
    }
}
