//! Lets the plugin and its tests find libtorch where set-up unpacked it, beside the checkout's
//! build folder. `LD_LIBRARY_PATH` wins over these run paths.

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = std::env::var("LIBTORCH").unwrap_or_default();
    let library = std::path::Path::new(&libtorch).join("lib");
    if !library.is_dir() {
        println!("cargo::error=libtorch is not in {}: run `bash examples/setup/libtorch.sh`", library.display());
        return;
    }
    // target/<profile>/libpleach_supernet.so and target/<profile>/deps/<test>.
    for path in ["$ORIGIN/../../.libtorch/torch/lib", "$ORIGIN/../../../.libtorch/torch/lib"] {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{path}");
    }
}
