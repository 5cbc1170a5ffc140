//! `TAILDIR`: follows the files of some directories and makes an event of each line.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `filegroups` | required | names of groups, separated by spaces |
//! | `filegroups.<g>` | required | absolute directory, then a regular expression for the whole file name |
//! | `positionFile` | `~/.flume/taildir_position.json` | how far each file has been taken |
//! | `headers.<g>.<k>` | – | header `<k>` for all events of the group |
//! | `byteOffsetHeader` | false | header `byteoffset`: where the line starts |
//! | `skipToEnd` | false | files that are there at the start and have no position begin at their end |
//! | `idleTimeout` | 120000 ms | a quiet file is closed, and its unterminated last line sent |
//! | `writePosInterval` | 3000 ms | time between two writes of the position file |
//! | `batchSize` | 100 | lines per batch |
//! | `maxBatchCount` | unlimited | batches from one file before the next has its turn |
//! | `cachePatternMatching` | true | a directory is listed again only when it has changed |
//! | `fileHeader`, `fileHeaderKey` | false, `file` | header with the file's absolute path |
//! | `backoffSleepIncrement`, `maxBackoffSleep` | 1000, 5000 ms | the smaller of both is the longest pause between two looks |
//!
//! Guarantees: at least once, across restarts and kills; in order within a file. How files are told
//! apart, what happens on rotation and what cannot be saved is said in `tailer.rs`, which
//! does the work.
//!
//! Differences from Flume 1.11, all towards fewer losses and repetitions: a renamed file keeps its
//! position even if its new name matches as well; the rest of a file rotated away is read; the
//! position file is replaced, not rewritten; a damaged one stops nothing; files are looked at more
//! often (10 ms while they grow, then up to a second). The regular expressions are those of the
//! `regex` crate: look-around and back references are refused.
//!
//! Fails: a position file that cannot be read or whose directory cannot be made (tried again every
//! 3 s). A file that cannot be read is reported, counted as `EventReadFail`, and tried again.

use std::time::Duration;

use super::tailer::{Options, Tailer};
use super::{BoxError, BoxSource, Source};
use crate::context::{ConfigError, Context};
use crate::kind::{Form, Key, Kind};
use crate::processor::ChannelProcessor;
use crate::stop::Stop;

mod matcher;

/// The kind `TAILDIR`.
pub static KIND: Kind<BoxSource> = Kind {
    name: "TAILDIR",
    classes: &["org.apache.flume.source.taildir.TaildirSource"],
    summary: "Follow the files of some directories, line by line, across rotation and restarts.",
    keys: &[
        Key::required("filegroups", Form::List, "Names of the groups."),
        Key::optional(
            "filegroups.*",
            Form::Text,
            "Absolute directory and regular expression of a group's files.",
        ),
        Key::or(
            "positionFile",
            Form::Text,
            "~/.flume/taildir_position.json",
            "File that holds the positions.",
        ),
        Key::optional(
            "headers.*",
            Form::Text,
            "Header of all events of a group: headers.<group>.<key>.",
        ),
        Key::or(
            "byteOffsetHeader",
            Form::Flag,
            "false",
            "Whether events get the header byteoffset.",
        ),
        Key::or(
            "skipToEnd",
            Form::Flag,
            "false",
            "Whether files without a position begin at their end.",
        ),
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
        Key::or("batchSize", Form::POSITIVE, "100", "Lines per batch."),
        Key::optional(
            "maxBatchCount",
            Form::POSITIVE,
            "Batches from one file before the next has its turn.",
        ),
        Key::or(
            "cachePatternMatching",
            Form::Flag,
            "true",
            "Whether listings are kept until a directory changes.",
        ),
        Key::or(
            "fileHeader",
            Form::Flag,
            "false",
            "Whether events get a header with the file's path.",
        ),
        Key::or("fileHeaderKey", Form::Text, "file", "Name of that header."),
        Key::or(
            "backoffSleepIncrement",
            Form::COUNT,
            "1000",
            "Longest pause between two looks, in milliseconds.",
        ),
        Key::or(
            "maxBackoffSleep",
            Form::COUNT,
            "5000",
            "Another bound of that pause, in milliseconds.",
        ),
    ],
    batch_key: Some("batchSize"),
    example: "type = TAILDIR\nfilegroups = f1\nfilegroups.f1 = /var/log/app/.*\\.log",
    build,
};

fn build(ctx: &Context) -> Result<BoxSource, ConfigError> {
    let names = ctx.list("filegroups");
    if names.is_empty() {
        return Err(ctx.error(
            "filegroups",
            "filegroups is required; name at least one group",
        ));
    }
    let cached = ctx.flag("cachePatternMatching", true);
    let mut groups = Vec::new();
    for name in names {
        let key = format!("filegroups.{name}");
        let prefix = format!("headers.{name}.");
        let headers = ctx
            .with_prefix(&prefix)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let group = matcher::Group::new(ctx.text(&key)?, headers, cached);
        groups.push(group.map_err(|message| ctx.error(&key, message))?);
    }
    let options = Options {
        source: ctx.name().to_owned(),
        position_file: Some(
            ctx.expand_home(ctx.text_or("positionFile", "~/.flume/taildir_position.json")),
        ),
        write_interval: ctx.millis("writePosInterval", 3000)?,
        batch_size: ctx.number("batchSize", 100_usize)?.max(1),
        max_batches: ctx.number("maxBatchCount", u64::MAX)?.max(1),
        idle_timeout: ctx.millis("idleTimeout", 120_000)?,
        skip_to_end: ctx.flag("skipToEnd", false),
        byte_offset_header: ctx.flag("byteOffsetHeader", false),
        path_header: ctx
            .flag("fileHeader", false)
            .then(|| ctx.text_or("fileHeaderKey", "file").to_owned()),
        longest_pause: longest_pause(ctx)?,
    };
    Ok(Box::new(Taildir {
        tailer: Tailer::new(options, Box::new(matcher::Groups(groups))),
    }))
}

/// Flume waits between one increment and the maximum; never waiting longer than it would is enough
/// for compatibility. The lower bound keeps a setting of 0 from spinning.
fn longest_pause(ctx: &Context) -> Result<Duration, ConfigError> {
    let pause = ctx
        .millis("backoffSleepIncrement", 1000)?
        .min(ctx.millis("maxBackoffSleep", 5000)?);
    Ok(pause.max(Duration::from_millis(10)))
}

#[derive(Debug)]
struct Taildir {
    tailer: Tailer,
}

impl Source for Taildir {
    fn open(&mut self) -> Result<(), BoxError> {
        self.tailer.open()
    }

    fn run(&mut self, out: &ChannelProcessor, stop: &Stop) -> Result<(), BoxError> {
        self.tailer.run(out, stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(lines: &str) -> ConfigError {
        build(&Context::from_example("r1", lines)).unwrap_err()
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        assert_eq!(error("type = TAILDIR").key, "filegroups");
        assert_eq!(
            error("filegroups = a b\nfilegroups.a = /x/.*").key,
            "filegroups.b"
        );
        assert_eq!(
            error("filegroups = a\nfilegroups.a = x/.*").key,
            "filegroups.a"
        );
        assert_eq!(
            error("filegroups = a\nfilegroups.a = /x/.*\nbatchSize = many").key,
            "batchSize"
        );
    }
}
