//! `pause`: a process stops (SIGSTOP) and later goes on (SIGCONT).
//!
//! Models:    a long garbage collection, a frozen virtual machine, a starved host.
//! Preserves: everything; the kernel goes on accepting connections and bytes for it.
//! Heals by:  SIGCONT.
//! Needs:     a process of the run. The whole group stops, as it would with its machine. A pause
//!            below 100 ms may end before the observer has looked twice, and is then void.
//! Records:   as witness state T in `/proc`, seen twice in a row by an observer of its own, and no
//!            CPU time used in between; for others than the system under test also an attempt that
//!            had no answer.

use serde::Deserialize;

use super::{
    Fault, FaultError, Kind, Reach, Touches, Window, Witness, World, configured, evidence,
    find_living,
};
use crate::process::{Process, Signal};

const NAME: &str = "pause";

pub(super) static KIND: Kind = Kind {
    name: NAME,
    summary: "Stop a process (SIGSTOP), then let it go on (SIGCONT).",
    settings: &[(
        "target",
        "the process: \"agent\", \"namenode\", \"datanode1\", … (\"store\": all its nodes); no default",
    )],
    example: "target = 'agent'",
    needs: "a process of the run",
    build: |table| {
        Ok(Box::new(Pause {
            config: configured(table)?,
            stops: Stops::new(NAME),
        }))
    },
};

/// `[[fault]]` with `kind = "pause"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    target: String,
}

#[derive(Debug)]
struct Pause {
    config: Config,
    stops: Stops,
}

impl Fault for Pause {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn touches(&self) -> Touches {
        Touches {
            targets: vec![self.config.target.clone()],
            ..Touches::default()
        }
    }

    fn inject(&mut self, world: &dyn World) -> Result<(), FaultError> {
        self.stops.inject(world, &self.config.target)
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        self.stops.heal(world)
    }

    fn witness(&self, world: &dyn World) -> Option<Witness> {
        self.stops.witness(world)
    }
}

/// Processes stopped and continued; also what `outage` with `how = "pause"` does.
#[derive(Debug)]
pub(super) struct Stops {
    kind: &'static str,
    victims: Vec<Process>,
    window: Option<Window>,
}

impl Stops {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            victims: Vec::new(),
            window: None,
        }
    }

    pub(super) fn inject(&mut self, world: &dyn World, target: &str) -> Result<(), FaultError> {
        if self.window.is_some_and(|window| window.is_open()) {
            return Ok(());
        }
        self.victims = find_living(world, self.kind, target)?;
        self.window = Some(Window::open());
        for victim in &self.victims {
            world.signal(victim, Reach::Group, Signal::SIGSTOP)?;
        }
        Ok(())
    }

    pub(super) fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        let Some(window) = self.window.as_mut().filter(|window| window.is_open()) else {
            return Ok(());
        };
        // Closed before the processes go on: what is answered from here on had to wait for it.
        let closed = Window {
            to: Some(std::time::Instant::now()),
            ..*window
        };
        let mut first: Option<FaultError> = None;
        for victim in &self.victims {
            // One that was killed meanwhile needs no healing.
            if let Err(error) = world.signal(victim, Reach::Group, Signal::SIGCONT) {
                first.get_or_insert(error.into());
            }
        }
        match first {
            Some(error) => Err(error),
            None => {
                *window = closed;
                Ok(())
            }
        }
    }

    pub(super) fn witness(&self, world: &dyn World) -> Option<Witness> {
        let window = self.window?;
        let seen = evidence::stopped(world, &self.victims, window);
        evidence::felt(world, &self.victims, seen, |links| {
            evidence::mute(links, window)
        })
    }
}
