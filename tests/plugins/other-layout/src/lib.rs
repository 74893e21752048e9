//! A library that says it speaks plugin ABI 1, but whose root module is another struct.

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    prefix_type::PrefixTypeTrait,
    sabi_types::VersionStrings,
};

// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
pub static PLEACH_ABI_MAJOR: u32 = 1;

/// Not what a host expects.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = OtherModuleRef)))]
pub struct OtherModule {
    /// A number where a function should be.
    #[sabi(last_prefix_field)]
    pub number: u64,
}

impl RootModule for OtherModuleRef {
    declare_root_module_statics! {OtherModuleRef}
    const BASE_NAME: &'static str = "pleach_plugin";
    const NAME: &'static str = "pleach_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

extern "C" fn root_module() -> RootModuleResult {
    __call_root_module_loader(|| OtherModule { number: 7 }.leak_into_prefix())
}

// SAFETY: no other item has the name; the constructor gives the module that the header promises.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    unsafe { LibHeader::from_constructor::<OtherModuleRef>(root_module, CheckTypeLayout::Yes) };
