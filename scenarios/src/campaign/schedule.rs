//! What strikes in a trial: drawn from the fault menu, from the campaign's seed and the trial's
//! number alone; and the text of the scenario that a schedule makes.
//!
//! Each trial leaves each kind of the menu out with probability ½ (never all of them) and weights
//! the entries of the others by 10 to a power drawn evenly between −1.5 and 1.5: averages over many
//! kinds hide what one kind alone would show. The number of faults is drawn evenly from 1 to
//! `max_faults`, lengths and instants evenly from their ranges. A draw is repeated when more than
//! `max_overlap` faults would hold at once, when two would act on the same link or process at the
//! same time, or when the others together would hide one for more than half of its length: somebody
//! at its link's end does not run, or hangs at another link that is cut, and so has nothing to send
//! over this one. Such a fault has no witness, and the trial would be void. A fault that finds no
//! place in 50 draws is left out.

use std::time::Duration;

use flume_bench_reports::campaign::Strike;
use flume_bench_reports::record::Known;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

use crate::scenario::Scenario;
use crate::scenario::campaign::{Campaign, MenuItem};
use crate::text::show_duration;

/// A process that was ended or stopped is left alone for so long after its heal.
const SETTLES: Duration = Duration::from_millis(500);
/// How often the place of a fault is drawn.
const DRAWS: u32 = 50;

/// One fault of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Its kind.
    pub kind: String,
    /// The key that names what it acts on: `link` or `target`.
    pub acts_on: String,
    /// What it acts on.
    pub target: String,
    /// Its other settings.
    pub settings: Vec<(String, toml::Value)>,
    /// When it strikes, after the start of steady.
    pub at: Duration,
    /// How long it holds.
    pub lasts: Duration,
}

impl Drawn {
    fn end(&self) -> Duration {
        self.at + self.lasts
    }

    /// Whether it keeps a process from running: which one.
    fn silences(&self) -> Option<&str> {
        (self.acts_on == "target").then_some(self.target.as_str())
    }

    /// How long both hold.
    fn overlap(&self, other: &Self) -> Duration {
        self.end()
            .min(other.end())
            .saturating_sub(self.at.max(other.at))
    }

    /// Whether they act on the same link, or on processes of which one is part of the other.
    fn same_target(&self, other: &Self) -> bool {
        let part = |whole: &str, part: &str| whole == "store" && part != "agent";
        self.acts_on == other.acts_on
            && (self.target == other.target
                || self.acts_on == "target"
                    && (part(&self.target, &other.target) || part(&other.target, &self.target)))
    }

    /// Whether this one, while it holds, keeps everybody from noticing the other.
    fn hides(&self, other: &Self) -> bool {
        let Some(silent) = self.silences() else {
            return self.holds_up(other);
        };
        let is = |name: &str| {
            name == silent || silent == "store" && name != "agent" && name != "generator"
        };
        match other.silences() {
            // A node of the store is missed by the agent, if it runs.
            Some(node) => node != "agent" && silent == "agent",
            None => other
                .target
                .split_once("->")
                .is_some_and(|(from, to)| is(from) || is(to)),
        }
    }

    /// Whether this cut keeps the other link idle. Who waits for an answer over one link asks for
    /// nothing over another: a sink that hangs at a DataNode begins no file at the NameNode. A reset
    /// is an answer, but an agent that gets no events has nothing to pass on either way.
    fn holds_up(&self, other: &Self) -> bool {
        if self.kind != "cut_link" || self.target == other.target {
            return false;
        }
        let from = |link: &str| link.split_once("->").map(|(from, _)| from.to_owned());
        let (Some(own), Some(others)) = (from(&self.target), from(&other.target)) else {
            return false;
        };
        let resets = self
            .settings
            .iter()
            .any(|(key, value)| key == "how" && value.as_str() == Some("reset"));
        own == "generator" || own == others && !resets
    }

    /// With the time for which it leaves its target unsettled.
    fn with_rest(&self) -> Self {
        Self {
            lasts: self.lasts + SETTLES,
            ..self.clone()
        }
    }

    /// Whether both would act on the same link or process at a time.
    fn collides(&self, other: &Self) -> bool {
        let apart = self.with_rest().overlap(&other.with_rest()).is_zero();
        self.same_target(other) && !apart
    }

    /// Whether the others together hide it for more than half of its length.
    fn is_hidden(&self, all: &[&Self]) -> bool {
        let mut hidden: Vec<(Duration, Duration)> = all
            .iter()
            .filter(|other| other.hides(self))
            .map(|other| other.with_rest())
            .map(|other| (other.at.max(self.at), other.end().min(self.end())))
            .filter(|(from, to)| from < to)
            .collect();
        hidden.sort_unstable();
        let mut until = self.at;
        let mut sum = Duration::ZERO;
        for (from, to) in hidden {
            sum += to.saturating_sub(from.max(until));
            until = until.max(to);
        }
        sum * 2 > self.lasts
    }

    /// As the record keeps it, under the name it will have in the run.
    pub fn as_planned(&self, index: usize) -> Strike {
        let text = |value: &toml::Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        Strike {
            name: format!("{}-{}", self.kind, index + 1),
            kind: self.kind.clone(),
            target: self.target.clone(),
            parameters: self
                .settings
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            at_us: self.at.as_micros() as u64,
            for_us: self.lasts.as_micros() as u64,
            witness: Known::unknown("the trial did not come to its end"),
            void: None,
        }
    }
}

/// The seed of a trial's run, and of its schedule. Fits into TOML's integers.
pub fn trial_seed(seed: u64, number: u32) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"flume-bench campaign trial");
    hash.update(seed.to_le_bytes());
    hash.update(number.to_le_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first) >> 2
}

/// The faults of a trial, by their instants. Never empty.
pub fn draw(campaign: &Campaign, trial_seed: u64) -> Vec<Drawn> {
    let mut rng = ChaCha8Rng::seed_from_u64(trial_seed);
    let menu = leave_out(&mut rng, &campaign.menu);
    let weights: Vec<f64> = menu
        .iter()
        .map(|_| 10_f64.powf(rng.random_range(-1.5..1.5)))
        .collect();
    let wanted = rng.random_range(1..=campaign.max_faults);
    let mut faults: Vec<Drawn> = Vec::new();
    for _ in 0..wanted {
        for _ in 0..DRAWS {
            let item = menu[weighted(&mut rng, &weights)];
            let fault = draw_one(&mut rng, item, campaign.phases.steady);
            if fits(&faults, &fault, campaign.max_overlap) {
                faults.push(fault);
                break;
            }
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn leave_out<'a>(rng: &mut ChaCha8Rng, menu: &'a [MenuItem]) -> Vec<&'a MenuItem> {
    let mut kinds: Vec<&str> = menu.iter().map(|item| item.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    loop {
        let kept: Vec<&str> = kinds
            .iter()
            .copied()
            .filter(|_| rng.random_bool(0.5))
            .collect();
        if !kept.is_empty() {
            return menu
                .iter()
                .filter(|item| kept.contains(&item.kind))
                .collect();
        }
    }
}

fn weighted(rng: &mut ChaCha8Rng, weights: &[f64]) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return i;
        }
    }
    weights.len() - 1
}

/// Evenly between two durations, in whole milliseconds.
fn between(rng: &mut ChaCha8Rng, from: Duration, to: Duration) -> Duration {
    let (from, to) = (from.as_millis() as u64, to.as_millis() as u64);
    Duration::from_millis(rng.random_range(from..=to.max(from)))
}

fn draw_one(rng: &mut ChaCha8Rng, item: &MenuItem, steady: Duration) -> Drawn {
    let lasts = between(rng, item.lasts.0, item.lasts.1).max(Duration::from_millis(1));
    let latest = item.at.1.min(steady.saturating_sub(lasts)).max(item.at.0);
    let at = between(rng, item.at.0, latest);
    Drawn {
        kind: item.kind.to_owned(),
        acts_on: item.acts_on.to_owned(),
        target: item.targets[rng.random_range(0..item.targets.len())].clone(),
        settings: item
            .settings
            .iter()
            .map(|(key, values)| {
                let value = values[rng.random_range(0..values.len())].clone();
                (key.clone(), value)
            })
            .collect(),
        at,
        lasts,
    }
}

fn fits(faults: &[Drawn], new: &Drawn, max_overlap: usize) -> bool {
    // The most hold at once when one of them begins.
    let crowded = faults.iter().chain([new]).any(|begins| {
        let holds = |fault: &&Drawn| (fault.at..fault.end()).contains(&begins.at);
        faults.iter().chain([new]).filter(holds).count() > max_overlap
    });
    let all: Vec<&Drawn> = faults.iter().chain([new]).collect();
    let hidden = || all.iter().any(|fault| fault.is_hidden(&all));
    !crowded && !faults.iter().any(|fault| fault.collides(new)) && !hidden()
}

/// The text of a scenario with these faults instead of its own, the campaign's phases, that seed,
/// and, where given, that rate; a rate that grows keeps its shape.
///
/// # Errors
/// When the scenario's own text cannot be changed, which only a defect of ours can cause.
pub fn text_of(
    scenario: &Scenario,
    campaign: &Campaign,
    faults: &[Drawn],
    seed: u64,
    rate: Option<f64>,
) -> Result<String, String> {
    let mut document: toml_edit::DocumentMut = scenario
        .text
        .parse()
        .map_err(|error| format!("the scenario's text cannot be read again: {error}"))?;
    document.remove("campaign");
    document.remove("fault");
    document["seed"] = toml_edit::value(seed as i64);
    let phases = campaign.phases;
    document["phases"]["warm_up"] = toml_edit::value(show_duration(phases.warm_up));
    document["phases"]["steady"] = toml_edit::value(show_duration(phases.steady));
    document["phases"]["drain_deadline"] = toml_edit::value(show_duration(phases.drain_deadline));
    if let Some(rate) = rate {
        document["load"]["rate"] = toml_edit::value(show_rate(rate));
        if let Some(ramp_to) = scenario.load.ramp_to {
            let scaled = ramp_to * rate / scenario.load.rate;
            document["load"]["ramp_to"] = toml_edit::value(show_rate(scaled));
        }
    }
    let mut array = toml_edit::ArrayOfTables::new();
    for fault in faults {
        let mut table = toml_edit::Table::new();
        table["kind"] = toml_edit::value(&fault.kind);
        table[&fault.acts_on] = toml_edit::value(&fault.target);
        for (key, value) in &fault.settings {
            let value: toml_edit::Value = value
                .to_string()
                .parse()
                .map_err(|error| format!("{key} = {value} cannot be written: {error}"))?;
            table[key] = toml_edit::Item::Value(value);
        }
        table["at"] = toml_edit::value(show_duration(fault.at));
        table["for"] = toml_edit::value(show_duration(fault.lasts));
        array.push(table);
    }
    document["fault"] = toml_edit::Item::ArrayOfTables(array);
    Ok(document.to_string())
}

/// A rate as a scenario has it.
pub fn show_rate(rate: f64) -> String {
    if rate.fract() == 0.0 {
        format!("{rate:.0}/s")
    } else {
        format!("{rate:.3}/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Phases, load_text};

    fn item(kind: &'static str, acts_on: &'static str, targets: &[&str]) -> MenuItem {
        MenuItem {
            kind,
            acts_on,
            targets: targets.iter().map(|&name| name.to_owned()).collect(),
            at: (Duration::from_secs(1), Duration::from_secs(6)),
            lasts: (Duration::from_millis(500), Duration::from_secs(4)),
            settings: Vec::new(),
        }
    }

    fn campaign() -> Campaign {
        Campaign {
            phases: Phases {
                warm_up: Duration::from_secs(1),
                steady: Duration::from_secs(8),
                drain_deadline: Duration::from_secs(10),
                drain_raised: false,
            },
            max_overlap: 2,
            max_faults: 5,
            menu: vec![
                item("cut_link", "link", &["agent->namenode", "generator->agent"]),
                item("kill", "target", &["agent"]),
                item("outage", "target", &["store", "datanode1"]),
                item("pause", "target", &["agent", "datanode1"]),
            ],
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trials_and_another_one_others() {
        let campaign = campaign();
        let all = |seed: u64| -> Vec<Vec<Drawn>> {
            (1..=50)
                .map(|number| draw(&campaign, trial_seed(seed, number)))
                .collect()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        assert_ne!(trial_seed(7, 1), trial_seed(7, 2));
        assert!(trial_seed(7, 1) <= i64::MAX as u64);
    }

    #[test]
    fn what_is_drawn_keeps_to_the_menu_and_to_itself() {
        let campaign = campaign();
        let mut without_kill = 0;
        let mut overlapping = 0;
        for number in 1..=400 {
            let faults = draw(&campaign, trial_seed(7, number));
            assert!((1..=5).contains(&faults.len()));
            assert!(faults.is_sorted_by_key(|fault| fault.at));
            without_kill += u32::from(faults.iter().all(|fault| fault.kind != "kill"));
            for (i, fault) in faults.iter().enumerate() {
                assert!(
                    fault.at >= Duration::from_secs(1) && fault.end() <= Duration::from_secs(8)
                );
                assert!(
                    fault.lasts >= Duration::from_millis(500)
                        && fault.lasts <= Duration::from_secs(4)
                );
                let holding = |other: &&Drawn| (other.at..other.end()).contains(&fault.at);
                assert!(faults.iter().filter(holding).count() <= 2, "{faults:?}");
                for other in &faults[..i] {
                    overlapping += u32::from(!fault.overlap(other).is_zero());
                    let same = fault.same_target(other) && !fault.overlap(other).is_zero();
                    assert!(!same, "{faults:?}");
                }
            }
        }
        // Each kind is left out in half of the trials, and more often than that not drawn.
        assert!((200..380).contains(&without_kill), "{without_kill}");
        assert!(overlapping > 50, "{overlapping}");
    }

    #[test]
    fn a_fault_that_nobody_could_notice_is_not_drawn() {
        let fault = |kind: &str, acts_on: &str, target: &str, at: u64, lasts: u64| Drawn {
            kind: kind.into(),
            acts_on: acts_on.into(),
            target: target.into(),
            settings: Vec::new(),
            at: Duration::from_secs(at),
            lasts: Duration::from_secs(lasts),
        };
        let agree = |faults: &[&Drawn]| {
            let (new, old) = faults.split_last().unwrap();
            let old: Vec<Drawn> = old.iter().map(|&fault| fault.clone()).collect();
            fits(&old, new, 3)
        };
        let kill = fault("kill", "target", "agent", 1, 3);
        let cut = |at, lasts| fault("cut_link", "link", "agent->namenode", at, lasts);
        assert!(!agree(&[&kill, &cut(1, 2)]) && !agree(&[&cut(2, 2), &kill]));
        assert!(agree(&[&kill, &cut(4, 2)]));
        // The agent's end is seen by the kernel, whatever its links do.
        let late = fault("kill", "target", "agent", 3, 1);
        assert!(agree(&[&cut(1, 5), &late]));
        assert!(!agree(&[&fault("outage", "target", "store", 2, 1), &kill]));
        let pause = fault("pause", "target", "datanode1", 2, 4);
        assert!(!agree(&[&fault("outage", "target", "store", 1, 2), &pause]));
        // A sink that hangs at one end asks for nothing at the other; one that is reset does.
        let mut data = fault("cut_link", "link", "agent->datanode1", 2, 3);
        assert!(!agree(&[&cut(2, 2), &data]) && !agree(&[&data, &cut(2, 2)]));
        assert!(agree(&[&data, &cut(4, 3)]));
        data.settings = vec![("how".into(), "reset".into())];
        // It hangs at the NameNode for two of three seconds then, but notices both.
        assert!(!agree(&[&data, &cut(2, 2)]) && agree(&[&data, &cut(4, 3)]));
        // Two that hide a third one after the other.
        let (start, end) = (fault("kill", "target", "agent", 2, 1), cut(4, 3));
        let mut third = fault("cut_link", "link", "agent->datanode1", 2, 4);
        third.settings.clone_from(&data.settings);
        assert!(agree(&[&start, &third]) && agree(&[&third, &end]));
        assert!(!agree(&[&start, &end, &third]));
        // Nothing comes in, so nothing goes on.
        let way_in = fault("cut_link", "link", "generator->agent", 2, 4);
        assert!(!agree(&[&way_in, &third]));
    }

    #[test]
    fn a_rate_that_grows_keeps_its_shape() {
        let text = "seed = 7\n[sut]\ndriver = \"decoy\"\n[load]\ninto = \"netcat\"\nrate = \"1000/s\"\nramp_to = \"3000/s\"\n[store]\nkind = \"files\"\n[phases]\nsteady = \"10s\"\n[objectives]\nlost = 0\n[campaign]\nsteady = \"4s\"\n[[campaign.menu]]\nkind = \"kill\"\ntargets = [\"agent\"]\nat = [\"1s\", \"2s\"]\nfor = [\"500ms\", \"1s\"]\n";
        let path = std::path::Path::new("x.toml");
        let scenario = load_text(path, text).unwrap();
        let campaign = scenario.campaign.as_ref().unwrap();
        let load = |rate: Option<f64>| {
            let made = text_of(&scenario, campaign, &[], 1, rate).unwrap();
            let load = load_text(path, &made).unwrap().load;
            (load.rate, load.ramp_to)
        };
        assert_eq!(load(None), (1000.0, Some(3000.0)));
        assert_eq!(load(Some(500.0)), (500.0, Some(1500.0)));
    }

    #[test]
    fn a_schedule_becomes_a_scenario_of_its_own() {
        let text = r#"seed = 7 # mine
[sut]
driver = "decoy"
[load]
into = "netcat"
rate = "1000/s"
[store]
kind = "files"
[phases]
steady = "10s"
[[fault]]
kind = "kill"
target = "agent"
at = "9s"
for = "1s"
[objectives]
lost = 0
[campaign]
warm_up = "1s"
steady = "4s"
[[campaign.menu]]
kind = "slow_link"
links = ["generator->agent"]
latency = ["5ms", "20ms"]
at = ["1s", "3s"]
for = ["500ms", "1s"]
"#;
        let path = std::path::Path::new("x.toml");
        let scenario = load_text(path, text).unwrap();
        let campaign = scenario.campaign.as_ref().unwrap();
        let faults = draw(campaign, trial_seed(3, 1));
        let made = text_of(&scenario, campaign, &faults, 99, Some(500.0)).unwrap();
        let trial = load_text(path, &made).unwrap();
        assert_eq!((trial.seed, trial.load.rate), (99, 500.0));
        assert_eq!(trial.phases.steady, Duration::from_secs(4));
        assert_eq!(trial.faults.len(), faults.len());
        assert_eq!(trial.faults[0].kind, "slow_link");
        assert!(trial.campaign.is_none());
        assert!(made.contains("latency = \""), "{made}");
    }
}
