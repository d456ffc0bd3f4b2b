//! `pfs status`

use std::ffi::OsString;

use super::Outcome;
use super::peers::liveness;
use crate::api::types::{Replicas, Status, StatusRequest, VolumeState, VolumeStatus};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Align, Clock, Line, Style, Table, human};

/// Volumes, peers, forks, exposure
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this volume, or the one that holds this path
    #[arg(value_name = "VOLUME|PATH")]
    target: Option<OsString>,
    /// Print only what needs a person and what helps, and exit with 1 then: an open fork, a halted volume, trouble,
    /// a failed job
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let request = StatusRequest { target: args.target.as_deref().map(input::target).transpose()? };
    cx.ask(|service, ui| {
        let status = service.status(&request)?;
        let needs = if args.check { needs(&status) } else { Vec::new() };
        let is_bad = !needs.is_empty();
        ui.result(&status, |status, clock| if args.check { needs } else { plain(status, clock) })?;
        Ok(if is_bad { Outcome::Bad } else { Outcome::Done })
    })
}

/// What needs a person, and the command that helps.
fn needs(status: &Status) -> Vec<Line> {
    let mut lines = Vec::new();
    for volume in &status.volumes {
        let name = human::quoted(volume.name.as_bytes());
        let line = || Line::new().bold(&volume.name).text(": ");
        if volume.state == VolumeState::Halted {
            let why = volume.reason.as_deref().unwrap_or("nobody said why");
            lines.push(line().bad("halted").text(": ").text(why).dim("; look with ").id(format!("pfs status {name}")));
        }
        if volume.forks > 0 {
            let open = human::counted(volume.forks, "open fork", "open forks");
            lines.push(line().warn(open).dim("; see ").id(format!("pfs forks {name}")));
        }
        if let Some(problem) = &volume.problem {
            lines.push(line().warn("trouble").text(": ").text(problem).dim("; tried again by itself"));
        }
    }
    if status.jobs.failed > 0 {
        lines.push(Line::new().bad(human::counted(status.jobs.failed, "failed job", "failed jobs")));
    }
    lines
}

fn plain(status: &Status, clock: &Clock) -> Vec<Line> {
    let peer = &status.peer;
    let daemon = match &status.daemon {
        Some(daemon) => Line::new().text("daemon running, listening on ").text(&daemon.listen),
        None => Line::new().warn("no daemon runs").dim("; `pfs daemon start` keeps everything in sync"),
    };
    let head = Line::new().text("peer ").bold(&peer.name).dim(format!(" ({}…)", &human::short(&peer.id)));
    let mut lines = vec![head.text("   ").line(daemon)];
    if status.daemon.is_none() && !status.peers.is_empty() {
        lines.push(Line::new().dim("who is connected, and what others hold, is known only while one runs"));
    }
    for volume in &status.volumes {
        lines.push(Line::new());
        lines.extend(of_volume(volume, status, clock));
    }
    if status.volumes.is_empty() {
        lines.push(Line::new());
        lines.push(Line::new().text("no volumes yet: ").id("pfs track DIR").text(" or ").id("pfs join TICKET"));
    }
    let jobs = &status.jobs;
    if jobs.queued + jobs.active + jobs.failed > 0 {
        let failed = format!("{} failed", human::count(jobs.failed));
        let counts = format!("jobs: {} queued, {} active, ", human::count(jobs.queued), human::count(jobs.active));
        let style = if jobs.failed > 0 { Style::Bad } else { Style::Plain };
        lines.extend([Line::new(), Line::new().text(counts).add(style, failed)]);
    }
    lines
}

fn of_volume(volume: &VolumeStatus, status: &Status, clock: &Clock) -> Vec<Line> {
    let path = volume.path.as_ref().map_or_else(|| "(no tree here)".to_owned(), human::on_disk);
    let part = format!("   {path}   {}, {}   ", human::role(volume.role), human::holding(volume.holding));
    let mut lines = vec![Line::new().bold(&volume.name).text(part).line(state(volume, status.daemon.is_some()))];

    let files = human::counted(volume.files, "file", "files");
    let patches = human::counted(volume.patches, "patch", "patches");
    let counts = Line::new().text(format!("  {files}, {}, {patches}, ", human::size(volume.bytes)));
    lines.push(match volume.forks {
        0 => counts.text("no forks"),
        n => counts.warn(human::counted(n, "fork", "forks")).dim(" (see `pfs forks`)"),
    });
    if volume.skipped > 0 {
        let capture = format!("pfs capture {}", human::quoted(volume.name.as_bytes()));
        let skipped = format!("{} skipped", human::count(volume.skipped));
        lines.push(Line::new().text("  ").warn(skipped).dim(format!(" (`{capture}` says which and why)")));
    }
    if let Some(problem) = &volume.problem {
        lines.push(Line::new().text("  ").warn("trouble").text(": ").text(problem).dim(" (tried again by itself)"));
    }
    let others: Vec<_> =
        status.peers.iter().filter(|peer| peer.volumes.iter().any(|m| m.volume == volume.name)).collect();
    lines.extend(exposure(volume, others.is_empty()));
    let mut table = Table::new([Align::Left; 2]);
    for peer in others {
        table.row([Line::new().text("  ").bold(&peer.name), liveness(peer, clock)]);
    }
    lines.extend(table.take());
    lines
}

/// What too few peers hold.
fn exposure(volume: &VolumeStatus, is_alone: bool) -> Option<Line> {
    let Replicas { target, under, known } = &volume.replicas;
    if under.files == 0 || !known {
        return None;
    }
    let line = Line::new().text("  ");
    if is_alone {
        let invite = format!("pfs invite {}", human::quoted(volume.name.as_bytes()));
        return Some(line.text("held by this peer alone; to let another in: ").id(invite));
    }
    let files = human::counted(under.files, "file", "files");
    let rest = format!(": {files}, {}, oldest {}", human::size(under.bytes), human::duration(under.oldest_s));
    let wanted = human::counted((*target).into(), "peer", "peers");
    Some(line.warn(format!("held by fewer than {wanted}")).text(rest))
}

fn state(volume: &VolumeStatus, has_daemon: bool) -> Line {
    match volume.state {
        VolumeState::Waiting | VolumeState::Syncing if !has_daemon => Line::new().text("not syncing"),
        VolumeState::Capturing => Line::new().text("capturing"),
        VolumeState::Syncing => Line::new().text("syncing"),
        VolumeState::Synced => Line::new().add(Style::Good, "synced"),
        VolumeState::Waiting => Line::new().warn("waiting for a peer"),
        VolumeState::Halted => {
            let halted = Line::new().bad("halted");
            volume.reason.iter().fold(halted, |line, reason| line.text(": ").text(reason))
        }
    }
}
