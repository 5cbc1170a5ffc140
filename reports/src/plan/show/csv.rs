//! The probes of a plan as CSV: one line each, numbers without grouping, unknown cells empty.

use crate::plan::PlanRecord;
use crate::record::Known;

/// The columns.
const COLUMNS: [&str; 18] = [
    "number",
    "kind",
    "offered_per_s",
    "stored_per_s",
    "outcome",
    "steady_us",
    "slope_ppm",
    "slope_ppm_low",
    "slope_ppm_high",
    "stored_response_us_p50",
    "stored_response_us_p99",
    "stored_response_us_p999",
    "slip_us_p99",
    "agent_cpu_ppm",
    "harness_cpu_ppm",
    "channel_fill_ppm",
    "lost",
    "run",
];

/// The probes.
///
/// # Errors
/// What the writer says; in memory that is a defect of ours.
pub fn csv(plan: &PlanRecord) -> Result<String, crate::format::Error> {
    let wrong = |reason: String| crate::format::Error::Csv { reason };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(COLUMNS)
        .map_err(|error| wrong(error.to_string()))?;
    let number = |value: &Known<u64>| value.value().map(u64::to_string).unwrap_or_default();
    for probe in &plan.probes {
        let moved = probe.backlog.value();
        let slope = |of: fn(&crate::plan::backlog::Movement) -> i64| {
            moved.map(|moved| of(moved).to_string()).unwrap_or_default()
        };
        writer
            .write_record([
                probe.number.to_string(),
                word(&probe.kind),
                probe.offered_per_s.to_string(),
                number(&probe.stored_per_s),
                word(&probe.outcome),
                probe.steady_us.to_string(),
                slope(|moved| moved.slope_ppm),
                slope(|moved| moved.slope_ppm_low),
                slope(|moved| moved.slope_ppm_high),
                number(&probe.stored_response_us_p50),
                number(&probe.stored_response_us_p99),
                number(&probe.stored_response_us_p999),
                number(&probe.slip_us_p99),
                number(&probe.agent_cpu_ppm),
                number(&probe.harness_cpu_ppm),
                number(&probe.channel_fill_ppm),
                probe.lost.to_string(),
                probe.run.clone(),
            ])
            .map_err(|error| wrong(error.to_string()))?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

/// A word as it is in JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
