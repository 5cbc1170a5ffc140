//! Tests on the repository itself: who may depend on whom, what every file must have.
//!
//! There is nothing in the library; see `tests/`.
