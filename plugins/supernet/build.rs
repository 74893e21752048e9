//! Compiles the kernels, and lets the plugin and its tests find libtorch where set-up unpacked it,
//! beside the checkout's build folder. `LD_LIBRARY_PATH` wins over these run paths.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Sources of the shim, in `kernels/`.
const SHIM: [&str; 10] =
    ["chain", "chain_cpu", "chain_cuda", "cuda", "graph", "layers", "optimiser", "script", "tensors", "threads"];

fn main() {
    if env::var_os("CARGO_FEATURE_DOC_ONLY").is_some() {
        return;
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var("LIBTORCH").unwrap_or_default();
    let library = Path::new(&libtorch).join("lib");
    if !library.is_dir() {
        println!("cargo::error=libtorch is not in {}: run `bash examples/setup/libtorch.sh`", library.display());
        return;
    }
    // target/<profile>/libpleach_supernet.so and target/<profile>/deps/<test>.
    for path in ["$ORIGIN/../../.libtorch/torch/lib", "$ORIGIN/../../../.libtorch/torch/lib"] {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{path}");
    }
    kernels(Path::new(&libtorch));
}

/// Compiles against libtorch's headers, as torch-sys does with what it finds in the same variables.
fn kernels(libtorch: &Path) {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let include = env::var_os("LIBTORCH_INCLUDE").map_or_else(|| libtorch.to_owned(), PathBuf::from).join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let compiler = || {
        let mut build = cc::Build::new();
        // Whatever the profile: tests would wait for kernels that are not optimised.
        build.cpp(true).std("c++17").pic(true).opt_level(3).debug(false);
        build
    };
    let is_x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "x86_64");
    let mut shim = compiler();
    if is_x86 {
        shim.define("PLEACH_X86", None);
    }
    shim.flag("-fopenmp")
        .include(include.join("torch/csrc/api/include"))
        .include(&include)
        .flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"))
        // libtorch's own headers are full of them.
        .warnings(false)
        .files(SHIM.map(|file| format!("kernels/{file}.cpp")))
        .compile("pleach_shim");
    // The linker looks for what the shim uses in what comes after it.
    if is_x86 {
        for (set, width, flags) in [("avx2", "8", ["-mavx2", "-mfma"].as_slice()), ("avx512", "16", &["-mavx512f"])] {
            let mut kernels = compiler();
            kernels.define("PLEACH_X86", None).define("PLEACH_SET", set).define("PLEACH_WIDTH", width);
            kernels.flags(flags).file("kernels/cpu.cpp").compile(&format!("pleach_{set}"));
        }
    }
    // libtorch's threads, which its headers start.
    println!("cargo:rustc-link-lib=dylib=gomp");
}
