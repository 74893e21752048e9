//! The program `pleach`.

fn main() -> std::process::ExitCode {
    one_heap();
    pleach::cli::main()
}

/// Has all threads allocate from one heap.
///
/// glibc gives threads after the first heaps of their own, which go back to the system as soon as 64 MiB of them are
/// free: for threads that compute with tensors, with every batch (docs/measurements.md). A limit on heaps counts for
/// threads that have none yet, so it is set before there is a second thread.
fn one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two integers and may be called at any time; a setting that it does not take
        // changes nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}
