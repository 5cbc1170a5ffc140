//! From components to a plan: kinds, keys, dependencies, building.

mod settings;

use std::sync::Arc;

use super::layout::Layout;
use super::spelling::nearest;
use super::{ChannelPart, Component, Findings, Place, Plan, SinkPart, SourcePart};
use crate::channel::{self, ArcChannel};
use crate::context::{ConfigError, Context, Surroundings};
use crate::interceptor::{self, BoxInterceptor};
use crate::kind::{self, Kind};
use crate::processor::ChannelProcessor;
use crate::selector::{self, BoxSelector};
use crate::{sink, sink_processor, source};

/// Types that Flume has and this agent has not: worth a better answer than "unknown".
const FLUMES_SOURCES: &[&str] = &[
    "thrift",
    "spooldir",
    "jms",
    "http",
    "netcatudp",
    "syslogtcp",
    "multiport_syslogtcp",
    "syslogudp",
    "org.apache.flume.source.kafka.KafkaSource",
    "org.apache.flume.source.StressSource",
];
const FLUMES_CHANNELS: &[&str] = &[
    "jdbc",
    "SPILLABLEMEMORY",
    "org.apache.flume.channel.kafka.KafkaChannel",
];
const FLUMES_SINKS: &[&str] = &[
    "thrift",
    "irc",
    "hive",
    "hbase",
    "asynchbase",
    "hbase2",
    "http",
    "morphline_solr",
    "org.apache.flume.sink.kafka.KafkaSink",
    "org.apache.flume.sink.kudu.KuduSink",
];
const FLUMES_INTERCEPTORS: &[&str] = &[
    "regex_filter",
    "regex_extractor",
    "remove_header",
    "search_replace",
];
const FLUMES_SELECTORS: &[&str] = &["multiplexing", "load_balancing"];
const FLUMES_PROCESSORS: &[&str] = &["failover", "load_balance"];

/// Keys that belong to the frame around a component, whatever its kind.
const OF_SOURCES: &[&str] = &[
    "type",
    "channels",
    "interceptors",
    "interceptors.*",
    "selector.*",
];
const OF_SINKS: &[&str] = &["type", "channel"];
const OF_OTHERS: &[&str] = &["type"];

struct Assembler<'a> {
    agent: &'a str,
    /// The channels that are configured, valid or not.
    configured: Vec<&'a str>,
    surroundings: &'a Surroundings,
    findings: &'a mut Findings,
}

/// Builds all that is valid; `None` if that is not enough to run.
pub(super) fn assemble(
    layout: &Layout,
    agent: &str,
    surroundings: &Surroundings,
    findings: &mut Findings,
) -> Option<Plan> {
    let mut members = |section| layout.members(section, agent, findings);
    let (channels, sources, sinks, groups, filters) = (
        members("channels"),
        members("sources"),
        members("sinks"),
        members("sinkgroups"),
        members("configfilters"),
    );
    let mut assembler = Assembler {
        agent,
        configured: channels
            .iter()
            .map(|channel| channel.name.as_str())
            .collect(),
        surroundings,
        findings,
    };
    for filter in filters {
        let message = "config filters are not offered; ignored. Use ${env:NAME}";
        assembler
            .findings
            .problem(filter.place, &filter.prefix, message, None);
    }
    if layout.is_without_lists() {
        let count = channels.len() + sources.len() + sinks.len();
        let message = format!(
            "none of the lists sources, channels, sinks is there; the {count} components configured are taken"
        );
        assembler.findings.notice(layout.place, agent, message);
    }
    let mut channels = assembler.channels(layout, &channels);
    let ends = sources.len() + sinks.len();
    let sources: Vec<_> = sources
        .iter()
        .filter_map(|source| assembler.source(source, &channels))
        .collect();
    let sinks: Vec<_> = sinks
        .iter()
        .filter_map(|sink| assembler.sink(sink, &channels))
        .collect();
    for group in groups {
        assembler.group(group, &sinks);
    }
    if channels.is_empty() {
        return None;
    }
    if sources.is_empty() && sinks.is_empty() {
        let message = "no valid source and no valid sink; nothing can be started";
        assembler
            .findings
            .consequence(layout.place, agent, message, ends == 0);
        return None;
    }
    let all_valid = sources.len() + sinks.len() == ends;
    channels.retain(|channel| assembler.is_used(channel, &sources, &sinks, all_valid));
    let channels = channels.into_iter().map(|(part, _)| part).collect();
    Some(Plan {
        agent: agent.to_owned(),
        channels,
        sources,
        sinks,
    })
}

type Channels<'c> = [(ChannelPart, &'c Component)];

impl Assembler<'_> {
    /// The valid channels. Without one nothing else of the agent can be valid.
    fn channels<'c>(
        &mut self,
        layout: &Layout,
        components: &[&'c Component],
    ) -> Vec<(ChannelPart, &'c Component)> {
        let valid: Vec<_> = components
            .iter()
            .filter_map(|channel| self.channel(channel))
            .collect();
        if valid.is_empty() {
            let message = "no valid channel; nothing can be started";
            let root = self.configured.is_empty();
            self.findings
                .consequence(layout.place, self.agent, message, root);
        }
        valid
    }

    /// Whether a source or a sink uses the channel; one that none uses is left out. That may follow from
    /// another problem unless all sources and sinks are valid.
    fn is_used(
        &mut self,
        (part, component): &(ChannelPart, &Component),
        sources: &[SourcePart],
        sinks: &[SinkPart],
        all_valid: bool,
    ) -> bool {
        let same = |channel: &ArcChannel| Arc::ptr_eq(channel, &part.channel);
        let used = sources
            .iter()
            .any(|source| source.processor.channels().iter().any(same))
            || sinks.iter().any(|sink| same(&sink.channel));
        if !used {
            let message = "no source and no sink uses it; left out";
            self.findings
                .consequence(component.place, &component.prefix, message, all_valid);
        }
        used
    }

    fn channel<'c>(&mut self, component: &'c Component) -> Option<(ChannelPart, &'c Component)> {
        let kind = self.kind(component, "channel", channel::KINDS, FLUMES_CHANNELS, None)?;
        let ctx = self.settings(
            component,
            &format!("channel type {}", kind.name),
            kind.keys,
            OF_OTHERS,
        )?;
        let channel = self.build(component, kind, &ctx)?;
        Some((
            ChannelPart {
                name: component.name.clone(),
                kind: kind.name,
                channel,
            },
            component,
        ))
    }

    fn source(&mut self, component: &Component, channels: &Channels<'_>) -> Option<SourcePart> {
        let kind = self.kind(component, "source", source::KINDS, FLUMES_SOURCES, None);
        let ctx = kind.and_then(|kind| {
            self.settings(
                component,
                &format!("source type {}", kind.name),
                kind.keys,
                OF_SOURCES,
            )
        });
        let names = self.source_channels(component, channels);
        let interceptors = self.interceptors(component);
        let selector = self.selector(component, &names);
        let (kind, ctx) = (kind?, ctx?);
        let chosen: Vec<ArcChannel> = names
            .iter()
            .filter_map(|name| find(channels, name))
            .collect();
        self.check_batch(component, kind.batch_key, kind.keys, &ctx, &chosen)?;
        let source = self.build(component, kind, &ctx)?;
        if chosen.is_empty() {
            return None;
        }
        let counters = Arc::default();
        let processor = ChannelProcessor::new(
            &component.name,
            interceptors?,
            selector?,
            chosen,
            Arc::clone(&counters),
        );
        Some(SourcePart {
            name: component.name.clone(),
            kind: kind.name,
            source,
            processor,
            counters,
        })
    }

    /// The valid ones of the source's channels.
    fn source_channels<'c>(
        &mut self,
        component: &'c Component,
        channels: &Channels<'_>,
    ) -> Vec<&'c str> {
        let Some(placed) = component.get("channels") else {
            let message = "the source has no channels; it is left out";
            let suggestion = component.get("channel").map(|_| component.full("channels"));
            self.findings.problem(
                component.place,
                &component.full("channels"),
                message,
                suggestion.as_deref(),
            );
            return Vec::new();
        };
        let mut valid: Vec<&str> = Vec::new();
        for name in placed.value.split_whitespace() {
            if find(channels, name).is_none() {
                let message = format!(
                    "{name} is not a valid channel of this agent; the source goes without it"
                );
                self.no_channel(placed.place, &component.full("channels"), message, name);
            } else if !valid.contains(&name) {
                valid.push(name);
            }
        }
        if valid.is_empty() {
            let message = "none of the source's channels is valid; it is left out";
            let root = placed.value.is_empty();
            self.findings
                .consequence(placed.place, &component.full("channels"), message, root);
        }
        valid
    }

    fn interceptors(&mut self, component: &Component) -> Option<Vec<BoxInterceptor>> {
        let listed: Vec<&str> = component
            .get("interceptors")
            .map(|placed| placed.value.split_whitespace().collect())
            .unwrap_or_default();
        let all = component.below("interceptors", "interceptors");
        for (key, placed) in &all.settings {
            let name = key.split('.').next().unwrap_or(key);
            if !listed.contains(&name) {
                let message = format!(
                    "interceptor {name} is not in the list {}; ignored",
                    component.full("interceptors")
                );
                self.findings.problem(
                    placed.place,
                    &all.full(key),
                    message,
                    nearest(name, listed.iter().copied()),
                );
            }
        }
        let mut valid = Vec::new();
        let mut complete = true;
        for name in &listed {
            let component = all.below(name, name);
            let built = self.interceptor(&component);
            complete &= built.is_some();
            valid.extend(built);
        }
        if !complete {
            let place = component.place_of("interceptors");
            let message = "an interceptor is not valid; the source is left out, because its events would be others";
            self.findings
                .problem(place, &component.full("interceptors"), message, None);
            return None;
        }
        Some(valid)
    }

    fn interceptor(&mut self, component: &Component) -> Option<BoxInterceptor> {
        let kind = self.kind(
            component,
            "interceptor",
            interceptor::KINDS,
            FLUMES_INTERCEPTORS,
            None,
        )?;
        let ctx = self.settings(
            component,
            &format!("interceptor type {}", kind.name),
            kind.keys,
            OF_OTHERS,
        )?;
        self.build(component, kind, &ctx)
    }

    fn selector(&mut self, component: &Component, channels: &[&str]) -> Option<BoxSelector> {
        let component = component.below("selector", "selector");
        let kind = self.kind(
            &component,
            "selector",
            selector::KINDS,
            FLUMES_SELECTORS,
            Some("replicating"),
        )?;
        let ctx = self.settings(
            &component,
            &format!("selector type {}", kind.name),
            kind.keys,
            OF_OTHERS,
        )?;
        let builder = self.build(&component, kind, &ctx)?;
        if channels.is_empty() {
            return None;
        }
        builder(channels)
            .map_err(|error| self.not_built(&component, &error))
            .ok()
    }

    fn sink(&mut self, component: &Component, channels: &Channels<'_>) -> Option<SinkPart> {
        let kind = self.kind(component, "sink", sink::KINDS, FLUMES_SINKS, None);
        let ctx = kind.and_then(|kind| {
            self.settings(
                component,
                &format!("sink type {}", kind.name),
                kind.keys,
                OF_SINKS,
            )
        });
        let channel = self.sink_channel(component, channels);
        let (kind, ctx) = (kind?, ctx?);
        let chosen: Vec<ArcChannel> = channel.iter().cloned().collect();
        self.check_batch(component, kind.batch_key, kind.keys, &ctx, &chosen)?;
        let sink = self.build(component, kind, &ctx)?;
        let name = component.name.clone();
        Some(SinkPart {
            name,
            kind: kind.name,
            sink,
            channel: channel?,
            counters: Arc::default(),
        })
    }

    fn sink_channel(
        &mut self,
        component: &Component,
        channels: &Channels<'_>,
    ) -> Option<ArcChannel> {
        let key = component.full("channel");
        let Some(placed) = component.get("channel") else {
            let message = "the sink has no channel; it is left out";
            self.findings.problem(component.place, &key, message, None);
            return None;
        };
        let found = find(channels, &placed.value);
        if found.is_none() {
            let message = format!(
                "{} is not a valid channel of this agent; the sink is left out",
                placed.value
            );
            self.no_channel(placed.place, &key, message, &placed.value);
        }
        found
    }

    /// A channel that is configured and not valid has had its own message.
    fn no_channel(&mut self, place: Place, key: &str, message: String, name: &str) {
        if self.configured.contains(&name) {
            self.findings.consequence(place, key, message, false);
        } else {
            let near = nearest(name, self.configured.iter().copied());
            self.findings.problem(place, key, message, near);
        }
    }

    /// A group changes nothing yet: only the default processor is offered, which has one sink.
    fn group(&mut self, group: &Component, sinks: &[SinkPart]) {
        let names = || sinks.iter().map(|sink| sink.name.as_str());
        let Some(listed) = group.get("sinks") else {
            let message = "the group has no sinks; it is left out";
            self.findings
                .problem(group.place, &group.full("sinks"), message, None);
            return;
        };
        let count = listed.value.split_whitespace().count();
        for name in listed.value.split_whitespace() {
            if !names().any(|other| other == name) {
                let message =
                    format!("{name} is not a valid sink of this agent; the group goes without it");
                self.findings.problem(
                    listed.place,
                    &group.full("sinks"),
                    message,
                    nearest(name, names()),
                );
            }
        }
        let processor = group.below("processor", "processor");
        let kind = self.kind(
            &processor,
            "sink processor",
            sink_processor::KINDS,
            FLUMES_PROCESSORS,
            Some("default"),
        );
        if let Some(kind) = kind {
            self.settings(
                &processor,
                &format!("sink processor {}", kind.name),
                kind.keys,
                OF_OTHERS,
            );
        }
        if kind.is_none() || count != 1 {
            let message = format!(
                "the group is left out; its {count} sinks run each on its own and share their channel"
            );
            self.findings
                .problem(group.place, &group.prefix, message, None);
        }
    }

    /// The component's kind by its `type`.
    fn kind<B>(
        &mut self,
        component: &Component,
        what: &str,
        table: &'static [&'static Kind<B>],
        flumes: &[&str],
        default: Option<&str>,
    ) -> Option<&'static Kind<B>> {
        let names: Vec<&str> = table.iter().map(|kind| kind.name).collect();
        let key = component.full("type");
        let text = match (component.get("type"), default) {
            (Some(placed), _) => placed.value.as_str(),
            (None, Some(default)) => default,
            (None, None) => {
                let message = format!(
                    "the {what} has no type; it is left out (types are {})",
                    names.join(", ")
                );
                self.findings.problem(component.place, &key, message, None);
                return None;
            }
        };
        let found = kind::named(table, text);
        if found.is_none() {
            let known = flumes
                .iter()
                .any(|flumes| flumes.eq_ignore_ascii_case(text));
            let message = match known {
                true => format!(
                    "{what} type {text} of Flume is not offered here; left out (types are {})",
                    names.join(", ")
                ),
                false => format!(
                    "there is no {what} type {text}; left out (types are {})",
                    names.join(", ")
                ),
            };
            let suggestion = nearest(text, names.iter().copied()).filter(|_| !known);
            self.findings
                .problem(component.place_of("type"), &key, message, suggestion);
        }
        found
    }

    fn build<B>(&mut self, component: &Component, kind: &Kind<B>, ctx: &Context) -> Option<B> {
        (kind.build)(ctx)
            .map_err(|error| self.not_built(component, &error))
            .ok()
    }

    fn not_built(&mut self, component: &Component, error: &ConfigError) {
        let message = format!("{}; {} is left out", error.message, component.prefix);
        self.findings.problem(
            component.place_of(&error.key),
            &component.full(&error.key),
            message,
            None,
        );
    }
}

fn find(channels: &Channels<'_>, name: &str) -> Option<ArcChannel> {
    channels
        .iter()
        .find(|(part, _)| part.name == name)
        .map(|(part, _)| Arc::clone(&part.channel))
}
