//! Criterion targets live beside this file; the library is empty.
