//! Compiles the kernels, and lets the plugin and its tests find libtorch where set-up unpacked it,
//! beside the checkout's build folder. `LD_LIBRARY_PATH` wins over these run paths.

use std::{
    env,
    path::{Path, PathBuf},
};

fn main() {
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
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        // Whatever the profile: the plugin is unusably slow without.
        .opt_level(3)
        .debug(false)
        .flag("-fopenmp")
        .include(include.join("torch/csrc/api/include"))
        .include(&include)
        .flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"))
        // libtorch's own headers are full of them.
        .warnings(false)
        .file("kernels/optimiser.cpp")
        .compile("pleach_kernels");
    // libtorch's threads, which its headers start.
    println!("cargo:rustc-link-lib=dylib=gomp");
}
