//! A space that is known by its description alone: of a run that is over, or made by the host.

use pleach_sdk::{Network, SearchSpace};

/// The space of all networks that a description has.
pub(crate) struct DescribedSpace(pub(crate) Network);

impl SearchSpace for DescribedSpace {
    fn network(&self) -> &Network {
        &self.0
    }
}
