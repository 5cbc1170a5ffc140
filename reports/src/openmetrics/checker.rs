//! For tests: what is wrong with a text by the rules of OpenMetrics 1.0.0, as far as this program can break
//! them: no timestamps, exemplars or histograms are written, so none is taken.
//!
//! The rules, by the sections of the specification: the grammar of lines, names and escapes ("Text
//! Format", ABNF); the end ("EOF"); metadata once, before the samples, families in one piece and unique
//! ("Metric Family"); units as suffixes ("Unit"); names of samples by type ("Suffixes"); values by type
//! ("Counter", "StateSet", "Info", "Summary"); no metric twice ("Metric").

use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Checker {
    problems: Vec<String>,
    /// Families that have begun, the last one is open.
    seen: BTreeSet<String>,
    family: String,
    metadata: BTreeMap<String, String>,
    sampled: bool,
    metrics: BTreeSet<String>,
}

/// Everything that is wrong.
pub(crate) fn problems(text: &str) -> Vec<String> {
    let mut checker = Checker::default();
    let Some(body) = text.strip_suffix("# EOF\n") else {
        return vec!["it does not end with # EOF".to_owned()];
    };
    if !body.is_empty() && !body.ends_with('\n') {
        return vec!["# EOF does not stand on a line of its own".to_owned()];
    }
    for line in body.lines() {
        let before = checker.problems.len();
        match line.strip_prefix("# ") {
            Some(rest) => checker.descriptor(rest),
            None => checker.sample(line),
        }
        for problem in &mut checker.problems[before..] {
            *problem = format!("{line}: {problem}");
        }
    }
    checker.problems
}

impl Checker {
    fn wrong(&mut self, what: &str) {
        self.problems.push(what.to_owned());
    }

    /// `TYPE name kind`, `UNIT name unit`, `HELP name text`.
    fn descriptor(&mut self, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next())
        else {
            return self.wrong("not a descriptor");
        };
        if name != self.family {
            if !self.seen.insert(name.to_owned()) {
                self.wrong("its family has been written before");
            }
            name.clone_into(&mut self.family);
            self.metadata.clear();
            self.sampled = false;
        }
        if !is_name(name, true) {
            self.wrong("not a name");
        }
        if self.sampled {
            self.wrong("metadata after samples");
        }
        let kinds = ["counter", "gauge", "info", "stateset", "summary"];
        match what {
            "TYPE" if !kinds.contains(&value) => self.wrong("no such type"),
            "TYPE" if name.ends_with("_total") || name.ends_with("_info") => {
                self.wrong("the suffix of a sample in the name of a family");
            }
            "UNIT" if !name.ends_with(&format!("_{value}")) => {
                self.wrong("the name lacks its unit")
            }
            "HELP" if unescaped(value).is_none() => self.wrong("a wrong escape"),
            "TYPE" | "UNIT" | "HELP" => {}
            _ => self.wrong("no such descriptor"),
        }
        if self
            .metadata
            .insert(what.to_owned(), value.to_owned())
            .is_some()
        {
            self.wrong("said twice");
        }
    }

    fn sample(&mut self, line: &str) {
        self.sampled = true;
        let Some((metric, value)) = line.rsplit_once(' ') else {
            return self.wrong("not a sample");
        };
        let (name, labels) = match metric.split_once('{') {
            None => (metric, Some(Vec::new())),
            Some((name, rest)) => (name, rest.strip_suffix('}').and_then(labels)),
        };
        let Some(labels) = labels else {
            return self.wrong("not labels");
        };
        let Ok(value) = value.parse::<f64>() else {
            return self.wrong("not a number");
        };
        if !self.metrics.insert(metric.to_owned()) {
            self.wrong("the metric is there twice");
        }
        let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
        if names.len() != labels.len() || names.iter().any(|name| !is_name(name, false)) {
            self.wrong("label names are wrong or not unique");
        }
        let Some(suffix) = name.strip_prefix(self.family.as_str()) else {
            return self.wrong("no sample of the open family");
        };
        let of = |wanted: &str| labels.iter().find(|(name, _)| name == wanted);
        let quantile = of("quantile").and_then(|(_, value)| value.parse::<f64>().ok());
        let state = of(&self.family).is_some();
        let kind = self.metadata.get("TYPE").map(String::as_str);
        let fine = match (kind, suffix) {
            (Some("counter"), "_total") => value >= 0.0 && value.is_finite(),
            (Some("gauge"), "") => true,
            (Some("info"), "_info") => value == 1.0,
            (Some("stateset"), "") => (value == 0.0 || value == 1.0) && state,
            (Some("summary"), "") => quantile.is_some_and(|q| (0.0..=1.0).contains(&q)),
            (Some("summary"), "_count") => value >= 0.0 && value.fract() == 0.0,
            _ => false,
        };
        if !fine {
            self.wrong("not a sample of its type");
        }
    }
}

fn is_name(name: &str, of_metric: bool) -> bool {
    let allowed = |c: char| c.is_ascii_alphabetic() || c == '_' || (of_metric && c == ':');
    name.starts_with(allowed) && name.chars().all(|c| allowed(c) || c.is_ascii_digit())
}

/// `a="x",b="y"`.
fn labels(mut rest: &str) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let mut escape = false;
        let end = after.char_indices().find(|(_, c)| {
            let end = *c == '"' && !escape;
            escape = *c == '\\' && !escape;
            end
        })?;
        all.push((name.to_owned(), unescaped(&after[..end.0])?));
        rest = &after[end.0 + 1..];
        if rest.is_empty() {
            return Some(all);
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// `None` where a quote or a line's end stands bare, or a backslash escapes something else.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            },
            '"' | '\n' => return None,
            c => c,
        });
    }
    Some(out)
}

#[test]
fn every_rule_finds_who_breaks_it() {
    let good = "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds x\na_seconds{b=\"c\"} 1.5\n\
                # TYPE b counter\nb_total 7\n# TYPE c info\nc_info{x=\"\"} 1\n# TYPE d stateset\nd{d=\"on\"} 0\n\
                # TYPE e_seconds summary\ne_seconds{quantile=\"0.5\"} 1\ne_seconds_count 9\n# EOF\n";
    assert_eq!(problems(good), Vec::<String>::new());
    for (right, wrong) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\n\n"),
        ("# EOF\n", "\n# EOF\n"),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("# TYPE b counter", "# TYPE b gauge"),
        ("# TYPE b counter", "# TYPE b_total counter"),
        ("# TYPE b counter", "# TYPE b histogramm"),
        ("# TYPE b counter", "# TYPE 1b counter"),
        ("b_total 7", "b_total -7"),
        ("b_total 7", "b 7"),
        ("b_total 7", "b_total 7\nb_total 8"),
        ("b_total 7", "b_total 7\n# HELP b late"),
        ("b_total 7", "b_total seven"),
        ("b_total 7", "b_total 7\n# TYPE a_seconds gauge"),
        ("b_total 7", "other 7"),
        ("c_info{x=\"\"} 1", "c_info{x=\"\"} 2"),
        ("c_info{x=\"\"} 1", "c_info{x=\"\",x=\"\"} 1"),
        ("c_info{x=\"\"} 1", "c_info{x-y=\"\"} 1"),
        ("c_info{x=\"\"} 1", "c_info{x=\"\\t\"} 1"),
        ("c_info{x=\"\"} 1", "c_info{x=\"a\"b\"} 1"),
        ("d{d=\"on\"} 0", "d{d=\"on\"} 2"),
        ("d{d=\"on\"} 0", "d{x=\"on\"} 0"),
        ("quantile=\"0.5\"", "quantile=\"50\""),
        ("# HELP a_seconds x", "# HELP a_seconds \\x"),
    ] {
        let broken = good.replacen(right, wrong, 1);
        assert_ne!(broken, good, "{right}");
        assert!(!problems(&broken).is_empty(), "{wrong} was taken");
    }
}
