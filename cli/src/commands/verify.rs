//! `pfs verify`

use super::Outcome;
use crate::api::types::{StatusRequest, Verified, VerifyRequest};
use crate::connect::Context;
use crate::error::CommandError;
use crate::ui::{Line, Style, human};

/// Re-hash what is stored and what is in the trees; exits with 1 where something is damaged
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id [default: every volume]
    volume: Option<String>,
    /// Heal what is damaged: what is stored from other peers, the trees from what is stored
    #[arg(long)]
    repair: bool,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = VerifyRequest { volume: args.volume, repair: args.repair };
    let everything = StatusRequest { target: None };
    cx.ask(|service, ui| {
        let bar = ui.progress();
        let verified = service.verify(&request, &mut |progress| bar.show(&progress));
        drop(bar);
        let verified = verified?;
        // Only a daemon has members to fetch from.
        let alone = request.repair && !verified.damaged.is_empty() && service.status(&everything)?.daemon.is_none();
        ui.done(&verified, |verified, _| plain(verified, request.repair, alone))?;
        Ok(if verified.damaged.is_empty() { Outcome::Done } else { Outcome::Bad })
    })
}

fn plain(verified: &Verified, repair: bool, alone: bool) -> Vec<Line> {
    let Verified { chunks, bytes, repaired, healed, damaged } = verified;
    let checked = format!("checked {}, {}: ", human::counted(*chunks, "chunk", "chunks"), human::size(*bytes));
    let line = Line::from(checked);
    let line = match damaged.len() as u64 {
        0 => line.add(Style::Good, "all is well"),
        n => line.bad(format!("{} damaged", human::counted(n, "file is", "files are"))),
    };
    let came_back = format!(", {} healed", human::counted(*repaired, "chunk", "chunks"));
    let mut lines = vec![if *repaired > 0 { line.text(came_back) } else { line }];
    for file in healed {
        let path = format!("{}:{}", file.volume, file.path);
        let line = Line::new().text("  ").bold(path).text(": ").add(Style::Good, "healed");
        let kept = file.kept.iter().map(|kept| format!("; what was there is kept as {}", human::on_disk(kept)));
        lines.push(kept.fold(line, Line::dim));
    }
    for problem in damaged {
        let path = format!("{}:{}", problem.volume, problem.path);
        lines.push(Line::new().text("  ").bold(path).text(": ").text(&problem.reason));
    }
    if !damaged.is_empty() && !repair {
        lines.push(Line::new().dim("to heal from other peers: ").id("pfs verify --repair"));
    }
    if alone {
        let why = "only a daemon can fetch from other peers: ";
        lines.push(Line::new().dim(why).id("pfs daemon start && pfs verify --repair"));
    }
    lines
}
