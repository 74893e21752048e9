//! Pruning: what the elite group of a stage leaves of its region.

use pleach_sdk::{
    Genome, Region, Result, config,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

config! {
    /// What is kept at the end of a stage.
    pub struct PruneConfig {
        /// By which rule.
        pub keep: Keep = Keep::Union,
        /// How many elites have a say.
        #[schemars(range(min = 1, max = 1000))]
        pub top: usize = 5,
        /// For `vote`: how many elites must use a choice.
        #[schemars(range(min = 1, max = 1000))]
        pub votes: usize = 2,
    }
}

/// Which choices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "pleach_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "pleach_sdk::schemars")]
pub enum Keep {
    /// All that an elite uses.
    Union,
    /// Those of the best alone.
    Best,
    /// Those that several elites use, and where there are none those of the best.
    Vote,
    /// All: no pruning, to compare with.
    All,
}

/// The region that `elites`, best first, leave of `region`. Without elites nothing is pruned.
pub(crate) fn prune(region: &Region, elites: &[Genome], config: &PruneConfig) -> Result<Region> {
    let Some(best) = elites.first() else { return Ok(region.clone()) };
    match config.keep {
        Keep::All => Ok(region.clone()),
        Keep::Best => Region::union_of([best]),
        Keep::Union => Region::union_of(elites),
        Keep::Vote => {
            let voted = |slot: usize| {
                let votes = |choice: &u16| elites.iter().filter(|elite| elite[slot] == *choice).count();
                let kept: Vec<u16> =
                    region.allowed(slot).iter().copied().filter(|choice| votes(choice) >= config.votes).collect();
                if kept.is_empty() { vec![best[slot]] } else { kept }
            };
            Region::new((0..best.len()).map(voted).collect())
        }
    }
}

/// For each slot, the choices that are in `before` and not in `after`.
pub(crate) fn removed(before: &Region, after: &Region) -> Vec<Vec<u16>> {
    let of_slot = |(slot, choices): (usize, &Vec<u16>)| {
        choices.iter().copied().filter(|choice| !after.allows(slot, *choice)).collect()
    };
    before.slots().iter().enumerate().map(of_slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_keeps_what_it_says() {
        let region = Region::new(vec![vec![0, 1, 2], vec![0, 1, 2], vec![3]]).expect("no slot is empty");
        let elites = [[0, 1, 3], [0, 2, 3], [1, 2, 3]].map(|genes| Genome(genes.to_vec()));
        let check = |keep, votes, expected: [&[u16]; 3]| {
            let config = PruneConfig { keep, votes, ..PruneConfig::default() };
            let pruned = prune(&region, &elites, &config).expect("no slot is empty");
            assert_eq!(pruned.slots(), expected.map(<[u16]>::to_vec), "{keep:?}");
            assert!(keep == Keep::Vote || elites[..1].iter().all(|elite| pruned.contains(elite)));
        };
        check(Keep::All, 2, [&[0, 1, 2], &[0, 1, 2], &[3]]);
        check(Keep::Best, 2, [&[0], &[1], &[3]]);
        check(Keep::Union, 2, [&[0, 1], &[1, 2], &[3]]);
        check(Keep::Vote, 2, [&[0], &[2], &[3]]);
        check(Keep::Vote, 3, [&[0], &[1], &[3]]);
        assert_eq!(prune(&region, &[], &PruneConfig::default()).expect("nothing is pruned"), region);
    }

    #[test]
    fn what_was_removed_is_the_difference() {
        let before = Region::new(vec![vec![0, 1, 2], vec![3]]).expect("no slot is empty");
        let after = Region::new(vec![vec![1], vec![0, 1]]).expect("no slot is empty");
        assert_eq!(removed(&before, &after), [vec![0, 2], vec![3]]);
    }
}
