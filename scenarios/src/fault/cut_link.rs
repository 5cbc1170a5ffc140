//! `cut_link`: nothing passes over a link any more, or every connection over it is reset.
//!
//! Models:    a network partition (`drop`), a firewall or balancer that throws connections out
//!            (`reset`).
//! Preserves: with `drop`, every byte: what was sent is held back and delivered after healing, as
//!            TCP would by sending it again. A connection opened meanwhile hangs; if its client
//!            gives up, nothing of it is delivered.
//! Heals by:  removing the rule from the link's proxies.
//! Needs:     a link that a proxy of the run stands on.
//! Records:   as witness the first attempt in the window that was held back, left hanging, reset or
//!            refused because of this very cut, as the data path noted it.

use serde::Deserialize;

use super::{
    Fault, FaultError, Kind, Touches, Window, Witness, World, configured, evidence, find_link,
};
use crate::proxy::{Condition, Conditions, Cut, Directions, Fate, Link, RuleId};

const NAME: &str = "cut_link";

pub(super) static KIND: Kind = Kind {
    name: NAME,
    summary: "Cut a link: its bytes are held back, or its connections reset.",
    settings: &[
        (
            "direction",
            "which way: \"both\" (default), \"up\" (to the server) or \"down\"",
        ),
        (
            "how",
            "\"drop\" (default): a black hole; \"reset\": RST on every connection",
        ),
        ("link", "the link, \"from->to\"; no default"),
    ],
    example: "link = 'agent->namenode'",
    needs: "a link of the run",
    build: |table| {
        Ok(Box::new(CutLink {
            config: configured(table)?,
            cut: None,
            window: None,
        }))
    },
};

/// `[[fault]]` with `kind = "cut_link"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    link: String,
    #[serde(default)]
    how: How,
    #[serde(default)]
    direction: Directions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    #[default]
    Drop,
    Reset,
}

#[derive(Debug)]
struct CutLink {
    config: Config,
    /// The latest cut, kept after healing because the evidence names it.
    cut: Option<(Link, RuleId)>,
    window: Option<Window>,
}

impl Fault for CutLink {
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
        let cut = match self.config.how {
            How::Drop => Cut::Drop,
            How::Reset => Cut::Reset,
        };
        let condition = Condition {
            cut,
            ..Condition::default()
        };
        self.window = Some(Window::open());
        let rule = world.impose(&link, Conditions::towards(self.config.direction, condition));
        self.cut = Some((link, rule));
        Ok(())
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        if let (Some((link, rule)), Some(window)) = (&self.cut, &mut self.window) {
            world.lift(link, *rule);
            window.close();
        }
        Ok(())
    }

    fn witness(&self, _world: &dyn World) -> Option<Witness> {
        let (link, rule) = self.cut.as_ref()?;
        let wanted = |fate: &Fate| match self.config.how {
            How::Drop => matches!(fate, Fate::Held { .. } | Fate::Hung { .. }),
            How::Reset => matches!(fate, Fate::Reset | Fate::Refused | Fate::Hung { .. }),
        };
        let links = std::slice::from_ref(link);
        let attempt = evidence::under_rule(links, self.window?, &[*rule], wanted)?;
        let what = match self.config.how {
            How::Drop => "an attempt held back",
            How::Reset => "an attempt reset",
        };
        Some(evidence::by_attempt(what, &attempt))
    }
}
