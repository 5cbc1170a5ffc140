//! The scenarios that come with the program, compiled in, so that `flume-bench run quickstart`
//! works from any directory.

use std::io;
use std::path::{Path, PathBuf};

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// File name and content of every shipped scenario and of the configurations they name.
        pub static SHIPPED: &[(&str, &str)] = &[$(($name, include_str!(concat!("../", $name)))),*];
    };
}

shipped![
    "exec-hdfs-listed.conf",
    "exec-hdfs-listed.toml",
    "exec-hdfs.conf",
    "exec-hdfs.toml",
    "file-hdfs.conf",
    "file-hdfs.toml",
    "files.rsyslog",
    "files.toml",
    "hdfs-memory.conf",
    "hdfs-memory.toml",
    "hdfs.conf",
    "hdfs.toml",
    "kinds/decoy.toml",
    "kinds/fan-out.conf",
    "kinds/fan-out.toml",
    "kinds/flume-datanode-kill.toml",
    "kinds/flume-dead-exec.toml",
    "kinds/flume-file-channel.conf",
    "kinds/flume-memory-kill.conf",
    "kinds/flume-memory-kill.toml",
    "kinds/flume-orphan.toml",
    "kinds/netcat.conf",
    "kinds/netcat.toml",
    "kinds/outages.toml",
    "kinds/poisson.toml",
    "kinds/ramp.conf",
    "kinds/ramp.toml",
    "kinds/replication.toml",
    "kinds/sample.log",
    "kinds/tail-copytruncate.toml",
    "kinds/tail-rename.toml",
    "kinds/tail.conf",
    "kinds/thirty-kills.conf",
    "kinds/thirty-kills.toml",
    "quickstart.conf",
    "quickstart.toml",
];

/// The file a scenario is read from: the path as given if it exists, else a shipped scenario of
/// that name, written with all its siblings into the cache directory.
pub fn find(name: &str) -> io::Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let Some(file) = shipped_file(name) else {
        return Ok(path.to_owned());
    };
    let directory = crate::tools::libs().join(concat!("scenarios-", env!("CARGO_PKG_VERSION")));
    for (name, content) in SHIPPED {
        let target = directory.join(name);
        if std::fs::read_to_string(&target).ok().as_deref() != Some(*content) {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&target, content)?;
        }
    }
    Ok(directory.join(file))
}

/// The shipped file of that name, with or without `kinds/` and `.toml`.
fn shipped_file(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let is_it = |file: &str| {
        let stem = file.strip_suffix(".toml");
        stem == Some(name) || stem.and_then(|stem| stem.strip_prefix("kinds/")) == Some(name)
    };
    SHIPPED
        .iter()
        .map(|(file, _)| *file)
        .find(|file| is_it(file))
}

/// Name and first comment of every shipped scenario.
pub fn summaries() -> Vec<(&'static str, String)> {
    SHIPPED
        .iter()
        .filter_map(|(name, content)| Some((name.strip_suffix(".toml")?, content)))
        .map(|(name, content)| {
            let comment: Vec<&str> = content
                .lines()
                .map_while(|line| line.strip_prefix("# "))
                .take_while(|line| !line.is_empty())
                .collect();
            let text = comment.join(" ");
            // A full stop ends a sentence only before a space: 1.5 s and hdfs.path have dots too.
            let end = [". ", "? ", ": "]
                .iter()
                .filter_map(|end| text.find(end))
                .min();
            let sentence = text[..end.unwrap_or(text.len())]
                .trim_end_matches('.')
                .to_owned();
            (name, sentence)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_beside_the_sources_is_shipped() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut there = Vec::new();
        for directory in ["", "kinds/"] {
            let Ok(entries) = std::fs::read_dir(root.join(directory)) else {
                continue;
            };
            for entry in entries {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if ["toml", "conf", "log", "rsyslog"]
                    .iter()
                    .any(|end| name.ends_with(&format!(".{end}")))
                    && name != "Cargo.toml"
                {
                    there.push(format!("{directory}{name}"));
                }
            }
        }
        there.sort();
        let mut shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        shipped.sort_unstable();
        assert_eq!(there, shipped);
    }

    #[test]
    fn a_shipped_scenario_is_found_by_its_name() {
        assert_eq!(shipped_file("hdfs"), Some("hdfs.toml"));
        for name in ["netcat", "netcat.toml", "kinds/netcat", "kinds/netcat.toml"] {
            assert_eq!(shipped_file(name), Some("kinds/netcat.toml"), "{name}");
        }
        for name in ["", "kinds/", "netcat.conf", "other/netcat", "kinds/hdfs"] {
            assert_eq!(shipped_file(name), None, "{name}");
        }
    }

    #[test]
    fn every_scenario_states_what_is_expected_of_it() {
        for (name, content) in SHIPPED.iter().filter(|(name, _)| name.ends_with(".toml")) {
            assert!(
                content
                    .lines()
                    .any(|line| line.starts_with("# expect ") && line.contains("exit ")),
                "{name}"
            );
        }
    }
}
