//! Tells a run that proves too little because the machine was busy from one that says something about
//! the program: the former is run again, the latter never.

use serde_json::Value;

/// How often a run is tried before what it says is taken.
pub(crate) const TRIES: usize = 3;

/// What a run says when it got too little of the machine: the generator, or the looks at the store.
const BUSY: [&str; 4] = [
    "the generator could not keep its schedule",
    "whether the generator kept its schedule",
    "the looks at the store are so far apart",
    "the store could not be read from",
];

/// Whether a reason is one of those.
pub(crate) fn is_busy(reason: &str) -> bool {
    BUSY.iter().any(|words| reason.contains(words))
}

/// Whether the only reasons for "inconclusive" are that the bench got too little of the machine; this is
/// said then.
#[expect(clippy::print_stderr, reason = "it says what it does again")]
pub(crate) fn machine_was_busy(record: &Value, output: &str) -> bool {
    let reasons = record["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    let is_busy = |reason: &Value| is_busy(reason.as_str().unwrap_or_default());
    let busy =
        record["verdict"] == "inconclusive" && !reasons.is_empty() && reasons.iter().all(is_busy);
    if busy {
        eprintln!("the machine was busy: {output}");
    }
    busy
}
