//! Holds everything that crosses against `abi-1.lock`: the declarations as they are written, and
//! the size, alignment and fields of each type as the layout check sees them.
//!
//! If this fails, the ABI changed. Within an ABI major that is never right: see
//! `docs/abi.md`. For a new major, `PLEACH_WRITE_ABI_LOCK=1 cargo test -p pleach-abi`
//! writes the file of that major.

use std::{collections::BTreeMap, fmt::Write};

use pleach_abi::{
    ABI_MAJOR, PluginModuleRef, StepAbi, WeightedOperatorAbi,
    abi_stable::{StableAbi, type_layout::TypeLayout},
};

#[test]
fn what_crosses_is_what_was_locked() {
    let mut types = BTreeMap::new();
    for layout in [
        <PluginModuleRef as StableAbi>::LAYOUT,
        <StepAbi as StableAbi>::LAYOUT,
        <WeightedOperatorAbi as StableAbi>::LAYOUT,
    ] {
        collect(layout, &mut types);
    }
    let found = format!("{}{}", declarations(), types.into_values().collect::<String>());
    let path = format!("{}/abi-{ABI_MAJOR}.lock", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PLEACH_WRITE_ABI_LOCK").is_some() {
        std::fs::write(&path, &found).expect("the lock can be written");
    }
    let lock = std::fs::read_to_string(&path).expect("the lock is there");
    for (number, (found, locked)) in found.lines().zip(lock.lines()).enumerate() {
        assert_eq!(found, locked, "the ABI differs from {path} at line {}", number + 1);
    }
    assert_eq!(found.lines().count(), lock.lines().count(), "the ABI differs from {path} in length");
}

/// The source without comments and the version of the crate, which the layout check compares too.
fn declarations() -> String {
    let mut text = format!("pleach-abi {}\n", env!("CARGO_PKG_VERSION"));
    for line in include_str!("../src/lib.rs").lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with("//") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Every type that can be reached, by name.
fn collect(layout: &'static TypeLayout, types: &mut BTreeMap<String, String>) {
    let name = layout.full_type().to_string();
    if types.contains_key(&name) {
        return;
    }
    let mut text = format!("{name}: size {}, alignment {}\n", layout.size(), layout.alignment());
    let fields: Vec<_> = layout.get_fields().into_iter().flatten().collect();
    for field in &fields {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}: {}", field.name(), field.full_type());
    }
    types.insert(name, text);
    for field in &fields {
        collect(field.layout(), types);
    }
    for field in layout.phantom_fields() {
        collect(field.layout(), types);
    }
}
