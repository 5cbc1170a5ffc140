//! What a link does to the bytes: conditions, rules, and what they amount to for one connection.
//!
//! A fault adds a rule and later removes it; it never edits what another fault has added. What
//! holds for a connection is computed from all rules that match it: the hardest cut, the sum of
//! the latencies and jitters, the smallest bandwidth. All rules of all proxies are one value that
//! is replaced as a whole, so a link of several ports changes in one step.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::evidence::Conn;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client, which opened the connection, to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Direction {
    /// `up` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The directions a condition holds for, as a scenario writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directions {
    /// Both ways.
    #[default]
    Both,
    /// Towards the server only.
    Up,
    /// Towards the client only.
    Down,
}

/// How traffic is stopped. Of several the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Cut {
    /// It is not.
    #[default]
    None,
    /// A black hole. What arrives is held back, up to [`super::HELD_BYTES`] a connection and
    /// direction and then by back-pressure, and delivered after healing: a partition loses
    /// packets, but TCP sends them again, so its bytes come late and not never. New connections
    /// hang.
    Drop,
    /// RST. Up: the server's end is reset and the client hangs; down: the client's end is reset
    /// and the server hangs until the cut is lifted. Both: both ends.
    Reset,
    /// Nobody listens: new connections are reset at once, those that exist are ended by RST on
    /// both sides. Holds for a connection as soon as one direction has it.
    Refuse,
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// Whether and how traffic is stopped.
    pub cut: Cut,
    /// Each piece of data arrives so much later.
    pub latency: Duration,
    /// The latency varies evenly by so much to either side, by the seed; order is kept.
    pub jitter: Duration,
    /// Bytes per second for all connections of the link together; `None`: no limit.
    pub bandwidth: Option<u64>,
}

/// What happens to both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Towards the server.
    pub up: Condition,
    /// Towards the client.
    pub down: Condition,
}

impl Conditions {
    /// The same condition for the chosen directions.
    pub fn towards(directions: Directions, condition: Condition) -> Self {
        match directions {
            Directions::Both => Self {
                up: condition,
                down: condition,
            },
            Directions::Up => Self {
                up: condition,
                ..Self::default()
            },
            Directions::Down => Self {
                down: condition,
                ..Self::default()
            },
        }
    }

    fn of(&self, direction: Direction) -> &Condition {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

/// The name of a rule that was added, by which it is removed and found in the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u64);

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: RuleId,
    /// Numbers of the proxies it holds for.
    pub(super) proxies: Vec<usize>,
    /// Only connections opened by a process of this role.
    pub(super) owner: Option<String>,
    pub(super) conditions: Conditions,
    up: Mutex<Option<Instant>>,
    down: Mutex<Option<Instant>>,
}

impl Rule {
    pub(super) fn new(
        id: RuleId,
        proxies: Vec<usize>,
        owner: Option<String>,
        conditions: Conditions,
    ) -> Self {
        Self {
            id,
            proxies,
            owner,
            conditions,
            up: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// Books a place on the link for so many bytes and answers when the last of them is through.
    /// Places are handed out in the order they are asked for, so connections share fairly.
    fn book(&self, direction: Direction, bytes: usize, now: Instant) -> Instant {
        let Some(rate) = self.conditions.of(direction).bandwidth else {
            return now;
        };
        let free = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let through = free.map_or(now, |free| free.max(now)) + transmission(bytes, rate);
        *free = Some(through);
        through
    }
}

fn transmission(bytes: usize, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
}

/// All rules there are.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleSet {
    pub(super) rules: Vec<Arc<Rule>>,
}

impl RuleSet {
    /// What holds for one direction of a connection.
    pub(super) fn effective(&self, conn: &Conn, direction: Direction) -> Effective {
        let mut effective = Effective {
            direction,
            ..Effective::idle(direction)
        };
        for rule in self.rules.iter().filter(|rule| conn.is_under(rule)) {
            let condition = rule.conditions.of(direction);
            if *condition == Condition::default() {
                continue;
            }
            effective.cut = effective.cut.max(condition.cut);
            effective.latency += condition.latency;
            effective.jitter += condition.jitter;
            if let Some(rate) = condition.bandwidth {
                effective.bandwidth = Some(effective.bandwidth.map_or(rate, |b| b.min(rate)));
            }
            effective.rules.push(Arc::clone(rule));
        }
        effective
    }

    /// What holds for the connection as a whole.
    pub(super) fn verdict(&self, conn: &Conn) -> Verdict {
        let up = self.effective(conn, Direction::Up);
        let down = self.effective(conn, Direction::Down);
        let mut rules: Vec<RuleId> = Vec::new();
        for rule in up.rules.iter().chain(&down.rules) {
            let cuts = rule.conditions.up.cut.max(rule.conditions.down.cut) > Cut::None;
            if cuts && !rules.contains(&rule.id) {
                rules.push(rule.id);
            }
        }
        let refuse = up.cut.max(down.cut) == Cut::Refuse;
        Verdict {
            refuse,
            reset_upstream: refuse || up.cut == Cut::Reset,
            reset_client: refuse || down.cut == Cut::Reset,
            hang: up.cut > Cut::None || down.cut > Cut::None,
            rules,
        }
    }
}

/// What all matching rules amount to for one direction of one connection.
#[derive(Debug, Clone)]
pub(super) struct Effective {
    direction: Direction,
    pub(super) cut: Cut,
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) bandwidth: Option<u64>,
    rules: Vec<Arc<Rule>>,
}

impl Effective {
    pub(super) fn idle(direction: Direction) -> Self {
        Self {
            direction,
            cut: Cut::None,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            rules: Vec::new(),
        }
    }

    pub(super) fn slows(&self) -> bool {
        self.bandwidth.is_some() || !self.latency.is_zero() || !self.jitter.is_zero()
    }

    /// Books a place with every rule that limits the bandwidth; the latest counts.
    pub(super) fn book(&self, bytes: usize, now: Instant) -> Instant {
        let places = self
            .rules
            .iter()
            .map(|rule| rule.book(self.direction, bytes, now));
        places.max().unwrap_or(now)
    }

    /// Bytes sent at a time under a limit: 20 ms worth, so that a slow link trickles and does not
    /// move in jerks.
    pub(super) fn quantum(&self) -> usize {
        let rate = self.bandwidth.unwrap_or(u64::MAX);
        usize::try_from(rate / 50)
            .unwrap_or(usize::MAX)
            .clamp(256, 64 * 1024)
    }

    /// The rules that stop traffic in this direction.
    pub(super) fn cutting(&self) -> Vec<RuleId> {
        let direction = self.direction;
        let cuts = self
            .rules
            .iter()
            .filter(|r| r.conditions.of(direction).cut > Cut::None);
        cuts.map(|rule| rule.id).collect()
    }

    /// The rules that slow traffic in this direction.
    pub(super) fn slowing(&self) -> Vec<RuleId> {
        let slows = |condition: &Condition| Condition {
            cut: Cut::None,
            ..*condition
        };
        let direction = self.direction;
        let rules = self.rules.iter();
        rules
            .filter(|rule| slows(rule.conditions.of(direction)) != Condition::default())
            .map(|rule| rule.id)
            .collect()
    }
}

/// What all matching rules mean for a connection as a whole.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) refuse: bool,
    pub(super) reset_client: bool,
    pub(super) reset_upstream: bool,
    /// A new connection gets no answer.
    pub(super) hang: bool,
    pub(super) rules: Vec<RuleId>,
}
