//! The agent as a process: exit codes, signals, what it writes, what it leaves alone.
//!
//! This test program runs itself again to be the agent: `agent_process` is the agent if the
//! environment says so, and passes at once otherwise.

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpStream;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::sync::mpsc::{self, Receiver};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Holds the agent's arguments, separated by line feeds.
    const ARGUMENTS: &str = "ENGINE_TEST_AGENT_ARGUMENTS";
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn agent_process() {
        let Some(arguments) = std::env::var_os(ARGUMENTS) else {
            return;
        };
        let arguments = arguments.into_string().unwrap();
        let code = flume_bench_engine::cli::main(arguments.split('\n').map(OsString::from));
        // An ExitCode cannot be looked into, but it can be compared by what it prints.
        let number = (0..=255u8)
            .find(|number| format!("{:?}", ExitCode::from(*number)) == format!("{code:?}"));
        std::process::exit(number.map_or(255, i32::from));
    }

    /// An agent that is killed when the test is over, however it ends.
    struct Agent {
        child: Child,
        lines: Receiver<String>,
        seen: Vec<String>,
    }

    impl Agent {
        fn start(arguments: &[&str]) -> Self {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "tests::agent_process",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(ARGUMENTS, arguments.join("\n"))
                .env_remove("RUST_LOG")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (send, lines) = mpsc::channel();
            let errors = BufReader::new(child.stderr.take().unwrap());
            std::thread::spawn(move || {
                for line in errors.lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
            Self {
                child,
                lines,
                seen: Vec::new(),
            }
        }

        /// Waits for a line that contains `text`.
        fn wait_for(&mut self, text: &str) -> String {
            let deadline = Instant::now() + LONG;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.lines.recv_timeout(left) {
                    Ok(line) => {
                        self.seen.push(line.clone());
                        if line.contains(text) {
                            return line;
                        }
                    }
                    Err(error) => panic!("{text:?} did not come ({error}): {:#?}", self.seen),
                }
            }
        }

        fn signal(&self, signal: Signal) {
            kill(
                Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
                signal,
            )
            .unwrap();
        }

        /// Waits for the end; answers the exit code and all lines.
        fn end(&mut self) -> (Option<i32>, Vec<String>) {
            let deadline = Instant::now() + LONG;
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    self.seen.extend(self.lines.iter());
                    return (status.code(), std::mem::take(&mut self.seen));
                }
                assert!(
                    Instant::now() < deadline,
                    "the agent does not end: {:#?}",
                    self.seen
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Agent {
        fn drop(&mut self) {
            // Both fail when it has ended already, which is as well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn configuration(directory: &Path, text: &str) -> PathBuf {
        let file = directory.join("flume.conf");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn json(port: u16) -> serde_json::Value {
        let answer = get(port, "/metrics");
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    const SEQ: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 5000
a1.sources.r1.batchSize = 50
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 200
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
";

    #[test]
    fn a_whole_agent_from_ready_to_sigterm() {
        let directory = tempfile::tempdir().unwrap();
        let file = configuration(directory.path(), SEQ);
        let file = file.to_str().unwrap();
        let monitoring = ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0"];
        let mut agent = Agent::start(&[
            "-n",
            "a1",
            "-f",
            file,
            "-Xmx20m",
            monitoring[0],
            monitoring[1],
        ]);
        assert!(agent.wait_for("-Xmx20m").starts_with("notice: "));
        let line = agent.wait_for("metrics of agent a1 on port ");
        let port = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(agent.wait_for("agent a1 is ready"), "agent a1 is ready");
        let deadline = Instant::now() + LONG;
        while json(port)["SINK.k1"]["EventDrainSuccessCount"] != "5000" {
            assert!(Instant::now() < deadline, "{}", json(port));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(json(port)["CHANNEL.c1"]["ChannelCapacity"], "200");
        assert!(get(port, "/metrics/prometheus").contains("Flume_EventDrainSuccessCount_total"));
        agent.signal(Signal::SIGTERM);
        let (code, lines) = agent.end();
        assert_eq!(code, Some(0), "{lines:#?}");
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "the port is free again"
        );
    }

    #[test]
    fn nothing_starts_from_a_bad_command_line_or_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let file = configuration(directory.path(), SEQ);
        let file = file.to_str().unwrap();
        let missing = directory.path().join("missing.conf");
        let missing = missing.to_str().unwrap();
        for (arguments, expected) in [
            (
                vec!["-f", file],
                "error: the agent's name is missing; give it with --name",
            ),
            (
                vec!["-n", "a1"],
                "error: the configuration is missing; give it with --conf-file",
            ),
            (
                vec!["-n", "a1", "-f", missing],
                "cannot read the configuration file",
            ),
            (
                vec!["-n", "a2", "-f", file],
                "there is no agent a2 in it; there is: a1; did you mean a1?",
            ),
            (
                vec!["-n", "a1", "-f", file, "--colour"],
                "error: there is no option --colour",
            ),
        ] {
            let (code, lines) = Agent::start(&arguments).end();
            assert_eq!(code, Some(2), "{arguments:?}: {lines:#?}");
            assert!(
                lines.iter().any(|line| line.contains(expected)),
                "{expected:?}: {lines:#?}"
            );
            assert!(!lines.iter().any(|line| line.contains("is ready")));
        }
    }

    #[test]
    fn strict_refuses_what_is_otherwise_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let file = configuration(
            directory.path(),
            &format!("{SEQ}a1.sinks.k1.batchSiz = 7\n"),
        );
        let file = file.to_str().unwrap();
        let expected = format!(
            "{file}:12: a1.sinks.k1.batchSiz: unknown key of sink type null; ignored; did you mean batchSize?"
        );
        let (code, lines) = Agent::start(&["-n", "a1", "-f", file, "--strict"]).end();
        assert_eq!(code, Some(2), "{lines:#?}");
        assert!(lines.contains(&format!("error: {expected}")), "{lines:#?}");
        let mut agent = Agent::start(&["-n", "a1", "-f", file]);
        assert_eq!(agent.wait_for("batchSiz"), format!("warning: {expected}"));
        agent.wait_for("agent a1 is ready");
        agent.signal(Signal::SIGINT);
        assert_eq!(agent.end().0, Some(0));
    }

    #[test]
    fn a_port_in_use_is_fatal_with_strict_only() {
        let directory = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let text = SEQ
            .replace(
                "r1.type = seq",
                &format!(
                    "r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}"
                ),
            )
            .replace(
                "a1.sources.r1.totalEvents = 5000\na1.sources.r1.batchSize = 50\n",
                "",
            );
        let file = configuration(directory.path(), &text);
        let file = file.to_str().unwrap();
        let (code, lines) = Agent::start(&["-n", "a1", "-f", file, "--strict"]).end();
        assert_eq!(code, Some(2), "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains("source r1") && line.contains(&port.to_string())),
            "{lines:#?}"
        );
        let mut agent = Agent::start(&["-n", "a1", "-f", file]);
        agent.wait_for("cannot be opened");
        drop(taken);
        agent.wait_for("agent a1 is ready");
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.end().0, Some(0));
    }

    #[test]
    fn a_second_agent_on_the_same_file_channel_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_str().unwrap();
        let text = SEQ.replace(
        "c1.type = memory",
        &format!("c1.type = file\na1.channels.c1.checkpointDir = {at}/check\na1.channels.c1.dataDirs = {at}/data"),
    );
        let text = text.replace("a1.channels.c1.capacity = 200\n", "");
        let file = configuration(directory.path(), &text);
        let arguments = ["-n", "a1", "-f", file.to_str().unwrap()];
        let mut first = Agent::start(&arguments);
        first.wait_for("agent a1 is ready");
        let (code, lines) = Agent::start(&arguments).end();
        assert_eq!(code, Some(2), "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("error: ") && line.contains("c1")),
            "{lines:#?}"
        );
        first.signal(Signal::SIGTERM);
        assert_eq!(first.end().0, Some(0));
    }

    #[test]
    fn an_idle_agent_is_small() {
        let directory = tempfile::tempdir().unwrap();
        let file = configuration(directory.path(), &SEQ.replace("5000", "1"));
        let monitoring = ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0"];
        let mut agent = Agent::start(&[
            "-n",
            "a1",
            "-f",
            file.to_str().unwrap(),
            monitoring[0],
            monitoring[1],
        ]);
        agent.wait_for("agent a1 is ready");
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(kib <= 20 * 1024, "{kib} KiB resident");
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.end().0, Some(0));
    }
}
