//! The commands: one file each with its arguments and what it prints, and one match.

mod capture;
mod cat;
mod completions;
mod daemon;
mod diff;
mod events;
mod forks;
mod gc;
mod init;
mod invite;
mod join;
mod log;
mod ls;
mod man;
mod peers;
mod resolve;
mod restore;
mod service;
mod show;
mod status;
mod track;
mod untrack;
mod verify;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::api::service::ErrorKind;
use crate::connect::{Context, Open};
use crate::error::{CommandError, EXIT_CODES, exit_code};
use crate::home::Home;
use crate::ui::{self, Ui};

/// Keeps directories the same on several machines, with every version and without losing a change.
#[derive(Debug, Parser)]
#[command(name = "pfs", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Above the options that every command takes.
const GLOBAL: &str = "Global options";

#[derive(Debug, clap::Args)]
struct Global {
    /// Where this peer keeps its key and its store [default: the platform's data folder]
    #[arg(long, help_heading = GLOBAL, env = "PFS_HOME", value_name = "DIR", global = true, hide_env_values = true)]
    home: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, help_heading = GLOBAL, global = true)]
    json: bool,
    /// Print only what was asked for, and errors
    #[arg(short, long, help_heading = GLOBAL, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say what goes on inside, to standard error; more often: more
    #[arg(short, long, help_heading = GLOBAL, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Track(track::Args),
    Untrack(untrack::Args),
    Daemon(daemon::Args),
    Service(service::Args),
    Capture(capture::Args),
    Status(status::Args),
    Log(log::Args),
    Show(show::Args),
    Diff(diff::Args),
    Cat(cat::Args),
    Ls(ls::Args),
    Restore(restore::Args),
    Forks(forks::Args),
    Resolve(resolve::Args),
    Invite(invite::Args),
    Join(join::Args),
    Peers(peers::Args),
    Events(events::Args),
    Verify(verify::Args),
    Gc(gc::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was asked for.
    Done,
    /// Answered, and the answer is bad: exit code 1 without another message.
    Bad,
    /// Not all of it, and each failure has been told: the exit code of the first.
    Partly(ErrorKind),
}

/// Lets a list go on while output takes what is printed; keeps the failure that ended it.
fn go_on(printed: Result<(), CommandError>, kept: &mut Result<(), CommandError>) -> ControlFlow<()> {
    *kept = printed;
    if kept.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// The whole program.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>, open: Open) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where nothing can be printed, the exit code still tells.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // What a daemon does is told nowhere else.
    let is_daemon = matches!(cli.command, Command::Daemon(_));
    ui::start_log(cli.global.verbose.saturating_add(u8::from(is_daemon)));
    let ui = Ui::standard(ui::Options { json: cli.global.json, quiet: cli.global.quiet });
    ExitCode::from(execute(cli, ui, open))
}

/// Runs a parsed command; gives the exit code.
pub(crate) fn execute(cli: Cli, mut ui: Ui, open: Open) -> u8 {
    let home = match Home::new(cli.global.home) {
        Ok(home) => home,
        Err(error) => {
            ui.error(&error);
            return error.exit_code();
        }
    };
    let mut cx = Context { ui, home, open, verbosity: cli.global.verbose };
    let outcome = run(cli.command, &mut cx);
    match outcome.and_then(|outcome| cx.ui.flush().map(|()| outcome)) {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Bad) => 1,
        Ok(Outcome::Partly(first)) => exit_code(first),
        Err(error) => {
            if error.exit_code() != 0 {
                cx.ui.error(&error);
            }
            error.exit_code()
        }
    }
}

fn run(command: Command, cx: &mut Context) -> Result<Outcome, CommandError> {
    match command {
        Command::Init(args) => init::run(args, cx),
        Command::Track(args) => track::run(args, cx),
        Command::Untrack(args) => untrack::run(args, cx),
        Command::Daemon(args) => daemon::run(args, cx),
        Command::Service(args) => service::run(&args, cx),
        Command::Capture(args) => capture::run(args, cx),
        Command::Status(args) => status::run(&args, cx),
        Command::Log(args) => log::run(args, cx),
        Command::Show(args) => show::run(&args, cx),
        Command::Diff(args) => diff::run(&args, cx),
        Command::Cat(args) => cat::run(&args, cx),
        Command::Ls(args) => ls::run(&args, cx),
        Command::Restore(args) => restore::run(&args, cx),
        Command::Forks(args) => forks::run(&args, cx),
        Command::Resolve(args) => resolve::run(args, cx),
        Command::Invite(args) => invite::run(args, cx),
        Command::Join(args) => join::run(args, cx),
        Command::Events(args) => events::run(args, cx),
        Command::Peers(args) => peers::run(args, cx),
        Command::Verify(args) => verify::run(args, cx),
        Command::Gc(args) => gc::run(&args, cx),
        Command::Completions(args) => completions::run(&args, cx),
        Command::Man(args) => man::run(&args, cx),
    }
}
