//! The two arms of a gate: what differs between them, and how each is put in place.
//!
//! | option | arm |
//! |---|---|
//! | `--baseline PATH --candidate PATH` | two programs; the agent of each run is started from them |
//! | `--baseline-rev REV` | a git revision, built once ([`super::build`]); the candidate is `--candidate`, or this program |
//! | `--against BRANCH` | the stored baseline of a branch ([`super::baseline`]); the candidate as above |
//! | `--arm name=FILE.conf` | an agent's configuration |
//! | `--arm name=driver:NAME` | a driver |
//! | `--arm name=set:KEY=VALUE` | a key of the scenario |
//! | `--arm name=program:PATH` | a program |
//!
//! `--arm` may be given several times for a name; the name that comes first is the baseline.
//! Programs and configurations are copied to paths of equal length, because arguments and
//! environment lie on the stack, and their length shifts what lies there. The store and everything
//! else of a run are this program in both arms.

use std::fs;
use std::path::{Path, PathBuf};

use flume_bench_reports::gate::record::ArmUsed;
use flume_bench_reports::record::{FileUsed, Known};
use sha2::{Digest, Sha256};

use crate::scenario::Overrides;
use crate::scenario::reader::Problem;

/// The options of the command line that name arms.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--baseline`.
    pub baseline: Option<PathBuf>,
    /// `--candidate`.
    pub candidate: Option<PathBuf>,
    /// `--arm`, each as written.
    pub arms: Vec<String>,
}

/// What makes an arm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Its program, where it has one of its own.
    pub program: Option<PathBuf>,
    /// Its agent's configuration, where it has one of its own.
    pub config: Option<PathBuf>,
    /// Its driver, where it has one of its own.
    pub driver: Option<String>,
    /// Keys of the scenario that it sets.
    pub set: Vec<String>,
}

const REMEDY: &str = "give --baseline PATH and --candidate PATH, or --baseline-rev REV, or --arm \
                      twice: --arm old=old.conf --arm new=new.conf";

/// The two arms, baseline first.
///
/// # Errors
/// Every problem found.
pub fn read(options: &Options) -> Result<[Arm; 2], Vec<Problem>> {
    let mut problems = Vec::new();
    let programs = options.baseline.is_some() || options.candidate.is_some();
    let arms = match (programs, options.arms.is_empty()) {
        (true, false) => {
            problems.push(Problem::of_machine(
                "--arm and --baseline or --candidate are given at once",
                "name a program as --arm name=program:PATH",
            ));
            Vec::new()
        }
        (true, true) => of_programs(options, &mut problems),
        (false, _) => named(&options.arms, &mut problems),
    };
    for arm in &arms {
        check_files(arm, &mut problems);
    }
    if problems.is_empty() && arms.len() != 2 {
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        let message = match names.len() {
            0 => "a gate compares two arms, and none is given".to_owned(),
            n => format!(
                "a gate compares two arms, and {n} are given: {}",
                names.join(", ")
            ),
        };
        problems.push(Problem::of_machine(message, REMEDY));
    }
    match <[Arm; 2]>::try_from(arms) {
        Ok(arms) if problems.is_empty() => Ok(arms),
        _ => Err(problems),
    }
}

/// Twice the same: to see how much a host's runs differ. Without a program it is this one.
///
/// # Errors
/// The program cannot be run.
pub fn equal(program: Option<PathBuf>) -> Result<[Arm; 2], Vec<Problem>> {
    let arm = |name: &str| Arm {
        name: name.to_owned(),
        program: program.clone(),
        ..Arm::default()
    };
    let arms = [arm("one"), arm("other")];
    let mut problems = Vec::new();
    check_files(&arms[0], &mut problems);
    match problems.is_empty() {
        true => Ok(arms),
        false => Err(problems),
    }
}

/// A stored baseline of a branch, and a candidate; without a program that is this one.
///
/// # Errors
/// The program cannot be run.
pub fn against(branch: &str, candidate: Option<PathBuf>) -> Result<[Arm; 2], Vec<Problem>> {
    let arms = [
        Arm {
            name: format!("stored-{branch}"),
            ..Arm::default()
        },
        Arm {
            name: "candidate".to_owned(),
            program: candidate,
            ..Arm::default()
        },
    ];
    let mut problems = Vec::new();
    check_files(&arms[1], &mut problems);
    match problems.is_empty() {
        true => Ok(arms),
        false => Err(problems),
    }
}

fn of_programs(options: &Options, problems: &mut Vec<Problem>) -> Vec<Arm> {
    let mut arms = Vec::new();
    for (name, program) in [
        ("baseline", &options.baseline),
        ("candidate", &options.candidate),
    ] {
        match program {
            Some(program) => arms.push(Arm {
                name: name.to_owned(),
                program: Some(program.clone()),
                ..Arm::default()
            }),
            None => problems.push(Problem::of_machine(
                format!("--{name} is missing: a gate compares two arms"),
                REMEDY,
            )),
        }
    }
    arms
}

fn named(words: &[String], problems: &mut Vec<Problem>) -> Vec<Arm> {
    let mut arms: Vec<Arm> = Vec::new();
    for word in words {
        let Some((name, what)) = word.split_once('=').filter(|(name, _)| is_name(name)) else {
            problems.push(Problem::of_machine(
                format!("--arm {word} is not understood"),
                "write --arm name=FILE.conf, name=driver:NAME, name=set:KEY=VALUE or \
                 name=program:PATH; a name has letters, digits, - and _",
            ));
            continue;
        };
        let at = match arms.iter().position(|arm| arm.name == name) {
            Some(at) => at,
            None => {
                arms.push(Arm {
                    name: name.to_owned(),
                    ..Arm::default()
                });
                arms.len() - 1
            }
        };
        let arm = &mut arms[at];
        match what.split_once(':') {
            Some(("driver", driver)) => arm.driver = Some(driver.to_owned()),
            Some(("set", set)) => arm.set.push(set.to_owned()),
            Some(("program", path)) => arm.program = Some(path.into()),
            _ => arm.config = Some(what.into()),
        }
    }
    arms
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 40
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn check_files(arm: &Arm, problems: &mut Vec<Problem>) {
    if let Some(program) = &arm.program {
        let what = format!("the program of {}, {},", arm.name, program.display());
        if !program.is_file() {
            problems.push(Problem::of_machine(
                format!("{what} is not a file"),
                "give the path of a flume-bench that was built",
            ));
        } else if nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_err() {
            problems.push(Problem::of_machine(
                format!("{what} cannot be run"),
                "chmod +x it",
            ));
        }
    }
    if let Some(config) = &arm.config
        && !config.is_file()
    {
        problems.push(Problem::of_machine(
            format!(
                "the configuration of {}, {}, is not a file",
                arm.name,
                config.display()
            ),
            "give the path of a file with Flume properties; a driver is written driver:NAME",
        ));
    }
}

/// An arm whose files are where they stay for the whole gate.
#[derive(Debug, Clone)]
pub struct Placed {
    /// As given.
    pub arm: Arm,
    /// The copy of its program.
    pub program: Option<PathBuf>,
    /// The copy of its configuration.
    pub config: Option<PathBuf>,
}

impl Placed {
    /// Copies the arm's files to `directory/arms/<letter>`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put(arm: &Arm, directory: &Path, letter: char) -> std::io::Result<Self> {
        let place = directory.join("arms").join(letter.to_string());
        fs::create_dir_all(&place)?;
        let copy = |from: &Option<PathBuf>, name: &str| -> std::io::Result<Option<PathBuf>> {
            let Some(from) = from else { return Ok(None) };
            let to = place.join(name);
            fs::copy(from, &to)?;
            to.canonicalize().map(Some)
        };
        Ok(Self {
            arm: arm.clone(),
            program: copy(&arm.program, "flume-bench")?,
            config: copy(&arm.config, "agent.conf")?,
        })
    }

    /// The arm for the record.
    pub fn used(&self) -> ArmUsed {
        let program = match (&self.arm.program, &self.program) {
            (Some(given), Some(copy)) => Known::Value(FileUsed {
                role: "program".into(),
                path: given.display().to_string(),
                sha256: sha256_of(copy)
                    .map_or_else(|error| Known::unknown(error.to_string()), Known::Value),
            }),
            _ => Known::unknown("the arm has no program of its own"),
        };
        ArmUsed {
            name: self.arm.name.clone(),
            what: self.arm.what(),
            program,
        }
    }
}

impl Arm {
    /// What the arm changes about a scenario, besides its program. `config` is where its
    /// configuration lies now.
    pub fn overrides(&self, base: &Overrides, config: Option<&Path>) -> Overrides {
        let mut overrides = base.clone();
        if let Some(driver) = &self.driver {
            overrides.sut = Some(driver.clone());
        }
        if let Some(config) = config {
            let text = toml::Value::String(config.display().to_string());
            overrides.set.push(format!("sut.config={text}"));
        }
        overrides.set.extend(self.set.iter().cloned());
        overrides
    }

    /// What makes it this arm, in words.
    pub fn what(&self) -> String {
        let mut words = Vec::new();
        if let Some(program) = &self.program {
            words.push(format!("program {}", program.display()));
        }
        if let Some(config) = &self.config {
            words.push(format!("configuration {}", config.display()));
        }
        if let Some(driver) = &self.driver {
            words.push(format!("driver {driver}"));
        }
        words.extend(self.set.iter().cloned());
        words.join(", ")
    }
}

/// SHA-256 of a file, in hexadecimal.
fn sha256_of(path: &Path) -> std::io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(super::hex(&Sha256::digest(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms(words: &[&str]) -> Result<[Arm; 2], Vec<Problem>> {
        read(&Options {
            arms: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Options::default()
        })
    }

    #[test]
    fn arms_are_named_and_added_up() {
        let [old, new] = arms(&[
            "old=driver:decoy",
            "new=driver:decoy",
            "new=set:sut.defect=lose_every",
        ])
        .unwrap();
        assert_eq!((old.name.as_str(), new.name.as_str()), ("old", "new"));
        assert_eq!(new.driver.as_deref(), Some("decoy"));
        let overrides = new.overrides(&Overrides::default(), None);
        assert_eq!(overrides.set, ["sut.defect=lose_every"]);
        assert_eq!(new.what(), "driver decoy, sut.defect=lose_every");
    }

    #[test]
    fn what_cannot_be_arms_is_said_at_once() {
        let count = |words: &[&str]| arms(words).unwrap_err().len();
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&["a=driver:decoy"]), 1);
        assert_eq!(count(&["a", "=x", "a b=driver:x"]), 3);
        assert_eq!(count(&["a=nowhere.conf", "b=program:/nowhere"]), 2);
        let mixed = read(&Options {
            baseline: Some("/bin/true".into()),
            arms: vec!["a=driver:decoy".into()],
            ..Options::default()
        });
        assert!(mixed.unwrap_err()[0].message.contains("at once"));
    }

    #[test]
    fn copies_lie_at_paths_of_equal_length() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("a-program-with-a-long-name");
        let short = directory.path().join("p");
        for file in [&long, &short] {
            fs::write(file, "x").unwrap();
        }
        let put = |program: &Path, letter| {
            let arm = Arm {
                name: "arm".into(),
                program: Some(program.to_owned()),
                ..Arm::default()
            };
            Placed::put(&arm, directory.path(), letter).unwrap()
        };
        let (a, b) = (put(&long, 'a'), put(&short, 'b'));
        let length = |placed: &Placed| placed.program.as_ref().unwrap().as_os_str().len();
        assert_eq!(length(&a), length(&b));
        assert!(a.used().program.value().unwrap().path.contains("long-name"));
    }
}
