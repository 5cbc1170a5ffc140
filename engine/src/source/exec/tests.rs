//! The exec source: commands that end, fail, write to both outputs, or are stopped.

use std::fs;
use std::path::Path;

use super::super::testing::{Bench, bodies, wait_for};
use super::*;

fn source(settings: &str) -> BoxSource {
    build(&Context::from_example("r1", settings)).unwrap()
}

/// Whether a process is there and not just waiting to be collected.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

#[test]
fn lines_become_events_and_an_unfinished_last_one_too() {
    let bench = Bench::new();
    let running = bench.run(source(
        "shell = /bin/sh -c\ncommand = printf 'a b\\r\\n\\nc'; echo 'd|'`echo e`",
    ));
    assert_eq!(bodies(&bench.take(3)), ["a b", "", "cd|e"]);
    running.join_finished();
    bench.assert_empty();
}

#[test]
fn without_a_shell_the_command_is_words() {
    let bench = Bench::new();
    let running = bench.run(source("command = echo  '$HOME   x'"));
    assert_eq!(bodies(&bench.take(1)), ["'$HOME x'"]);
    running.join_finished();
}

#[test]
fn a_full_channel_makes_it_wait_and_loses_nothing() {
    let bench = Bench::with_capacity(1000);
    let running = bench.run(source("command = seq 1 20000\nbatchSize = 70"));
    // Far more than a pipe and a channel hold, and the channel stays full for a while first.
    wait_for("a refused put", || {
        bench.out.counters().channel_write_fail.load(Relaxed) > 0
    });
    let got = bodies(&bench.take(20_000));
    assert_eq!(got, (1..=20_000).map(|n| n.to_string()).collect::<Vec<_>>());
    running.join_finished();
}

#[test]
fn a_batch_is_put_when_its_time_is_up_though_the_command_goes_on() {
    let bench = Bench::new();
    let running = bench.run(source(
        "shell = /bin/sh -c\ncommand = echo early; exec sleep 600\nbatchTimeout = 50",
    ));
    assert_eq!(bodies(&bench.take(1)), ["early"]);
    running.stop().unwrap();
}

#[test]
fn it_is_run_again_only_if_asked_to() {
    let bench = Bench::new();
    let running = bench.run(source(
        "command = echo x\nrestart = true\nrestartThrottle = 1",
    ));
    assert_eq!(bodies(&bench.take(3)), ["x"; 3]);
    running.stop().unwrap();
    let bench = Bench::new();
    bench.run(source("command = echo x")).join_finished();
    assert_eq!(bodies(&bench.take(1)), ["x"]);
    bench.assert_empty();
}

#[test]
fn a_stop_ends_the_whole_process_group_even_if_it_is_deaf() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let bench = Bench::new();
    let command = format!(
        "trap '' TERM; sleep 600 & echo $! > {0}.tmp; echo $$ >> {0}.tmp; mv {0}.tmp {0}; while :; do sleep 1; done",
        pids.display()
    );
    let running = bench.run(source(&format!("shell = /bin/sh -c\ncommand = {command}")));
    wait_for("the process ids", || Path::new(&pids).exists());
    let started = fs::read_to_string(&pids).unwrap();
    assert!(started.lines().all(lives));
    running.stop().unwrap();
    for pid in started.lines() {
        wait_for("a process to end", || !lives(pid));
    }
}

#[test]
fn a_missing_program_is_an_error_unless_it_is_to_be_run_again() {
    let bench = Bench::new();
    let error = source("command = /no/such/program")
        .run(&bench.out, &bench.stop)
        .unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let running = bench.run(source(
        "command = /no/such/program\nrestart = true\nrestartThrottle = 1",
    ));
    running.stop().unwrap();
}

#[test]
fn standard_error_is_read_so_that_it_cannot_fill_up() {
    for log in [true, false] {
        let bench = Bench::new();
        let running = bench.run(source(&format!(
            "shell = /bin/sh -c\ncommand = seq 1 50000 >&2; echo done\nlogStdErr = {log}"
        )));
        assert_eq!(bodies(&bench.take(1)), ["done"]);
        running.join_finished();
        bench.assert_empty();
    }
}
