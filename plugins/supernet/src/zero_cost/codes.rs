//! How alike a network finds images (Mellor et al. 2021): of each image the codes, whether each
//! activation is above zero, and of each two images for how many of them they agree.

use pleach_sdk::description::Activation;
use tch::{Kind, TchError, Tensor, no_grad};

/// Whether an activation is on or off.
fn is_rectifier(function: Activation) -> bool {
    match function {
        Activation::Relu | Activation::Relu6 | Activation::Silu | Activation::HardSwish | Activation::Gelu => true,
        Activation::HardSigmoid | Activation::Sigmoid => false,
    }
}

/// Integers up to here are sums of single precision without rounding.
const EXACT: usize = 1 << 24;

/// The agreements of the activations that were seen so far.
#[derive(Default)]
pub(crate) struct Codes {
    /// The kernel of shape (images, images): c cᵀ + (1 − c)(1 − c)ᵀ for codes c.
    agreements: Option<Tensor>,
    /// Activations of one image.
    activations: usize,
}

impl Codes {
    /// Adds the output of an activation; each of these functions is above zero where its input is.
    pub(crate) fn add(&mut self, function: Activation, output: &Tensor) -> Result<(), TchError> {
        if !is_rectifier(function) {
            return Ok(());
        }
        no_grad(|| {
            let codes = output.f_detach()?.f_gt(0.0)?.f_flatten(1, -1)?;
            let count = codes.size()[1].unsigned_abs() as usize;
            let kind = if count < EXACT { Kind::Float } else { Kind::Double };
            // With signs for codes, a product is agreements less disagreements.
            let signs = codes.f_to_kind(kind)?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
            let products = signs.f_matmul(&signs.f_transpose(0, 1)?)?.f_to_kind(Kind::Double)?;
            let agreements = products.f_add_scalar(count as f64)?.f_div_scalar(2.0)?;
            self.agreements = Some(match &self.agreements {
                Some(before) => before.f_add(&agreements)?,
                None => agreements,
            });
            self.activations += count;
            Ok(())
        })
    }

    /// The logarithm of the kernel's determinant, or why it has none.
    pub(crate) fn log_determinant(&self) -> Result<Result<f64, String>, TchError> {
        let Some(kernel) = &self.agreements else {
            return Ok(Err("the network has no rectifier that could be on or off".to_owned()));
        };
        let kernel = kernel.f_to_device(tch::Device::Cpu)?;
        let images = kernel.size()[0].unsigned_abs() as usize;
        let values = Vec::<f64>::try_from(&kernel.f_flatten(0, -1)?)?;
        let alike = (0..images * images).filter(|index| index % images > index / images);
        let mut alike = alike.filter(|index| values[*index] == self.activations as f64);
        if let Some(index) = alike.next() {
            let (one, other) = (index / images, index % images);
            return Ok(Err(format!(
                "images {one} and {other} of the batch agree in all {} activations, so the kernel is singular",
                self.activations
            )));
        }
        // A sum of two Gram matrices has no eigenvalue below zero.
        let eigenvalues = Vec::<f64>::try_from(&kernel.f_linalg_eigvalsh("L")?)?;
        let largest = eigenvalues.iter().copied().fold(0.0, f64::max);
        let rounding = largest * images as f64 * f64::EPSILON;
        if eigenvalues.iter().any(|eigenvalue| *eigenvalue <= rounding) {
            return Ok(Err(format!(
                "the kernel of {images} images and {} activations is singular: try a smaller batch",
                self.activations
            )));
        }
        Ok(Ok(eigenvalues.into_iter().map(f64::ln).sum()))
    }
}
