//! Layers by name: `identity`, `mb6_k5`, `mb3_k3_se`, as the network description has them.

use pleach_sdk::{
    Error, Result,
    description::{Activation, Groups, Meaning, Operation, Primitive, Stride, Width},
};

/// A layer that a Block can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// Nothing: the layer is left out.
    Identity,
    /// An inverted residual (Sandler et al. 2018).
    MbConv { expansion: u32, kernel: u32, has_gate: bool },
}

impl LayerKind {
    /// Reads a name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        if name == "identity" {
            return Ok(LayerKind::Identity);
        }
        Self::parse_mbconv(name).ok_or_else(|| {
            Error::config(format!(
                "unknown operation `{name}`; known: identity, and mbE_kK or mbE_kK_se with expansion E from 1 to 16 \
                 and an odd kernel K from 1 to 31, such as mb3_k3 or mb6_k5_se"
            ))
        })
    }

    fn parse_mbconv(name: &str) -> Option<Self> {
        let (plain, has_gate) = match name.strip_suffix("_se") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let (expansion, kernel) = plain.strip_prefix("mb")?.split_once("_k")?;
        let (expansion, kernel): (u32, u32) = (expansion.parse().ok()?, kernel.parse().ok()?);
        let is_sound = (1..=16).contains(&expansion) && (1..=31).contains(&kernel) && kernel % 2 == 1;
        is_sound.then_some(LayerKind::MbConv { expansion, kernel, has_gate })
    }

    /// The operation that a layer of this kind stands for.
    pub(crate) fn operation(self, name: &str, activation: Activation) -> Operation {
        match self {
            LayerKind::Identity => passing(name, Meaning::Identity),
            LayerKind::MbConv { expansion, kernel, has_gate } => {
                let mut primitives = Vec::new();
                if expansion > 1 {
                    primitives.extend(point(Width::Input(f64::from(expansion))));
                    primitives.push(Primitive::Activation(activation));
                }
                primitives.push(Primitive::Convolution {
                    kernel,
                    stride: Stride::Node,
                    groups: Groups::Depthwise,
                    channels: Width::Same,
                    dilation: 1,
                    bias: false,
                });
                primitives.push(Primitive::BatchNorm);
                primitives.push(Primitive::Activation(activation));
                if has_gate {
                    // Hidden channels are a quarter of the layer's input (Tan and Le 2019).
                    primitives.push(Primitive::SqueezeExcite { ratio: 0.25, gate: Activation::Sigmoid });
                }
                primitives.extend(point(Width::Output));
                sequence(name, primitives, true)
            }
        }
    }
}

/// The operation of a layer that is not born yet.
pub(crate) fn absent() -> Operation {
    passing("absent", Meaning::Absent)
}

/// What stands for identity where a layer changes the shape: a 1 x 1 convolution with batch norm,
/// as in NAS-Bench-Macro (Su et al. 2021).
pub(crate) fn projection() -> Operation {
    sequence("projection", vec![strided(1, Stride::Node), Primitive::BatchNorm], false)
}

/// A 3 x 3 convolution with batch norm and activation.
pub(crate) fn stem(activation: Activation) -> Operation {
    let primitives = vec![strided(3, Stride::Node), Primitive::BatchNorm, Primitive::Activation(activation)];
    sequence("stem", primitives, false)
}

/// A 1 x 1 convolution with batch norm and activation, the mean over pixels, a linear layer.
pub(crate) fn head(channels: u32, activation: Activation) -> Operation {
    let mut primitives = point(Width::Fixed(channels)).to_vec();
    primitives.push(Primitive::Activation(activation));
    primitives.push(Primitive::GlobalAverage);
    primitives.push(Primitive::Linear { features: Width::Output });
    sequence("head", primitives, false)
}

fn passing(name: &str, meaning: Meaning) -> Operation {
    Operation { name: name.to_owned(), meaning, primitives: Vec::new(), residual: false }
}

fn sequence(name: &str, primitives: Vec<Primitive>, residual: bool) -> Operation {
    Operation { name: name.to_owned(), meaning: Meaning::Sequence, primitives, residual }
}

fn point(channels: Width) -> [Primitive; 2] {
    let convolution = Primitive::Convolution {
        kernel: 1,
        stride: Stride::One,
        groups: Groups::Dense,
        channels,
        dilation: 1,
        bias: false,
    };
    [convolution, Primitive::BatchNorm]
}

fn strided(kernel: u32, stride: Stride) -> Primitive {
    Primitive::Convolution { kernel, stride, groups: Groups::Dense, channels: Width::Output, dilation: 1, bias: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_refused() {
        let mbconv = |expansion, kernel, has_gate| Some(LayerKind::MbConv { expansion, kernel, has_gate });
        let check = |name, expected| assert_eq!(LayerKind::parse(name).ok(), expected, "{name}");
        check("identity", Some(LayerKind::Identity));
        check("mb3_k3", mbconv(3, 3, false));
        check("mb6_k7_se", mbconv(6, 7, true));
        for wrong in ["mb3k3", "mb0_k3", "mb3_k4", "mb3_k33", "mb_k3", "mb3_k3_", "conv", "", "absent"] {
            check(wrong, None);
        }
    }
}
