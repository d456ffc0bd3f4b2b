//! `pfs track`

use std::path::PathBuf;

use super::{Outcome, capture};
use crate::api::types::{Captured, TrackRequest};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Line, human};

/// Make a directory a new volume and capture it; creates this peer if there is none
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory
    dir: PathBuf,
    /// What people call the volume [default: the directory's name]
    #[arg(long, value_name = "VOLUME")]
    name: Option<String>,
    /// How many peers shall hold each content
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    replicas: Option<u8>,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let dir = std::fs::canonicalize(&args.dir)
        .map_err(|error| CommandError::io("tracking", args.dir.display(), &error).hint("the directory must exist"))?;
    let request =
        TrackRequest { dir: input::absolute(&dir)?.as_path().into(), name: args.name, replicas: args.replicas };
    cx.ask_or_create(|service, ui| {
        let bar = ui.progress();
        let tracked = service.track(&request, &mut |progress| bar.show(&progress));
        drop(bar);
        ui.done(&tracked?, |tracked, _| plain(tracked))
    })?;
    Ok(Outcome::Done)
}

fn plain(tracked: &Captured) -> Vec<Line> {
    let Captured { volume, path, files, bytes, skipped, .. } = tracked;
    let counts = format!(": {}, {}", human::counted(*files, "file", "files"), human::size(*bytes));
    let mut lines =
        vec![Line::new().text("tracking ").bold(&volume.name).text(" in ").text(human::on_disk(path)).text(counts)];
    lines.extend(capture::skipped(skipped));
    lines.push(Line::new().dim("to share it: ").id(format!("pfs invite {}", human::quoted(volume.name.as_bytes()))));
    lines
}
