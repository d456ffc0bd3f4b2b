//! `pfs join`

use std::path::PathBuf;

use super::Outcome;
use crate::api::types::{Holding, JoinRequest, Joined};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Line, human};

/// Become a member of a volume and start syncing; creates this peer if there is none
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As `pfs invite` printed it
    ticket: String,
    /// Where the files shall be [default: a new directory here, of the volume's name]
    dir: Option<PathBuf>,
    /// What to call the volume here [default: as its members do]
    #[arg(long)]
    name: Option<String>,
    /// How much of the contents to hold
    #[arg(long, value_enum, default_value = "all")]
    holding: Holding,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let dir = args.dir.as_deref().map(input::absolute).transpose()?;
    let request = JoinRequest {
        ticket: args.ticket,
        dir: dir.map(|dir| dir.as_path().into()),
        cwd: input::absolute(".".as_ref())?.as_path().into(),
        name: args.name,
        holding: args.holding,
    };
    cx.ask_or_create(|service, ui| {
        let bar = ui.progress();
        let joined = service.join(&request, &mut |progress| bar.show(&progress));
        drop(bar);
        ui.done(&joined?, |joined, _| plain(joined))
    })?;
    Ok(Outcome::Done)
}

fn plain(joined: &Joined) -> Vec<Line> {
    let place = joined.path.as_ref().map_or_else(String::new, |path| format!(" in {}", human::on_disk(path)));
    let counts = format!("{}, {}", human::counted(joined.files, "file", "files"), human::size(joined.bytes));
    let role = human::role(joined.role);
    let mut lines = vec![Line::new().text("joined ").bold(&joined.volume).text(format!("{place} as {role}: {counts}"))];
    if !joined.kept {
        lines.push(Line::new().dim("to stay in sync: ").id("pfs daemon start"));
    }
    lines
}
