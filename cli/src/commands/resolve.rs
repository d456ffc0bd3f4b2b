//! `pfs resolve`

use std::ffi::OsString;
use std::path::PathBuf;

use super::Outcome;
use crate::api::types::{Choice, Closed, Left, RawPath, ResolveRequest};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Clock, Line, human};

/// Close forks, all that can be closed; the first failure decides the exit code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, or directories for every fork below them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    choice: Choices,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
#[allow(clippy::struct_excessive_bools, reason = "one flag a choice is how a command line says it")]
struct Choices {
    /// This side, by the id that `pfs forks` shows
    #[arg(long, value_name = "PATCH")]
    take: Option<String>,
    /// The side that is on disk here; where one side deleted, the one that is this peer's own
    #[arg(long)]
    ours: bool,
    /// The other side
    #[arg(long)]
    theirs: bool,
    /// The side that was made last
    #[arg(long)]
    newest: bool,
    /// Keep every side, one beside the other (content, kind and name forks)
    #[arg(long)]
    both: bool,
    /// No side: delete it (content, kind, name and delete forks)
    #[arg(long)]
    delete: bool,
    /// Put together what the sides did to a text; where they changed the same lines, that fork stays
    #[arg(long)]
    merge: bool,
    /// No side as it is: the bytes of this file (for exactly one fork)
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
}

impl Choices {
    fn choice(self) -> Result<Choice, CommandError> {
        let flags = [
            (self.ours, Choice::Ours),
            (self.theirs, Choice::Theirs),
            (self.newest, Choice::Newest),
            (self.both, Choice::Both),
            (self.delete, Choice::Delete),
            (self.merge, Choice::Merge),
        ];
        match (self.take, self.with) {
            (Some(id), _) => input::patch(&id).map(Choice::Take),
            (None, Some(file)) => Ok(Choice::With(RawPath::from(input::absolute(&file)?.as_path()))),
            (None, None) => Ok(flags.into_iter().find(|(given, _)| *given).expect("clap requires one of them").1),
        }
    }
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = ResolveRequest {
        targets: args.paths.iter().map(|path| input::target(path)).collect::<Result<_, _>>()?,
        choice: args.choice.choice()?,
    };
    cx.ask(|service, ui| {
        let resolved = service.resolve(&request)?;
        ui.done(&resolved, |resolved, clock| resolved.resolved.iter().map(|closed| plain(closed, clock)).collect())?;
        // What was done comes before what was not.
        ui.flush()?;
        for left in &resolved.left {
            ui.error(&unsettled(left));
        }
        Ok(resolved.left.first().map_or(Outcome::Done, |first| Outcome::Partly(first.kind)))
    })
}

fn plain(closed: &Closed, clock: &Clock) -> Line {
    let path = format!("{}:{}", closed.volume, closed.path);
    let line = Line::new().text("resolved ").bold(path).text(" by ").id(human::short(&closed.patch));
    let line = match &closed.kept {
        Some(head) => {
            let size = head.size.map_or_else(String::new, |bytes| format!(", {}", human::size(bytes)));
            let told = format!("'s version ({} {}{size})", head.summary, human::ago(head.time, clock));
            line.text(": kept ").bold(&head.origin.name).text(told)
        }
        None if closed.deleted => line.text(": deleted"),
        None if closed.merged => line.text(": merged all sides"),
        None => line,
    };
    let beside = closed.beside.iter().enumerate();
    beside.fold(line, |line, (n, path)| line.text(if n == 0 { "; beside it: " } else { ", " }).bold(path))
}

fn unsettled(left: &Left) -> CommandError {
    let message = match &left.volume {
        Some(volume) => format!("{volume}:{}: {}", left.path, left.reason),
        None => left.reason.clone(),
    };
    let error = CommandError::new(left.kind, message);
    left.hint.iter().fold(error, CommandError::hint)
}
