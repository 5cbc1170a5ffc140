//! `kill`: a process is ended by SIGKILL and started again when the time is over.
//!
//! Models:    a crash, the kernel's out-of-memory killer, somebody's `kill -9`.
//! Preserves: what the kernel had accepted: files written, synced or not, survive, because the
//!            machine itself goes on. What the process held in memory is gone.
//! Heals by:  starting the process again as it was started before.
//! Needs:     a process of the run. Only the process is hit, not what it started.
//! Records:   as witness the wait status "signal 9" and a new pid; for others than the system under
//!            test also an attempt that found the process gone.

use serde::Deserialize;

use super::{
    Fault, FaultError, Kind, Reach, Touches, Window, Witness, World, configured, evidence,
    find_living,
};
use crate::process::{Process, Signal};

const NAME: &str = "kill";

/// How long a killed process may take to be gone. Longer than this takes only one that hangs in the
/// kernel.
const GONE_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) static KIND: Kind = Kind {
    name: NAME,
    summary: "SIGKILL a process, and start it again.",
    settings: &[(
        "target",
        "the process: \"agent\", \"namenode\", \"datanode1\", … (\"store\": all its nodes); no default",
    )],
    example: "target = 'agent'",
    needs: "a process of the run",
    build: |table| {
        Ok(Box::new(Kill {
            config: configured(table)?,
            deaths: Deaths::new(NAME),
        }))
    },
};

/// `[[fault]]` with `kind = "kill"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    target: String,
}

#[derive(Debug)]
struct Kill {
    config: Config,
    deaths: Deaths,
}

impl Fault for Kill {
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
        self.deaths.inject(world, &self.config.target)
    }

    fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        self.deaths.heal(world)
    }

    fn witness(&self, world: &dyn World) -> Option<Witness> {
        self.deaths.witness(world)
    }
}

/// Processes killed and started again; also what `outage` with `how = "kill"` does.
#[derive(Debug)]
pub(super) struct Deaths {
    kind: &'static str,
    victims: Vec<Process>,
    window: Option<Window>,
}

impl Deaths {
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
            world.expect_end(victim.role());
            world.signal(victim, Reach::Process, Signal::SIGKILL)?;
        }
        Ok(())
    }

    pub(super) fn heal(&mut self, world: &dyn World) -> Result<(), FaultError> {
        let Some(window) = self.window.as_mut().filter(|window| window.is_open()) else {
            return Ok(());
        };
        let mut first: Option<FaultError> = None;
        for victim in &self.victims {
            // One that is still there was never hit, and needs no successor. Which of the two it
            // was is for the witness to say.
            if victim.wait(GONE_WITHIN).is_none() {
                continue;
            }
            // Somebody else may have started it again already.
            let replaced = |p: &Process| p.identity() != victim.identity() && p.alive();
            if world
                .process(victim.role())
                .is_some_and(|process| replaced(&process))
            {
                continue;
            }
            if let Err(why) = world.restart(victim.role()) {
                let role = victim.role().to_owned();
                first.get_or_insert(FaultError::Restart {
                    kind: self.kind,
                    role,
                    why,
                });
            }
        }
        match first {
            // Left open, so that healing may be tried again.
            Some(error) => Err(error),
            None => {
                window.close();
                Ok(())
            }
        }
    }

    pub(super) fn witness(&self, world: &dyn World) -> Option<Witness> {
        let window = self.window?;
        let seen = evidence::killed(world, &self.victims, window);
        evidence::felt(world, &self.victims, seen, |links| {
            evidence::gone(links, window)
        })
    }
}
