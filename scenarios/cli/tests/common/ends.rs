//! A child that does not outlive its test.

use std::process::Child;

/// Ends a child that is still there when a test fails.
pub(crate) struct Ends(pub(crate) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
