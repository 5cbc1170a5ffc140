//! The two runs behind the sizing: an outage of the store that the model is fitted to, and another
//! one, partial where the store has a data link, at a rate that was not used for fitting.

use std::path::Path;
use std::time::Duration;

use flume_bench_reports::plan::sizing::{
    self, Basis, Fitted, MeasuredPoint, Model, Number, Residual, Sizing, Slice,
};
use flume_bench_reports::record::{Known, Quantity, RunRecord};
use flume_bench_reports::show;

use super::conf::{self, Channel, Conf};
use super::measure;
use super::probe::{self, Done, Manner};
use super::search::Stopped;
use super::variant::Change;
use crate::runner::Options;
use crate::scenario::Scenario;

/// How the bytes an event takes on disk are found.
const DISK_HOW: &str = "growth of the agent's directory in the outage ÷ events that waited; files grow in whole segments, so it is exact to one of them";
/// How long the outage lasts that the model is fitted to.
const OUTAGE: Duration = Duration::from_secs(8);
/// Load before the outage.
const BEFORE: Duration = Duration::from_secs(5);
/// Load after the heal, so that catching up is seen under load.
const AFTER: Duration = Duration::from_secs(14);
/// The test's channel is to be full after so many seconds.
const FULL_AFTER_S: f64 = 10.0;
/// What still gets through in the test, as a share of what is offered.
const THROUGH: f64 = 0.25;
/// The level at which the test is read, as a share of the capacity: below where the agent begins to
/// refuse whole batches.
const LEVEL: f64 = 0.9;
/// The fit's rate as a share of what the system carries, and the test's as a share of that.
const FIT_SHARE: f64 = 0.5;
const TEST_SHARE: f64 = 0.7;

/// Everything the sizing runs need.
pub(super) struct Outages<'a> {
    pub(super) base: &'a Scenario,
    pub(super) options: &'a Options,
    pub(super) manner: &'a Manner,
    /// The agent's properties, as they are run.
    pub(super) text: &'a str,
    pub(super) conf: &'a Conf,
    /// What one agent surely carries, events/s.
    pub(super) carries: f64,
    pub(super) say: &'a dyn Fn(&str),
}

/// Why there is no sizing: a reason for the record, or what stopped the plan.
pub(super) enum Without {
    Reason(String),
    Stopped(Stopped),
}

impl From<Stopped> for Without {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// The fit, with what the test needs of it.
struct Fit {
    model: Model,
    fitted: Fitted,
    lost: u64,
    wire_bytes: Option<f64>,
    disk_bytes: Known<u64>,
}

/// What happens to the store in the test.
struct Disturbance {
    what: String,
    /// Events a second that still get through.
    through: f64,
    partial: bool,
    fault: toml::Table,
}

impl Outages<'_> {
    /// Does both runs and puts the sizing together.
    pub(super) fn measure(&self) -> Result<Sizing, Without> {
        let channel = self.channel()?;
        let fit = self.fit(&channel)?;
        let residual = match self.test(&channel, &fit) {
            Ok(residual) => Known::Value(residual),
            Err(Without::Reason(why)) => Known::Unknown(why),
            Err(stopped) => return Err(stopped),
        };
        Ok(self.sizing(&channel, fit, residual))
    }

    fn channel(&self) -> Result<Channel, Without> {
        let reason = |text: String| Without::Reason(text);
        let store = &self.base.store;
        if !store.nodes().iter().any(|node| node == "store") {
            return Err(reason(format!(
                "the store {} ({}) has no process that a run could take away",
                store.kind(),
                store.provider()
            )));
        }
        if !self.base.sut.driver.has_metrics() {
            return Err(reason(format!(
                "the driver {} does not say how full its channels are",
                self.base.sut.driver.name()
            )));
        }
        self.conf
            .channels()
            .into_iter()
            .next()
            .ok_or_else(|| reason("the agent's configuration names no channel".to_owned()))
    }

    fn change(&self, rate: f64, steady: Duration, fault: toml::Table) -> Change {
        Change {
            rate,
            warm_up: self.manner.warm_up,
            steady,
            drain: Duration::from_secs(120).max(self.base.phases.drain_deadline),
            config: self.manner.config.clone(),
            faults: Some(vec![fault]),
            ..Change::default()
        }
    }

    fn fit(&self, channel: &Channel) -> Result<Fit, Without> {
        // The outage must fit into the channel, or its capacity would be measured and not its fill.
        let room = 0.5 * channel.capacity as f64 / (OUTAGE.as_secs_f64() + 2.0);
        let rate = (self.carries * FIT_SHARE).min(room).round();
        let fault = fault(
            &[("kind", "outage"), ("target", "store"), ("how", "kill")],
            BEFORE,
            OUTAGE,
        );
        let change = self.change(rate, BEFORE + OUTAGE + AFTER, fault);
        let done = probe::run(self.base, self.options, &change, "sizing-fit")?;
        let (injected, healed) = window(&done.record).map_err(Without::Reason)?;
        let level = events(&done, channel);
        let load_end = (self.manner.warm_up + BEFORE + OUTAGE + AFTER).as_secs_f64();
        let model = sizing::fit(&level, injected, healed, load_end, rate).map_err(|why| {
            Without::Reason(format!(
                "the fill of the channel in the outage could not be fitted: {why}"
            ))
        })?;
        let highest = level.iter().map(|point| point.1).fold(0.0, f64::max);
        let rest = model.rest_events as f64 + 0.01 * highest;
        let drained = level
            .iter()
            .skip_while(|(at, _)| *at < healed + model.resume_us as f64 / 1e6)
            .find(|(_, events)| *events <= rest)
            .map(|(at, _)| ((at - healed) * 1e6) as u64);
        let fitted = Fitted {
            what: "an outage of the whole store (killed, started again)".to_owned(),
            rate_per_s: rate as u64,
            outage_us: ((healed - injected) * 1e6) as u64,
            level_events: highest.round() as u64,
            drained_us: drained.map_or_else(
                || Known::unknown("it was not back at rest when the run ended"),
                Known::Value,
            ),
            run: name_of(&done.dir),
        };
        (self.say)(&format!(
            "sizing fit: {} events waited at most, the sink catches up at {}/s",
            show::count(fitted.level_events),
            show::count(model.catch_up_per_s)
        ));
        let lost = done.record.counts.lost;
        let fit = Fit {
            model,
            fitted,
            lost,
            wire_bytes: wire_bytes(&done.record),
            disk_bytes: disk_bytes(&done, channel, injected, highest - model.rest_events as f64),
        };
        if lost == 0 {
            measure::forget_bulk(&done.dir);
        }
        Ok(fit)
    }

    fn test(&self, channel: &Channel, fit: &Fit) -> Result<Residual, Without> {
        let rate = (fit.fitted.rate_per_s as f64 * TEST_SHARE).round();
        let lasts = Duration::from_secs_f64(FULL_AFTER_S * 1.4);
        let Disturbance {
            what,
            through,
            partial,
            fault,
        } = self.disturbance(fit, rate, lasts);
        let net = fit.model.fill_ppm as f64 / 1e6 * rate - through;
        let capacity = (net * FULL_AFTER_S / LEVEL).round().max(1_000.0) as u64;
        let config = self
            .small_channel(channel, capacity)
            .map_err(Without::Reason)?;
        let mut change = self.change(rate, lasts + Duration::from_secs(6), fault);
        change.config = Some(config);
        let done = probe::run(self.base, self.options, &change, "sizing-test")?;
        let (injected, _) = window(&done.record).map_err(Without::Reason)?;
        let small = Channel {
            capacity,
            ..channel.clone()
        };
        let level = events(&done, &small);
        let wanted = LEVEL * capacity as f64;
        let predicted = fit.model.overflow_s(rate, wanted, through).unwrap_or(0.0);
        let measured = sizing::crossing(&level, injected, wanted).map(|at| at - injected);
        if done.record.counts.lost == 0 {
            measure::forget_bulk(&done.dir);
        }
        let residual = Residual {
            what,
            partial,
            rate_per_s: rate as u64,
            through_per_s: through.round() as u64,
            level_events: wanted.round() as u64,
            predicted_us: (predicted * 1e6) as u64,
            measured_us: measured.map_or_else(
                || Known::unknown("the channel never reached that level"),
                |seconds| Known::Value((seconds * 1e6) as u64),
            ),
            residual_ppm: measured.filter(|_| predicted > 0.0).map_or_else(
                || Known::unknown("nothing was measured to compare"),
                |seconds| Known::Value(((seconds / predicted - 1.0) * 1e6).round() as i64),
            ),
            run: name_of(&done.dir),
        };
        (self.say)(&format!(
            "sizing test: {} events after {predicted:.2} s by the model, measured {}",
            show::count(residual.level_events),
            measured.map_or("never".to_owned(), |seconds| format!("{seconds:.2} s"))
        ));
        Ok(residual)
    }

    /// A partial outage where the store has a data link and the bytes an event takes on it are known;
    /// else one of the whole store.
    fn disturbance(&self, fit: &Fit, rate: f64, lasts: Duration) -> Disturbance {
        let at = Duration::from_secs(3);
        let link = self
            .base
            .store
            .links()
            .into_iter()
            .find(|link| link == "agent->datanode1");
        let Some((link, bytes)) = link.zip(fit.wire_bytes.filter(|bytes| *bytes > 0.0)) else {
            let words = [("kind", "outage"), ("target", "store"), ("how", "kill")];
            return Disturbance {
                what: "a shorter outage of the whole store".to_owned(),
                through: 0.0,
                partial: false,
                fault: fault(&words, at, lasts),
            };
        };
        let through = rate * THROUGH;
        let bandwidth = (through * bytes).round() as u64;
        let set = format!("{bandwidth} B/s");
        let words = [
            ("kind", "slow_link"),
            ("link", link.as_str()),
            ("bandwidth", set.as_str()),
            ("direction", "up"),
        ];
        Disturbance {
            what: format!(
                "a partial outage: {link} let {} a second through",
                show::bytes(bandwidth)
            ),
            through,
            partial: true,
            fault: fault(&words, at, lasts),
        }
    }

    /// A copy of the configuration with a small channel.
    fn small_channel(
        &self,
        channel: &Channel,
        capacity: u64,
    ) -> Result<std::path::PathBuf, String> {
        let key = |name: &str| format!("{}.channels.{}.{name}", self.base.sut.agent, channel.name);
        let most = capacity.min(10_000).to_string();
        let changes = [
            (key("capacity"), capacity.to_string()),
            (key("transactionCapacity"), most),
        ];
        let path = self.options.runs.join("sizing-test.conf");
        std::fs::write(&path, conf::changed(self.text, &changes)).map_err(|error| {
            format!("the configuration of the test could not be written: {error}")
        })?;
        Ok(path)
    }

    fn sizing(&self, channel: &Channel, fit: Fit, residual: Known<Residual>) -> Sizing {
        let Fit {
            model,
            fitted,
            disk_bytes,
            lost,
            ..
        } = fit;
        let rate = self.base.load.rate.min(self.carries);
        let capacity = channel.capacity as f64;
        let seen = if lost == 0 {
            "survived"
        } else {
            "events were lost"
        };
        let at_fit = |x: u64| MeasuredPoint {
            x,
            outage_us: fitted.outage_us,
            seen: seen.to_owned(),
        };
        let frontier = vec![
            Slice {
                axis: "rate".to_owned(),
                at: format!("capacity {} events", show::count(channel.capacity)),
                boundary: sizing::over_rates(&model, capacity, self.carries),
                measured: vec![at_fit(fitted.rate_per_s)],
            },
            Slice {
                axis: "capacity".to_owned(),
                at: format!("{} events/s", show::count(fitted.rate_per_s)),
                boundary: sizing::over_capacities(&model, fitted.rate_per_s as f64, capacity),
                measured: vec![at_fit(channel.capacity)],
            },
        ];
        Sizing {
            channel: format!("{} ({})", channel.name, channel.kind),
            capacity_events: channel.capacity,
            numbers: numbers(&model, &fitted, channel, &disk_bytes, rate, self.carries),
            bytes_per_event: disk_bytes,
            bytes_per_event_how: DISK_HOW.to_owned(),
            model,
            fitted,
            residual,
            frontier,
        }
    }
}

/// A fault as it stands in a scenario.
fn fault(words: &[(&str, &str)], at: Duration, lasts: Duration) -> toml::Table {
    let text =
        |time: Duration| crate::text::show_duration(Duration::from_millis(time.as_millis() as u64));
    words
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .chain([("at".to_owned(), text(at)), ("for".to_owned(), text(lasts))])
        .map(|(key, value)| (key, toml::Value::String(value)))
        .collect()
}

/// Injected and healed, seconds since t0; the reason where the fault proves nothing.
fn window(record: &RunRecord) -> Result<(f64, f64), String> {
    let fault = record.faults.first().ok_or("the outage never happened")?;
    if let Some(void) = &fault.void {
        return Err(format!("the outage proves nothing: {void}"));
    }
    match (fault.injected_us.value(), fault.healed_us.value()) {
        (Some(injected), Some(healed)) => Ok((*injected as f64 / 1e6, *healed as f64 / 1e6)),
        _ => Err("the outage was not injected and healed".to_owned()),
    }
}

/// The channel's level in events over seconds since t0.
fn events(done: &Done, channel: &Channel) -> Vec<(f64, f64)> {
    measure::fill(&done.dir)
        .into_iter()
        .map(|(at, share)| (at, share * channel.capacity as f64))
        .collect()
}

/// Bytes over the links to the data nodes for each stored event.
fn wire_bytes(record: &RunRecord) -> Option<f64> {
    let bytes: u64 = record
        .indicators
        .system_load
        .proxies
        .iter()
        .filter(|link| link.link.starts_with("agent->datanode"))
        .map(|link| link.forward_bytes)
        .sum();
    (record.counts.stored > 0 && bytes > 0).then(|| bytes as f64 / record.counts.stored as f64)
}

/// Bytes that an event takes in the channel's files: by how much the agent's directory grew after the
/// injection ÷ the events that waited. What the agent *wrote* is no measure: pages and checkpoints are
/// written many times over.
fn disk_bytes(done: &Done, channel: &Channel, injected_s: f64, waited: f64) -> Known<u64> {
    if channel.kind != "file" {
        return Known::unknown(format!("a channel of type {} has no files", channel.kind));
    }
    let held = measure::disk(&done.dir);
    let before = held
        .iter()
        .filter(|(at, _)| *at <= injected_s)
        .map(|point| point.1)
        .max();
    let most = held.iter().map(|point| point.1).max();
    match before.zip(most) {
        Some((before, most)) if most > before && waited >= 1.0 => {
            Known::Value(((most - before) as f64 / waited).ceil() as u64)
        }
        _ => Known::unknown(
            "the agent's directory did not grow in the outage: segments that were there already held it",
        ),
    }
}

fn name_of(dir: &Path) -> String {
    dir.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn number(basis: Basis, name: String, value: Known<Quantity>, how: &str) -> Number {
    Number {
        name,
        value,
        basis,
        how: how.to_owned(),
    }
}

fn known(value: f64, unit: &str) -> Known<Quantity> {
    Known::Value(Quantity::new(value.max(0.0).ceil() as u64, unit))
}

/// The table: first what was measured, then what follows from it.
fn numbers(
    model: &Model,
    fitted: &Fitted,
    channel: &Channel,
    disk: &Known<u64>,
    rate: f64,
    carries: f64,
) -> Vec<Number> {
    let measured = |name: &str, value: Known<Quantity>, how: &str| {
        number(Basis::Measured, name.to_owned(), value, how)
    };
    let run = format!("the run {}", fitted.run);
    let mut all = vec![
        measured(
            "share of the load that waits in the channel (a)",
            known(model.fill_ppm as f64, "ppm"),
            &run,
        ),
        measured(
            "from the heal to the highest level (t)",
            known(model.resume_us as f64, "us"),
            &run,
        ),
        measured(
            "rate of the sink while it catches up (μ)",
            known(model.catch_up_per_s as f64, "events_per_s"),
            &run,
        ),
        measured(
            "waiting without an outage (b)",
            known(model.rest_events as f64, "events"),
            &run,
        ),
        measured(
            "bytes an event takes on disk",
            disk.map(|bytes| Quantity::new(*bytes, "bytes")),
            DISK_HOW,
        ),
        number(
            Basis::Configured,
            "capacity of the channel".to_owned(),
            known(channel.capacity as f64, "events"),
            "the agent's configuration",
        ),
    ];
    all.extend(modelled(model, channel, disk, rate, carries));
    all
}

/// What follows from the model: the longest outage, what outages of some lengths need, and the agents.
fn modelled(
    model: &Model,
    channel: &Channel,
    disk: &Known<u64>,
    rate: f64,
    carries: f64,
) -> Vec<Number> {
    let modelled =
        |name: String, value: Known<Quantity>, how: &str| number(Basis::Modelled, name, value, how);
    let at = format!("at {} events/s", show::count(rate.round() as u64));
    let longest = model.longest_outage_s(rate, channel.capacity as f64);
    let mut all = vec![modelled(
        format!("longest outage survived {at}"),
        known(longest * 1e6, "us"),
        "(Q − b) ÷ (a·R) − t",
    )];
    for minutes in [1.0, 5.0, 30.0] {
        let outage = minutes * 60.0;
        let level = model.level(rate, outage);
        let lasting = format!("an outage of {minutes} min {at}");
        all.push(modelled(
            format!("channel capacity for {lasting}"),
            known(level, "events"),
            "b + a·R·(D + t)",
        ));
        let bytes = disk.map(|bytes| Quantity::new((level * *bytes as f64).ceil() as u64, "bytes"));
        all.push(modelled(
            format!("disk for {lasting}"),
            bytes,
            "that × bytes per event",
        ));
        let catch_up = model.catch_up_s(rate, outage).map_or_else(
            || Known::unknown("the sink is not faster than the load"),
            |seconds| known(seconds * 1e6, "us"),
        );
        all.push(modelled(
            format!("catching up after {lasting}"),
            catch_up,
            "t + Q ÷ (μ − R)",
        ));
    }
    all.push(modelled(
        format!(
            "agents for twice that rate, one of them failing ({} each at most)",
            show::count(carries as u64)
        ),
        known(((2.0 * rate / carries).ceil()).max(1.0) + 1.0, ""),
        "2·R ÷ what one agent surely carries, rounded up, and one more",
    ));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_a_scenario_has_it() {
        let table = fault(&[("kind", "outage")], BEFORE, Duration::from_millis(1_400));
        assert_eq!(table["at"].as_str(), Some("5s"));
        assert_eq!(table["for"].as_str(), Some("1.4s"));
    }

    #[test]
    fn every_number_says_where_it_comes_from() {
        let model = Model {
            fill_ppm: 1_000_000,
            resume_us: 1_000_000,
            catch_up_per_s: 50_000,
            rest_events: 0,
        };
        let fitted = Fitted {
            what: String::new(),
            rate_per_s: 20_000,
            outage_us: 8_000_000,
            level_events: 180_000,
            drained_us: Known::Value(1),
            run: "fit".into(),
        };
        let channel = Channel {
            name: "c1".into(),
            kind: "file".into(),
            capacity: 1_000_000,
        };
        let all = numbers(
            &model,
            &fitted,
            &channel,
            &Known::Value(500),
            20_000.0,
            40_000.0,
        );
        let value = |name: &str| {
            let found = all.iter().find(|number| number.name.starts_with(name));
            found.unwrap().value.value().unwrap().value
        };
        assert_eq!(value("longest outage"), 49_000_000);
        assert_eq!(
            value("channel capacity for an outage of 30 min"),
            36_020_000
        );
        assert_eq!(value("disk for an outage of 1 min"), 610_000_000);
        assert_eq!(value("agents"), 2);
        assert!(all.iter().all(|number| !number.how.is_empty()));
    }
}
