//! Panics: caught at the boundary, named, and remembered.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::{Once, OnceLock},
};

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static LAST_PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Remembers that a component panicked: its state may be half changed.
#[derive(Default)]
pub(crate) struct Poison(OnceLock<String>);

/// Runs `call`; a panic in it becomes an error that holds message and place.
pub(crate) fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    install_hook();
    DEPTH.set(DEPTH.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    outcome.unwrap_or_else(|payload| {
        let (message, place) = LAST_PANIC.take().unwrap_or_default();
        // Dropping a payload may run code that panics again; what that one holds is left alone.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        let error = Error::new(ErrorKind::Panicked, message);
        Err(if place.is_empty() { error } else { error.at(place) })
    })
}

/// Like [`guard`], for a call to a component that stays: after a panic it is refused.
pub(crate) fn guard_component<T>(poison: &Poison, operation: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(cause) = poison.0.get() {
        return Err(Error::new(
            ErrorKind::Panicked,
            format!("it takes no more calls, for it panicked before: {cause}"),
        ));
    }
    guard(call).inspect_err(|error| {
        if error.kind == ErrorKind::Panicked && error.origin.is_none() {
            // Another thread may have been first; either cause will do.
            let _ = poison.0.set(format!("`{operation}` {error}"));
        }
    })
}

/// Panics inside a guarded call are kept for the guard; others go to the log.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let (message, place) = describe(info);
            if DEPTH.get() > 0 {
                LAST_PANIC.set(Some((message, place)));
            } else if let Some(host) = crate::host::get() {
                host.log(tracing::Level::ERROR, "panic", &format!("a thread panicked: {message} (at {place})"));
            } else {
                before(info);
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> (String, String) {
    let message = info.payload_as_str().unwrap_or("the panic has no text").to_owned();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    (message, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_message_and_place() {
        let error = guard::<()>(|| panic!("seven is {}", 7)).expect_err("it panicked");
        assert_eq!(error.kind, ErrorKind::Panicked);
        assert_eq!(error.message, "seven is 7");
        assert!(error.place.expect("a place is known").contains("guard.rs:"));
    }

    #[test]
    fn what_a_panic_carries_is_dropped_and_may_panic_again() {
        struct Carried(std::sync::Arc<()>);
        impl Drop for Carried {
            fn drop(&mut self) {
                assert!(std::sync::Arc::strong_count(&self.0) < 3, "dropped while three hold it");
            }
        }
        let holder = std::sync::Arc::new(());
        let carried = Carried(std::sync::Arc::clone(&holder));
        assert!(guard::<()>(|| std::panic::panic_any(carried)).is_err());
        assert_eq!(std::sync::Arc::strong_count(&holder), 1, "nobody holds it any more");
        let (carried, _third) = (Carried(std::sync::Arc::clone(&holder)), std::sync::Arc::clone(&holder));
        let error = guard::<()>(|| std::panic::panic_any(carried)).expect_err("it panicked");
        assert_eq!(error.kind, ErrorKind::Panicked);
    }

    #[test]
    fn a_component_that_panicked_takes_no_more_calls() {
        let poison = Poison::default();
        assert!(guard_component(&poison, "vary", || Ok(1)).is_ok());
        assert!(guard_component::<()>(&poison, "vary", || panic!("first")).is_err());
        let error = guard_component(&poison, "vary", || Ok(1)).expect_err("it is poisoned");
        assert!(error.message.contains("it panicked before: `vary` panicked: first"), "{error}");
    }
}
