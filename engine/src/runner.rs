//! The threads that run sources and sinks, and how they wait after a failure.
//!
//! Waits are Flume's: 3 seconds between two tries to open a component; 5 seconds after a source
//! failed; the sink processor's pause after a back-off or an error. Every wait ends at once when the
//! agent stops.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::channel::Channel;
use crate::clock::Clock;
use crate::config::{SinkPart, SourcePart};
use crate::metrics::Member;
use crate::sink::{BoxError, Feed, Status};
use crate::sink_processor;
use crate::stop::Stop;

/// Wait between two tries to open a component.
const OPEN_AGAIN: Duration = Duration::from_secs(3);
/// Wait after a source has failed.
const RUN_AGAIN: Duration = Duration::from_secs(5);
/// Longest wait of a sink while the agent drains: what is left of a longer one would be a good part
/// of the limit.
const DRAINING_PAUSE: Duration = Duration::from_millis(200);

/// What a component's thread tells the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The component is open.
    Opened(String),
    /// It could not be opened; it will be tried again.
    NotOpened {
        /// The component, as in `sink k1`.
        component: String,
        /// What its error says.
        error: String,
    },
    /// Its thread ends.
    Ended(String),
}

/// When the agent wants what of its components.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stops {
    /// Sources end.
    pub(crate) sources: Stop,
    /// Sinks end as soon as their channel is empty.
    pub(crate) drain: Stop,
    /// Sinks end.
    pub(crate) sinks: Stop,
}

/// What every component's thread is given.
#[derive(Debug, Clone)]
pub(crate) struct Surround {
    pub(crate) stops: Stops,
    pub(crate) reports: Sender<Report>,
    pub(crate) member: Arc<Member>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Surround {
    /// Nobody listens any more once the agent has given up waiting: that is no error here.
    fn tell(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// Opens a component, however often it takes; false if `stop` came between two tries. The first is
    /// always made: a thread may get its first turn only after the agent was told to stop.
    fn open(
        &self,
        component: &str,
        stop: &Stop,
        mut open: impl FnMut() -> Result<(), BoxError>,
    ) -> bool {
        loop {
            match open() {
                Ok(()) => {
                    self.member.note_start(self.clock.unix_millis());
                    self.tell(Report::Opened(component.to_owned()));
                    return true;
                }
                Err(error) => {
                    let error = Chain(error.as_ref()).to_string();
                    error!(
                        component,
                        error, "cannot be opened; trying again in {OPEN_AGAIN:?}"
                    );
                    self.tell(Report::NotOpened {
                        component: component.to_owned(),
                        error,
                    });
                    if stop.wait(OPEN_AGAIN) {
                        return false;
                    }
                }
            }
        }
    }

    fn ended(&self, component: String) {
        self.member.note_stop(self.clock.unix_millis());
        self.tell(Report::Ended(component));
    }
}

/// Runs a source until it is to stop.
pub(crate) fn run_source(part: SourcePart, around: &Surround) {
    let SourcePart {
        name,
        mut source,
        processor,
        ..
    } = part;
    let component = format!("source {name}");
    let stop = &around.stops.sources;
    while !stop.is_set() && around.open(&component, stop, || source.open()) {
        if let Some(address) = source.local_address() {
            info!(component, %address, "listens");
        }
        match source.run(&processor, stop) {
            Ok(()) => {
                // Nothing more to come: it stays as it is, like Flume's, until the agent stops.
                while !stop.wait(Duration::from_secs(3600)) {}
            }
            Err(error) => {
                let error = Chain(error.as_ref()).to_string();
                error!(
                    component,
                    error, "failed; starting it again in {RUN_AGAIN:?}"
                );
                stop.wait(RUN_AGAIN);
            }
        }
    }
    drop(source);
    around.ended(component);
}

/// Runs a sink until it is to stop, or, while the agent drains, until its channel is empty.
pub(crate) fn run_sink(part: SinkPart, around: &Surround) {
    let SinkPart {
        name,
        sink,
        channel,
        counters,
        ..
    } = part;
    let component = format!("sink {name}");
    let mut processor = sink_processor::default::around(sink);
    let stops = &around.stops;
    let feed = Feed {
        channel: channel.as_ref(),
        counters: &counters,
        stop: &stops.sinks,
    };
    // A sink that cannot be opened cannot drain: it gives up when the drain begins.
    if around.open(&component, &stops.drain, || processor.open()) {
        while !stops.sinks.is_set() && !is_drained(stops, channel.as_ref()) {
            let answer = processor.process(&feed);
            let status = match answer {
                Ok(status) => Some(status),
                Err(error) => {
                    let error = Chain(error.as_ref()).to_string();
                    error!(
                        component,
                        error, "a batch was not delivered and stays in the channel"
                    );
                    None
                }
            };
            let pause = processor.pause(status);
            // The take of a sink with an empty channel has waited already.
            if status != Some(Status::Backoff) || channel.fill().events > 0 {
                rest(stops, pause);
            }
        }
        if let Err(error) = processor.close() {
            warn!(component, error = %Chain(error.as_ref()), "did not close well");
        }
    }
    drop(processor);
    around.ended(component);
}

fn is_drained(stops: &Stops, channel: &dyn Channel) -> bool {
    stops.drain.is_set() && channel.fill().events == 0
}

/// Waits; less while draining, and not beyond the stop.
fn rest(stops: &Stops, pause: Duration) {
    if pause.is_zero() {
        return;
    }
    if !stops.drain.is_set() {
        stops.drain.wait(pause);
    } else {
        stops.sinks.wait(pause.min(DRAINING_PAUSE));
    }
}

/// An error with all its causes on one line; a cause that its error already quotes is left out.
pub(crate) struct Chain<'e>(pub(crate) &'e (dyn std::error::Error + 'e));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}
