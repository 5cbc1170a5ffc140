//! What a scenario needs beyond this program. Where it is missing a test says so and passes, except
//! in CI, where it fails.

use flume_bench_scenarios::scenario::Scenario;
use flume_bench_scenarios::tools::{find_program, libs};

/// The command that brings what the scenario needs and this machine lacks.
pub(crate) fn lacking(scenario: &Scenario) -> Option<&'static str> {
    let java = find_program("java").is_some();
    let jars = |name: &str| java && libs().join(name).join(".complete").exists();
    if scenario.sut.driver.name() == "flume" && !jars("flume-1.11.0") {
        return Some("ci/setup hdfs flume");
    }
    if scenario.store.provider() == "local" && !jars("hdfs-3.3.6") {
        return Some("ci/setup hdfs flume");
    }
    (scenario.sut.driver.name() == "command" && find_program("rsyslogd").is_none())
        .then_some("ci/setup rsyslog")
}

/// Whether a test is to be left out because the machine lacks something.
pub(crate) fn skip(scenario: &Scenario) -> bool {
    let Some(command) = lacking(scenario) else {
        return false;
    };
    let name = &scenario.name;
    assert!(
        std::env::var_os("CI").is_none(),
        "{name}: something it needs is missing: run {command}"
    );
    eprintln!("SKIPPED {name}: something it needs is missing; `{command}` brings it");
    true
}
