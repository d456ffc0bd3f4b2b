//! `pfs gc`

use super::Outcome;
use crate::api::types::{Collected, GcRequest, Within};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Clock, Line, Style, human};

/// Let go of the bytes of old versions; the daemon does it once a day
///
/// A version is kept as long as it is current for any peer, as long as its file has a fork, for some time after another
/// took its place, and while it is one of the newest of a file that is there. Of what is let go of here the history
/// stays, and other peers may have the bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long a version is kept after another took its place: 30d, 1y, or forever [default: 90d, or as remembered]
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<String>,
    /// How many of the newest versions of a file are kept [default: 3, or as remembered]
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Only say what would be let go of, and why
    #[arg(long)]
    dry_run: bool,
    /// Keep by this rule from now on
    #[arg(long, conflicts_with = "dry_run")]
    remember: bool,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let within = args.keep_within.as_deref().map(|text| within(text, &cx.ui.clock)).transpose()?;
    let request = GcRequest { within, last: args.keep_last, dry_run: args.dry_run, remember: args.remember };
    cx.ask(|service, ui| ui.done(&service.gc(&request)?, plain))?;
    Ok(Outcome::Done)
}

fn within(text: &str, clock: &Clock) -> Result<Within, CommandError> {
    if text == "forever" {
        return Ok(Within::Forever);
    }
    input::seconds(text, clock).map(Within::Seconds)
}

fn plain(collected: &Collected, clock: &Clock) -> Vec<Line> {
    let Collected { dry_run, versions, files, bytes, kept, within, last, old } = collected;
    let mut lines = Vec::new();
    if *dry_run {
        for version in old {
            let path = format!("{}:{}", version.volume, version.path);
            let of = format!("  {}, of {}", human::size(version.size), human::ago(version.time, clock));
            let line = Line::new().text("  ").bold(path).text("  ").id(human::short(&version.patch)).text(of);
            lines.push(line.dim(format!(", replaced {}", human::ago(version.replaced, clock))));
        }
        let more = versions.saturating_sub(old.len() as u64);
        if more > 0 {
            lines.push(Line::new().dim(format!("  and {} more", human::count(more))));
        }
    }
    let of = format!(
        "{} of {}, {} that nothing else needs",
        human::counted(*versions, "version", "versions"),
        human::counted(*files, "file", "files"),
        human::size(*bytes),
    );
    lines.push(match (versions, dry_run) {
        (0, _) if *bytes == 0 => Line::new().add(Style::Good, "nothing to let go of"),
        (_, true) => Line::new().text("would let go of ").bold(of),
        (_, false) => Line::new().text("let go of ").bold(of),
    });
    let time = match within {
        Within::Forever => "of all time".to_owned(),
        Within::Seconds(seconds) => format!("of the last {}", human::duration(*seconds)),
    };
    let newest = format!("{} among the last {last} of their file", human::count(kept.last));
    let forked =
        if kept.forked > 0 { format!(", {} of files with a fork", human::count(kept.forked)) } else { String::new() };
    let rest =
        format!("kept: {} current, {} {time}, {newest}{forked}", human::count(kept.current), human::count(kept.recent));
    lines.push(Line::new().dim(rest));
    lines
}
