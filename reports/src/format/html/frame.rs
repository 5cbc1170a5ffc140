//! The frame that all pages share: head, verdict and first reason, styles; and the engine that fills a
//! page's template into it.

use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::super::Error;
use crate::show;

/// One kind of page.
pub(crate) struct Page {
    /// Ends in `.html`, which is what switches escaping on.
    pub(crate) name: &'static str,
    /// Its template; it extends `page.html`.
    pub(crate) template: &'static str,
    /// Styles of its own, after those of all pages.
    pub(crate) style: &'static str,
}

/// What stands on top of a page.
pub(crate) struct Head<'a> {
    /// What was judged: the scenario, or the arms of a gate.
    pub(crate) subject: String,
    /// When it began, as people write it.
    pub(crate) started: String,
    /// The subcommand, or what it makes.
    pub(crate) made_by: &'static str,
    /// `pass`, `fail` or `inconclusive`: sign and colour.
    pub(crate) verdict: &'static str,
    /// The word beside the sign.
    pub(crate) word: &'static str,
    /// The sentence beside the word.
    pub(crate) headline: String,
    /// What is to be said besides, as a list.
    pub(crate) reasons: &'a [String],
    /// Said where the work was interrupted.
    pub(crate) interrupted: Option<&'static str>,
}

impl<'a> Head<'a> {
    /// The head of most pages: the verdict is the word, its first reason the headline, the others
    /// are the list. `started` is an instant as records have it.
    pub(crate) fn new(
        made_by: &'static str,
        subject: &str,
        started: &str,
        verdict: &'static str,
        reasons: &'a [String],
    ) -> Self {
        let (headline, reasons) = match reasons.split_first() {
            Some((first, rest)) => (first.as_str(), rest),
            None => ("No reason was recorded.", reasons),
        };
        Self {
            subject: subject.to_owned(),
            started: show::date(started),
            made_by,
            verdict,
            word: verdict,
            headline: headline.to_owned(),
            reasons,
            interrupted: None,
        }
    }
}

const STYLE: &str = include_str!("../../../templates/report.css");
const FRAME: (&str, &str) = ("page.html", include_str!("../../../templates/page.html"));
const PARTS: (&str, &str) = ("parts.html", include_str!("../../../templates/parts.html"));

/// A page with its head, and what its template asks for besides.
///
/// # Errors
/// [`Error::Page`], which only a defect of ours can cause.
pub(crate) fn render(page: &Page, head: Head<'_>, body: Value) -> Result<String, Error> {
    fill(page, head, body).map_err(|source| Error::Page {
        reason: format!("{source:#}"),
    })
}

fn fill(page: &Page, head: Head<'_>, body: Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, template) in [FRAME, PARTS, (page.name, page.template)] {
        environment.add_template(name, template)?;
    }
    let top = context! {
        // Our own, and no text of a record: quotes and `>` stay what they are.
        style => Value::from_safe_string(format!("{STYLE}{}", page.style)),
        subject => head.subject,
        started => head.started,
        made_by => head.made_by,
        verdict => head.verdict,
        word => head.word,
        reason => head.headline,
        reasons => head.reasons.to_vec(),
        interrupted => head.interrupted.unwrap_or_default(),
    };
    let mut text = environment
        .get_template(page.name)?
        .render(context! { ..top, ..body })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
