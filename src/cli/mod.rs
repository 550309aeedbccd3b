//! The command line: arguments in, results and exit status out. Nothing below this prints.

mod arguments;
mod backend;
mod certificates;
mod check;
mod deliver;
mod demo;
mod dialogs;
mod input;
mod manual;
mod output;
mod probe;
mod render;
mod show;
mod terminal;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::admin::ClientError;
use crate::admin::api;
use crate::admin::service::ServiceError;
use crate::causes;
use crate::config::{self, ConfigErrors};
use crate::demo::DemoError;
use crate::log::{self, LogError};
use crate::server::{self, RunError};
use crate::store::StoreError;
use crate::time::Clock;
use arguments::{Arguments, Command};
use backend::Place;
use output::{complain, print};

/// The operation failed.
const FAILED: u8 = 1;
/// EX_USAGE of sysexits.h.
const USAGE: u8 = 64;
/// EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;

/// What the admin API answers to what makes no sense, whatever it is asked of.
const BAD_REQUEST: u16 = 400;

/// What the admin API answers to a reload of a configuration that cannot be taken up.
const UNPROCESSABLE: u16 = 422;

/// Longer than a proxy that has answered may take to write its last answers and end its tasks.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Runs the command that was typed; its exit status.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_a_command(&error),
    };
    execute(arguments).unwrap_or_else(|failure| failure.report())
}

/// Help and version are answers, all else is wrong usage.
fn not_a_command(error: &clap::Error) -> ExitCode {
    // Where nobody reads the answer there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The running proxy finds its configuration wrong; one error a line.
    #[error("{0}")]
    NotReloaded(String),
    /// A command or option that is promised for later.
    #[error("{0:?} is not in this version")]
    NotInThisVersion(&'static str),
    /// No threads, no signals.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Standard output is full or gone.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
    /// The log's level, which the configuration has checked.
    #[error("cannot start the log")]
    Log(#[from] LogError),
    /// The running proxy.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The folder, without a running proxy.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The default certificate is removed only on purpose.
    #[error(
        "{name:?} is the default certificate: make another one the default first, or remove it with --force"
    )]
    DefaultCertificate {
        /// NAME.
        name: String,
    },
    /// The folder could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file given on the command line.
    #[error(transparent)]
    Input(#[from] input::InputError),
    /// A file to be written.
    #[error(transparent)]
    Deliver(#[from] deliver::DeliverError),
    /// The proxy itself.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The demo.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl Failure {
    /// Says it, one line a cause, and gives the exit status.
    fn report(&self) -> ExitCode {
        if let Self::Config(_) | Self::NotReloaded(_) = self {
            complain(self);
            return ExitCode::from(CONFIG);
        }
        complain(format_args!("gatepost: {}", causes::in_one_line(self)));
        match self.status() {
            Some(BAD_REQUEST) => ExitCode::from(USAGE),
            _ => ExitCode::from(FAILED),
        }
    }

    /// The HTTP status of what the admin API refuses, asked over the socket or in this process.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Client(ClientError::Refused(problem)) => Some(problem.status),
            Self::Service(error) => Some(error.status()),
            _ => None,
        }
    }
}

fn execute(arguments: Arguments) -> Result<ExitCode, Failure> {
    let place = Place {
        config: arguments.config.as_deref(),
        socket: arguments.socket.as_deref(),
    };
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(place)?,
        Command::Check { probe } => return check::run(place.config, probe),
        Command::Init { .. } => return Err(Failure::NotInThisVersion("init")),
        Command::Demo { once } => return demo::run(once),
        Command::Status { format } => {
            let status = place.proxy()?.ask(async |c| c.status().await)?;
            certificates::show(format.json, &status, render::status)?;
        }
        Command::Reload => reload(place)?,
        Command::Drain => {
            let drained = place.proxy()?.ask(async |c| c.drain().await)?;
            print(&ended("drained", drained))?;
        }
        Command::Stop => {
            let mut proxy = place.proxy()?;
            let drained = proxy.ask(async |c| c.stop().await)?;
            proxy.ended(LAST_MOMENTS)?;
            print(&ended("stopped", drained))?;
        }
        Command::Cert(command) => certificates::run(command, place)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "gatepost", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
        Command::Man => print(&manual::page(Arguments::command())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The proxy itself, in the foreground.
fn run(place: Place<'_>) -> Result<(), Failure> {
    let path = config::find(place.config)?;
    let (config, warnings) = config::load(&path)?;
    let log = log::init();
    log.apply(&config.log)?;
    let options = server::Options {
        clock: Clock::System,
        inherit_sockets: true,
        log: Some(log),
    };
    Ok(server::run(config, &warnings, options)?)
}

fn reload(place: Place<'_>) -> Result<(), Failure> {
    let asked = place.proxy()?.ask(async |c| c.reload().await);
    let reloaded = asked.map_err(|failure| match failure {
        Failure::Client(ClientError::Refused(problem)) if problem.status == UNPROCESSABLE => {
            Failure::NotReloaded(problem.detail)
        }
        failure => failure,
    })?;
    reloaded.warnings.iter().for_each(complain);
    Ok(print("reloaded\n")?)
}

fn ended(how: &str, drained: api::Drained) -> String {
    match drained.cut_off {
        0 => format!("{how}\n"),
        1 => format!("{how}, 1 connection was cut off\n"),
        cut_off => format!("{how}, {cut_off} connections were cut off\n"),
    }
}
