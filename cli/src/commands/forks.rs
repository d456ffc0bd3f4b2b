//! `pfs forks`

use std::ffi::OsString;

use super::Outcome;
use crate::api::types::{Fork, ForkKind, ForksRequest, Head, Way};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Style, Table, human};

/// Every open fork: its kind, its base and its sides, and the command that settles it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this file, or everything below this directory
    path: Option<OsString>,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = ForksRequest { target: args.path.as_deref().map(input::target).transpose()? };
    cx.ask(|service, ui| {
        ui.result(&service.forks(&request)?, |forks, clock| match forks.as_slice() {
            [] => vec![Line::from("no forks")],
            some => {
                let each: Vec<_> = some.iter().map(|fork| plain(fork, clock)).collect();
                each.join(&Line::new())
            }
        })
    })?;
    Ok(Outcome::Done)
}

fn plain(fork: &Fork, clock: &Clock) -> Vec<Line> {
    let title = Line::new().bold(format!("{}:{}", fork.volume, fork.path)).text("   ");
    let mut lines = vec![title.warn(format!("{} fork", kind(fork.kind))).text(": ").text(in_words(fork.kind))];
    match &fork.base {
        Some(base) => {
            let size = base.size.map_or_else(String::new, |bytes| format!(", {}", human::size(bytes)));
            lines.push(Line::new().text("  all sides began from ").id(human::short(&base.patch)).text(size));
        }
        // What several things are at odds about began nowhere.
        None if matches!(fork.kind, ForkKind::Name | ForkKind::Cycle) => {}
        None => lines.push(Line::from("  the sides have no common version")),
    }
    let mut sides = Table::new([Align::Left, Align::Left, Align::Left, Align::Right, Align::Left, Align::Left]);
    for head in &fork.heads {
        sides.row(side(head, clock));
    }
    lines.extend(sides.take());
    let path = [fork.volume.as_bytes(), b":", fork.path.as_bytes()].concat();
    if let Some(head) = fork.heads.iter().find(|head| head.shown).or(fork.heads.first()) {
        let command = format!("pfs resolve {} --take {}", human::quoted(&path), human::short(&head.patch));
        lines.push(Line::new().text("  settle it: ").id(command));
        let others = fork.choices.iter().map(|way| match way {
            Way::Take => "another id",
            Way::Ours => "--ours",
            Way::Theirs => "--theirs",
            Way::Newest => "--newest",
            Way::Both => "--both",
            Way::Delete => "--delete",
            Way::Merge => "--merge",
        });
        let others: Vec<_> = others.collect();
        lines.push(Line::new().dim(format!("             or with {}", others.join(", "))));
    }
    lines
}

fn side(head: &Head, clock: &Clock) -> [Line; 6] {
    let when = Line::from(human::date(head.time, clock)).dim(format!(" ({})", human::ago(head.time, clock)));
    [
        Line::new().text("  ").bold(&head.origin.name),
        when,
        Line::from(head.summary.as_str()),
        Line::from(head.size.map_or_else(String::new, human::size)),
        Line::new().id(human::short(&head.patch)),
        if head.shown { Line::new().add(Style::Good, "on disk here") } else { Line::new() },
    ]
}

/// A kind of fork as JSON has it.
pub(super) fn kind(kind: ForkKind) -> &'static str {
    match kind {
        ForkKind::Content => "content",
        ForkKind::Kind => "kind",
        ForkKind::Delete => "delete",
        ForkKind::Place => "place",
        ForkKind::Name => "name",
        ForkKind::Cycle => "cycle",
        ForkKind::Attr => "attr",
    }
}

fn in_words(kind: ForkKind) -> &'static str {
    match kind {
        ForkKind::Content => "its bytes were changed in different ways",
        ForkKind::Kind => "the sides made different kinds of thing of it",
        ForkKind::Delete => "one side deleted what another changed or moved",
        ForkKind::Place => "it was moved to different places",
        ForkKind::Name => "different things were given this one name",
        ForkKind::Cycle => "directories were moved into each other",
        ForkKind::Attr => "its mode or attributes were set in different ways",
    }
}
