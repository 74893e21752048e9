//! What the kernels in `kernels/cuda/` compute on a CUDA device, computed on the CPU: most machines, those of CI among
//! them, have no such device.

use std::{path::Path, process::Command};

#[test]
fn kernels_for_cuda_compute_what_they_should() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/cuda/emulated.cpp");
    let folder = tempfile::tempdir().expect("there is room for a program");
    let program = folder.path().join("emulated");
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let built = Command::new(compiler).args(["-std=c++17", "-O1", "-w", "-o"]).arg(&program).arg(&source).output();
    let built = built.expect("the compiler that built the plugin is there");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = Command::new(&program).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
