//! A network description, and every computation on the network that it resolves to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pleach_sdk::{Description, Network, Region, Seed};

fuzz_target!(|bytes: &[u8]| {
    let Ok(description) = serde_json::from_slice::<Description>(bytes) else { return };
    let Ok(network) = Network::new(description) else { return };
    let region = Region::full(&network);
    let complete = Region::complete(&network);
    let (least, most) = network.cost_range(&region);
    let mut generator = Seed(1).generator();
    for region in [region, complete] {
        let genome = region.sample(&mut generator);
        let cost = network.cost(&genome);
        assert!(least.params <= cost.params && cost.params <= most.params);
        let canonical = network.canonical(&genome);
        assert_eq!(network.canonical(&canonical), canonical);
        assert!(region.contains(&network.aligned(&genome, &region)));
        let _ = network.transferred(&genome, &network);
    }
});
