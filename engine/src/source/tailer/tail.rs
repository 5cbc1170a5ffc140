//! One followed file.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::window::{Window, fill, push};
use super::{Identity, Options};
use crate::event::BatchBuilder;
use crate::processor::ChannelProcessor;
use crate::source::BoxError;
use crate::stop::Stop;

/// One followed file.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) headers: Arc<[(String, String)]>,
    /// Open while it may grow.
    pub(super) file: Option<File>,
    /// First byte the channels have not committed.
    pub(super) pos: u64,
    /// Length at which there was no complete line behind `pos`: not worth reading before it grows.
    pub(super) exhausted_at: u64,
    /// Length at the last look, and when it last changed.
    pub(super) len: u64,
    pub(super) changed: Instant,
    pub(super) modified: Option<SystemTime>,
    /// Whether the finder still names it.
    pub(super) wanted: bool,
    /// Whether it could not be read at the last look, which has been said then.
    pub(super) failing: bool,
}

impl Tail {
    /// Counts a failure to read, and says so once until reading succeeds again.
    pub(super) fn fail(&mut self, error: &io::Error, options: &Options, out: &ChannelProcessor) {
        out.counters().event_read_fail.fetch_add(1, Relaxed);
        if !self.failing {
            warn!(
                source = options.source, file = %self.path.display(), %error,
                "cannot read a file; tried again and again"
            );
        }
        self.failing = true;
    }

    /// The file's length, opening it unless it is at rest; `None` if it is at rest or gone.
    ///
    /// A file that was written to lately is opened even if all of it has been read: should it grow
    /// and be renamed before the next look, the open file is the only way to its last lines.
    pub(super) fn measure(
        &mut self,
        identity: &Identity,
        idle_timeout: Duration,
    ) -> io::Result<Option<u64>> {
        if self.file.is_none() {
            let Ok(meta) = fs::metadata(&self.path) else {
                return Ok(None);
            };
            let age = meta
                .modified()
                .ok()
                .and_then(|modified| modified.elapsed().ok());
            if meta.len() == self.pos && age.is_some_and(|age| age >= idle_timeout) {
                return Ok(None);
            }
            let file = File::open(&self.path)?;
            // The name may mean another file by now; the next look sorts that out.
            if Identity::of(&file.metadata()?) != *identity {
                return Ok(None);
            }
            self.file = Some(file);
            self.changed = Instant::now();
        }
        self.measure_open()
    }

    /// The length of the open file, `None` if it is not open. Notes whether it has changed.
    fn measure_open(&mut self) -> io::Result<Option<u64>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let len = file.metadata()?.len();
        if len != self.len {
            self.len = len;
            self.changed = Instant::now();
        }
        Ok(Some(len))
    }

    /// Puts the line without line feed at the end of a quiet file into the batch; answers the offset
    /// behind it. `None` if there is none, or the file is not quiet after all, or has whole lines
    /// yet, which are the next look's.
    pub(super) fn last_line(
        &mut self,
        window: &mut Window,
        builder: &mut BatchBuilder,
        options: &Options,
    ) -> io::Result<Option<u64>> {
        let Some(len) = self.measure_open()? else {
            return Ok(None);
        };
        let Some(file) = &self.file else {
            return Ok(None);
        };
        if len <= self.pos || self.changed.elapsed() < options.idle_timeout {
            return Ok(None);
        }
        window.bytes.clear();
        window.start = self.pos;
        builder.clear();
        fill(file, window, len, builder, options)?;
        let next = self.pos + window.bytes.len() as u64;
        if !builder.is_empty() || next != len {
            return Ok(None);
        }
        push(builder, window.start, &window.bytes, options).map_err(io::Error::other)?;
        Ok(Some(next))
    }

    /// Closes the file if all of it has been taken.
    pub(super) fn close_at_end(&mut self) {
        // A file that cannot be measured is kept: it may hold more.
        if let Ok(Some(len)) = self.measure_open()
            && len == self.pos
        {
            self.file = None;
        }
    }

    pub(super) fn deliver(
        &self,
        builder: &mut BatchBuilder,
        options: &Options,
        out: &ChannelProcessor,
        stop: &Stop,
    ) -> Result<(), BoxError> {
        for (key, value) in self.headers.iter() {
            builder.common_header(key, value)?;
        }
        if let Some(key) = &options.path_header {
            builder.common_header(key, &self.path.to_string_lossy())?;
        }
        let counters = out.counters();
        counters.append_batch_received.fetch_add(1, Relaxed);
        out.deliver(builder.finish(), stop)?;
        counters.append_batch_accepted.fetch_add(1, Relaxed);
        Ok(())
    }
}
