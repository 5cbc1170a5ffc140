//! `[load]`: what is sent, how fast, into which protocol.

use std::path::Path;
use std::time::Duration;

use flume_bench_loadgen::payload::{PayloadError, Pool, Settings};

use super::reader::Reader;
use super::{INTO, Load, PAYLOADS};
use crate::text::{parse_duration, parse_rate, parse_size};

/// Keys that mean something for some protocols only, and which. A key that would be ignored in
/// silence is a mistake of whoever wrote it.
const ONLY_FOR: &[(&str, &[&str])] = &[
    ("answers", &["netcat"]),
    ("deflate", &["avro"]),
    ("rotate", &["tail", "exec"]),
    ("rotate_every", &["tail", "exec"]),
];

/// Reads the table; `None` if it is not known which protocol is meant. Any other mistake has been
/// said, and leaves the default in its place.
pub(super) fn read(table: &Reader<'_, '_>, directory: &Path) -> Option<Load> {
    for (key, what) in [
        ("into", "what the load goes into (avro, exec, netcat, tail)"),
        ("rate", "events per second, such as \"20000/s\""),
    ] {
        if table.raw(key).is_none() {
            table.missing(key, what);
        }
    }
    let into = table.word("into", INTO);
    let rate = table.parsed("rate", parse_rate);
    let duration = |key, default| table.parsed(key, parse_duration).unwrap_or(default);
    let payload = table.word("payload", PAYLOADS);
    let load = Load {
        into: into.unwrap_or("avro"),
        rate: rate.unwrap_or(1.0),
        ramp_to: table.parsed("ramp_to", parse_rate),
        poisson: table.word("schedule", &["constant", "poisson"]) == Some("poisson"),
        turns: read_turns(table),
        batch: table
            .number("batch", 1..=100_000)
            .unwrap_or(if into == Some("avro") { 100 } else { 1 }) as u32,
        connections: table.number("connections", 1..=1_000).unwrap_or(1) as u16,
        payload: payload.unwrap_or("access_log"),
        body: table
            .parsed("body", parse_size)
            .map_or(480, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        replay: table.text("replay").map(|file| directory.join(file)),
        retry_for: duration("retry_for", Duration::from_secs(30)),
        finish_within: table.parsed("finish_within", parse_duration),
        timeout: duration("timeout", Duration::from_secs(10)),
        deflate: table.flag("deflate").unwrap_or(false),
        answers: table.flag("answers").unwrap_or(true),
        rotate: read_rotation(table),
    };
    if payload.is_some() || table.raw("payload").is_none() {
        check_payload(table, &load);
    }
    if into.is_some() {
        check_protocol(table, &load);
    }
    if load.poisson && load.ramp_to.is_some() {
        table.problem("ramp_to", "ramp_to goes with schedule = \"constant\" only");
    }
    if load.turns.is_some() && (load.poisson || load.ramp_to.is_some()) {
        table.problem("turns", "turns go with a constant rate only");
    }
    if load.timeout.is_zero() {
        table.problem(
            "timeout",
            "timeout must be longer than 0: no attempt could succeed",
        );
    }
    table.finish();
    into.map(|_| load)
}

/// Whose turns: the words of `turn`.
const TURNS: &[&str] = &["first", "second"];

fn read_turns(table: &Reader<'_, '_>) -> Option<(Duration, bool)> {
    let turns = table.parsed("turns", parse_duration);
    let turn = table.word("turn", TURNS);
    let together = "turns and turn go together: how long each is, and whose this load sends in";
    match (table.raw("turns"), table.raw("turn")) {
        (Some(_), None) => table.problem("turns", together),
        (None, Some(_)) => table.problem("turn", together),
        _ => {}
    }
    if turns.is_some_and(|turns| turns.is_zero()) {
        table.problem("turns", "turns must be longer than 0");
    }
    turns.zip(turn.map(|turn| turn == "second"))
}

fn read_rotation(table: &Reader<'_, '_>) -> Option<(&'static str, u64)> {
    let how = table.word("rotate", &["rename", "copytruncate"]);
    let every = table.parsed("rotate_every", parse_size);
    let together = "rotate and rotate_every go together: how, and after how many bytes";
    match (table.raw("rotate"), table.raw("rotate_every")) {
        (Some(_), None) => table.problem("rotate", together),
        (None, Some(_)) => table.problem("rotate_every", together),
        _ => {}
    }
    if every == Some(0) {
        table.problem("rotate_every", "rotate_every must be at least one byte");
    }
    how.zip(every)
}

fn check_protocol(table: &Reader<'_, '_>, load: &Load) {
    for (key, protocols) in ONLY_FOR {
        if table.raw(key).is_some() && !protocols.contains(&load.into) {
            let message = format!(
                "{key} has no meaning for load into \"{}\": it goes with {}",
                load.into,
                protocols.join(" and ")
            );
            table.problem(key, message);
        }
    }
    if load.rotate.is_some_and(|(how, _)| how == "copytruncate") && load.into == "exec" {
        table.problem(
            "rotate",
            "tail -F does not see a file that was copied and cut: rotate = \"rename\" with exec",
        );
    }
    if matches!(load.into, "tail" | "exec") && load.connections > 1 {
        table.problem(
            "connections",
            "a file has one writer: connections must be 1 with tail and exec",
        );
    }
}

/// Asks the generator itself, for a pool of one body.
fn check_payload(table: &Reader<'_, '_>, load: &Load) {
    match (&load.replay, load.payload) {
        (None, "replay") => {
            return table.missing("replay", "the file whose lines are replayed");
        }
        (Some(_), other) if other != "replay" => {
            return table.problem("replay", "replay is only read with payload = \"replay\"");
        }
        (Some(file), _) if table.source().wants_files() && !file.is_file() => {
            let message = format!(
                "the file {} does not exist (paths are relative to the scenario)",
                file.display()
            );
            return table.problem("replay", message);
        }
        (Some(_), _) if !table.source().wants_files() => return,
        _ => {}
    }
    let settings = Settings {
        size: load.body,
        pool: load.body.min(flume_bench_loadgen::payload::MAX_POOL),
        path: load.replay.clone(),
    };
    match Pool::new(load.payload, &settings, 0) {
        Ok(_) => {}
        Err(PayloadError::Size { min, max, .. }) => table.problem(
            "body",
            format!(
                "a body of {} bytes is impossible with payload {}: at least {min}, because it holds the 64 characters that identify it, and at most {max}",
                load.body, load.payload
            ),
        ),
        Err(error) => table.problem("replay", error.to_string()),
    }
}
