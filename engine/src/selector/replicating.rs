//! `replicating`, the default selector: every channel of the source gets every event.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `selector.optional` | none | channels whose refusal is logged and otherwise forgotten |
//!
//! All channels share one buffer, so replication copies nothing. An optional name that is no channel
//! of the source is a configuration error (Flume's selector crashes on it later).

use super::{BoxSelector, Route, Selector, SelectorBuilder};
use crate::context::{ConfigError, Context};
use crate::event::Batch;
use crate::kind::{Form, Key, Kind};

/// The kind `replicating`.
pub static KIND: Kind<SelectorBuilder> = Kind {
    name: "replicating",
    classes: &["org.apache.flume.channel.ReplicatingChannelSelector"],
    summary: "Every channel of the source gets every event.",
    keys: &[Key::optional(
        "optional",
        Form::List,
        "Channels that may refuse without the source noticing.",
    )],
    batch_key: None,
    example: "type = replicating\noptional = c2",
    build,
};

fn build(ctx: &Context) -> Result<SelectorBuilder, ConfigError> {
    let ctx = ctx.clone();
    Ok(Box::new(move |channels: &[&str]| {
        let optional = ctx.list("optional");
        if let Some(stranger) = optional.iter().find(|name| !channels.contains(name)) {
            let message = format!(
                "optional channel {stranger} is none of the source's channels ({}); add it there, or take it out here",
                channels.join(", ")
            );
            return Err(ctx.error("optional", message));
        }
        let required = channels
            .iter()
            .map(|name| !optional.contains(name))
            .collect();
        Ok(Box::new(Replicating { required }) as BoxSelector)
    }))
}

/// A selector for `channels` channels, all of them required.
#[must_use]
pub fn all_required(channels: usize) -> BoxSelector {
    Box::new(Replicating {
        required: vec![true; channels],
    })
}

#[derive(Debug)]
struct Replicating {
    /// For each channel of the source, whether it is required.
    required: Vec<bool>,
}

impl Selector for Replicating {
    fn select(&self, batch: &Batch) -> Vec<Route> {
        let route = |(channel, required): (usize, &bool)| Route {
            channel,
            events: batch.all(),
            required: *required,
        };
        self.required.iter().enumerate().map(route).collect()
    }
}
