//! `pfs capture`

use super::Outcome;
use crate::api::types::{CaptureRequest, Captured, Problem};
use crate::connect::Context;
use crate::error::CommandError;
use crate::ui::{Line, human};

/// Scan now; returns when everything on disk is in the log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id [default: every volume]
    volume: Option<String>,
    /// Where it is halted: what the disk shows is meant so (much or all of it is gone, or its marker is)
    #[arg(long, requires = "volume")]
    force: bool,
    /// Where it is halted: what is gone was not meant to go, and is brought back from the history
    #[arg(long, requires = "volume", conflicts_with = "force")]
    bring_back: bool,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = CaptureRequest { volume: args.volume, force: args.force, bring_back: args.bring_back };
    cx.ask(|service, ui| {
        let bar = ui.progress();
        let captured = service.capture(&request, &mut |progress| bar.show(&progress));
        drop(bar);
        ui.done(&captured?, |captured, _| captured.iter().flat_map(plain).collect())
    })?;
    Ok(Outcome::Done)
}

fn plain(captured: &Captured) -> Vec<Line> {
    let what = match captured.patches {
        0 => "nothing new".to_owned(),
        n => format!("{}, {} new", human::counted(n, "patch", "patches"), human::size(captured.new_bytes)),
    };
    let mut lines = vec![Line::new().bold(&captured.volume.name).text(": ").text(what)];
    lines.extend(skipped(&captured.skipped));
    lines
}

/// What was not carried, and why.
pub(super) fn skipped(problems: &[Problem]) -> impl Iterator<Item = Line> {
    problems
        .iter()
        .map(|problem| Line::new().text("  ").warn("skipped ").text(&problem.path).text(": ").text(&problem.reason))
}
