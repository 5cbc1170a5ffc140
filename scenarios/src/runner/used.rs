//! Notes in the history what the agent has used, at the ends of the windows that are judged: the
//! begin of `steady`, the end of the load, the end of the drain. So figures per event come from two
//! readings, each with the events of the same instant, and not from samples.

use std::time::Duration;

use super::Run;
use super::history::Entry;
use crate::process::Costs;

/// Notes it now, if the agent runs.
pub(super) fn note(run: &Run<'_>, at: &str) {
    let Some(process) = run.world.process("agent").filter(|process| process.alive()) else {
        return;
    };
    let syncs = run.metrics_port.get().and_then(|port| syncs(*port));
    let live = run.account.live();
    let Some(costs) = Costs::of_tree(process.pid()) else {
        return;
    };
    run.history().note(Entry::Used {
        at: at.to_owned(),
        pid: process.pid(),
        issued: live.totals.issued,
        acked: live.totals.acked,
        stored: live.totals.stored,
        syncs,
        costs,
    });
}

/// `FileSyncCount` of the agent's `PROCESS` group, if it serves one.
fn syncs(port: u16) -> Option<u64> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(200)))
        .build()
        .into();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let text = agent
        .get(&url)
        .call()
        .ok()?
        .body_mut()
        .read_to_string()
        .ok()?;
    syncs_in(&text)
}

fn syncs_in(text: &str) -> Option<u64> {
    let groups: serde_json::Value = serde_json::from_str(text).ok()?;
    groups
        .get("PROCESS.agent")?
        .get("FileSyncCount")?
        .as_str()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_read_where_they_are_served() {
        let text = r#"{"PROCESS.agent":{"Type":"PROCESS","FileSyncCount":"42"}}"#;
        assert_eq!(syncs_in(text), Some(42));
        assert_eq!(syncs_in(r#"{"CHANNEL.c1":{}}"#), None);
        assert_eq!(syncs_in("no metrics"), None);
    }
}
