//! `pfs show`

use super::{Outcome, log};
use crate::api::types::{Register, ShowRequest, Shown};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Table, human};

/// One patch: who, when, what it superseded, which chunks are new
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its id, or the first digits of it (6 or more)
    patch: String,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = ShowRequest { patch: input::patch(&args.patch)? };
    cx.ask(|service, ui| ui.result(&service.show(&request)?, plain))?;
    Ok(Outcome::Done)
}

fn plain(shown: &Shown, clock: &Clock) -> Vec<Line> {
    let mut table = Table::new([Align::Left; 2]);
    let mut row = |name: &str, value: Line| table.row([Line::new().dim(name), value]);
    row("patch", Line::new().id(&shown.patch));
    let path = log::action(shown.action).text(format!(" {}:{}", shown.volume, shown.path));
    row("did", shown.from.iter().fold(path, |line, from| line.dim(" from ").text(from)));
    for by in &shown.attested {
        let when = format!("  {} ({})", human::date(by.time, clock), human::ago(by.time, clock));
        row("by", Line::new().bold(&by.origin.name).text(when));
    }
    for setting in &shown.sets {
        let register = match setting.register {
            Register::Place => "place",
            Register::Content => "content",
            Register::Attr => "attr",
        };
        let value = Line::from(setting.value.as_str());
        let ids: Vec<_> = setting.supersedes.iter().map(|id| human::short(id)).collect();
        row(register, if ids.is_empty() { value } else { value.dim(", supersedes ").id(ids.join(" ")) });
    }
    if let Some(within) = &shown.within {
        row("within", Line::new().id(human::short(within)).dim(", the delete of its directory"));
    }
    row("node", Line::new().id(&shown.node));
    let chunks = &shown.chunks;
    if chunks.total > 0 {
        let new = chunks.new.iter().map(|chunk| chunk.size).sum();
        let total = human::counted(chunks.total, "chunk", "chunks");
        row(
            "chunks",
            Line::from(format!("{total}, {} new: {}", human::count(chunks.new.len() as u64), human::size(new))),
        );
    }
    let mut lines = table.take();
    let mut new = Table::new([Align::Left, Align::Right, Align::Right]);
    for chunk in &chunks.new {
        let at = format!("at {}", human::count(chunk.offset));
        new.row([Line::new().text("  ").id(human::short(&chunk.id)), Line::from(at), human::size(chunk.size).into()]);
    }
    lines.extend(new.take());
    lines
}
