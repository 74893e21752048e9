//! A library that says it speaks plugin ABI 99, and has nothing else.

// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
pub static PLEACH_ABI_MAJOR: u32 = 99;
