//! `pfs ls`

use std::ffi::OsString;

use super::{Outcome, forks, go_on};
use crate::api::types::{LsLine, LsRequest, NodeKind};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Pager, human};

/// Names, also of what is not held here
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory or file
    #[arg(default_value = ".")]
    path: OsString,
    /// As it was: a patch id, a time or an age like 3d
    #[arg(long, value_name = "REV")]
    at: Option<String>,
    /// Mode, size and time, too
    #[arg(short)]
    long: bool,
    /// Everything below
    #[arg(short = 'R')]
    recursive: bool,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = LsRequest {
        target: input::target(&args.path)?,
        at: args.at.as_deref().map(|text| input::revision(text, &cx.ui.clock)).transpose()?,
        recursive: args.recursive,
    };
    cx.ask(|service, ui| {
        let mut pager = Pager::new([Align::Left, Align::Right, Align::Left, Align::Left, Align::Left]);
        let mut printed = Ok(());
        let listed = service.ls(&request, &mut |line| {
            go_on(ui.item(&line, &mut pager, |line, clock| cells(line, args, clock)), &mut printed)
        });
        // What came before a failure is worth seeing.
        printed.and_then(|()| ui.lines(&pager.end()))?;
        listed.map_err(CommandError::from)
    })?;
    Ok(Outcome::Done)
}

fn cells(line: &LsLine, args: &Args, clock: &Clock) -> [Line; 5] {
    let path = if args.recursive { line.path.clone() } else { line.path.last() };
    let name = match line.kind {
        NodeKind::Dir => Line::new().bold(path).text("/"),
        NodeKind::File => Line::from(path.to_string()),
        NodeKind::Symlink => {
            let link = Line::from(path.to_string());
            line.target.iter().fold(link, |link, target| link.dim(" -> ").text(target))
        }
    };
    let held = if line.held { Line::new() } else { Line::new().dim("not here") };
    let marks = line.fork.iter().fold(held.clone(), |marks, kind| {
        let gap = if held == Line::new() { "" } else { ", " };
        marks.text(gap).warn(format!("{} fork", forks::kind(*kind)))
    });
    if !args.long {
        return [Line::new(), Line::new(), Line::new(), name, marks];
    }
    let letter = match line.kind {
        NodeKind::File => '-',
        NodeKind::Dir => 'd',
        NodeKind::Symlink => 'l',
    };
    // A link's own mode means nothing: everywhere it is shown like this.
    let mode = if line.kind == NodeKind::Symlink { 0o777 } else { line.mode.0 };
    let bits = (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { [b'x', b'w', b'r'][bit % 3] as char } else { '-' });
    let mode: String = std::iter::once(letter).chain(bits).collect();
    let size = if line.kind == NodeKind::File { human::size(line.size) } else { String::new() };
    let time = line.mtime.map_or_else(String::new, |time| human::date(time, clock));
    [Line::new().dim(mode), size.into(), Line::new().dim(time), name, marks]
}
