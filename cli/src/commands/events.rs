//! `pfs events`

use super::{Outcome, forks, go_on};
use crate::api::types::{EventKind, EventLine, EventsRequest};
use crate::connect::Context;
use crate::error::CommandError;
use crate::ui::{Clock, Line, Style, human};

/// Tell what happens as it happens, until interrupted: forks, halts, peers that come and go
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id [default: every volume]
    volume: Option<String>,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = EventsRequest { volume: args.volume };
    cx.ask(|service, ui| {
        let mut printed = Ok(());
        let done = service
            .events(&request, &mut |event| go_on(ui.result(&event, plain).and_then(|()| ui.flush()), &mut printed));
        printed?;
        Ok(done?)
    })?;
    Ok(Outcome::Done)
}

fn plain(event: &EventLine, clock: &Clock) -> Vec<Line> {
    let peer = event.peer.as_ref().map(|peer| peer.name.as_str()).unwrap_or_default();
    let (style, word) = match event.kind {
        EventKind::Listening => (Style::Dim, "listening"),
        EventKind::ForkOpened => (Style::Warn, "fork opened"),
        EventKind::ForkClosed => (Style::Good, "fork closed"),
        EventKind::Halted => (Style::Bad, "halted"),
        EventKind::Resumed => (Style::Good, "goes on"),
        EventKind::Synced => (Style::Good, "synced"),
        EventKind::PeerUp => (Style::Good, "connected"),
        EventKind::PeerDown => (Style::Plain, "away"),
    };
    let line = Line::new().dim(human::date(event.time, clock)).text("  ").bold(peer);
    let line = match (&event.volume, &event.path) {
        (Some(volume), Some(path)) => line.bold(format!("{volume}:{path}")).text(": "),
        (Some(volume), None) => line.bold(volume).text(": "),
        _ if peer.is_empty() => line,
        _ => line.text(": "),
    };
    let line = match event.fork {
        Some(kind) => line.add(style, format!("{} {word}", forks::kind(kind))),
        None => line.add(style, word),
    };
    vec![event.reason.iter().fold(line, |line, reason| line.text(": ").text(reason))]
}
