//! `pfs cat`

use std::ffi::OsString;

use super::{Outcome, go_on};
use crate::api::types::CatRequest;
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;

/// The bytes of any version of a file, fetched if need be
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file
    path: OsString,
    /// As it was: a patch id, a time or an age like 3d
    #[arg(long, value_name = "REV")]
    at: Option<String>,
    /// One side of a fork, as `pfs forks` shows it
    #[arg(long, value_name = "PATCH", conflicts_with = "at")]
    head: Option<String>,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = CatRequest {
        target: input::target(&args.path)?,
        at: args.at.as_deref().map(|text| input::revision(text, &cx.ui.clock)).transpose()?,
        head: args.head.as_deref().map(input::patch).transpose()?,
    };
    cx.ask(|service, ui| {
        let mut printed = Ok(());
        service.cat(&request, &mut |piece| go_on(ui.bytes(&piece), &mut printed))?;
        printed
    })?;
    Ok(Outcome::Done)
}
