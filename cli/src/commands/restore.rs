//! `pfs restore`

use std::ffi::OsString;

use super::Outcome;
use crate::api::types::{Deed, RestoreRequest, Restored, RestoredPath};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Style, Table, human};

/// Up to so many paths are told one by one.
const FEW: usize = 12;

/// Make a file or a whole directory what it was, by new patches: whatever is there now stays in the history
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file or directory, also one that is deleted
    path: OsString,
    /// As it was: a patch id, a time or an age like 3d
    #[arg(long, value_name = "REV")]
    at: String,
    /// Make a copy here, where nothing is, and leave the path as it is
    #[arg(long, value_name = "PATH")]
    to: Option<OsString>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = RestoreRequest {
        target: input::target(&args.path)?,
        at: input::revision(&args.at, &cx.ui.clock)?,
        to: args.to.as_deref().map(input::target).transpose()?,
        dry_run: args.dry_run,
    };
    cx.ask(|service, ui| ui.done(&service.restore(&request)?, plain))?;
    Ok(Outcome::Done)
}

fn plain(restored: &Restored, _: &Clock) -> Vec<Line> {
    let whole = restored.path.as_bytes().is_empty();
    let path = if whole { restored.volume.clone() } else { format!("{}:{}", restored.volume, restored.path) };
    let Some(patch) = &restored.patch else {
        return vec![Line::new().bold(path).text(" is as it was: nothing to do")];
    };
    let counts = &restored.counts;
    let told = [
        (counts.back, "brought back"),
        (counts.changed, "changed"),
        (counts.moved, "moved back"),
        (counts.removed, "removed"),
        (counts.settled, "settled"),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<_> = told.map(|(count, what)| format!("{} {what}", human::count(count))).collect();
    let did = if restored.dry_run { "would restore " } else { "restored " };
    let head = Line::new().text(did).bold(path).text(format!(": {}", told.join(", ")));
    let mut lines = vec![if restored.dry_run { head } else { head.text(" by ").id(human::short(patch)) }];
    let mut table = Table::new([Align::Left; 2]);
    let few = restored.changes.iter().take(if restored.changes.len() > FEW { 0 } else { FEW });
    few.for_each(|one| table.row(row(one)));
    lines.extend(table.take());
    let lacking = &restored.lacking;
    if lacking.files > 0 {
        let files = human::counted(lacking.files, "file", "files");
        let size = human::size(lacking.bytes);
        let rest = format!("{files}, {size}: they come from the other members");
        lines.push(Line::new().text("  ").warn("not here yet").text(": ").text(rest));
    }
    lines
}

fn row(one: &RestoredPath) -> [Line; 2] {
    let (style, word) = match one.change {
        Deed::Back => (Style::Good, "back"),
        Deed::Changed => (Style::Plain, "changed"),
        Deed::Moved => (Style::Plain, "moved"),
        Deed::Removed => (Style::Bad, "removed"),
        Deed::Settled => (Style::Warn, "settled"),
    };
    let path = Line::from(one.path.to_string());
    let path = one.from.iter().fold(path, |line, from| line.dim(" from ").text(from));
    [Line::new().text("  ").add(style, word), path]
}
