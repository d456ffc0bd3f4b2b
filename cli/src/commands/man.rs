//! `pfs man`

use clap::CommandFactory as _;

use super::{Cli, Outcome};
use crate::api::service::ErrorKind;
use crate::connect::Context;
use crate::error::CommandError;

/// Print the manual page, for `man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of this command [default: of pfs]
    command: Option<String>,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let mut pfs = Cli::command();
    pfs.build();
    let wanted = match &args.command {
        None => pfs,
        Some(name) => {
            let found = pfs.find_subcommand(name).cloned();
            found.ok_or_else(|| CommandError::new(ErrorKind::Usage, format!("there is no command `{name}`")))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(wanted).render(&mut page).map_err(|error| CommandError::output(&error))?;
    cx.ui.bytes(&page)?;
    Ok(Outcome::Done)
}
