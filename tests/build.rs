//! Lets the benchmark link several plugins, each of which exports the same names.

fn main() {
    println!("cargo::rustc-link-arg-benches=-Wl,--allow-multiple-definition");
    println!("cargo::rerun-if-changed=build.rs");
}
