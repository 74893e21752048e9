//! Work side by side on libtorch's threads.

use std::{
    ffi::{c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::OnceLock,
};

use tch::{Device, TchError};

use crate::kernels::check;

unsafe extern "C" {
    fn pleach_side_by_side(
        count: usize,
        threads: usize,
        device: i32,
        work: extern "C" fn(*mut c_void, usize),
        context: *mut c_void,
    ) -> *mut c_char;
    fn pleach_on_stream(device: i32, work: extern "C" fn(*mut c_void), context: *mut c_void) -> *mut c_char;
}

/// What several threads may read at once.
pub(crate) struct ReadByAll<T>(T);

// SAFETY: libtorch lets any number of threads read a tensor, and compute with it forward and back, at once;
// `tch` promises it of no tensor, for it has calls that write through shared references.
unsafe impl<T> Sync for ReadByAll<T> {}

impl<T> ReadByAll<T> {
    /// # Safety
    ///
    /// No tensor behind it may be written to while several threads have it.
    pub(crate) unsafe fn new(value: T) -> Self {
        ReadByAll(value)
    }

    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

/// What `work` gives for each number below `count`, computed by so many of libtorch's threads, each with a number of
/// its own at a time: what one computes by libtorch on the CPU, it computes alone, and on CUDA on a stream of its own.
/// What is started on the device after it waits for all of them there.
pub(crate) fn side_by_side<R: Send>(
    device: Device,
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> R + Sync,
) -> Result<Vec<R>, TchError> {
    struct Work<'a, R> {
        work: &'a (dyn Fn(usize) -> R + Sync),
        results: Vec<OnceLock<std::thread::Result<R>>>,
    }
    extern "C" fn call<R>(context: *mut c_void, number: usize) {
        // SAFETY: the context is the `Work` below, which outlives the call that this one is part of. Threads
        // may share it: `work` says so, and of the results each thread writes those of its own numbers.
        let context = unsafe { &*context.cast::<Work<'_, R>>() };
        let _ = context.results[number].set(catch_unwind(AssertUnwindSafe(|| (context.work)(number))));
    }
    let mut context = Work { work: &work, results: (0..count).map(|_| OnceLock::new()).collect() };
    let device = if let Device::Cuda(index) = device { index as i32 } else { -1 };
    // SAFETY: the function calls `call` with the context and numbers below `count`, and no more after it returned.
    check(unsafe { pleach_side_by_side(count, threads, device, call::<R>, (&raw mut context).cast()) })?;
    let results = context.results.into_iter().map(|it| it.into_inner().expect("every number was called"));
    Ok(results.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect())
}

/// What `work` gives, called by this thread. On CUDA what it starts is on a stream that is not the default one, as
/// graphs need it.
pub(crate) fn on_stream<R>(device: Device, work: impl FnOnce() -> R) -> Result<R, TchError> {
    match device {
        Device::Cuda(index) => called_back(work, |call, context| {
            // SAFETY: the function calls `call` with the context once, before it returns.
            unsafe { pleach_on_stream(index as i32, call, context) }
        }),
        _ => Ok(work()),
    }
}

/// What `work` gives, called by a function of C++ that takes a function and what to call it with.
pub(crate) fn called_back<R>(
    work: impl FnOnce() -> R,
    through: impl FnOnce(extern "C" fn(*mut c_void), *mut c_void) -> *mut c_char,
) -> Result<R, TchError> {
    struct Work<F, R> {
        work: Option<F>,
        result: Option<std::thread::Result<R>>,
    }
    extern "C" fn call<F: FnOnce() -> R, R>(context: *mut c_void) {
        // SAFETY: the context is the `Work` below, which outlives the call that this one is part of, and is with
        // nobody else meanwhile.
        let context = unsafe { &mut *context.cast::<Work<F, R>>() };
        if let Some(work) = context.work.take() {
            context.result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
    }
    fn of<F: FnOnce() -> R, R>(_: &Work<F, R>) -> extern "C" fn(*mut c_void) {
        call::<F, R>
    }
    let mut context = Work { work: Some(work), result: None };
    let call = of(&context);
    check(through(call, (&raw mut context).cast()))?;
    match context.result {
        Some(result) => Ok(result.unwrap_or_else(|panic| resume_unwind(panic))),
        None => Err(TchError::Torch("work was not called".to_owned())),
    }
}
