//! Settings of the C allocator that suit libtorch on the CPU.

/// Makes glibc keep the pages that tensors used instead of giving them back after each.
///
/// libtorch allocates and frees buffers of megabytes for every operation; with glibc's defaults
/// each costs page faults. `docs/measurements.md` has what it is worth. The setting holds for the
/// whole process, and does nothing where the C library is another one.
pub(crate) fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two integers and may be called at any time; a setting that it
        // does not take changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            // One heap for all threads: those of other threads than the first give pages back at 64 MiB. `pleach`
            // says so before it starts threads; in another program it counts for those that come.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}
