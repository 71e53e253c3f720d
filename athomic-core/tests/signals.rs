//! Signals: the first drains and commits, a second ends the process at once.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use athomic_core::app::App;
use athomic_core::handler::register::subscribe;
use athomic_core::lifecycle::{Service, ServiceError, ServiceHandle};
use athomic_core::settings::Settings;

/// How long the child's handler works, in milliseconds.
const WORK: &str = "ATHOMIC_TEST_WORK_MS";

/// Says when the application begins to stop.
struct Announcer;

impl Service for Announcer {
    fn name(&self) -> &str {
        "announcer"
    }

    async fn start(&self, handle: ServiceHandle) -> Result<(), ServiceError> {
        let stopping = handle.clone();
        handle.spawn(async move {
            stopping.stopping().await;
            println!("@stopping");
            Ok(())
        });
        Ok(())
    }
}

/// Not a test: what the other tests start as a process of its own.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work = Duration::from_millis(work.parse().unwrap());
    let on_message = move |_: u64| async move {
        println!("@running");
        tokio::time::sleep(work).await;
        println!("@handled");
    };
    let handler = subscribe("t").group_id("g").handler(on_message);
    let app = App::builder().without_discovery().settings(Settings::default());
    let app = app.register(handler).service(Announcer).build().unwrap();
    let broker = app.broker().control();
    broker.create_topic("t", 1);
    let message = athomic_core::transport::OutgoingMessage {
        topic: "t".into(),
        payload: Some("1".into()),
        ..Default::default()
    };
    broker.publish(message).unwrap();
    app.run().await.unwrap();
    println!("@committed {}", broker.committed("g")[0].offset);
}

/// A child under way, and what it says.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(work: Duration) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(WORK, work.as_millis().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    /// Read until the child says something of its own.
    fn says(&mut self) -> Option<String> {
        let lines = (&mut self.output).lines().map_while(Result::ok);
        let said = |line: String| Some(line.split_once('@')?.1.to_owned());
        lines.filter_map(said).next()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill}");
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
    }
}

#[test]
fn a_signal_drains_and_commits() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(Duration::from_millis(300));
        assert_eq!(process.says().as_deref(), Some("running"));
        process.signal(signal);
        let said: Vec<_> = std::iter::from_fn(|| process.says()).collect();
        assert_eq!(said, ["stopping", "handled", "committed 1"]);
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut process = Process::start(Duration::from_secs(3_600));
        assert_eq!(process.says().as_deref(), Some("running"));
        process.signal(signal);
        assert_eq!(process.says().as_deref(), Some("stopping"));
        process.signal(signal);
        assert_eq!(process.says(), None);
        assert_eq!(process.end().code(), Some(code));
    }
}
