//! An operator that ends its process, or never comes back, where its configuration says so; and
//! a library that does so when it is opened, where the environment says so.

use std::sync::Arc;

use pleach_sdk::{
    BuildOperator, Component, Context, Error, Genome, Operator, Region, Result, SearchSpace, Seed, config,
    export_plugin,
};

config! {
    /// What is fatal.
    pub struct Fatal {
        /// `METHOD:HOW`, with `abort`, `exit`, `segfault`, `loop`, `panic` or `fail`; empty for nothing.
        pub fatal: String = String::new(),
    }
}

/// Does what is fatal.
fn end(how: &str) -> Result<()> {
    match how {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "segfault" => {
            // SAFETY: none; the address is nobody's, and the process is to end by it.
            unsafe { std::ptr::without_provenance_mut::<u64>(8).write_volatile(1) };
            Ok(())
        }
        "loop" => loop {
            std::thread::park();
        },
        "panic" => panic!("asked to panic"),
        "fail" => Err(Error::failed("asked to fail")),
        _ => Ok(()),
    }
}

impl Fatal {
    fn act(&self, method: &str) -> Result<()> {
        match self.fatal.split_once(':') {
            Some((of, how)) if of == method => end(how),
            _ => Ok(()),
        }
    }
}

extern "C" fn opened() {
    if let Ok(how) = std::env::var("PLEACH_FATAL_WHEN_OPENED") {
        // Nobody hears of an error here.
        drop(end(&how));
    }
}

// SAFETY: the section holds functions without arguments that run when the library is opened.
#[used]
#[unsafe(link_section = ".init_array")]
static OPENED: extern "C" fn() = opened;

/// Draws a network of the region.
pub struct Draw(Fatal);

impl Component for Draw {
    type Config = Fatal;
    const NAME: &'static str = "draw";
    const SUMMARY: &'static str = "a network of the region, or an end";

    fn example() -> Fatal {
        // The environment makes the example fatal too, for those who can give no configuration.
        Fatal { fatal: std::env::var("PLEACH_FATAL_EXAMPLE").unwrap_or_default() }
    }
}

impl BuildOperator for Draw {
    fn build(config: Fatal, _: Arc<dyn SearchSpace>, _: &Context) -> Result<Self> {
        config.act("build")?;
        Ok(Draw(config))
    }
}

impl Operator for Draw {
    fn arity(&self) -> usize {
        1
    }

    fn vary(&self, _: &[Genome], region: &Region, seed: Seed) -> Result<Genome> {
        self.0.act("vary")?;
        Ok(region.sample(&mut seed.generator()))
    }
}

export_plugin! {
    name: "fatal",
    summary: "an operator that ends its process on request",
    operators: [Draw],
}
