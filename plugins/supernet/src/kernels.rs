//! The functions of `kernels/`, in C++ against libtorch's headers: what `tch` has no call for.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::Path,
    ptr,
};

use pleach_sdk::description::Activation;
use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::{optimiser::Rates, threads::called_back};

unsafe extern "C" {
    fn pleach_sgd(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        momenta: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        factor: f64,
        weight_decay: f64,
        clip: f64,
    ) -> *mut c_char;
    fn pleach_allow_tf32(allow: bool) -> *mut c_char;
    fn pleach_peak_memory(device: i8, bytes: *mut u64) -> *mut c_char;
    fn pleach_cuda(device: c_int, library: *const c_char, source: *const c_char) -> *mut c_char;
    fn pleach_graph_of(
        work: extern "C" fn(*mut c_void),
        context: *mut c_void,
        graph: *mut *mut RawGraph,
    ) -> *mut c_char;
    fn pleach_graph_replay(graph: *mut RawGraph) -> *mut c_char;
    fn pleach_graph_free(graph: *mut RawGraph);
    fn pleach_kernels() -> *const c_char;
    fn pleach_torch_version() -> *const c_char;
    fn pleach_batch_norm(
        input: *const C_tensor,
        scale: *const C_tensor,
        shift: *const C_tensor,
        running_mean: *const C_tensor,
        running_variance: *const C_tensor,
        momentum: f64,
        epsilon: f64,
        activation: c_int,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pleach_depthwise(
        input: *const C_tensor,
        weight: *const C_tensor,
        stride: i64,
        padding: i64,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pleach_chain(
        input: *const C_tensor,
        links: *const RawLink,
        count: usize,
        by_batch: bool,
        normalised: bool,
        residual: bool,
        epsilon: f64,
        room: i64,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn pleach_script(
        names: *const *const c_char,
        tensors: *const *const C_tensor,
        are_buffers: *const bool,
        count: usize,
        source: *const c_char,
        path: *const c_char,
    ) -> *mut c_char;
}

/// What a function says it failed with.
pub(crate) fn check(error: *mut c_char) -> Result<(), TchError> {
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

/// A parameter that an optimiser moves.
pub(crate) struct Moved<'a> {
    pub(crate) value: &'a Tensor,
    /// Undefined where the loss does not depend on the parameter.
    pub(crate) gradient: Tensor,
    pub(crate) momentum: &'a Tensor,
}

/// Moves parameters along their gradients.
pub(crate) fn sgd(parameters: &[Moved<'_>], rates: Rates) -> Result<(), TchError> {
    let pointers = |of: fn(&'_ Moved<'_>) -> *const C_tensor| parameters.iter().map(of).collect::<Vec<_>>();
    let values = pointers(|it| it.value.as_ptr());
    let gradients = pointers(|it| it.gradient.as_ptr());
    let momenta = pointers(|it| it.momentum.as_ptr());
    let Rates { learning_rate, momentum, weight_decay, clip } = rates;
    // SAFETY: the lists have as many pointers as there are parameters, to tensors that outlive the call; the
    // function keeps none of them.
    check(unsafe {
        pleach_sgd(
            values.as_ptr(),
            gradients.as_ptr(),
            momenta.as_ptr(),
            parameters.len(),
            learning_rate,
            momentum,
            weight_decay,
            clip,
        )
    })
}

/// Whether CUDA may round the factors of 32-bit matrix products and convolutions to 10 bits
/// (TF32). Holds for the whole process.
pub(crate) fn allow_tf32(allow: bool) -> Result<(), TchError> {
    // SAFETY: the function takes any value and may be called at any time.
    check(unsafe { pleach_allow_tf32(allow) })
}

/// The most bytes that tensors on a CUDA device took so far.
pub(crate) fn peak_memory(device: usize) -> Result<u64, TchError> {
    let device = i8::try_from(device).map_err(|_| TchError::Shape(format!("there is no device {device}")))?;
    let mut bytes = 0;
    // SAFETY: the function writes one number to where it is told.
    check(unsafe { pleach_peak_memory(device, &mut bytes) })?;
    Ok(bytes)
}

/// What is compiled for CUDA devices.
const CUDA_SOURCE: &str = concat!(
    include_str!("../kernels/cuda/numbers.cu"),
    include_str!("../kernels/cuda/norms.cu"),
    include_str!("../kernels/cuda/depthwise.cu"),
    "\0"
);

/// Makes kernels of our own ready on a CUDA device, of compute capability 8.0 at the least. `library` is
/// libtorch's library for compilation at run time. Without it libtorch's layers compute everything.
pub(crate) fn prepare_cuda(device: usize, library: &Path) -> Result<(), TchError> {
    let device = c_int::try_from(device).map_err(|_| TchError::Shape(format!("there is no device {device}")))?;
    let library = CString::new(library.as_os_str().as_encoded_bytes())
        .map_err(|_| TchError::FileFormat("a path with a zero byte".to_owned()))?;
    // SAFETY: both texts end with a zero byte; the source lives as long as the program.
    check(unsafe { pleach_cuda(device, library.as_ptr(), CUDA_SOURCE.as_ptr().cast()) })
}

/// A graph as C++ has it.
#[repr(C)]
struct RawGraph {
    _of_cpp: [u8; 0],
}

/// What was started on a stream of CUDA, which can be started again as a whole.
pub(crate) struct Graph(*mut RawGraph);

// SAFETY: libtorch's graphs belong to no thread; what has one is with one thread at a time.
unsafe impl Send for Graph {}

impl Graph {
    /// Takes up what `work` starts on the current stream, which may not be the default one. Nothing is computed: the
    /// tensors that `work` gives have their values after the graph was replayed.
    pub(crate) fn of<R>(work: impl FnOnce() -> Result<R, TchError>) -> Result<(Self, R), TchError> {
        let mut graph = ptr::null_mut();
        let given = called_back(work, |call, context| {
            // SAFETY: the function calls `call` with the context once, and writes one pointer to where it is told.
            unsafe { pleach_graph_of(call, context, &mut graph) }
        });
        // It goes if the work failed.
        let graph = Graph(graph);
        Ok((graph, given??))
    }

    /// Starts all of it again on the current stream.
    pub(crate) fn replay(&self) -> Result<(), TchError> {
        // SAFETY: the pointer is of a graph that was taken up to its end.
        check(unsafe { pleach_graph_replay(self.0) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the pointer is null or of a graph that nobody else has, and is freed once.
        unsafe { pleach_graph_free(self.0) }
    }
}

/// The instruction set that layers have kernels of their own for on this processor.
pub(crate) fn instruction_set() -> Option<&'static str> {
    // SAFETY: the function gives null or a constant text.
    let name = unsafe { pleach_kernels().as_ref().map(|name| CStr::from_ptr(name)) };
    name.and_then(|name| name.to_str().ok())
}

/// The version of libtorch that this was built for.
pub(crate) fn torch_version() -> String {
    // SAFETY: the function gives a constant text that ends with a zero byte.
    unsafe { CStr::from_ptr(pleach_torch_version()) }.to_string_lossy().into_owned()
}

/// How the kernels number an activation; `None` for one that they do not know.
fn number(activation: Option<Activation>) -> Option<c_int> {
    match activation {
        None => Some(0),
        Some(Activation::Relu) => Some(1),
        Some(Activation::Relu6) => Some(2),
        Some(_) => None,
    }
}

fn pointer(tensor: Option<&Tensor>) -> *const C_tensor {
    tensor.map_or(ptr::null(), |tensor| tensor.as_ptr())
}

/// A batch norm by the batch's statistics.
pub(crate) struct BatchNorm<'a> {
    pub(crate) scale: Option<&'a Tensor>,
    pub(crate) shift: Option<&'a Tensor>,
    /// Running mean and variance, and how far they move towards the batch's.
    pub(crate) running: Option<(&'a (Tensor, Tensor), f64)>,
    pub(crate) epsilon: f64,
    /// The activation that follows.
    pub(crate) then: Option<Activation>,
}

impl BatchNorm<'_> {
    /// Normalises and activates in one pass over memory; `None` if libtorch has to do it, for
    /// there is no kernel for this device, layout or activation.
    pub(crate) fn apply(&self, input: &Tensor) -> Result<Option<Tensor>, TchError> {
        let Some(activation) = number(self.then) else { return Ok(None) };
        let (statistics, momentum) = self.running.unzip();
        let mut output = ptr::null_mut();
        // SAFETY: every pointer is null or of a tensor that outlives the call; of the input, scale
        // and shift the function keeps references that libtorch counts.
        check(unsafe {
            pleach_batch_norm(
                input.as_ptr(),
                pointer(self.scale),
                pointer(self.shift),
                pointer(statistics.map(|(mean, _)| mean)),
                pointer(statistics.map(|(_, variance)| variance)),
                momentum.unwrap_or_default(),
                self.epsilon,
                activation,
                &mut output,
            )
        })?;
        Ok(owned(output))
    }
}

/// A depthwise convolution of square kernels without bias; `None` if libtorch has to do it.
pub(crate) fn depthwise(
    input: &Tensor,
    weight: &Tensor,
    stride: u32,
    padding: u32,
) -> Result<Option<Tensor>, TchError> {
    let mut output = ptr::null_mut();
    // SAFETY: the tensors outlive the call; the function keeps references that libtorch counts.
    check(unsafe { pleach_depthwise(input.as_ptr(), weight.as_ptr(), stride.into(), padding.into(), &mut output) })?;
    Ok(owned(output))
}

/// A convolution of a chain as C++ sees it.
#[repr(C)]
struct RawLink {
    weight: *const C_tensor,
    bias: *const C_tensor,
    stride: i64,
    padding: i64,
    scale: *const C_tensor,
    shift: *const C_tensor,
    running_mean: *const C_tensor,
    running_variance: *const C_tensor,
    momentum: f64,
    activation: c_int,
}

/// A convolution of a chain, of points or depthwise with a square kernel, and what is behind it.
pub(crate) struct Link {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    pub(crate) stride: u32,
    pub(crate) padding: u32,
    /// A batch norm by the batch's statistics.
    pub(crate) norm: Option<LinkNorm>,
    pub(crate) then: Option<Activation>,
}

/// The batch norm of a link.
#[derive(Default)]
pub(crate) struct LinkNorm {
    pub(crate) scale: Option<Tensor>,
    pub(crate) shift: Option<Tensor>,
    /// Running mean and variance, and how far they move towards the batch's.
    pub(crate) running: Option<((Tensor, Tensor), f64)>,
}

/// Convolutions and what is between them.
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    pub(crate) between: Between,
    /// Whether the input is added to what comes out.
    pub(crate) is_residual: bool,
    pub(crate) epsilon: f64,
    /// Bytes that a thread's piece of a tensor may take.
    pub(crate) room: u64,
}

/// What lies between two convolutions of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Batch norms by the batch's statistics, with gradients. Convolutions have no bias; the last one may
    /// be without a batch norm, and what is behind it is not computed then.
    BatchNorms,
    /// No batch norm; without gradients.
    Activations,
}

impl Chain {
    /// Computes them at once; `None` if other layers have to do it.
    pub(crate) fn apply(&self, input: &Tensor) -> Result<Option<Tensor>, TchError> {
        let Some(links) = self.links.iter().map(Link::raw).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let by_batch = self.between == Between::BatchNorms;
        let is_normalised = self.links.last().is_some_and(|link| link.norm.is_some());
        let mut output = ptr::null_mut();
        // SAFETY: every pointer is null or of a tensor that outlives the call; of the input, weights,
        // scales and shifts the function keeps references that libtorch counts.
        check(unsafe {
            pleach_chain(
                input.as_ptr(),
                links.as_ptr(),
                links.len(),
                by_batch,
                is_normalised,
                self.is_residual,
                self.epsilon,
                self.room as i64,
                &mut output,
            )
        })?;
        Ok(owned(output))
    }
}

impl Link {
    /// `None` for an activation without a kernel.
    fn raw(&self) -> Option<RawLink> {
        let none = LinkNorm::default();
        let norm = self.norm.as_ref().unwrap_or(&none);
        let (statistics, momentum) =
            norm.running.as_ref().map(|(statistics, momentum)| (statistics, *momentum)).unzip();
        Some(RawLink {
            weight: self.weight.as_ptr(),
            bias: pointer(self.bias.as_ref()),
            stride: self.stride.into(),
            padding: self.padding.into(),
            scale: pointer(norm.scale.as_ref()),
            shift: pointer(norm.shift.as_ref()),
            running_mean: pointer(statistics.map(|(mean, _)| mean)),
            running_variance: pointer(statistics.map(|(_, variance)| variance)),
            momentum: momentum.unwrap_or_default(),
            activation: number(self.then)?,
        })
    }
}

/// Whether the kernels know an activation.
pub(crate) fn has_activation(activation: Activation) -> bool {
    number(Some(activation)).is_some()
}

/// A tensor that a function made.
fn owned(output: *mut C_tensor) -> Option<Tensor> {
    // SAFETY: what is not null was made by `new` for the caller, who keeps it in one place.
    (!output.is_null()).then(|| unsafe { Tensor::from_ptr(output) })
}

/// A tensor of a TorchScript module.
pub(crate) struct ScriptTensor<'a> {
    /// The attribute that it is.
    pub(crate) name: String,
    pub(crate) tensor: &'a Tensor,
    /// Whether it is no parameter.
    pub(crate) is_buffer: bool,
}

/// Writes a TorchScript module with these tensors and the source of its methods.
pub(crate) fn write_script(tensors: &[ScriptTensor<'_>], source: &str, path: &Path) -> Result<(), TchError> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|_| TchError::FileFormat("a name or path with a zero byte".to_owned()))
    };
    let names = tensors.iter().map(|tensor| text(tensor.name.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let values: Vec<*const C_tensor> = tensors.iter().map(|tensor| tensor.tensor.as_ptr()).collect();
    let are_buffers: Vec<bool> = tensors.iter().map(|tensor| tensor.is_buffer).collect();
    let (source, path) = (text(source.as_bytes())?, text(path.as_os_str().as_encoded_bytes())?);
    // SAFETY: the lists have as many entries as there are tensors, texts end with a zero byte, and
    // all of it outlives the call; the function keeps none of it.
    check(unsafe {
        pleach_script(
            names.as_ptr(),
            values.as_ptr(),
            are_buffers.as_ptr(),
            tensors.len(),
            source.as_ptr(),
            path.as_ptr(),
        )
    })
}
