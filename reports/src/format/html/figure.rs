//! Figures as inline SVG, drawn by plotters in the page's own colours.
//!
//! Plotters writes absolute colours, and a page that is light and dark needs names. So every part
//! is drawn in a placeholder colour, and the placeholders become CSS variables (`--fig-0` …) in the
//! finished text. Everything is drawn at twice its size, because plotters rounds to whole pixels.
//! Each figure exists twice, wide and narrow, for text has to stay readable on a telephone; the
//! style sheet shows one of them.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::Error;
use super::scale::{self, Segment};

/// Everything is drawn this much larger than it is shown.
const SCALE: u32 = 2;

/// The placeholder colours; the number is that of the CSS variable.
const GRID: usize = 0;
const INK: usize = 1;
const FAULT: usize = 2;
/// The first of the colours of lines; there are five.
pub(crate) const FIRST_LINE: usize = 3;
const COLOURS: usize = 8;

/// How one axis runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Axis {
    /// From the first to the second number.
    Linear(f64, f64),
    /// From 0 to so many bytes, with ticks at round numbers of KiB, MiB, …
    Bytes(f64),
    /// From the first to the second number by powers of ten; both above 0.
    Log(f64, f64),
    /// From 0 to so many µs, in seconds, minutes or hours.
    Time(f64),
}

impl Axis {
    /// A position between 0 and 1.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear(from, to) => (value - from) / (to - from),
            Self::Bytes(to) => value / to,
            Self::Log(from, to) => {
                (value.max(from).log10() - from.log10()) / (to.log10() - from.log10())
            }
            Self::Time(to) => value / to,
        }
    }

    /// Where the ticks are, and their texts; a time axis writes its own.
    fn ticks(self, wanted: usize, text: fn(f64) -> String) -> Vec<(f64, String)> {
        let ticks = match self {
            Self::Linear(from, to) => scale::linear_ticks(from, to, wanted),
            Self::Bytes(to) => scale::byte_ticks(to, wanted),
            Self::Log(from, to) => scale::log_ticks(from, to, wanted),
            Self::Time(to) => return scale::time_ticks(to, wanted),
        };
        ticks.into_iter().map(|at| (at, text(at))).collect()
    }
}

/// A line of a figure.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What it shows.
    pub(crate) name: String,
    /// The variable of its colour.
    pub(crate) colour: usize,
    /// Its unbroken pieces.
    pub(crate) segments: Vec<Segment>,
}

/// A fault window in the units of the x axis.
#[derive(Debug, Clone)]
pub(crate) struct Shade {
    /// The letter above it.
    pub(crate) letter: String,
    /// Injected, healed, backlog stored.
    pub(crate) at: [f64; 3],
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Its name, for errors.
    pub(crate) name: &'static str,
    /// The x axis.
    pub(crate) x: Axis,
    /// The text of a tick of the x axis, where that is not time.
    pub(crate) x_text: fn(f64) -> String,
    /// The y axis.
    pub(crate) y: Axis,
    /// The text of a tick of the y axis.
    pub(crate) y_text: fn(f64) -> String,
    /// The lines, the last one on top.
    pub(crate) lines: Vec<Line>,
    /// The fault windows.
    pub(crate) shades: Vec<Shade>,
    /// Whether it is half as high again.
    pub(crate) tall: bool,
}

/// How large a figure is shown, in CSS pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) class: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) font: u32,
    pub(crate) left: u32,
    pub(crate) ticks: (usize, usize),
}

/// For pages of at least 600 px.
pub(crate) const WIDE: Size = Size {
    class: "wide",
    width: 1000,
    height: 170,
    font: 13,
    left: 62,
    ticks: (9, 4),
};

/// For telephones.
pub(crate) const NARROW: Size = Size {
    class: "narrow",
    width: 343,
    height: 170,
    font: 12,
    left: 52,
    ticks: (4, 4),
};

/// Points between the axes and where they lie: the unit square.
type Area<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Figure {
    /// Draws the figure at a size; the text is an `<svg>` element.
    pub(crate) fn draw(&self, size: Size) -> Result<String, Error> {
        let height = if self.tall {
            size.height * 3 / 2
        } else {
            size.height
        };
        let size = Size { height, ..size };
        let mut text = String::new();
        self.draw_into(size, &mut text)
            .map_err(|reason| Error::Figure {
                figure: self.name.to_owned(),
                reason,
            })?;
        Ok(themed(&text, size))
    }

    fn draw_into(&self, size: Size, text: &mut String) -> Result<(), String> {
        let wrong = |source: DrawingAreaErrorKind<std::io::Error>| source.to_string();
        let pixels = (size.width * SCALE, size.height * SCALE);
        let root = SVGBackend::with_string(text, pixels).into_drawing_area();
        let area = ChartBuilder::on(&root)
            .margin_top(size.font * SCALE + 8)
            .margin_right(10 * SCALE)
            .set_label_area_size(LabelAreaPosition::Left, self.left(size) * SCALE)
            .set_label_area_size(LabelAreaPosition::Bottom, 2 * size.font * SCALE)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(wrong)?
            .plotting_area()
            .clone();
        self.draw_shades(&root, &area, size).map_err(wrong)?;
        self.draw_axes(&root, &area, size).map_err(wrong)?;
        for line in &self.lines {
            self.draw_line(&area, line).map_err(wrong)?;
        }
        root.present().map_err(wrong)
    }

    /// Room for the longest text of the y axis, in pixels: a text that is cut off reads as another number.
    fn left(&self, size: Size) -> u32 {
        let ticks = self.y.ticks(size.ticks.1, self.y_text);
        let longest = ticks.iter().map(|(_, text)| text.chars().count()).max();
        // A digit is a little over half as wide as the font is high.
        let wide = longest.unwrap_or(0) as u32 * size.font * 62 / 100 + 10;
        size.left.max(wide)
    }

    fn draw_shades(
        &self,
        root: &Root<'_>,
        area: &Area<'_>,
        size: Size,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        for shade in &self.shades {
            let [from, healed, drained] = shade.at.map(|x| self.x.place(x).clamp(0.0, 1.0));
            // A fault without a duration is still seen: at least two pixels.
            let least = 2.0 / f64::from(size.width);
            let healed = healed.max(from + least).min(1.0);
            let fill = |alpha: f64| placeholder(FAULT).mix(alpha).filled();
            area.draw(&Rectangle::new([(from, 0.0), (healed, 1.0)], fill(0.20)))?;
            if drained > healed {
                area.draw(&Rectangle::new([(healed, 0.0), (drained, 1.0)], fill(0.08)))?;
            }
            let (x, y) = area.map_coordinate(&((from + healed) / 2.0, 1.0));
            let style = label(size, FAULT, HPos::Center, VPos::Bottom);
            root.draw(&Text::new(shade.letter.clone(), (x, y - 6), style))?;
        }
        Ok(())
    }

    fn draw_axes(
        &self,
        root: &Root<'_>,
        area: &Area<'_>,
        size: Size,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let grid = placeholder(GRID).stroke_width(SCALE);
        for (tick, text) in self.y.ticks(size.ticks.1, self.y_text) {
            let y = self.y.place(tick);
            area.draw(&PathElement::new(vec![(0.0, y), (1.0, y)], grid))?;
            let (x, y) = area.map_coordinate(&(0.0, y));
            let style = label(size, INK, HPos::Right, VPos::Center);
            root.draw(&Text::new(text, (x - 16, y), style))?;
        }
        for (tick, text) in self.x.ticks(size.ticks.0, self.x_text) {
            let at = self.x.place(tick);
            let (x, y) = area.map_coordinate(&(at, 0.0));
            root.draw(&PathElement::new(vec![(x, y), (x, y + 8)], grid))?;
            // The last label must not run out of the picture.
            let side = if at > 0.97 { HPos::Right } else { HPos::Center };
            let style = label(size, INK, side, VPos::Top);
            root.draw(&Text::new(text, (x, y + 12), style))?;
        }
        Ok(())
    }

    fn draw_line(
        &self,
        area: &Area<'_>,
        line: &Line,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let style = placeholder(line.colour).stroke_width(3);
        // A line that is nothing but dots is a scatter: there the dots are what is looked at.
        let scatter = line.segments.iter().all(|segment| segment.len() == 1);
        let radius = if scatter { 8 } else { 3 };
        for segment in &line.segments {
            let place = |&(x, y): &(f64, f64)| {
                (
                    self.x.place(x).clamp(0.0, 1.0),
                    self.y.place(y).clamp(0.0, 1.0),
                )
            };
            let points: Vec<(f64, f64)> = segment.iter().map(place).collect();
            // A lone sample between two gaps is a dot; a line of one point would be invisible.
            if let [point] = points[..] {
                area.draw(&Circle::new(
                    point,
                    radius,
                    placeholder(line.colour).filled(),
                ))?;
            } else {
                area.draw(&PathElement::new(points, style))?;
            }
        }
        Ok(())
    }
}

fn label(size: Size, colour: usize, side: HPos, height: VPos) -> TextStyle<'static> {
    let colour = placeholder(colour);
    // Plotters divides by 1.24 when it writes a font size.
    let font = ("sans-serif", f64::from(size.font * SCALE) * 1.24).into_font();
    TextStyle {
        color: plotters::style::Color::to_backend_color(&colour),
        ..TextStyle::from(font).pos(Pos::new(side, height))
    }
}

/// A colour that no one would choose: it stands for the variable of this number.
fn placeholder(variable: usize) -> RGBColor {
    RGBColor(1, 254, variable as u8)
}

/// Names in place of the placeholders, and without what only makes the page larger.
fn themed(svg: &str, size: Size) -> String {
    let (width, height) = (size.width * SCALE, size.height * SCALE);
    let opening = format!("<svg width=\"{width}\" height=\"{height}\" ");
    let ours = format!(
        "<svg class=\"{}\" aria-hidden=\"true\" focusable=\"false\" ",
        size.class
    );
    let mut text = svg.replacen(&opening, &ours, 1);
    for variable in 0..COLOURS {
        text = text.replace(
            &format!("#01FE{variable:02X}"),
            &format!("var(--fig-{variable})"),
        );
    }
    for clutter in [
        " opacity=\"1\"",
        " font-family=\"sans-serif\"",
        " xmlns=\"http://www.w3.org/2000/svg\"",
    ] {
        text = text.replace(clutter, "");
    }
    text.replace(" \"/>", "\"/>")
        .replace("\n</text>", "</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_no_colours_of_its_own() {
        let figure = Figure {
            name: "test",
            x: Axis::Linear(0.0, 10.0),
            x_text: |x| x.to_string(),
            y: Axis::Log(1.0, 1_000.0),
            y_text: |y| format!("<{y}>"),
            lines: vec![Line {
                name: "line".into(),
                colour: FIRST_LINE,
                segments: vec![vec![(0.0, 1.0), (5.0, 900.0)], vec![(7.0, 30.0)]],
            }],
            shades: vec![Shade {
                letter: "A".into(),
                at: [2.0, 4.0, 6.0],
            }],
            tall: false,
        };
        for size in [WIDE, NARROW] {
            let svg = figure.draw(size).unwrap();
            assert!(!svg.contains('#'), "{svg}");
            assert!(
                svg.contains("var(--fig-2)") && svg.contains("var(--fig-3)"),
                "{svg}"
            );
            assert!(
                svg.contains("<circle") && svg.contains("<polyline"),
                "{svg}"
            );
            assert!(svg.contains("&lt;1000&gt;"), "{svg}");
            assert!(svg.starts_with("<svg class=") && svg.trim_end().ends_with("</svg>"));
        }
    }

    #[test]
    fn axes_place_their_ends_at_the_ends() {
        for axis in [Axis::Linear(5.0, 9.0), Axis::Log(5.0, 9.0)] {
            assert_eq!((axis.place(5.0), axis.place(9.0)), (0.0, 1.0));
        }
        assert!((Axis::Log(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-9);
    }
}
