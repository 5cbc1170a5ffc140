//! Tells a run that proves too little because the machine was busy from one that says something about
//! the program: the former is run again, the latter never.

use serde_json::Value;

/// How often a run is tried before what it says is taken.
pub(crate) const TRIES: usize = 3;

/// Whether the only reason for "inconclusive" is that the generator got no processor in time; this is
/// said then.
#[expect(clippy::print_stderr, reason = "it says what it does again")]
pub(crate) fn machine_was_busy(record: &Value, output: &str) -> bool {
    let reasons = record["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    let is_slip = |reason: &Value| {
        let text = reason.as_str().unwrap_or_default();
        text.contains("the generator could not keep its schedule")
    };
    let busy =
        record["verdict"] == "inconclusive" && !reasons.is_empty() && reasons.iter().all(is_slip);
    if busy {
        eprintln!("the machine was busy: {output}");
    }
    busy
}
