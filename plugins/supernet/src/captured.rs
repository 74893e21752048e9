//! A pass forward and back that CUDA repeats as a whole, with other images: starting its kernels one by one takes
//! longer than computing them.

use pleach_sdk::tracing;
use tch::{TchError, Tensor, no_grad};

use crate::{attempts::has_no_room, kernels::Graph, optimiser::Gradients};

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

/// What CUDA repeats of a training.
#[derive(Default)]
pub(crate) enum Repeated {
    #[default]
    Nothing,
    /// A pass was made with inputs like these: the next one can be taken up.
    Seen(Inputs),
    Captured(Captured),
    /// It could not be taken up.
    Never,
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

    fn shallow_clone(&self) -> Self {
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
    fn is_like(&self, other: &Inputs) -> bool {
        self.kept.is_some() == other.kept.is_some()
            && self.tensors().zip(other.tensors()).all(|(one, other)| one.size() == other.size())
    }
}

impl Repeated {
    /// What `compute` gives of inputs, which is taken up the second time that inputs have such shapes and repeated
    /// from then on.
    pub(crate) fn pass(
        &mut self,
        inputs: &Inputs,
        mut compute: impl FnMut(&Inputs) -> Result<Computed, TchError>,
    ) -> Result<Computed, TchError> {
        match self {
            Repeated::Captured(captured) if captured.inputs.is_like(inputs) => return captured.repeat(inputs),
            Repeated::Seen(seen) if seen.is_like(inputs) => match Captured::new(inputs, &mut compute) {
                Ok(captured) => {
                    let computed = captured.repeat(inputs);
                    *self = Repeated::Captured(captured);
                    return computed;
                }
                Err(error) if has_no_room(&error.to_string()) => return Err(error),
                Err(error) => {
                    tracing::warn!("no CUDA graph of a training step, which takes longer without: {error}");
                    *self = Repeated::Never;
                }
            },
            Repeated::Never => {}
            // What a first pass prepares is no part of the next one.
            Repeated::Nothing | Repeated::Seen(_) | Repeated::Captured(_) => {
                *self = Repeated::Seen(inputs.shallow_clone());
            }
        }
        compute(inputs)
    }
}

impl Captured {
    /// Takes up what `compute` does with inputs like these. Nothing is computed yet.
    fn new(inputs: &Inputs, compute: impl FnOnce(&Inputs) -> Result<Computed, TchError>) -> Result<Self, TchError> {
        // Where the inputs of every repetition are.
        let inputs = inputs.copied()?;
        let (graph, computed) = Graph::of(|| compute(&inputs))?;
        Ok(Captured { graph, inputs, computed })
    }

    /// The same with other inputs. Gradients hold until it is repeated.
    fn repeat(&self, inputs: &Inputs) -> Result<Computed, TchError> {
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
