//! The scenario as a gate runs it: its own phases and seed, and no faults unless they are asked for.
//!
//! Everything else stays as it is in the file, so each run is an ordinary one, judged by the
//! scenario's own objectives.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::scenario::gate::Gate;
use crate::scenario::reader::Problem;
use crate::scenario::{self, Overrides, Scenario};
use crate::text::show_duration;

/// What a gate changes about a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The scenario's `[gate]`.
    pub gate: &'a Gate,
    /// Whether the scenario's own faults and phases stay.
    pub with_faults: bool,
}

/// Whose turns a load comes in, where both arms are up at once.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// How long a turn is.
    pub turn: Duration,
    /// The second's, or the first's.
    pub second: bool,
}

/// A scenario's text for one arm, without a seed of its own yet.
#[derive(Debug, Clone)]
pub struct Variant {
    text: String,
}

impl Variant {
    /// Of a scenario and what an arm overrides.
    ///
    /// # Errors
    /// What is wrong with file or overrides.
    pub fn of(
        path: &Path,
        overrides: &Overrides,
        change: Change<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let text = scenario::text_of(path, overrides)?;
        let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            vec![Problem::at(path, 0, error.message().to_owned())]
        })?;
        if !change.with_faults {
            document.remove("fault");
            if let Some(objectives) = document.get_mut("objectives").and_then(Item::as_table_mut) {
                objectives.remove("during");
            }
            set_phases(&mut document, change.gate);
        }
        if !change.gate.hold.is_zero() && !change.with_faults {
            add_hold(&mut document, change.gate);
        }
        Ok(Self {
            text: document.to_string(),
        })
    }

    /// The checked scenario with a seed, as if it stood in the file of that path.
    ///
    /// # Errors
    /// Every problem found.
    pub fn with_seed(&self, path: &Path, seed: u64) -> Result<Scenario, Vec<Problem>> {
        let overrides = Overrides {
            seed: Some(seed),
            ..Overrides::default()
        };
        let applied = overrides.apply(path, &self.text)?;
        scenario::load_text(path, &applied.text)
    }

    /// The same with a load that comes in turns.
    ///
    /// # Errors
    /// Every problem found.
    pub fn in_turns(
        &self,
        path: &Path,
        seed: u64,
        turns: Option<Turns>,
    ) -> Result<Scenario, Vec<Problem>> {
        let Some(turns) = turns else {
            return self.with_seed(path, seed);
        };
        let mut document: DocumentMut = self.text.parse().unwrap_or_default();
        if let Some(load) = document.get_mut("load").and_then(Item::as_table_like_mut) {
            load.insert("turns", text_value(turns.turn));
            load.insert("turn", value(if turns.second { "second" } else { "first" }));
        }
        let text = document.to_string();
        Self { text }.with_seed(path, seed)
    }

    /// SHA-256 of what decides whether two gates compare the same: the text without its seed.
    pub fn sha256(&self) -> String {
        let mut document: DocumentMut = self.text.parse().unwrap_or_default();
        document.remove("seed");
        document.remove("campaign");
        super::hex(&Sha256::digest(document.to_string().as_bytes()))
    }
}

fn text_value(duration: Duration) -> Item {
    value(show_duration(duration))
}

fn set_phases(document: &mut DocumentMut, gate: &Gate) {
    let phases = document
        .entry("phases")
        .or_insert(Item::Table(Table::new()));
    if let Some(phases) = phases.as_table_like_mut() {
        phases.insert("warm_up", text_value(gate.warm_up));
        phases.insert("steady", text_value(gate.steady));
    }
}

/// Freezes the store at the end of steady: what piles up in the channel meanwhile is drained when
/// the load has ended, and that is the drain of a filled channel.
fn add_hold(document: &mut DocumentMut, gate: &Gate) {
    // What is in flight when the store stops waits for as long as it stands still. That is not the
    // scenario's doing, so its objectives on time are not asked.
    if let Some(objectives) = document.get_mut("objectives").and_then(Item::as_table_mut) {
        objectives.retain(|key, _| !is_timed(key));
    }
    let mut fault = Table::new();
    fault.insert("kind", value("outage"));
    fault.insert("target", value("store"));
    fault.insert("how", value("pause"));
    fault.insert("at", text_value(gate.steady.saturating_sub(gate.hold)));
    fault.insert("for", text_value(gate.hold));
    let mut faults = ArrayOfTables::new();
    faults.push(fault);
    document.insert("fault", Item::ArrayOfTables(faults));
}

/// Whether an objective is on time: a latency, or the end of the drain.
fn is_timed(key: &str) -> bool {
    key == "drained_within"
        || key.contains("_response_")
        || key.contains("_service_")
        || key.starts_with("slip")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(gate: &Gate, with_faults: bool) -> Variant {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hdfs.toml"));
        let change = Change { gate, with_faults };
        Variant::of(path, &Overrides::default(), change).unwrap()
    }

    fn scenario(variant: &Variant, seed: u64) -> Scenario {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hdfs.toml"));
        variant.with_seed(path, seed).unwrap()
    }

    #[test]
    fn faults_go_and_phases_are_the_gates() {
        let gate = Gate::default();
        let plain = scenario(&variant(&gate, false), 99);
        assert_eq!((plain.faults.len(), plain.seed), (0, 99));
        assert_eq!(plain.phases.steady, gate.steady);
        let kept = scenario(&variant(&gate, true), 1);
        assert_eq!((kept.faults.len(), kept.phases.steady.as_secs()), (3, 55));
    }

    #[test]
    fn a_hold_is_one_fault_at_the_end() {
        let gate = Gate {
            hold: Duration::from_secs(2),
            ..Gate::default()
        };
        let held = scenario(&variant(&gate, false), 1);
        assert_eq!(held.faults.len(), 1);
        assert!(held.faults[0].describe().contains("at 5s for 2s"));
        let objectives = &held.objectives;
        assert!(objectives.latencies.is_empty() && objectives.drained_within.is_none());
        assert_eq!(objectives.limit("lost"), Some(0));
        assert!(
            !scenario(&variant(&Gate::default(), false), 1)
                .objectives
                .latencies
                .is_empty()
        );
    }

    #[test]
    fn the_hash_knows_the_load_and_not_the_seed() {
        let gate = Gate::default();
        let longer = Gate {
            steady: Duration::from_secs(8),
            ..Gate::default()
        };
        assert_eq!(
            variant(&gate, false).sha256(),
            variant(&gate, false).sha256()
        );
        assert_ne!(
            variant(&gate, false).sha256(),
            variant(&longer, false).sha256()
        );
    }
}
