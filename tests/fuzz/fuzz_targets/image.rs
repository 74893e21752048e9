//! A file in an image folder: decoded, cropped and resized.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = pleach_datasets::fuzzing::image(bytes);
});
