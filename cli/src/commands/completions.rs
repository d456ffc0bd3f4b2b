//! `pfs completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Outcome};
use crate::connect::Context;
use crate::error::CommandError;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pfs", &mut script);
    cx.ui.bytes(&script)?;
    Ok(Outcome::Done)
}
