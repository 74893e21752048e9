//! The functions of `kernels/`, in C++ against libtorch's headers: what `tch` has no call for.

use std::ffi::{CStr, c_char};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::optimiser::Rates;

unsafe extern "C" {
    fn pleach_sgd(
        parameters: *const *const C_tensor,
        momenta: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        factor: f64,
        weight_decay: f64,
        clip: f64,
    ) -> *mut c_char;
    fn pleach_allow_tf32(allow: bool) -> *mut c_char;
}

/// What a function says it failed with.
fn check(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the functions give null or a text that ends with a zero byte, allocated by `strdup`
    // for the caller, who frees it once.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        text
    };
    Err(TchError::Torch(text))
}

/// Moves parameters along their gradients, and takes these away.
pub(crate) fn sgd(parameters: &[&Tensor], momenta: &[&Tensor], rates: Rates) -> Result<(), TchError> {
    let pointers = |tensors: &[&Tensor]| -> Vec<*const C_tensor> { tensors.iter().map(|it| it.as_ptr()).collect() };
    let (values, momenta) = (pointers(parameters), pointers(momenta));
    let count = values.len().min(momenta.len());
    let Rates { learning_rate, momentum, weight_decay, clip } = rates;
    // SAFETY: both lists have at least `count` pointers to tensors that outlive the call; the
    // function keeps none of them.
    check(unsafe {
        pleach_sgd(values.as_ptr(), momenta.as_ptr(), count, learning_rate, momentum, weight_decay, clip)
    })
}

/// Whether CUDA may round the factors of 32-bit matrix products and convolutions to 10 bits
/// (TF32). Holds for the whole process.
pub(crate) fn allow_tf32(allow: bool) -> Result<(), TchError> {
    // SAFETY: the function takes any value and may be called at any time.
    check(unsafe { pleach_allow_tf32(allow) })
}
