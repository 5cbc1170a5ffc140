//! `file`: follows one file and makes an event of each line. Not one of Flume's.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `filepath` | required | the file; it need not exist yet |
//! | `positionFile` | – | where the position is kept, in the format of `TAILDIR` |
//! | `skipToEnd` | false | a file that is there at the start and has no position begins at its end |
//! | `batchSize` | 100 | lines per batch |
//! | `idleTimeout` | 120000 ms | a quiet file is closed, and its unterminated last line sent |
//! | `writePosInterval` | 3000 ms | time between two writes of the position file |
//!
//! The file is read from its start, and followed as `tail -F` follows: when it is renamed, its rest
//! is read and then the new file of that name from its start; when it is truncated, it is read from
//! its start again. See `tailer.rs`.
//!
//! Guarantees: at least once while the agent runs. With a `positionFile` also across restarts and
//! kills; without one a restart reads the file from its start once more, which repeats events and
//! loses none of those the file still holds. In memory is the default because a place for state
//! cannot be guessed: two agents that follow the same file must not share it.
//!
//! Fails as `TAILDIR` does. A missing file is waited for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tailer::{Finder, Found, Options, Tailer};
use super::{BoxError, BoxSource, Source};
use crate::context::{ConfigError, Context};
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;

/// The kind `file`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "file",
    classes: &[],
    summary: "Follow one file, line by line, across rotation.",
    keys: &[
        Key::required("filepath", Form::Text, "The file."),
        Key::optional(
            "positionFile",
            Form::Text,
            "File that holds the position; in memory without it.",
        ),
        Key::or(
            "skipToEnd",
            Form::Flag,
            "false",
            "Whether a file without a position begins at its end.",
        ),
        Key::or("batchSize", Form::POSITIVE, "100", "Lines per batch."),
        Key::or(
            "idleTimeout",
            Form::COUNT,
            "120000",
            "Milliseconds after which a quiet file is closed.",
        ),
        Key::or(
            "writePosInterval",
            Form::COUNT,
            "3000",
            "Milliseconds between two writes of the position file.",
        ),
    ],
    batch_key: Some("batchSize"),
    example: "type = file\nfilepath = /var/log/app.log",
    build,
};

/// The longest pause between two looks at a file that does not grow.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    let options = Options {
        source: ctx.name().to_owned(),
        position_file: ctx.get("positionFile").map(|path| ctx.expand_home(path)),
        write_interval: ctx.millis("writePosInterval", 3000)?,
        batch_size: ctx.number("batchSize", 100_usize)?.max(1),
        max_batches: u64::MAX,
        idle_timeout: ctx.millis("idleTimeout", 120_000)?,
        skip_to_end: ctx.flag("skipToEnd", false),
        byte_offset_header: false,
        path_header: None,
        longest_pause: LONGEST_PAUSE,
    };
    let path = ctx.expand_home(ctx.text("filepath")?);
    Ok(Box::new(FileSource {
        tailer: Tailer::new(options, Box::new(One(path))),
    }))
}

/// Finds the one file, by its name.
#[derive(Debug, Clone)]
struct One(PathBuf);

impl Finder for One {
    fn find(&mut self) -> Vec<Found> {
        vec![Found {
            path: self.0.clone(),
            headers: Arc::from([]),
        }]
    }

    fn another(&self) -> Box<dyn Finder> {
        Box::new(self.clone())
    }
}

#[derive(Debug)]
struct FileSource {
    tailer: Tailer,
}

impl Source for FileSource {
    fn open(&mut self) -> Result<(), BoxError> {
        self.tailer.open()
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        self.tailer.run(out, stop)
    }
}
