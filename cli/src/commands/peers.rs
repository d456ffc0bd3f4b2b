//! `pfs peers`

use super::Outcome;
use crate::api::service::ErrorKind;
use crate::api::types::{Membership, PeerAddressRequest, PeerRemoveRequest, PeerStatus, PeersRequest};
use crate::connect::Context;
use crate::error::{CommandError, Kind};
use crate::input;
use crate::ui::{Align, Clock, Line, Style, Table, human};

/// Members, whether they are there, and where
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Only members of this volume
    volume: Option<String>,
    /// What follows a subcommand that there is not.
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// End a peer's membership: it gets nothing new, and nothing new is taken from it
    Remove {
        /// Name or id
        peer: String,
        /// From this volume only
        #[arg(long)]
        volume: Option<String>,
    },
    /// Say where a peer can be reached
    Address {
        /// Name or id
        peer: String,
        /// HOST:PORT
        #[arg(value_name = "ADDR", value_parser = input::address)]
        address: String,
    },
}

/// What to type to change something.
const CHANGES: &str = "members are changed by `pfs peers remove PEER` and `pfs peers address PEER ADDR`";

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    match args.change {
        None if !args.rest.is_empty() => {
            let message = format!("`pfs peers {}` is no command", args.volume.unwrap_or_default());
            return Err(CommandError::new(ErrorKind::Usage, message).hint(CHANGES));
        }
        None => list(&PeersRequest { volume: args.volume }, cx),
        Some(Change::Remove { peer, volume }) => remove(&PeerRemoveRequest { peer, volume }, cx),
        Some(Change::Address { peer, address }) => set_address(&PeerAddressRequest { peer, address }, cx),
    }?;
    Ok(Outcome::Done)
}

fn list(request: &PeersRequest, cx: &mut Context) -> Result<(), CommandError> {
    let listed = cx.ask(|service, ui| ui.result(&service.peers(request)?, |peers, clock| plain(peers, clock)));
    listed.map_err(|error| match error.kind {
        // It may have been meant as a command.
        Kind::Service(ErrorKind::NotFound) if request.volume.is_some() => {
            let hint = error.hint.iter().fold(CHANGES.to_owned(), |changes, hint| format!("{hint}; {changes}"));
            error.hint(hint)
        }
        _ => error,
    })
}

fn remove(request: &PeerRemoveRequest, cx: &mut Context) -> Result<(), CommandError> {
    cx.ask(|service, ui| {
        ui.done(&service.peer_remove(request)?, |removed, _| {
            let volumes = removed.volumes.join(", ");
            vec![Line::new().bold(&removed.peer.name).text(" is no member any more of ").text(volumes)]
        })
    })
}

fn set_address(request: &PeerAddressRequest, cx: &mut Context) -> Result<(), CommandError> {
    cx.ask(|service, ui| {
        ui.done(&service.peer_address(request)?, |set, _| {
            vec![Line::new().bold(&set.peer.name).text(" will be tried at ").text(&set.address)]
        })
    })
}

fn plain(peers: &[PeerStatus], clock: &Clock) -> Vec<Line> {
    if peers.is_empty() {
        return vec![Line::new().text("no other peers yet: ").id("pfs invite VOLUME")];
    }
    let mut table = Table::new([Align::Left; 4]);
    for peer in peers {
        let volume = |m: &Membership| {
            let disputed = if m.disputed { ", wrote one log in two ways: see `pfs status`" } else { "" };
            format!("{} ({}, {}{disputed})", m.volume, human::role(m.role), human::holding(m.holding))
        };
        let volumes: Vec<_> = peer.volumes.iter().map(volume).collect();
        table.row([
            Line::new().bold(&peer.name),
            Line::new().id(human::short(&peer.id)),
            liveness(peer, clock),
            Line::from(volumes.join(", ")),
        ]);
    }
    table.take()
}

/// Whether a peer is there, and where it is or was.
pub(super) fn liveness(peer: &PeerStatus, clock: &Clock) -> Line {
    let address = peer.address.as_deref().unwrap_or_default();
    if peer.connected {
        let rtt = peer.rtt_ms.map_or_else(String::new, |ms| format!(", {ms:.1} ms"));
        return Line::new().add(Style::Good, "connected").text(format!(" {address}{rtt}"));
    }
    if !peer.known {
        let at = if address.is_empty() { String::new() } else { format!(", last at {address}") };
        return Line::new().dim("unknown without a daemon").text(at);
    }
    let seen = match peer.last_seen {
        Some(time) => format!(", last seen {}", human::ago(time, clock)),
        None => ", never seen".to_owned(),
    };
    let at = if address.is_empty() { String::new() } else { format!(" at {address}") };
    Line::new().warn("away").text(seen).text(at)
}
