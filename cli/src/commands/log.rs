//! `pfs log`

use std::ffi::OsString;

use super::{Outcome, go_on};
use crate::api::types::{Action, LogLine, LogRequest};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Pager, Style, human};

/// History, newest first, through renames
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of this file, or of everything below this directory [default: everything]
    path: Option<OsString>,
    /// At most so many
    #[arg(short = 'n', value_name = "N")]
    limit: Option<u64>,
    /// Not before: a time, a date or an age like 3d
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Not after: a time, a date or an age like 3d
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Only what this peer did: name or id
    #[arg(long, value_name = "PEER")]
    origin: Option<String>,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let time = |text: Option<String>| text.map(|text| input::past(&text, &cx.ui.clock)).transpose();
    let request = LogRequest {
        target: args.path.as_deref().map(input::target).transpose()?,
        limit: args.limit,
        since: time(args.since)?,
        until: time(args.until)?,
        origin: args.origin,
    };
    cx.ask(|service, ui| {
        // Paths of several volumes are told apart by the volume's name.
        let prefix = request.target.is_none();
        let mut pager = Pager::new([Align::Left, Align::Left, Align::Left, Align::Left, Align::Right, Align::Left]);
        let mut printed = Ok(());
        let listed = service.log(&request, &mut |line| {
            go_on(ui.item(&line, &mut pager, |line, clock| cells(line, prefix, clock)), &mut printed)
        });
        // What came before a failure is worth seeing.
        printed.and_then(|()| ui.lines(&pager.end()))?;
        listed.map_err(CommandError::from)
    })?;
    Ok(Outcome::Done)
}

fn cells(line: &LogLine, prefix: bool, clock: &Clock) -> [Line; 6] {
    let volume = if prefix { format!("{}:", line.volume) } else { String::new() };
    let path = Line::new().dim(&volume);
    let path = match &line.from {
        Some(from) => path.text(from).dim(" -> ").text(&line.path),
        None => path.text(&line.path),
    };
    let new = if line.new_bytes > 0 { format!("{} new", human::size(line.new_bytes)) } else { String::new() };
    [
        Line::new().dim(human::date(line.time, clock)),
        Line::from(line.origin.name.as_str()),
        action(line.action),
        path,
        Line::from(new),
        Line::new().id(human::short(&line.patch)),
    ]
}

/// An action in a word.
pub(super) fn action(action: Action) -> Line {
    let (style, word) = match action {
        Action::Create => (Style::Good, "create"),
        Action::Edit => (Style::Plain, "edit"),
        Action::Delete => (Style::Bad, "delete"),
        Action::Rename => (Style::Plain, "rename"),
        Action::Attr => (Style::Plain, "attr"),
        Action::Resolve => (Style::Warn, "resolve"),
        Action::Restore => (Style::Warn, "restore"),
    };
    Line::new().add(style, word)
}
