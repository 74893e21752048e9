//! Whether a space and a data set go together.

use pleach_sdk::{Dataset, Error, Result, SearchSpace, network::Layer};

/// The space's networks must take the data set's images and know its classes.
pub(crate) fn check(space: &dyn SearchSpace, dataset: &dyn Dataset) -> Result<()> {
    let (network, info) = (space.network(), dataset.info());
    let description = network.description();
    if description.input != info.shape {
        return Err(Error::config(format!(
            "the space takes images of {}, the data set {} has images of {}",
            description.input, info.name, info.shape
        )));
    }
    if description.classes as usize != info.classes.len() {
        return Err(Error::config(format!(
            "the space knows {} classes, the data set {} has {}",
            description.classes,
            info.name,
            info.classes.len()
        )));
    }
    let has_weights = network.nodes().iter().any(|node| {
        let layers = node.candidates.iter().flat_map(|candidate| &candidate.layers);
        layers.into_iter().any(|layer| matches!(layer, Layer::Convolution { .. } | Layer::Linear { .. }))
    });
    if has_weights { Ok(()) } else { Err(Error::config("the space has nothing to train")) }
}
