//! Writes the sample runs with all their renderings: `cargo run -p flume-bench-reports --example
//! samples -- DIRECTORY`. For looking at, and for `ci/screenshots`.

use std::path::PathBuf;
use std::{env, error, fs};

use flume_bench_reports::format::{Input, KINDS};
use flume_bench_reports::record::Known;

#[path = "../tests/samples/records.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests, which use all of it and may unwrap"
)]
mod records;

fn main() -> Result<(), Box<dyn error::Error>> {
    let directory = env::args().nth(1).ok_or("say into which directory")?;
    let runs = [
        ("pass", records::passing()),
        ("fail", records::failing()),
        ("inconclusive", records::inconclusive()),
        ("long", records::long()),
    ];
    for (name, run) in runs {
        let into = PathBuf::from(&directory).join(name);
        fs::create_dir_all(&into)?;
        let series = Known::Value(run.series);
        let input = Input::new(&run.record, &series);
        for format in KINDS {
            for file in format.render(&input)? {
                fs::write(into.join(file.file_name), file.text)?;
            }
        }
    }
    Ok(())
}
