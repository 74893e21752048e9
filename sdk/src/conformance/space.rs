//! The promises of a search space.

use std::sync::Arc;

use super::{
    Check, Stop,
    bench::{Bench, broken, from_threads},
    fixtures,
};
use crate::{
    component::Context,
    error::ErrorKind,
    seed::Seed,
    space::{Genome, Region, SearchSpace},
};

/// How many random genomes are looked at.
const GENOMES: usize = 200;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "same-configuration-same-space",
        tried: "build it twice",
        expected: "both describe the same networks",
        run: same_space,
    },
    Check {
        name: "images-as-the-data-set-has",
        tried: "build it for a data set of 3 x 8 x 8 images and 2 classes",
        expected: "networks for such images and classes, or a configuration error",
        run: fits_data_set,
    },
    Check {
        name: "canonical-is-of-the-space",
        tried: "canonical forms of 200 random genomes, unborn layers among them",
        expected: "genomes of the space",
        run: canonical_is_valid,
    },
    Check {
        name: "canonical-stays",
        tried: "canonical forms of 200 canonical forms",
        expected: "the same genomes",
        run: canonical_stays,
    },
    Check {
        name: "canonical-is-the-same-network",
        tried: "parameters and FLOPs of 200 random genomes and of their canonical forms",
        expected: "equal numbers",
        run: canonical_costs_the_same,
    },
    Check {
        name: "foreign-genome-refused",
        tried: "canonical forms of a genome that is too short, too long, and of one with a choice that does not exist",
        expected: "an error for each",
        run: foreign_genome_refused,
    },
    Check {
        name: "many-threads",
        tried: "canonical forms of 200 random genomes, from four threads at once",
        expected: "the answers that one thread gets",
        run: many_threads,
    },
];

fn build(bench: &Bench<'_>) -> Result<Arc<dyn SearchSpace>, Stop> {
    Ok(bench.space(&bench.config())?)
}

fn genomes(space: &dyn SearchSpace) -> Vec<Genome> {
    let (full, mut generator) = (Region::full(space.network()), Seed(1).generator());
    (0..GENOMES).map(|_| full.sample(&mut generator)).collect()
}

fn same_space(bench: &Bench<'_>) -> Result<(), Stop> {
    if build(bench)?.network().description() != build(bench)?.network().description() {
        return broken("two different descriptions");
    }
    Ok(())
}

fn fits_data_set(bench: &Bench<'_>) -> Result<(), Stop> {
    let info = fixtures::dataset().info().clone();
    let (shape, classes) = (info.shape, info.classes.len() as u32);
    let context = Context { dataset: Some(info), objectives: fixtures::accuracy(), seed: Seed(1) };
    let space = match bench.plugin.space(&bench.info.name, &bench.config(), &context) {
        Ok(space) => space,
        Err(error) if error.kind == ErrorKind::Config => return Ok(()),
        Err(error) => return broken(error.to_string()),
    };
    let description = space.network().description();
    if description.input != shape || description.classes != classes {
        return broken(format!("networks for {} and {} classes", description.input, description.classes));
    }
    Ok(())
}

fn canonical_is_valid(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = build(bench)?;
    for genome in genomes(space.as_ref()) {
        let canonical = space.canonical(&genome)?;
        if let Err(error) = space.network().validate(&canonical) {
            return broken(format!("of {genome}: {error}"));
        }
    }
    Ok(())
}

fn canonical_stays(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = build(bench)?;
    for genome in genomes(space.as_ref()) {
        let canonical = space.canonical(&genome)?;
        let again = space.canonical(&canonical)?;
        if again != canonical {
            return broken(format!("{genome} became {canonical}, which became {again}"));
        }
    }
    Ok(())
}

fn canonical_costs_the_same(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = build(bench)?;
    let network = space.network();
    for genome in genomes(space.as_ref()) {
        let canonical = space.canonical(&genome)?;
        let (cost, other) = (network.cost(&genome), network.cost(&canonical));
        if cost != other {
            return broken(format!("{genome} has {cost:?}, its canonical form {canonical} has {other:?}"));
        }
    }
    Ok(())
}

fn foreign_genome_refused(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = build(bench)?;
    for (what, genome) in fixtures::foreign_genomes(space.as_ref()) {
        match space.canonical(&genome) {
            Ok(canonical) => return broken(format!("{what}: {canonical}")),
            Err(error) if error.kind == ErrorKind::Panicked => return broken(format!("{what}: {error}")),
            Err(_) => {}
        }
    }
    Ok(())
}

fn many_threads(bench: &Bench<'_>) -> Result<(), Stop> {
    let space = build(bench)?;
    let genomes = genomes(space.as_ref());
    let all = || genomes.iter().map(|genome| space.canonical(genome)).collect::<crate::Result<Vec<_>>>();
    let expected = all()?;
    if from_threads(all)?.iter().any(|answers| *answers != expected) {
        return broken("other answers");
    }
    Ok(())
}
