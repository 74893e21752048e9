//! A pass forward and back that CUDA repeats as a whole, with other images: starting its kernels one by one takes
//! longer than computing them.

use tch::{TchError, Tensor, no_grad};

use crate::{kernels::Graph, optimiser::Gradients};

/// What a training step reads, on the device.
pub(crate) struct Inputs {
    pub(crate) images: Tensor,
    pub(crate) labels: Tensor,
    /// What is left of branches beside shortcuts, where some are left out.
    pub(crate) kept: Option<Tensor>,
}

/// What a pass forward and back comes to.
pub(crate) struct Computed {
    pub(crate) loss: Tensor,
    pub(crate) correct: Tensor,
    pub(crate) gradients: Gradients,
}

/// A pass that can be repeated.
pub(crate) struct Captured {
    graph: Graph,
    inputs: Inputs,
    computed: Computed,
}

impl Inputs {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.images, &self.labels].into_iter().chain(&self.kept)
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        let Inputs { images, labels, kept } = self;
        let kept = kept.as_ref().map(Tensor::shallow_clone);
        Inputs { images: images.shallow_clone(), labels: labels.shallow_clone(), kept }
    }

    fn copied(&self) -> Result<Self, TchError> {
        let copy = |tensor: &Tensor| no_grad(|| tensor.f_detach_copy());
        let kept = self.kept.as_ref().map(copy).transpose()?;
        Ok(Inputs { images: copy(&self.images)?, labels: copy(&self.labels)?, kept })
    }

    /// Whether tensors are of the same shapes.
    pub(crate) fn is_like(&self, other: &Inputs) -> bool {
        self.kept.is_some() == other.kept.is_some()
            && self.tensors().zip(other.tensors()).all(|(one, other)| one.size() == other.size())
    }
}

impl Captured {
    /// Takes up what `compute` does with inputs like these. Nothing is computed yet.
    pub(crate) fn new(
        inputs: &Inputs,
        compute: impl FnOnce(&Inputs) -> Result<Computed, TchError>,
    ) -> Result<Self, TchError> {
        // Where the inputs of every repetition are.
        let inputs = inputs.copied()?;
        let (graph, computed) = Graph::of(|| compute(&inputs))?;
        Ok(Captured { graph, inputs, computed })
    }

    /// Whether it computes with inputs of such shapes.
    pub(crate) fn is_for(&self, inputs: &Inputs) -> bool {
        self.inputs.is_like(inputs)
    }

    /// The same with other inputs. Gradients hold until it is repeated.
    pub(crate) fn repeat(&self, inputs: &Inputs) -> Result<Computed, TchError> {
        no_grad(|| {
            for (to, from) in self.inputs.tensors().zip(inputs.tensors()) {
                to.shallow_clone().f_copy_(from)?;
            }
            self.graph.replay()?;
            let Computed { loss, correct, gradients } = &self.computed;
            let gradients = gradients.0.iter().map(|(index, gradient)| (*index, gradient.shallow_clone()));
            Ok(Computed {
                loss: loss.f_detach_copy()?,
                correct: correct.f_detach_copy()?,
                gradients: Gradients(gradients.collect()),
            })
        })
    }
}
