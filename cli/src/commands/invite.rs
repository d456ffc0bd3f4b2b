//! `pfs invite`

use super::Outcome;
use crate::api::types::{InviteRequest, Invited, Role};
use crate::connect::Context;
use crate::error::CommandError;
use crate::input;
use crate::ui::{Clock, Line, human};

/// Print a ticket by which another peer can join (with -q nothing else)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or id
    volume: String,
    /// What who joins may do
    #[arg(long, value_enum, default_value = "writer")]
    role: Role,
    /// How long the ticket is good: 30m, 2h, 7d
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    expires: String,
    /// How many peers may join by it
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let expires = input::future(&args.expires, &cx.ui.clock)?;
    let request = InviteRequest { volume: args.volume, role: args.role, expires, uses: args.uses };
    let ticket = |invited: &Invited| Line::from(invited.ticket.as_str());
    cx.ask(|service, ui| ui.answer(&service.invite(&request)?, ticket, plain))?;
    Ok(Outcome::Done)
}

fn plain(invited: &Invited, clock: &Clock) -> Vec<Line> {
    let Invited { ticket, expires, volume, role, uses, listening } = invited;
    let uses = match uses {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    let until = format!("good {uses}, until {} ({})", human::date(*expires, clock), human::ago(*expires, clock));
    let mut lines = vec![
        Line::new().text("ticket for ").bold(volume).text(format!(" as {}, {until}:", human::role(*role))),
        Line::new(),
        Line::new().text("  ").id(ticket),
        Line::new(),
        Line::from("on the other machine:"),
        Line::new().text("  ").id(format!("pfs join {ticket}")),
        Line::new(),
        Line::new().dim("Whoever has the ticket can join: send it as you would send a password."),
    ];
    if !listening {
        let here = Line::new().warn("no daemon runs here").text(", so nobody can join yet: ");
        lines.push(here.id("pfs daemon start"));
    }
    lines
}
