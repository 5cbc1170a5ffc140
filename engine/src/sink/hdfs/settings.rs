//! The sink's settings, checked.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::encode::Codec;
use super::escape::{Calendar, Template, Unit, zone};
use crate::context::{ConfigError, Context};
use crate::hdfs::conf::split_url;

/// What stands for `hdfs.callTimeout = 0`, which in Flume is no limit at all.
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Pause after a first failure, of a transaction or of a recovery; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long a file that was opened ahead waits for an event at most.
const AHEAD_LIMIT: Duration = Duration::from_secs(30);

/// Settings that all threads need.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) file_suffix: String,
    pub(super) in_use_prefix: String,
    pub(super) in_use_suffix: String,
    pub(super) roll_interval: Option<Duration>,
    pub(super) roll_size: Option<u64>,
    pub(super) roll_count: Option<u64>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_open_files: usize,
    pub(super) call_timeout: Duration,
    pub(super) retry_interval: Duration,
    /// 0 for no limit.
    pub(super) close_tries: u32,
    /// How long a file that was opened ahead waits for an event.
    pub(super) ahead_limit: Duration,
    /// The pause after a first failure.
    pub(super) first_pause: Duration,
    pub(super) workers: usize,
    pub(super) codec: Codec,
    pub(super) newline: bool,
}

impl Settings {
    fn parse(ctx: &Context) -> Result<Self, ConfigError> {
        let codec = codec(ctx)?;
        let suffix = ctx.text_or("hdfs.fileSuffix", "");
        let suffix = if suffix.is_empty() {
            codec.suffix()
        } else {
            suffix
        };
        let seconds = |key: &str, default: u64| -> Result<Option<Duration>, ConfigError> {
            Ok(Some(ctx.seconds(key, default)?).filter(|limit| !limit.is_zero()))
        };
        let above_zero = |key: &str, default: u64| -> Result<Option<u64>, ConfigError> {
            Ok(Some(ctx.number(key, default)?).filter(|limit| *limit > 0))
        };
        let retry: i64 = ctx.number("hdfs.retryInterval", 180)?;
        let tries: i64 = ctx.number("hdfs.closeTries", 0)?;
        let call = ctx.millis("hdfs.callTimeout", 30_000)?;
        let no_suffix = ctx.flag("hdfs.emptyInUseSuffix", false);
        let roll_interval = seconds("hdfs.rollInterval", 30)?;
        Ok(Self {
            file_suffix: suffix.to_owned(),
            in_use_prefix: ctx.text_or("hdfs.inUsePrefix", "").to_owned(),
            in_use_suffix: if no_suffix {
                ""
            } else {
                ctx.text_or("hdfs.inUseSuffix", ".tmp")
            }
            .to_owned(),
            roll_interval,
            roll_size: above_zero("hdfs.rollSize", 1024)?,
            roll_count: above_zero("hdfs.rollCount", 10)?,
            idle_timeout: seconds("hdfs.idleTimeout", 0)?,
            max_open_files: ctx.number::<usize>("hdfs.maxOpenFiles", 5000)?.max(1),
            call_timeout: if call.is_zero() { LONGEST_CALL } else { call },
            retry_interval: Duration::from_secs(retry.max(0) as u64),
            close_tries: if retry <= 0 {
                1
            } else {
                u32::try_from(tries).unwrap_or(0)
            },
            ahead_limit: roll_interval.map_or(AHEAD_LIMIT, |interval| interval.min(AHEAD_LIMIT)),
            first_pause: FIRST_PAUSE,
            workers: ctx.number("hdfs.threadsPoolSize", 10)?,
            codec,
            newline: ctx.flag("serializer.appendNewline", true),
        })
    }

    /// How full a file is; full from 1 on.
    pub(super) fn fill(&self, events: u64, body_bytes: u64) -> f64 {
        let part =
            |value: u64, limit: Option<u64>| limit.map_or(0.0, |limit| value as f64 / limit as f64);
        part(events, self.roll_count).max(part(body_bytes, self.roll_size))
    }
}

/// Everything the sink is told.
#[derive(Debug)]
pub(super) struct All {
    pub(super) settings: Settings,
    /// The name node's `host:port` or name service, if the path names one.
    pub(super) authority: Option<String>,
    pub(super) path: Template,
    pub(super) prefix: Template,
    pub(super) calendar: Calendar,
    pub(super) use_local_time: bool,
    pub(super) batch_size: usize,
    pub(super) journal: PathBuf,
}

impl All {
    pub(super) fn parse(ctx: &Context) -> Result<Self, ConfigError> {
        let (authority, path) = split_url(ctx.text("hdfs.path")?)
            .map_err(|error| ctx.error("hdfs.path", error.to_string()))?;
        let template =
            |key: &str, text: &str| Template::parse(text).map_err(|what| ctx.error(key, what));
        let settings = Settings::parse(ctx)?;
        text_only(ctx)?;
        let default = format!(
            "~/.flume/hdfs-sink/{}-{}/in-use.journal",
            ctx.agent(),
            ctx.name()
        );
        let batch_size: usize = ctx.number("hdfs.batchSize", 100)?;
        if batch_size == 0 {
            return Err(ctx.error("hdfs.batchSize", "hdfs.batchSize must be at least 1"));
        }
        Ok(Self {
            settings,
            authority: authority.map(str::to_owned),
            path: template("hdfs.path", path)?,
            prefix: template(
                "hdfs.filePrefix",
                ctx.text_or("hdfs.filePrefix", "FlumeData"),
            )?,
            calendar: calendar(ctx)?,
            use_local_time: ctx.flag("hdfs.useLocalTimeStamp", false),
            batch_size,
            journal: ctx.expand_home(ctx.text_or("hdfs.inUseJournal", &default)),
        })
    }
}

/// File type and codec, which Flume wants to fit together.
fn codec(ctx: &Context) -> Result<Codec, ConfigError> {
    let kind = ctx.text_or("hdfs.fileType", "SequenceFile");
    let codec = ctx
        .get("hdfs.codeC")
        .map(|name| name.rsplit('.').next().unwrap_or(name));
    if kind.eq_ignore_ascii_case("DataStream") {
        return match codec {
            None => Ok(Codec::None),
            Some(_) => Err(ctx.error(
                "hdfs.codeC",
                "hdfs.fileType = DataStream takes no hdfs.codeC; remove it or use CompressedStream",
            )),
        };
    }
    if kind.eq_ignore_ascii_case("CompressedStream") {
        return match codec.map(str::to_ascii_lowercase).as_deref() {
            Some("gzip" | "gzipcodec") => Ok(Codec::Gzip),
            Some(_) => Err(ctx.error("hdfs.codeC", "of the codecs only gzip is offered")),
            None => Err(ctx.error(
                "hdfs.codeC",
                "hdfs.fileType = CompressedStream needs hdfs.codeC; add hdfs.codeC = gzip",
            )),
        };
    }
    if kind.eq_ignore_ascii_case("SequenceFile") {
        let meant = if ctx.get("hdfs.fileType").is_none() {
            ", Flume's default,"
        } else {
            ""
        };
        return Err(ctx.error(
            "hdfs.fileType",
            format!(
                "hdfs.fileType = SequenceFile{meant} is not offered; \
                 set hdfs.fileType = DataStream or CompressedStream"
            ),
        ));
    }
    Err(ctx.error(
        "hdfs.fileType",
        format!("hdfs.fileType = {kind} is none of DataStream, CompressedStream, SequenceFile"),
    ))
}

/// Refuses serializers other than text, and Kerberos.
fn text_only(ctx: &Context) -> Result<(), ConfigError> {
    let serializer = ctx.text_or("serializer", "TEXT");
    let text = [
        "TEXT",
        "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
    ];
    if !text
        .iter()
        .any(|name| name.eq_ignore_ascii_case(serializer))
    {
        return Err(ctx.error(
            "serializer",
            format!("serializer {serializer} is not offered; use TEXT"),
        ));
    }
    for key in [
        "hdfs.kerberosPrincipal",
        "hdfs.kerberosKeytab",
        "hdfs.proxyUser",
    ] {
        if ctx.get(key).is_some_and(|value| !value.is_empty()) {
            let message = format!("{key}: only simple authentication is offered; remove it");
            return Err(ctx.error(key, message));
        }
    }
    Ok(())
}

fn calendar(ctx: &Context) -> Result<Calendar, ConfigError> {
    let zone = match ctx.get("hdfs.timeZone").filter(|name| !name.is_empty()) {
        None => TimeZone::system(),
        Some(name) => zone(name).map_err(|what| ctx.error("hdfs.timeZone", what))?,
    };
    if !ctx.flag("hdfs.round", false) {
        return Ok(Calendar { zone, round: None });
    }
    let value: u32 = ctx.number("hdfs.roundValue", 1)?;
    let (unit, limit) = match ctx
        .text_or("hdfs.roundUnit", "second")
        .to_ascii_lowercase()
        .as_str()
    {
        "second" => (Unit::Second, 60),
        "minute" => (Unit::Minute, 60),
        "hour" => (Unit::Hour, 24),
        // As in Flume, which says so in its log only.
        _ => return Ok(Calendar { zone, round: None }),
    };
    if !(1..=limit).contains(&value) {
        return Err(ctx.error(
            "hdfs.roundValue",
            format!("hdfs.roundValue = {value} is not within 1 to {limit} for its unit"),
        ));
    }
    Ok(Calendar {
        zone,
        round: Some((unit, value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Result<All, ConfigError> {
        let lines = format!("hdfs.path = hdfs://nn:9000/d/%y\n{lines}");
        All::parse(&Context::from_example("k1", &lines))
    }

    #[test]
    fn defaults_are_flumes() {
        let all = parse("hdfs.fileType = DataStream").unwrap();
        let settings = all.settings;
        assert_eq!(settings.in_use_suffix, ".tmp");
        assert_eq!(
            (settings.roll_count, settings.roll_size),
            (Some(10), Some(1024))
        );
        assert_eq!(settings.roll_interval, Some(Duration::from_secs(30)));
        assert_eq!((settings.idle_timeout, settings.close_tries), (None, 0));
        assert_eq!((settings.max_open_files, all.batch_size), (5000, 100));
        assert_eq!(all.authority.as_deref(), Some("nn:9000"));
        assert!(
            all.journal
                .ends_with(".flume/hdfs-sink/a1-k1/in-use.journal")
        );
    }

    #[test]
    fn zeros_turn_off_and_odd_values_are_flumes() {
        let all = parse(
            "hdfs.fileType = CompressedStream\nhdfs.codeC = GzipCodec\nhdfs.rollCount = 0\n\
             hdfs.rollSize = 0\nhdfs.rollInterval = 0\nhdfs.callTimeout = 0\n\
             hdfs.retryInterval = -1\nhdfs.closeTries = 7\nhdfs.emptyInUseSuffix = true",
        );
        let settings = all.unwrap().settings;
        assert_eq!((settings.roll_count, settings.roll_size), (None, None));
        assert_eq!((settings.roll_interval, settings.close_tries), (None, 1));
        assert_eq!(
            (
                settings.in_use_suffix.as_str(),
                settings.file_suffix.as_str()
            ),
            ("", ".gz")
        );
        assert_eq!(settings.call_timeout, LONGEST_CALL);
        assert!(settings.fill(u64::MAX, u64::MAX) < 1.0);
    }

    #[test]
    fn what_is_not_offered_says_so() {
        for (lines, key) in [
            ("", "hdfs.fileType"),
            ("hdfs.fileType = SequenceFile", "hdfs.fileType"),
            ("hdfs.fileType = Parquet", "hdfs.fileType"),
            (
                "hdfs.fileType = DataStream\nhdfs.codeC = gzip",
                "hdfs.codeC",
            ),
            ("hdfs.fileType = CompressedStream", "hdfs.codeC"),
            (
                "hdfs.fileType = CompressedStream\nhdfs.codeC = lzo",
                "hdfs.codeC",
            ),
            (
                "hdfs.fileType = DataStream\nserializer = AVRO_EVENT",
                "serializer",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.kerberosPrincipal = x",
                "hdfs.kerberosPrincipal",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.timeZone = Nowhere",
                "hdfs.timeZone",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.round = true\nhdfs.roundValue = 61",
                "hdfs.roundValue",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.filePrefix = %[x]",
                "hdfs.filePrefix",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.batchSize = 0",
                "hdfs.batchSize",
            ),
            (
                "hdfs.fileType = DataStream\nhdfs.path = s3a://b/x",
                "hdfs.path",
            ),
        ] {
            let error = parse(lines).unwrap_err();
            assert_eq!(error.key, key, "{lines}");
        }
    }
}
