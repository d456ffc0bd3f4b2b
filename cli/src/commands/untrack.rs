//! `pfs untrack`

use super::Outcome;
use crate::api::types::UntrackRequest;
use crate::connect::Context;
use crate::error::CommandError;
use crate::ui::{Line, human};

/// Stop tracking a volume: its files stay, its history here goes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id
    volume: String,
    /// Also where no other peer is known to have its history
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = UntrackRequest { volume: args.volume, force: args.force };
    cx.ask(|service, ui| {
        let untracked = service.untrack(&request)?;
        ui.done(&untracked, |untracked, _| {
            let stay = format!("; its files stay in {}", human::on_disk(&untracked.path));
            let again = "tracking the directory again begins a new volume, with a history of its own";
            let next = if untracked.shared { "; to go on with this one, join it by a ticket" } else { "" };
            let stopped = Line::new().text("stopped tracking ").bold(&untracked.volume.name).text(stay);
            vec![stopped, Line::new().dim(again).dim(next)]
        })
    })?;
    Ok(Outcome::Done)
}
