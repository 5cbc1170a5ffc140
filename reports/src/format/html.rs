//! `html`: the report as one page that needs nothing else.
//!
//! One file: styles and figures are inside, there is no script, no font, no image and no address
//! that a browser would fetch. Verdict and reason come first, then the five indicators and the
//! faults on a time line; then how the run went over time, latency by percentile, every fault with
//! its witness, what was lost, and all that is needed to repeat the run. Light or dark as the
//! reader's system has it; readable from 375 px on, on paper too.
//!
//! Everything from the record is escaped by the template engine; only figures, which are drawn
//! here, go in as markup. Series are reduced to what the pixels can show, so that the size of the
//! page does not grow with the length of the run.

mod band;
pub(crate) mod charts;
pub(crate) mod figure;
mod findings;
pub(crate) mod frame;
pub(crate) mod scale;
mod view;

use self::frame::Page;
use super::{Error, Format, Input, Rendered};

/// The format `html`.
#[derive(Debug)]
pub(super) struct Html;

const PAGE: Page = Page {
    name: "report.html",
    template: include_str!("../../templates/report.html"),
    style: "",
};

impl Format for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn summary(&self) -> &'static str {
        "one page with figures, needs no network"
    }

    fn render(&self, input: &Input<'_>) -> Result<Vec<Rendered>, Error> {
        let text = frame::render(&PAGE, view::head(input.record), view::body(input)?)?;
        Ok(vec![Rendered {
            file_name: "report.html",
            text,
        }])
    }
}
