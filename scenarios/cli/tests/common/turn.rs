//! One at a time: tests that fill the machine would take each other's cores.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The turn of a test of this binary, as long as it is held.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
