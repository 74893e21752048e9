//! What a plugin library exports.

use pleach_abi::{
    BuildAbi, PluginModule, ResultAbi, WeightedOperatorAbi,
    abi_stable::{
        prefix_type::PrefixTypeTrait,
        std_types::{ROption, RString, RVec},
    },
};

pub use crate::bridge::table::{Entry, Exports};
use crate::{
    bridge::{self, DatasetBox, EstimatorBox, OperatorBox, SpaceBox, StrategyBox, guard::guard},
    host::{self, Host, Progress},
};

/// Where [`crate::export_plugin!`] puts a library's table.
pub trait Exporter: 'static {
    /// The library's table; made once.
    fn exports() -> &'static Exports;
}

/// The root module of the library that `E` belongs to.
pub fn root_module<E: Exporter>() -> PluginModuleRef {
    PluginModule {
        start,
        describe: describe::<E>,
        space: space::<E>,
        dataset: dataset::<E>,
        operator: operator::<E>,
        estimator: estimator::<E>,
        strategy: strategy::<E>,
    }
    .leak_into_prefix()
}

extern "C" fn start(host: pleach_abi::HostAbi_TO<'static, pleach_abi::Boxed>) -> ResultAbi<()> {
    guard(|| {
        host::set(Box::new(ForeignHost(host)));
        crate::forward::start();
        Ok(())
    })
    .map_err(bridge::error_to_abi)
    .into()
}

extern "C" fn describe<E: Exporter>() -> ResultAbi<RString> {
    E::exports().describe()
}

extern "C" fn space<E: Exporter>(build: BuildAbi) -> ResultAbi<SpaceBox> {
    E::exports().space(&build)
}

extern "C" fn dataset<E: Exporter>(build: BuildAbi) -> ResultAbi<DatasetBox> {
    E::exports().dataset(&build)
}

extern "C" fn operator<E: Exporter>(build: BuildAbi, space: SpaceBox) -> ResultAbi<OperatorBox> {
    E::exports().operator(&build, space)
}

extern "C" fn estimator<E: Exporter>(
    build: BuildAbi,
    space: SpaceBox,
    dataset: ROption<DatasetBox>,
) -> ResultAbi<EstimatorBox> {
    E::exports().estimator(&build, space, dataset)
}

extern "C" fn strategy<E: Exporter>(
    build: BuildAbi,
    space: SpaceBox,
    operators: RVec<WeightedOperatorAbi>,
) -> ResultAbi<StrategyBox> {
    E::exports().strategy(&build, space, operators)
}

/// The host on the other side.
struct ForeignHost(pleach_abi::HostAbi_TO<'static, pleach_abi::Boxed>);

impl Host for ForeignHost {
    fn log(&self, level: tracing::Level, target: &str, message: &str) {
        self.0.log(crate::forward::number_of(level), target.into(), message.into());
    }

    fn log_level(&self) -> Option<tracing::Level> {
        match self.0.log_level() {
            0 => None,
            number => Some(crate::forward::level_of(number)),
        }
    }

    fn progress(&self, progress: &Progress<'_>) {
        self.0.progress(progress.task.into(), progress.done, progress.total, progress.note.into());
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Makes a library a plugin: exports the ABI number and the root module with these components.
///
/// The documentation of this crate begins with a whole plugin.
///
/// Lists may come in the order `spaces`, `datasets`, `operators`, `estimators`, `strategies`;
/// each may be left out. The plugin's version is its crate's.
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:literal,
        summary: $summary:literal
        $(, spaces: [ $($space:ty),* $(,)? ])?
        $(, datasets: [ $($dataset:ty),* $(,)? ])?
        $(, operators: [ $($operator:ty),* $(,)? ])?
        $(, estimators: [ $($estimator:ty),* $(,)? ])?
        $(, strategies: [ $($strategy:ty),* $(,)? ])?
        $(,)?
    ) => {
        const _: () = {
            struct ThisPlugin;

            impl $crate::export::Exporter for ThisPlugin {
                fn exports() -> &'static $crate::export::Exports {
                    static EXPORTS: ::std::sync::OnceLock<$crate::export::Exports> = ::std::sync::OnceLock::new();
                    EXPORTS.get_or_init(|| {
                        $crate::export::Exports::new(
                            $name,
                            env!("CARGO_PKG_VERSION"),
                            $summary,
                            ::std::vec![
                                $( $( $crate::export::Entry::space::<$space>(), )* )?
                                $( $( $crate::export::Entry::dataset::<$dataset>(), )* )?
                                $( $( $crate::export::Entry::operator::<$operator>(), )* )?
                                $( $( $crate::export::Entry::estimator::<$estimator>(), )* )?
                                $( $( $crate::export::Entry::strategy::<$strategy>(), )* )?
                            ],
                        )
                    })
                }
            }

            extern "C" fn root_module() -> $crate::export::RootModuleResult {
                $crate::export::load_root_module($crate::export::root_module::<ThisPlugin>)
            }

            // SAFETY: no other item of a plugin has this name, which pleach alone uses.
            #[unsafe(no_mangle)]
            pub static PLEACH_ABI_MAJOR: u32 = $crate::export::ABI_MAJOR;

            // The name under which abi_stable 0.11 looks for a library's header.
            // SAFETY: as above; the constructor gives a `PluginModuleRef`, as the header promises.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::export::LibHeader = unsafe {
                $crate::export::LibHeader::from_constructor::<$crate::export::PluginModuleRef>(
                    root_module,
                    $crate::export::CheckTypeLayout::Yes,
                )
            };
        };
    };
}

#[doc(hidden)]
pub use pleach_abi::{
    ABI_MAJOR, PluginModuleRef,
    abi_stable::library::{
        __call_root_module_loader as load_root_module, CheckTypeLayout, LibHeader, RootModuleResult,
    },
};
