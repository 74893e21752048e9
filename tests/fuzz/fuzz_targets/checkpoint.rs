//! A checkpoint whose manifest, state of the host, or result is any text: the seal fits, so that what
//! is behind it is reached.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/pleach-fuzz-{}", std::process::id()));
    fs::create_dir_all(folder.join("checkpoints/step-00000001/below")).expect("it can be made");
    fs::write(folder.join("checkpoints/step-00000001/host.json"), "{}").expect("it can be written");
    fs::write(folder.join("run.json"), "{}").expect("it can be written");
    fs::write(folder.join("events.jsonl"), "{}\n").expect("it can be written");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = pleach::fuzzing::host_state(text);
    }
    let checkpoint = FOLDER.join("checkpoints/step-00000001");
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(checkpoint.join("manifest.json"), bytes).expect("it can be written");
    fs::write(checkpoint.join("manifest.sha256"), format!("{hash}  manifest.json\n")).expect("it can be written");
    let _ = pleach::fuzzing::last_checkpoint(&FOLDER.join("checkpoints"));
});
