//! `outage`: the store, or one of its nodes, is not there for a while.
//!
//! Models:    a crashed server (`kill`), a frozen one (`pause`), one that is up while nobody can
//!            connect to it (`refuse`).
//! Preserves: what the store keeps for good. With `kill`, what it had only in memory is gone.
//! Heals by:  starting it again, SIGCONT, or removing the rule from all links that lead to it.
//! Needs:     `kill` and `pause`: a store whose processes are the run's. `refuse`: links.
//! Records:   as witness an attempt of somebody to use it in the window, and what became of it; for
//!            `kill` and `pause` also the wait status and new pid, or state T.

use serde::Deserialize;

use super::kill::Deaths;
use super::pause::Stops;
use super::{Fault, FaultError, Kind, Touches, Window, Witness, World, configured, evidence};
use crate::proxy::{Condition, Conditions, Cut, Directions, Fate, Link, RuleId};

const NAME: &str = "outage";

pub(super) static KIND: Kind = Kind {
    name: NAME,
    summary: "Take the store, or one of its nodes, away and bring it back.",
    settings: &[
        (
            "how",
            "\"kill\" (default): SIGKILL, started again; \"pause\": SIGSTOP; \"refuse\": connections are refused",
        ),
        (
            "target",
            "\"store\" or one of its nodes: \"namenode\", \"datanode1\", …; no default",
        ),
    ],
    example: "target = 'store'",
    needs: "processes of the run (kill, pause) or links of the run (refuse)",
    build: |table| {
        let config: Config = configured(table)?;
        let means = match config.how {
            How::Kill => Means::Kill(Deaths::new(NAME)),
            How::Pause => Means::Pause(Stops::new(NAME)),
            How::Refuse => Means::Refuse(Refusals::default()),
        };
        Ok(Box::new(Outage {
            target: config.target,
            means,
        }))
    },
};

/// `[[fault]]` with `kind = "outage"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    target: String,
    #[serde(default)]
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    #[default]
    Kill,
    Pause,
    Refuse,
}

#[derive(Debug)]
struct Outage {
    target: String,
    means: Means,
}

#[derive(Debug)]
enum Means {
    Kill(Deaths),
    Pause(Stops),
    Refuse(Refusals),
}

impl Fault for Outage {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn touches(&self) -> Touches {
        Touches {
            targets: vec![self.target.clone()],
            ..Touches::default()
        }
    }

    fn inject(&mut self, world: &dyn World) -> Result<(), FaultError> {
        match &mut self.means {
            Means::Kill(deaths) => deaths.inject(world, &self.target),
            Means::Pause(stops) => stops.inject(world, &self.target),
            Means::Refuse(refusals) => refusals.inject(world, &self.target),
        }
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        match &mut self.means {
            Means::Kill(deaths) => deaths.heal(world),
            Means::Pause(stops) => stops.heal(world),
            Means::Refuse(refusals) => refusals.heal(world),
        }
    }

    fn witness(&self, world: &dyn World) -> Option<Witness> {
        match &self.means {
            Means::Kill(deaths) => deaths.witness(world),
            Means::Pause(stops) => stops.witness(world),
            Means::Refuse(refusals) => refusals.witness(),
        }
    }
}

/// Links that refuse connections.
#[derive(Debug, Default)]
struct Refusals {
    rules: Vec<(Link, RuleId)>,
    window: Option<Window>,
}

impl Refusals {
    fn inject(&mut self, world: &dyn World, target: &str) -> Result<(), FaultError> {
        if self.window.is_some_and(|window| window.is_open()) {
            return Ok(());
        }
        // A store that is nobody's process may still have links under its own name.
        let mut nodes = world.roles(target);
        if nodes.is_empty() {
            nodes.push(target.to_owned());
        }
        let links: Vec<Link> = nodes.iter().flat_map(|node| world.links_to(node)).collect();
        if links.is_empty() {
            return Err(FaultError::NoLink {
                kind: NAME,
                link: format!("…->{target}"),
            });
        }
        let condition = Condition {
            cut: Cut::Refuse,
            ..Condition::default()
        };
        let conditions = Conditions::towards(Directions::Both, condition);
        self.window = Some(Window::open());
        self.rules.clear();
        for link in links {
            let rule = world.impose(&link, conditions);
            self.rules.push((link, rule));
        }
        Ok(())
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        for (link, rule) in &self.rules {
            world.lift(link, *rule);
        }
        if let Some(window) = &mut self.window {
            window.close();
        }
        Ok(())
    }

    fn witness(&self) -> Option<Witness> {
        let (links, rules): (Vec<Link>, Vec<RuleId>) = self.rules.iter().cloned().unzip();
        let wanted = |fate: &Fate| matches!(fate, Fate::Refused | Fate::Reset);
        let attempt = evidence::under_rule(&links, self.window?, &rules, wanted)?;
        Some(evidence::by_attempt("a connection refused", &attempt))
    }
}
