//! `pfs diff`

use std::ffi::OsString;

use super::{Outcome, go_on};
use crate::api::types::{Change, DiffItem, DiffRequest, DiffSide, Mode, NodeKind, Stretch};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Clock, Line, Style, human};

/// Stretches of bytes that are told one by one.
const STRETCHES: usize = 8;

/// What changed: line by line in text, of the rest which bytes; under a fork, side against side
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, or a directory for everything below it
    path: OsString,
    /// From this version on: a patch id, a time or an age like 3d [default: before the last change]
    #[arg(value_name = "REV")]
    from: Option<String>,
    /// To this one [default: now]
    #[arg(value_name = "REV")]
    to: Option<String>,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let revision = |text: &Option<String>| text.as_deref().map(|text| input::revision(text, &cx.ui.clock)).transpose();
    let request =
        DiffRequest { target: input::target(&args.path)?, from: revision(&args.from)?, to: revision(&args.to)? };
    cx.ask(|service, ui| {
        let (mut printed, mut any) = (Ok(()), false);
        let done = service.diff(&request, &mut |item| {
            any = true;
            go_on(ui.result(&item, plain), &mut printed)
        });
        printed?;
        done?;
        if !any {
            ui.note(&Line::from("no difference"));
        }
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn plain(item: &DiffItem, clock: &Clock) -> Vec<Line> {
    let (style, word) = match item.change {
        Change::Added => (Style::Good, "added"),
        Change::Removed => (Style::Bad, "removed"),
        Change::Changed => (Style::Warn, "changed"),
        Change::Moved => (Style::Plain, "moved"),
        Change::Attr => (Style::Plain, "attributes"),
    };
    let head = Line::new().bold(format!("{}:{}", item.volume, item.path)).text(": ").add(style, word);
    let head = item.from.iter().fold(head, |line, from| line.dim(" from ").text(from));
    let mode = |side: &Option<DiffSide>| side.as_ref().and_then(|side| side.mode);
    let mut lines = vec![match (mode(&item.before), mode(&item.after)) {
        (Some(Mode(before)), Some(Mode(after))) if before != after => {
            head.text(format!(", mode {before:04o} -> {after:04o}"))
        }
        _ => head,
    }];
    if let Some(text) = &item.text {
        lines.push(side(Style::Bad, "---", item.before.as_ref(), clock));
        lines.push(side(Style::Good, "+++", item.after.as_ref(), clock));
        lines.extend(text.lines().map(hunk));
    } else if let Some(ranges) = &item.ranges {
        lines.push(sizes(item));
        lines.extend(stretches(ranges));
    } else if item.lacking {
        lines.push(sizes(item).dim(", and which bytes differ is not known here"));
    }
    lines
}

fn side(style: Style, mark: &str, side: Option<&DiffSide>, clock: &Clock) -> Line {
    let line = Line::new().add(style, mark).text(" ");
    match side {
        Some(side) => {
            let when = human::date(side.time, clock);
            line.bold(&side.origin.name).text(format!(" {when} ")).id(human::short(&side.patch))
        }
        None => line.text("nothing"),
    }
}

fn hunk(line: &str) -> Line {
    let style = match line.as_bytes().first() {
        Some(b'+') => Style::Good,
        Some(b'-') => Style::Bad,
        Some(b'@') => Style::Id,
        Some(b'\\') => Style::Dim,
        _ => Style::Plain,
    };
    Line::new().add(style, line)
}

fn sizes(item: &DiffItem) -> Line {
    let size = |side: &Option<DiffSide>| match side {
        Some(side) if side.kind == NodeKind::File => human::size(side.size),
        Some(side) if side.kind == NodeKind::Symlink => "a symlink".to_owned(),
        Some(_) => "a directory".to_owned(),
        None => "nothing".to_owned(),
    };
    Line::from(format!("  not text: {} -> {}", size(&item.before), size(&item.after)))
}

fn stretches(ranges: &[Stretch]) -> Vec<Line> {
    let one = |range: &Stretch| {
        let (start, size) = (human::count(range.start), human::size(range.end - range.start));
        Line::from(format!("  new from byte {start} on: {size}"))
    };
    let mut lines: Vec<_> = ranges.iter().take(STRETCHES).map(one).collect();
    if let Some(rest) = ranges.get(STRETCHES..).filter(|rest| !rest.is_empty()) {
        let bytes = rest.iter().map(|range| range.end - range.start).sum();
        let more = human::counted(rest.len() as u64, "more stretch", "more stretches");
        lines.push(Line::from(format!("  {more}: {}", human::size(bytes))));
    }
    lines
}
