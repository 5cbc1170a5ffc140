//! `slow_link`: bytes over a link come later, or only so many a second.
//!
//! Models:    a long way (`latency`), a busy one (`jitter`), a narrow one (`bandwidth`).
//! Preserves: every byte and their order.
//! Heals by:  removing the rule from the link's proxies; what is on its way then arrives at once.
//! Needs:     a link that a proxy of the run stands on.
//! Records:   as witness the first bytes that the data path passed on late because of this rule,
//!            with the longest that any of them waited.
//!
//! Latency and jitter hold for each direction that is chosen, so a question and its answer wait
//! twice with `direction = "both"`. The bandwidth is one for each direction, shared by all
//! connections of the link.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{
    Fault, FaultError, Kind, Touches, Window, Witness, World, configured, evidence, find_link,
};
use crate::proxy::{Condition, Conditions, Directions, Fate, Link, RuleId};
use crate::text;

const NAME: &str = "slow_link";

pub(super) static KIND: Kind = Kind {
    name: NAME,
    summary: "Make a link slow: latency, jitter, bandwidth.",
    settings: &[
        (
            "bandwidth",
            "bytes per second, such as \"1 MB/s\"; default: no limit",
        ),
        (
            "direction",
            "which way: \"both\" (default), \"up\" (to the server) or \"down\"",
        ),
        (
            "jitter",
            "the latency varies evenly by so much to either side; default 0",
        ),
        (
            "latency",
            "how much later bytes arrive, such as \"80ms\"; default 0",
        ),
        ("link", "the link, \"from->to\"; no default"),
    ],
    example: "link = 'agent->namenode'\nlatency = '80ms'",
    needs: "a link of the run",
    build: |table| {
        let config: Config = configured(table)?;
        config.check()?;
        Ok(Box::new(SlowLink {
            config,
            rule: None,
            window: None,
        }))
    },
};

/// `[[fault]]` with `kind = "slow_link"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    link: String,
    #[serde(default)]
    direction: Directions,
    #[serde(default, deserialize_with = "text::duration")]
    latency: Duration,
    #[serde(default, deserialize_with = "text::duration")]
    jitter: Duration,
    #[serde(default, deserialize_with = "bandwidth")]
    bandwidth: Option<u64>,
}

impl Config {
    fn check(&self) -> Result<(), FaultError> {
        let wrong = |message: &str| {
            Err(FaultError::Config {
                message: message.to_owned(),
            })
        };
        if self.latency.is_zero() && self.jitter.is_zero() && self.bandwidth.is_none() {
            return wrong("at least one of `latency`, `jitter` and `bandwidth` must be given");
        }
        if self.jitter > self.latency {
            return wrong(
                "`jitter` must not be more than latency: nothing arrives before it is sent",
            );
        }
        Ok(())
    }
}

/// Reads `"1 MB/s"` into bytes per second.
fn bandwidth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let written = String::deserialize(deserializer)?;
    let size = written
        .trim()
        .strip_suffix("/s")
        .and_then(|size| text::parse_size(size).ok());
    size.filter(|bytes| *bytes > 0).map(Some).ok_or_else(|| {
        let message = "is not a bandwidth: write bytes per second above 0, such as \"1 MB/s\"";
        serde::de::Error::custom(format!("\"{written}\" {message}"))
    })
}

#[derive(Debug)]
struct SlowLink {
    config: Config,
    /// The latest rule, kept after healing because the evidence names it.
    rule: Option<(Link, RuleId)>,
    window: Option<Window>,
}

impl Fault for SlowLink {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn touches(&self) -> Touches {
        Touches {
            links: vec![self.config.link.clone()],
            ..Touches::default()
        }
    }

    fn inject(&mut self, world: &dyn World) -> Result<(), FaultError> {
        if self.window.is_some_and(|window| window.is_open()) {
            return Ok(());
        }
        let link = find_link(world, NAME, &self.config.link)?;
        let Config {
            latency,
            jitter,
            bandwidth,
            ..
        } = self.config;
        let condition = Condition {
            latency,
            jitter,
            bandwidth,
            ..Condition::default()
        };
        self.window = Some(Window::open());
        let rule = world.impose(&link, Conditions::towards(self.config.direction, condition));
        self.rule = Some((link, rule));
        Ok(())
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        if let (Some((link, rule)), Some(window)) = (&self.rule, &mut self.window) {
            world.lift(link, *rule);
            window.close();
        }
        Ok(())
    }

    fn witness(&self, _world: &dyn World) -> Option<Witness> {
        let (link, rule) = self.rule.as_ref()?;
        // What was lifted halfway waited less than it was meant to; that alone proves nothing.
        let least = self.config.latency.saturating_sub(self.config.jitter);
        let wanted = |fate: &Fate| {
            matches!(fate, Fate::Slowed { bytes: 1.., longest, .. }
                if *longest >= least && !longest.is_zero())
        };
        let links = std::slice::from_ref(link);
        let attempt = evidence::under_rule(links, self.window?, &[*rule], wanted)?;
        Some(evidence::by_attempt("bytes delayed", &attempt))
    }
}
