//! Notes which compiler a plugin is built with: it says so of itself.

fn main() {
    let compiler = std::env::var_os("RUSTC").and_then(|rustc| {
        let output = std::process::Command::new(rustc).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    println!("cargo::rustc-env=PLEACH_COMPILER={}", compiler.as_deref().map_or("unknown", str::trim));
    println!("cargo::rerun-if-changed=build.rs");
}
