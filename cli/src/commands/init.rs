//! `pfs init`

use super::Outcome;
use crate::api::types::InitRequest;
use crate::connect::Context;
use crate::error::CommandError;
use crate::ui::Line;

/// Create this peer: its key and its store. Twice is harmless
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What people call this peer [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = InitRequest { name: args.name };
    cx.ask_or_create(|service, ui| {
        let peer = service.init(&request)?;
        ui.done(&peer, |peer, _| {
            let what = if peer.created { "created peer " } else { "this is peer " };
            vec![Line::new().text(what).bold(&peer.name), Line::new().text("id ").id(&peer.id)]
        })
    })?;
    Ok(Outcome::Done)
}
