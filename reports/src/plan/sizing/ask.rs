//! The other way round: a rate, an outage and a budget are given; what survives, what to change?

use serde::{Deserialize, Serialize};

use super::{Basis, Number, Sizing};
use crate::record::{Known, Quantity};
use crate::show;

/// Room beyond what the model says, because its residual is not 0.
const MARGIN: f64 = 1.2;
/// One transaction of the sink is to hold what arrives in so many seconds.
const TRANSACTION_S: f64 = 0.1;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Question {
    /// Events/s for all agents together.
    pub rate_per_s: u64,
    /// How long the store may be away, µs.
    pub outage_us: u64,
    /// Bytes of disk for each agent's channel; no limit where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
}

/// The names that a fragment of properties needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Components {
    /// The agent.
    pub agent: String,
    /// Its channel.
    pub channel: String,
    /// Its sink.
    pub sink: String,
    /// The sink's key for the size of a batch.
    pub batch_key: String,
    /// The greatest batch that a source puts at once.
    pub source_batch: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// Whether the configuration as it is survives.
    pub survives_now: bool,
    /// Whether it survives with the changes.
    pub survives_changed: bool,
    /// Sentences: what survives, what to change.
    pub says: Vec<String>,
    /// The numbers behind it.
    pub numbers: Vec<Number>,
    /// Flume properties that can be pasted.
    pub properties: String,
}

/// 1, 2 or 5 times a power of ten, at or above.
fn round_up(value: f64) -> u64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|round| *round >= value - 1e-9)
        .unwrap_or(value) as u64
}

/// Agents for `rate`, so that those that are left carry it while one has failed.
#[must_use]
fn agents(rate: f64, each: f64) -> u64 {
    (rate / each.max(1.0)).ceil().max(1.0) as u64 + 1
}

/// Answers a question from what was measured. `carries_per_s`: what one agent surely carries, the
/// lower end of the knee's interval or, without a knee, the highest rate that held.
#[must_use]
pub fn answer(
    question: &Question,
    sizing: &Sizing,
    carries_per_s: u64,
    names: &Components,
) -> Answer {
    let rate = question.rate_per_s as f64;
    let outage_s = question.outage_us as f64 / 1e6;
    let model = &sizing.model;
    let agents = agents(rate, carries_per_s as f64);
    let each = rate / (agents - 1) as f64;
    let needed = model.level(each, outage_s);
    let capacity = round_up(needed * MARGIN);
    let bytes_per_event = sizing.bytes_per_event.value().copied();
    let bytes = bytes_per_event.map(|bytes| bytes * capacity);
    let affordable = question
        .budget_bytes
        .zip(bytes_per_event)
        .map(|(budget, each)| budget / each.max(1));
    let within = affordable.is_none_or(|events| events >= capacity);
    let given = if within {
        capacity
    } else {
        affordable.unwrap_or(capacity)
    };
    let catch_up = model.catch_up_s(each, outage_s);
    let survives_now = rate <= carries_per_s as f64
        && model.level(rate, outage_s) <= sizing.capacity_events as f64;
    let survives_changed = given as f64 >= needed && catch_up.is_some();
    let batch = round_up(carries_per_s as f64 * TRANSACTION_S).clamp(100, 10_000);
    let transaction = batch.max(names.source_batch);
    let longest = model.longest_outage_s(each, given as f64);
    let asked = Asked {
        question,
        sizing,
        agents,
        each,
        needed,
        given,
        longest,
        survives_now,
        survives_changed,
        within,
        budget_known: question.budget_bytes.is_none() || bytes_per_event.is_some(),
    };
    let fragment = properties(names, given, transaction, batch, survives_changed);
    Answer {
        question: *question,
        survives_now,
        survives_changed,
        says: asked.says(catch_up),
        numbers: asked.numbers(catch_up, bytes, batch, transaction),
        properties: fragment,
    }
}

/// What the sentences and the table are made from.
struct Asked<'a> {
    question: &'a Question,
    sizing: &'a Sizing,
    agents: u64,
    each: f64,
    needed: f64,
    given: u64,
    longest: f64,
    survives_now: bool,
    survives_changed: bool,
    within: bool,
    budget_known: bool,
}

impl Asked<'_> {
    fn says(&self, catch_up: Option<f64>) -> Vec<String> {
        let outage = show::duration(self.question.outage_us);
        let rate = show::count(self.question.rate_per_s);
        let mut says = vec![format!(
            "As it is configured ({} events), one agent {} an outage of {outage} at {rate} events/s.",
            show::count(self.sizing.capacity_events),
            if self.survives_now {
                "survives"
            } else {
                "does not survive"
            }
        )];
        says.push(if self.survives_changed {
            format!(
                "With a capacity of {} events in each of {} agents it is survived, also while one agent has failed.",
                show::count(self.given), self.agents
            )
        } else {
            format!(
                "Within the budget it is not survived: {} events fit, {} are needed, which last {}.",
                show::count(self.given),
                show::count(self.needed.ceil() as u64),
                show::duration((self.longest * 1e6) as u64)
            )
        });
        if !self.within && self.survives_changed {
            says.push("The budget leaves less than a fifth of room beyond the model.".to_owned());
        }
        if !self.budget_known {
            says.push("The budget could not be used: the bytes an event takes in the channel are unknown.".to_owned());
        }
        match catch_up {
            None => says.push(
                "The backlog would never be drained: the sink is not faster than the load. More agents, or more sinks on the channel, are needed.".to_owned(),
            ),
            Some(seconds) => says.push(format!(
                "Catching up takes {} after the store is back.",
                show::duration((seconds * 1e6) as u64)
            )),
        }
        says
    }

    fn numbers(
        &self,
        catch_up: Option<f64>,
        bytes: Option<u64>,
        batch: u64,
        transaction: u64,
    ) -> Vec<Number> {
        let modelled = |name: &str, value: Known<Quantity>, how: &str| Number {
            name: name.to_owned(),
            value,
            basis: Basis::Modelled,
            how: how.to_owned(),
        };
        let known = |value: u64, unit: &str| Known::Value(Quantity::new(value, unit));
        let catch_up = catch_up.map_or_else(
            || Known::unknown("the sink is not faster than the load"),
            |seconds| known((seconds * 1e6) as u64, "us"),
        );
        let bytes = bytes.map_or_else(
            || Known::unknown("the bytes an event takes in the channel are unknown"),
            |bytes| known(bytes, "bytes"),
        );
        vec![
            modelled(
                "agents, one of them failing",
                known(self.agents, ""),
                "rate ÷ what one agent surely carries, rounded up, and one more",
            ),
            modelled(
                "rate of each while one fails",
                known(self.each.round() as u64, "events_per_s"),
                "rate ÷ (agents − 1)",
            ),
            modelled(
                "events that will wait",
                known(self.needed.ceil() as u64, "events"),
                "b + a·R·(D + t)",
            ),
            modelled(
                "capacity to configure",
                known(self.given, "events"),
                "1.2 times that, rounded up to 1, 2 or 5; or what the budget allows",
            ),
            modelled("disk for that capacity", bytes, "events × bytes per event"),
            modelled("time to catch up", catch_up, "t + Q ÷ (μ − R)"),
            modelled(
                "batch of the sink",
                known(batch, "events"),
                "what arrives in 100 ms at the knee, rounded up, 100 to 10,000",
            ),
            modelled(
                "transaction capacity",
                known(transaction, "events"),
                "the greater of the sink's and the source's batch",
            ),
        ]
    }
}

fn properties(
    names: &Components,
    capacity: u64,
    transaction: u64,
    batch: u64,
    survives: bool,
) -> String {
    let Components {
        agent,
        channel,
        sink,
        batch_key,
        ..
    } = names;
    let mut text = String::new();
    if !survives {
        text += "# not enough for what was asked: the most that the budget allows\n";
    }
    text += &format!("{agent}.channels.{channel}.capacity = {capacity}\n");
    text += &format!("{agent}.channels.{channel}.transactionCapacity = {transaction}\n");
    if !sink.is_empty() && !batch_key.is_empty() {
        text += &format!("{agent}.sinks.{sink}.{batch_key} = {batch}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sizing::{Fitted, Model};

    fn sizing() -> Sizing {
        Sizing {
            channel: "c1 (file)".into(),
            capacity_events: 1_000_000,
            bytes_per_event: Known::Value(600),
            bytes_per_event_how: String::new(),
            model: Model {
                fill_ppm: 1_000_000,
                resume_us: 1_000_000,
                catch_up_per_s: 60_000,
                rest_events: 0,
            },
            fitted: Fitted {
                what: String::new(),
                rate_per_s: 20_000,
                outage_us: 8_000_000,
                level_events: 180_000,
                drained_us: Known::Value(1),
                run: String::new(),
            },
            residual: Known::unknown("not measured"),
            numbers: Vec::new(),
            frontier: Vec::new(),
        }
    }

    fn asked(rate: u64, outage_s: u64, budget: Option<u64>) -> Answer {
        let names = Components {
            agent: "a1".into(),
            channel: "c1".into(),
            sink: "k1".into(),
            batch_key: "hdfs.batchSize".into(),
            source_batch: 100,
        };
        let question = Question {
            rate_per_s: rate,
            outage_us: outage_s * 1_000_000,
            budget_bytes: budget,
        };
        answer(&question, &sizing(), 48_000, &names)
    }

    fn number(answer: &Answer, name: &str) -> u64 {
        let found = answer
            .numbers
            .iter()
            .find(|number| number.name.starts_with(name));
        found.unwrap().value.value().unwrap().value
    }

    /// By hand: 20,000 × (1,800 + 1) = 36,020,000 events; with a fifth of room 43.2 M, rounded up
    /// to 50 M; 600 bytes each are 30 GB.
    #[test]
    fn half_an_hour_at_twenty_thousand() {
        let answer = asked(20_000, 1_800, Some(64 << 30));
        assert!(
            !answer.survives_now && answer.survives_changed,
            "{answer:?}"
        );
        assert_eq!(number(&answer, "capacity"), 50_000_000);
        assert_eq!(number(&answer, "events that"), 36_020_000);
        assert_eq!(number(&answer, "disk"), 30_000_000_000);
        assert_eq!(number(&answer, "agents"), 2);
        assert_eq!(
            answer.properties,
            "a1.channels.c1.capacity = 50000000\na1.channels.c1.transactionCapacity = 5000\n\
             a1.sinks.k1.hdfs.batchSize = 5000\n"
        );
    }

    #[test]
    fn a_budget_that_is_too_small_says_how_long_it_lasts() {
        let answer = asked(20_000, 1_800, Some(6_000_000_000));
        assert!(!answer.survives_changed);
        assert_eq!(number(&answer, "capacity"), 10_000_000);
        assert!(answer.says[1].contains("8 min 19 s"), "{:?}", answer.says);
        assert!(answer.properties.starts_with("# not enough"));
    }

    #[test]
    fn more_than_one_agent_carries_is_shared() {
        let answer = asked(100_000, 60, None);
        assert_eq!(number(&answer, "agents"), 4);
        assert_eq!(number(&answer, "rate of each"), 33_333);
        assert!(asked(10_000, 30, None).survives_now);
        assert_eq!(
            [round_up(1.0), round_up(5.1), round_up(43.2e6)],
            [1, 10, 50_000_000]
        );
    }
}
