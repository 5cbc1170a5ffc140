//! Tests on the repository itself.
