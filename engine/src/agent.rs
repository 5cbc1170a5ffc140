//! The life of an agent: start, ready, drain, stop.
//!
//! Start: channels are opened, then the sinks' threads begin, then the sources'. A channel that
//! cannot be opened (its directory is in use, its log corrupt) keeps the whole agent from starting;
//! a source or sink that cannot be opened is tried again every 3 seconds, as in Flume.
//!
//! Stop: sources end; sinks go on until their channels are empty, or until the limit for draining
//! is reached ([`DRAIN_LIMIT`] unless told otherwise); then they are told to give up; channels are
//! closed. Flume does not drain. Sources and sinks get [`GRACE`] each to end beyond that; a thread
//! that does not is named in the log and ends with the process.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;
use tracing::{error, info, warn};

use crate::channel::ChannelError;
use crate::clock::Clock;
use crate::config::{ChannelPart, Plan};
use crate::metrics::{Group, Member, Registry};
use crate::runner::{self, Report, Stops, Surround};

/// How long sinks may drain their channels when the agent stops.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long a component may take to end once it was told to give up.
pub const GRACE: Duration = Duration::from_secs(5);

/// The agent cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A channel cannot be opened.
    #[error("cannot open a channel: {0}")]
    Channel(#[from] ChannelError),
    /// The system gives no thread.
    #[error(
        "cannot start a thread for {component}: {source}; raise the limit of processes (ulimit -u)"
    )]
    Thread {
        /// The component.
        component: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Events left in each channel that is not empty, by name.
    pub left: Vec<(String, u64)>,
    /// Components whose thread did not end in time.
    pub stuck: Vec<String>,
}

/// A running agent. Dropped without [`Agent::stop`], it leaves its threads to the process.
#[derive(Debug)]
pub struct Agent {
    name: String,
    channels: Vec<(ChannelPart, Arc<Member>)>,
    stops: Stops,
    reports: Receiver<Report>,
    sources: Running,
    sinks: Running,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    /// Components that are not open yet.
    pending: BTreeSet<String>,
}

/// What a component's thread does.
type Work = Box<dyn FnOnce() + Send>;

/// The threads of the sources, or of the sinks.
#[derive(Debug, Default)]
struct Running {
    /// Each with its component.
    threads: Vec<(String, JoinHandle<()>)>,
}

impl Agent {
    /// Starts what the plan holds. Returns while sources and sinks are still opening; see
    /// [`Agent::wait_until_ready`].
    ///
    /// # Errors
    /// If a channel cannot be opened, or a thread cannot be had; everything is closed again then.
    pub fn start(plan: Plan, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let (send, reports) = mpsc::channel();
        let stops = Stops::default();
        let mut members = Vec::new();
        let mut member = |name: &str, group| {
            let member = Arc::new(Member::new(name, group));
            members.push(Arc::clone(&member));
            member
        };
        let channel = |part: ChannelPart| {
            let member = member(&part.name, Group::Channel(Arc::clone(&part.channel)));
            (part, member)
        };
        let channels: Vec<_> = plan.channels.into_iter().map(channel).collect();
        let around = |member| Surround {
            stops: stops.clone(),
            reports: send.clone(),
            member,
            clock: Arc::clone(&clock),
        };
        let mut work: Vec<(bool, String, Work)> = Vec::new();
        for part in plan.sinks {
            let member = member(&part.name, Group::Sink(Arc::clone(&part.counters)));
            let (name, around) = (format!("sink {}", part.name), around(member));
            work.push((
                false,
                name,
                Box::new(move || runner::run_sink(part, &around)),
            ));
        }
        for part in plan.sources {
            let member = member(&part.name, Group::Source(Arc::clone(&part.counters)));
            let (name, around) = (format!("source {}", part.name), around(member));
            work.push((
                true,
                name,
                Box::new(move || runner::run_source(part, &around)),
            ));
        }
        open_channels(&channels, clock.as_ref())?;
        let registry = Arc::new(Registry::new(members));
        let pending = work.iter().map(|(_, name, _)| name.clone()).collect();
        let (sources, sinks) = (Running::default(), Running::default());
        let name = plan.agent;
        let mut agent = Self {
            name,
            channels,
            stops,
            reports,
            sources,
            sinks,
            registry,
            clock,
            pending,
        };
        for (is_source, name, work) in work {
            let running = if is_source {
                &mut agent.sources
            } else {
                &mut agent.sinks
            };
            if let Err(error) = running.spawn(name, work, send.clone()) {
                agent.stop(Duration::ZERO);
                return Err(error);
            }
        }
        Ok(agent)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its counters.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Whether every source and sink is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pending.is_empty()
    }

    /// Waits up to `limit` for the next thing a component has to report; `None` if there is
    /// nothing. A caller that wants a ready agent calls this until [`Agent::is_ready`].
    pub fn next_report(&mut self, limit: Duration) -> Option<Report> {
        let report = self.reports.recv_timeout(limit).ok()?;
        if let Report::Opened(component) = &report {
            self.pending.remove(component);
        }
        Some(report)
    }

    /// Waits until all components are open; false if `limit` comes first.
    pub fn wait_until_ready(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.is_ready() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.next_report(left);
        }
        true
    }

    /// Stops the agent: sources end, sinks drain for at most `drain`, channels are closed.
    pub fn stop(mut self, drain: Duration) -> Ended {
        info!(
            agent = self.name,
            ?drain,
            "stopping: sources end, sinks drain"
        );
        self.stops.sources.set();
        let mut stuck = self.sources.join(&self.reports, GRACE);
        self.stops.drain.set();
        self.channels
            .iter()
            .for_each(|(part, _)| part.channel.stop_waiting());
        self.sinks.wait(&self.reports, drain);
        self.stops.sinks.set();
        stuck.extend(self.sinks.join(&self.reports, GRACE));
        let mut left = Vec::new();
        for (part, member) in &self.channels {
            let events = part.channel.fill().events;
            if events > 0 {
                left.push((part.name.clone(), events));
                warn!(
                    channel = part.name,
                    events,
                    kind = part.kind,
                    "events are left in the channel"
                );
            }
            part.channel.close();
            member.note_stop(self.clock.unix_millis());
        }
        for component in &stuck {
            warn!(
                component,
                "did not end within {GRACE:?}; it ends with the process"
            );
        }
        info!(agent = self.name, "stopped");
        Ended { left, stuck }
    }
}

/// Does the work of a component's thread. A defect of one component ends that one alone; its open
/// transactions are rolled back on the way out.
fn watched(component: String, reports: &Sender<Report>, work: Work) {
    if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        error!(
            component,
            "has a defect (see the panic above) and runs no more; start the agent again"
        );
        // Nobody listens any more once the agent has given up waiting.
        let _ = reports.send(Report::Ended(component));
    }
}

/// Opens all channels, or none.
fn open_channels(
    channels: &[(ChannelPart, Arc<Member>)],
    clock: &dyn Clock,
) -> Result<(), ChannelError> {
    for (position, (part, member)) in channels.iter().enumerate() {
        if let Err(error) = part.channel.open() {
            channels[..position]
                .iter()
                .for_each(|(part, _)| part.channel.close());
            return Err(error);
        }
        member.note_start(clock.unix_millis());
    }
    Ok(())
}

impl Running {
    /// Gives a component its thread.
    fn spawn(
        &mut self,
        component: String,
        work: Work,
        reports: Sender<Report>,
    ) -> Result<(), StartError> {
        let name = component.clone();
        match thread::Builder::new()
            .name(component.replace(' ', "-"))
            .spawn(move || watched(name, &reports, work))
        {
            Ok(thread) => {
                self.threads.push((component, thread));
                Ok(())
            }
            Err(source) => Err(StartError::Thread { component, source }),
        }
    }

    /// Waits until all threads have ended, or for `limit`.
    fn wait(&self, reports: &Receiver<Report>, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.threads.iter().all(|(_, thread)| thread.is_finished()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // In steps, because a thread reports its end a moment before it is gone.
            match reports.recv_timeout(left.min(Duration::from_millis(20))) {
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::yield_now(),
            }
        }
    }

    /// Joins the threads that end within `limit`; answers the components whose thread does not.
    fn join(&mut self, reports: &Receiver<Report>, limit: Duration) -> Vec<String> {
        self.wait(reports, limit);
        let mut stuck = Vec::new();
        for (component, thread) in self.threads.drain(..) {
            if thread.is_finished() {
                // Panics were caught and reported inside.
                let _ = thread.join();
            } else {
                stuck.push(component);
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests;
