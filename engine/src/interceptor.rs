//! Interceptors: what edits a batch between its source and the channels.
//!
//! | kind | what it does |
//! |---|---|
//! | [`host`] | sets a header to the machine's address or name |
//! | [`static_`] | sets a header to a fixed value |
//! | [`timestamp`] | sets a header to the time of day |
//!
//! One file per kind, one line in [`KINDS`].

use std::fmt::Debug;

use crate::event::{Batch, TooLong};
use crate::kind::Kind;

pub mod host;
pub mod static_;
pub mod timestamp;

/// What a kind of interceptor builds.
pub type BoxInterceptor = Box<dyn Interceptor>;

/// All kinds of interceptors, sorted by name.
pub static KINDS: &[&Kind<BoxInterceptor>] = &[&host::KIND, &static_::KIND, &timestamp::KIND];

/// An interceptor. All threads of its source share it.
pub trait Interceptor: Send + Sync + Debug {
    /// Edits the batch. Batches are edited by copy-on-write; [`Batch::set_common_header`] costs
    /// nothing per event, [`Batch::edit`] copies.
    ///
    /// # Errors
    /// If the result would be too long for a batch.
    fn intercept(&self, batch: &mut Batch) -> Result<(), TooLong>;
}
