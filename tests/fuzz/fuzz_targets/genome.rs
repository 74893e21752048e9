//! Genomes and regions as JSON, held against a network.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pleach_sdk::{Genome, Network, Region, Seed};

static NETWORK: LazyLock<Network> = LazyLock::new(|| {
    let description = serde_json::from_str(include_str!("../../../plugins/supernet/src/tests/networks/growing-blocks.json"));
    Network::new(description.expect("the description is JSON")).expect("the description is sound")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(genome) = serde_json::from_slice::<Genome>(bytes)
        && NETWORK.validate(&genome).is_ok()
    {
        let canonical = NETWORK.canonical(&genome);
        assert_eq!(NETWORK.canonical(&canonical), canonical);
        assert_eq!(NETWORK.cost(&canonical), NETWORK.cost(&genome));
        assert_eq!(NETWORK.transferred(&genome, &NETWORK).map(|it| NETWORK.canonical(&it)), Ok(canonical));
    }
    if let Ok(region) = serde_json::from_slice::<Region>(bytes)
        && region.validate(&NETWORK).is_ok()
    {
        let genome = region.sample(&mut Seed(1).generator());
        assert!(region.contains(&genome) && region.contains(&NETWORK.aligned(&genome, &region)));
        let (least, most) = NETWORK.cost_range(&region);
        assert!(least.params <= most.params);
    }
});
