//! Other programs: those that stay (servers), and those that come back with an outcome (clients).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::wait;

/// A server that runs as long as this value lives. What it says goes to a file.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    awaited: bool,
}

impl Server {
    /// Starts it, with its standard error (and output) in `log`.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", not_started(command.get_program(), &error)));
        Self {
            name,
            child,
            log: log.to_path_buf(),
            awaited: true,
        }
    }

    /// One whose end is not waited for where it is dropped: it ends what belongs to it at once, and
    /// itself a good while later.
    pub(crate) fn unawaited(self) -> Self {
        let mut server = self;
        server.awaited = false;
        server
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until a line of the log contains all of `parts`, and returns that line.
    #[track_caller]
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        wait::for_some(&format!("{} to log {parts:?}", self.name), || {
            self.log()
                .lines()
                .find(|line| parts.iter().all(|part| line.contains(part)))
                .map(str::to_owned)
        })
    }

    /// Returns when a connection to `address` is accepted. The connection is closed at once.
    #[track_caller]
    pub(crate) fn listens(&mut self, address: SocketAddr) {
        let what = format!("{} to listen on {address}", self.name);
        wait::for_ok(&what, || {
            if let Some(status) = self.ended() {
                panic!("{} ended ({status})", self.name);
            }
            TcpStream::connect(address)
        });
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait::for_some(&what, || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    /// SIGTERM, so that it takes its own children with it; only then SIGKILL.
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(8_000);
            let tail = log.get(from..).unwrap_or(&log);
            drop(writeln!(std::io::stderr(), "--- {}:\n{tail}", self.name));
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let pid = Pid::from_child(&self.child);
            let told = kill_process(pid, Signal::TERM).is_ok();
            if told && !self.awaited {
                return;
            }
            if !told || !wait::holds(|| self.ended().is_some()) {
                drop(self.child.kill());
            }
            drop(self.child.wait());
        }
    }
}

/// What came of a program that ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Panics unless it ended well; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }
}

/// Runs a program to its end, with `input` as its standard input.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Outcome {
    run_for(wait::PATIENCE, program, arguments, input)
}

/// The same for a program that has much to do.
pub(crate) fn run_long<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Outcome {
    run_for(wait::LONG, program, arguments, b"")
}

fn run_for<A: AsRef<OsStr>>(
    patience: Duration,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
) -> Outcome {
    // A client that hangs ends with status 124 here, and so names itself.
    let mut child = Command::new("timeout")
        .arg(patience.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not want its input breaks the pipe: that is its own affair.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_ne!(
        status.code(),
        Some(127),
        "{program} is not installed; tests/run installs it"
    );
    Outcome {
        status,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Mail servers change users, which takes root.
pub(crate) fn require_root(server: &str) {
    assert!(
        geteuid().is_root(),
        "{server} is started by root; tests/run takes care of it"
    );
}

fn not_started(program: &OsStr, error: &std::io::Error) -> String {
    let program = program.display();
    if error.kind() == ErrorKind::NotFound {
        format!("{program} is not installed; tests/run installs it")
    } else {
        format!("{program} does not start: {error}")
    }
}
