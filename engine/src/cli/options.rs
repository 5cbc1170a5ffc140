//! From words to options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(super) const HELP: &str = "\
Run an agent from a Flume configuration.

usage: agent -n NAME -f FILE [options]

  -n, --name NAME         the agent's name in the configuration
  -f, --conf-file FILE    the configuration (properties); may be repeated
  -c, --conf DIR          directory of core-site.xml and hdfs-site.xml
      --strict            refuse a configuration with any problem (exit code 2)
      --no-reload-conf    do not watch the configuration for changes (never done yet)
  -Dflume.monitoring.type=http   serve metrics at /metrics and /metrics/prometheus
  -Dflume.monitoring.port=PORT   on this port (default 41414, 0 for any)
  -Dflume.root.logger=LEVEL,...  least important message to log (default INFO)
  -Dflume.drain.seconds=N        how long sinks may drain at the end (default 10)
  -C PATH, -XOPTION, other -DKEY=VALUE   accepted and ignored
  -h, --help              this text

SIGTERM or SIGINT: sources end, sinks drain, everything is closed.";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Run(Options),
    Help,
}

/// The options of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) name: String,
    pub(super) conf_files: Vec<PathBuf>,
    pub(super) conf_dir: Option<PathBuf>,
    pub(super) strict: bool,
    pub(super) no_reload: bool,
    pub(super) monitoring_port: Option<u16>,
    pub(super) log_level: Option<String>,
    pub(super) drain: Option<Duration>,
    /// What was accepted without effect, as it was written.
    pub(super) ignored: Vec<String>,
}

/// Options of `flume-ng` that take a value and are ignored.
const IGNORED_WITH_VALUE: &[&str] = &[
    "-C",
    "--classpath",
    "--plugins-path",
    "-i",
    "--poll-interval",
    "-b",
    "--backup-directory",
];
/// Options of `flume-ng` that take none and are ignored.
const IGNORED: &[&str] = &["-d", "--dryrun"];
/// Options of `flume-ng` that take a value and say where the configuration is: going on without
/// them would run something else.
const REFUSED: &[&str] = &[
    "-u",
    "--conf-uri",
    "-z",
    "--zkConnString",
    "-p",
    "--zkBasePath",
    "-prov",
    "--conf-provider",
    "-a",
    "--auth-provider",
    "-user",
    "--conf-user",
    "-pwd",
    "--conf-password",
];

/// Reads the words; all errors at once.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Asked, Vec<String>> {
    let mut errors = Vec::new();
    let mut words = Vec::new();
    for arg in args {
        match arg.into_string() {
            Ok(word) => words.push(word),
            Err(word) => errors.push(format!("{} is not UTF-8", word.display())),
        }
    }
    if words.iter().any(|word| word == "-h" || word == "--help") {
        return Ok(Asked::Help);
    }
    let mut parser = Parser {
        options: Options::default(),
        errors,
        monitoring: None,
        port: None,
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        parser.word(word, &mut words);
    }
    parser.finish()
}

struct Parser {
    options: Options,
    errors: Vec<String>,
    /// The values of `flume.monitoring.type` and `.port`.
    monitoring: Option<String>,
    port: Option<u16>,
}

impl Parser {
    fn word(&mut self, word: String, rest: &mut impl Iterator<Item = String>) {
        if let Some(definition) = word.strip_prefix("-D") {
            return self.definition(definition);
        }
        if word.starts_with("-X") {
            return self.options.ignored.push(word);
        }
        let (option, inline) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                (option.to_owned(), Some(value.to_owned()))
            }
            _ => (word, None),
        };
        match option.as_str() {
            "--strict" => self.options.strict = true,
            "--no-reload-conf" => self.options.no_reload = true,
            ignored if IGNORED.contains(&ignored) => self.options.ignored.push(option),
            "-n" | "--name" | "-f" | "--conf-file" | "-c" | "--conf" => {
                if let Some(value) = self.value(&option, inline, rest) {
                    match option.trim_start_matches('-') {
                        "n" | "name" => self.options.name = value,
                        "f" | "conf-file" => self.options.conf_files.push(value.into()),
                        _ => self.options.conf_dir = Some(value.into()),
                    }
                }
            }
            ignored if IGNORED_WITH_VALUE.contains(&ignored) => {
                if let Some(value) = self.value(&option, inline, rest) {
                    self.options.ignored.push(format!("{option} {value}"));
                }
            }
            refused if REFUSED.contains(&refused) => {
                self.value(&option, inline, rest);
                self.errors.push(format!(
                    "{option} is not offered here; give the configuration with --conf-file"
                ));
            }
            _ => self.errors.push(format!("there is no option {option}")),
        }
    }

    fn value(
        &mut self,
        option: &str,
        inline: Option<String>,
        rest: &mut impl Iterator<Item = String>,
    ) -> Option<String> {
        let value = inline
            .or_else(|| rest.next())
            .filter(|value| !value.is_empty());
        if value.is_none() {
            self.errors.push(format!("{option} needs a value"));
        }
        value
    }

    /// `-Dkey=value`
    fn definition(&mut self, definition: &str) {
        let (key, value) = definition.split_once('=').unwrap_or((definition, ""));
        match key {
            "flume.monitoring.type" => self.monitoring = Some(value.to_owned()),
            "flume.monitoring.port" => match value.parse() {
                Ok(port) => self.port = Some(port),
                Err(_) => self.errors.push(format!(
                    "flume.monitoring.port {value:?} is no port (0 to 65535)"
                )),
            },
            "flume.drain.seconds" => match value.parse() {
                Ok(seconds) => self.options.drain = Some(Duration::from_secs(seconds)),
                Err(_) => self.errors.push(format!(
                    "flume.drain.seconds {value:?} is no whole number of seconds"
                )),
            },
            "flume.root.logger" => {
                let level = value.split(',').next().unwrap_or_default().to_lowercase();
                self.options.log_level = match level.as_str() {
                    "trace" | "debug" | "info" | "warn" | "error" | "off" => Some(level),
                    "all" => Some("trace".to_owned()),
                    "fatal" => Some("error".to_owned()),
                    _ => {
                        self.options.ignored.push(format!("-D{definition}"));
                        None
                    }
                };
            }
            _ => self.options.ignored.push(format!("-D{definition}")),
        }
    }

    fn finish(mut self) -> Result<Asked, Vec<String>> {
        if self.options.name.is_empty() {
            self.errors
                .push("the agent's name is missing; give it with --name".to_owned());
        }
        if self.options.conf_files.is_empty() {
            self.errors
                .push("the configuration is missing; give it with --conf-file".to_owned());
        }
        match self.monitoring.as_deref() {
            Some("http" | "HTTP") => {
                self.options.monitoring_port = Some(self.port.unwrap_or(41414))
            }
            Some(other) => {
                let message = format!("flume.monitoring.type {other:?} is not offered; http is");
                self.errors.push(message);
            }
            None if self.port.is_some() => {
                self.options.ignored.push(
                    "-Dflume.monitoring.port without -Dflume.monitoring.type=http".to_owned(),
                );
            }
            None => {}
        }
        if self.errors.is_empty() {
            Ok(Asked::Run(self.options))
        } else {
            Err(self.errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Asked, Vec<String>> {
        parse(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn long_and_short_options() {
        let expected = Options {
            name: "a1".to_owned(),
            conf_files: vec!["x.conf".into(), "y.conf".into()],
            conf_dir: Some("conf".into()),
            no_reload: true,
            ..Options::default()
        };
        for words in [
            "-n a1 -c conf -f x.conf -f y.conf --no-reload-conf",
            "--name a1 --conf conf --conf-file x.conf --conf-file=y.conf --no-reload-conf",
        ] {
            match parsed(words) {
                Ok(Asked::Run(options)) => assert_eq!(options, expected),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(parsed("-n a1 --help"), Ok(Asked::Help));
    }

    #[test]
    fn definitions() {
        let words = "-n a -f x -Dflume.monitoring.type=http -Dflume.monitoring.port=0 \
                     -Dflume.root.logger=DEBUG,console -Dflume.drain.seconds=3 -Xmx20m -C lib -Dother=1";
        let Ok(Asked::Run(options)) = parsed(words) else {
            panic!("{words}")
        };
        assert_eq!(options.monitoring_port, Some(0));
        assert_eq!(options.log_level.as_deref(), Some("debug"));
        assert_eq!(options.drain, Some(Duration::from_secs(3)));
        assert_eq!(options.ignored, ["-Xmx20m", "-C lib", "-Dother=1"]);
    }

    #[test]
    fn every_error_is_said_at_once() {
        let errors = parsed("--colour -u http://x -Dflume.monitoring.port=x -c").unwrap_err();
        assert_eq!(errors.len(), 6, "{errors:?}");
        assert!(errors.iter().any(|error| error.contains("--colour")));
        assert!(errors.iter().any(|error| error.contains("--name")));
        assert!(errors.iter().any(|error| error.contains("--conf-file")));
    }
}
