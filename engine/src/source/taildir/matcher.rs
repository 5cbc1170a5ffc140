//! A file group: a directory and a pattern for the names of files in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use regex::Regex;
use tracing::warn;

use crate::source::tailer::{Finder, Found};

/// Time stamps of a directory can be as coarse as two seconds; a listing made so soon after a
/// change may have missed a second change under the same stamp.
const COARSEST_STAMP: Duration = Duration::from_secs(2);

/// The groups of a source.
#[derive(Debug, Clone)]
pub(super) struct Groups(pub(super) Vec<Group>);

impl Finder for Groups {
    fn find(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        for group in &mut self.0 {
            group.refresh();
            found.extend(group.files.iter().map(|path| Found {
                path: path.clone(),
                headers: Arc::clone(&group.headers),
            }));
        }
        found
    }

    fn another(&self) -> Box<dyn Finder> {
        Box::new(self.clone())
    }
}

/// One group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    directory: PathBuf,
    name: Regex,
    headers: Arc<[(String, String)]>,
    /// Whether a listing is kept until the directory changes.
    cached: bool,
    files: Vec<PathBuf>,
    /// The directory's stamp when it was listed, and the time.
    listed: Option<(SystemTime, SystemTime)>,
    /// Whether the directory could not be listed, which has been said then.
    absent: bool,
}

impl Group {
    /// A group of the files in the literal directory of `pattern` whose whole name matches its last
    /// element, a regular expression.
    ///
    /// # Errors
    /// If the pattern is not absolute or the expression is none.
    pub(super) fn new(
        pattern: &str,
        headers: Vec<(String, String)>,
        cached: bool,
    ) -> Result<Self, String> {
        let Some((directory, name)) = pattern
            .rsplit_once('/')
            .filter(|_| pattern.starts_with('/'))
        else {
            return Err(format!(
                "{pattern:?} is not an absolute path; write /directory/name-pattern"
            ));
        };
        if name.is_empty() {
            return Err(format!(
                "{pattern:?} has no name pattern after its last slash; end it with .* for all files"
            ));
        }
        // Java matches the whole name.
        let expression = Regex::new(&format!("^(?:{name})$")).map_err(|error| {
            format!("{name:?} is not a regular expression that is understood here (look-around and back references are not): {error}")
        })?;
        let directory = if directory.is_empty() {
            Path::new("/")
        } else {
            Path::new(directory)
        };
        let headers = headers.into();
        Ok(Self {
            directory: directory.to_owned(),
            name: expression,
            headers,
            cached,
            files: Vec::new(),
            listed: None,
            absent: false,
        })
    }

    fn refresh(&mut self) {
        let stamp = fs::metadata(&self.directory)
            .and_then(|meta| meta.modified())
            .ok();
        if self.cached
            && let (Some(stamp), Some((old, at))) = (stamp, self.listed)
            && stamp == old
            && stamp + COARSEST_STAMP < at
        {
            return;
        }
        let at = SystemTime::now();
        self.files.clear();
        let entries = fs::read_dir(&self.directory);
        if let Err(error) = &entries
            && !self.absent
        {
            warn!(
                directory = %self.directory.display(), %error,
                "the directory of a group cannot be listed; waiting for it"
            );
        }
        self.absent = entries.is_err();
        for entry in entries.into_iter().flatten().flatten() {
            // `is_file` is asked by the tailer, which looks at each file anyway.
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| self.name.is_match(name))
            {
                self.files.push(entry.path());
            }
        }
        self.listed = stamp.map(|stamp| (stamp, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(group: &mut Group) -> Vec<String> {
        group.refresh();
        let mut names: Vec<_> = group
            .files
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_whole_name_has_to_match_and_new_files_are_seen_cached_or_not() {
        for cached in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let pattern = format!("{}/a.*log", dir.path().display());
            let mut group = Group::new(&pattern, Vec::new(), cached).unwrap();
            assert_eq!(names(&mut group), [""; 0]);
            for name in ["a.log", "xa.log", "a.log.1", "ab.log"] {
                fs::write(dir.path().join(name), "").unwrap();
            }
            assert_eq!(names(&mut group), ["a.log", "ab.log"]);
            fs::remove_file(dir.path().join("a.log")).unwrap();
            assert_eq!(names(&mut group), ["ab.log"]);
        }
    }

    #[test]
    fn an_old_listing_is_kept_until_the_directory_changes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let mut group =
            Group::new(&format!("{}/.*", dir.path().display()), Vec::new(), true).unwrap();
        group.refresh();
        let (stamp, _) = group.listed.unwrap();
        group.listed = Some((stamp, stamp + Duration::from_secs(60)));
        group.files.push("/kept".into());
        group.refresh();
        assert_eq!(group.files.len(), 2, "listed again without need");
        group.listed = Some((stamp - Duration::from_secs(1), stamp));
        group.refresh();
        assert_eq!(group.files.len(), 1);
    }

    #[test]
    fn impossible_patterns_say_why() {
        assert!(
            Group::new("logs/.*", Vec::new(), true)
                .unwrap_err()
                .contains("absolute")
        );
        assert!(
            Group::new("/logs/", Vec::new(), true)
                .unwrap_err()
                .contains("name pattern")
        );
        assert!(
            Group::new("/logs/a(?!b)", Vec::new(), true)
                .unwrap_err()
                .contains("look-around")
        );
    }
}
