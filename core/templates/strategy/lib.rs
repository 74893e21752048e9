//! A strategy that climbs: it changes one gene of the best network that it knows.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use pleach_sdk::{
    Batch, BuildStrategy, Candidate, Component, Context, Evaluation, Genome, Goal, Objectives,
    Origin, Region, Result, SearchSpace, Seed, Step, Strategy, TrainPlan, WeightedOperator, config,
    export_plugin,
    rand::Rng,
    serde::{Deserialize, Serialize},
    serde_json::{Value, json},
    state,
};

config! {
    /// Changes one gene of the best network so far, again and again; draws at random where that
    /// gives nothing new.
    pub struct ClimbConfig {
        /// Networks to propose in all.
        #[schemars(range(min = 1))]
        pub evaluations: u64 = 200,
        /// Networks to propose at once.
        #[schemars(range(min = 1, max = 10000))]
        pub children: u64 = 10,
        /// Epochs of the one training before the first network, for estimators that train.
        #[schemars(range(min = 0.0))]
        pub epochs: f64 = 1.0,
    }
}

/// Climbs.
pub struct Climb {
    config: ClimbConfig,
    space: Arc<dyn SearchSpace>,
    objectives: Objectives,
    goal: (usize, Goal),
    state: State,
}

/// What a checkpoint keeps.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "pleach_sdk::serde", deny_unknown_fields)]
struct State {
    trained: bool,
    proposed: u64,
    /// What was proposed: the same network twice would teach nothing.
    known: BTreeSet<Genome>,
    best: Option<Evaluation>,
}

/// How many changed networks are drawn before a random one is taken.
const TRIES: u64 = 20;

impl Component for Climb {
    type Config = ClimbConfig;
    const NAME: &'static str = "climb";
    const SUMMARY: &'static str = "changes one gene of the best network so far";

    fn example() -> ClimbConfig {
        ClimbConfig::default()
    }
}

impl BuildStrategy for Climb {
    fn build(
        config: ClimbConfig,
        space: Arc<dyn SearchSpace>,
        _: Vec<WeightedOperator>,
        context: &Context,
    ) -> Result<Self> {
        let objectives = context.objectives.clone();
        let goal = objectives.only_goal("climb")?;
        let state = State::default();
        Ok(Climb {
            config,
            space,
            objectives,
            goal,
            state,
        })
    }
}

impl Climb {
    fn child(&mut self, region: &Region, seed: Seed) -> Candidate {
        let new = (0..TRIES)
            .filter_map(|number| self.changed(region, seed.derive("try", number)))
            .find(|child| !self.state.known.contains(&child.genome));
        let child = new.unwrap_or_else(|| Candidate {
            genome: region.sample(&mut seed.derive("random", 0).generator()),
            origin: Origin::new("random"),
        });
        self.state.known.insert(child.genome.clone());
        child
    }

    /// The best network with one gene drawn anew; nothing before there is a best one.
    fn changed(&self, region: &Region, seed: Seed) -> Option<Candidate> {
        let mut generator = seed.generator();
        let best = self.state.best.as_ref()?;
        let mut genome = best.genome.clone();
        let slot = generator.random_range(0..genome.len());
        genome.0[slot] = region.sample_slot(slot, &mut generator);
        let origin = Origin {
            by: "one gene".to_owned(),
            parents: vec![best.genome.clone()],
        };
        Some(Candidate { genome, origin })
    }

    fn is_better(&self, evaluation: &Evaluation) -> bool {
        let Ok(values) = &evaluation.outcome else {
            return false;
        };
        match self.state.best.as_ref().map(|best| &best.outcome) {
            Some(Ok(best)) => self.objectives.better(self.goal, values, best),
            _ => true,
        }
    }
}

impl Strategy for Climb {
    fn next(&mut self, seed: Seed) -> Result<Step> {
        let region = Region::complete(self.space.network());
        if !self.state.trained {
            self.state.trained = true;
            let epochs = self.config.epochs;
            return Ok(Step::Train(TrainPlan {
                region,
                epochs,
                stage: 0,
                notes: Value::Null,
            }));
        }
        let left = self.config.evaluations.saturating_sub(self.state.proposed);
        if left == 0 {
            return Ok(Step::Finished(json!({ "proposed": self.state.proposed })));
        }
        let count = left.min(self.config.children);
        self.state.proposed += count;
        let candidates = (0..count)
            .map(|number| self.child(&region, seed.derive("child", number)))
            .collect();
        Ok(Step::Evaluate(Batch {
            candidates,
            notes: Value::Null,
        }))
    }

    fn tell(&mut self, evaluations: &[Evaluation]) -> Result<()> {
        for evaluation in evaluations {
            if self.is_better(evaluation) {
                self.state.best = Some(evaluation.clone());
            }
        }
        Ok(())
    }

    fn save(&self, folder: &Path) -> Result<()> {
        state::save(folder, &self.state)
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        let state: State = state::load(folder)?;
        let genome: Option<&Genome> = state.best.as_ref().map(|best| &best.genome);
        if let Some(genome) = genome {
            self.space.network().validate(genome)?;
        }
        self.state = state;
        Ok(())
    }
}

export_plugin! {
    name: "{{name}}",
    summary: "a strategy that climbs",
    strategies: [Climb],
}

#[cfg(test)]
mod tests {
    use pleach_sdk::conformance::{self, fixtures};

    use super::*;

    #[test]
    fn keeps_the_promises_of_a_strategy() {
        conformance::strategy::<Climb>(&Default::default()).assert();
    }

    #[test]
    fn finds_the_best_of_a_smooth_landscape() {
        let context = Context {
            objectives: fixtures::accuracy(),
            ..Context::default()
        };
        let built = Climb::build(Climb::example(), fixtures::chain(), Vec::new(), &context);
        let mut climb = built.expect("it follows one objective");
        let fitness = |genome: &Genome| genome.iter().map(|gene| f64::from(*gene)).sum::<f64>();
        for number in 0.. {
            match climb
                .next(Seed(1).derive("step", number))
                .expect("it goes on")
            {
                Step::Train(_) => {}
                Step::Evaluate(batch) => {
                    let genomes = batch
                        .candidates
                        .into_iter()
                        .map(|candidate| candidate.genome);
                    let evaluations: Vec<_> = genomes
                        .map(|genome| Evaluation {
                            outcome: Ok(vec![fitness(&genome)]),
                            genome,
                        })
                        .collect();
                    climb.tell(&evaluations).expect("it takes them");
                }
                Step::Finished(_) => break,
            }
        }
        let best = climb.state.best.expect("it has seen networks");
        assert_eq!(best.genome, Genome(vec![1, 3, 3, 1, 3, 3]));
    }
}
