//! A scenario changed for one probe, written beside the plan as a file of its own: what was run can
//! be read there, and run again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::{DocumentMut, Item, Table, value};

use crate::scenario::reader::Problem;
use crate::scenario::{self, Overrides, Scenario};
use crate::text::show_duration;

/// What a probe changes.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Offered, events/s.
    pub rate: f64,
    /// The part that is not judged.
    pub warm_up: Duration,
    /// The part that is.
    pub steady: Duration,
    /// How long the drain may take.
    pub drain: Duration,
    /// How long queues may take after the load; the scenario's where it is `None`.
    pub finish_within: Option<Duration>,
    /// How long a batch is tried again; the scenario's where it is `None`.
    pub retry_for: Option<Duration>,
    /// The agent's configuration, if another.
    pub config: Option<PathBuf>,
    /// The faults; those of the scenario where it is `None`.
    pub faults: Option<Vec<toml::Table>>,
    /// The time after which the scenario's faults strike again, those that have a time and no `every` of
    /// their own.
    pub repeat: Option<Duration>,
}

/// Writes the scenario with the change under `directory` and reads it back.
///
/// # Errors
/// Every problem of the changed scenario.
pub fn write(
    base: &Scenario,
    change: &Change,
    directory: &Path,
    name: &str,
) -> Result<Scenario, Vec<Problem>> {
    let failed = |what: String| {
        vec![Problem::of_machine(
            format!("the scenario of the probe {name} could not be written: {what}"),
            "choose another place with --runs",
        )]
    };
    let text = apply(base, change).map_err(&failed)?;
    let path = directory.join(format!("{name}.toml"));
    std::fs::write(&path, text).map_err(|error| failed(error.to_string()))?;
    scenario::load(&path, &Overrides::default())
}

fn apply(base: &Scenario, change: &Change) -> Result<String, String> {
    let mut document: DocumentMut = base
        .text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    let path = |path: &Path| -> Result<Item, String> {
        let whole = std::path::absolute(path).map_err(|error| error.to_string())?;
        Ok(value(whole.to_string_lossy().into_owned()))
    };
    if let Some(config) = change.config.as_ref().or(base.sut.config.as_ref()) {
        document["sut"]["config"] = path(config)?;
    }
    if let Some(replay) = &base.load.replay {
        document["load"]["replay"] = path(replay)?;
    }
    document["load"]["rate"] = value(format!("{:.3}/s", change.rate));
    if let Some(load) = document["load"].as_table_like_mut() {
        load.remove("ramp_to");
    }
    let time = |time: Duration| {
        value(show_duration(
            Duration::from_millis(time.as_millis() as u64),
        ))
    };
    if let Some(within) = change.finish_within {
        document["load"]["finish_within"] = time(within);
    }
    if let Some(retry) = change.retry_for {
        document["load"]["retry_for"] = time(retry);
    }
    document["phases"]["warm_up"] = time(change.warm_up);
    document["phases"]["steady"] = time(change.steady);
    document["phases"]["drain_deadline"] = time(change.drain);
    let faults = document
        .get_mut("fault")
        .and_then(Item::as_array_of_tables_mut);
    if let (Some(period), Some(faults)) = (change.repeat, faults) {
        for fault in faults.iter_mut() {
            if fault.contains_key("at") && !fault.contains_key("every") {
                fault["every"] = time(period);
            }
        }
    }
    for section in ["campaign", "gate"] {
        document.remove(section);
    }
    if let Some(faults) = &change.faults {
        put_faults(&mut document, faults)?;
    }
    Ok(document.to_string())
}

/// These in place of the scenario's own; without any there is nothing to have objectives during.
fn put_faults(document: &mut DocumentMut, faults: &[toml::Table]) -> Result<(), String> {
    document.remove("fault");
    if faults.is_empty()
        && let Some(objectives) = document
            .get_mut("objectives")
            .and_then(Item::as_table_like_mut)
    {
        objectives.remove("during");
    }
    let mut all = toml_edit::ArrayOfTables::new();
    for fault in faults {
        let text = toml::to_string(fault).map_err(|error| error.to_string())?;
        let table: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| error.to_string())?;
        let mut one = Table::new();
        for (key, item) in table.iter() {
            one.insert(key, item.clone());
        }
        all.push(one);
    }
    if !all.is_empty() {
        document.insert("fault", Item::ArrayOfTables(all));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hdfs() -> Scenario {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hdfs.toml");
        scenario::load(&path, &Overrides::default()).unwrap()
    }

    #[test]
    fn a_probe_has_another_rate_and_no_faults() {
        let directory = tempfile::tempdir().unwrap();
        let change = Change {
            rate: 12_345.5,
            warm_up: Duration::from_secs(2),
            steady: Duration::from_millis(16_500),
            drain: Duration::from_secs(60),
            faults: Some(Vec::new()),
            ..Change::default()
        };
        let probe = write(&hdfs(), &change, directory.path(), "p04").unwrap();
        assert!((probe.load.rate - 12_345.5).abs() < 1e-9);
        assert_eq!(probe.phases.steady, Duration::from_millis(16_500));
        assert!(probe.faults.is_empty());
        assert_eq!(probe.name, "p04");
        assert!(probe.sut.config.unwrap().is_absolute());
    }

    #[test]
    fn a_probe_can_have_faults_of_its_own_or_the_scenarios() {
        let directory = tempfile::tempdir().unwrap();
        let fault = toml::toml! {
            kind = "outage"
            target = "store"
            how = "pause"
            at = "5s"
            for = "8s"
        };
        let mut change = Change {
            rate: 1_000.0,
            steady: Duration::from_secs(30),
            drain: Duration::from_secs(60),
            faults: Some(vec![fault]),
            ..Change::default()
        };
        let probe = write(&hdfs(), &change, directory.path(), "fit").unwrap();
        assert_eq!(probe.faults.len(), 1);
        assert_eq!(probe.faults[0].kind, "outage");
        change.faults = None;
        change.steady = Duration::from_secs(110);
        change.repeat = Some(Duration::from_secs(55));
        let probe = write(&hdfs(), &change, directory.path(), "under").unwrap();
        assert_eq!(probe.faults.len(), 3);
        assert_eq!(probe.phases.steady, Duration::from_secs(110));
        assert!(
            probe
                .faults
                .iter()
                .all(|fault| fault.every == change.repeat)
        );
    }
}
