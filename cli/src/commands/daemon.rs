//! `pfs daemon`

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Outcome;
use crate::connect::{Context, Purpose};
use crate::daemon;
use crate::error::CommandError;
use crate::ui::{Clock, Line, Style, human};

/// Where peers find each other unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7440);

/// Keep everything captured and in sync
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// In the foreground, until it is interrupted
    Run {
        #[command(flatten)]
        network: Network,
        /// Leave the session that started it
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// In the background
    Start {
        #[command(flatten)]
        network: Network,
    },
    /// Stop the one that runs
    Stop,
    /// Whether one runs; exits with 1 if not
    Status,
}

#[derive(Debug, clap::Args)]
struct Network {
    /// Address and port to listen on; port 0: any free one
    #[arg(long, value_name = "ADDR:PORT", default_value_t = LISTEN, value_parser = address)]
    listen: SocketAddr,
    /// Neither look for peers on the local network nor be found there
    #[arg(long)]
    no_discovery: bool,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an IP address and a port are needed, like 192.168.1.5:7440, 0.0.0.0:7440 or [::]:0")
}

impl Network {
    fn purpose(&self) -> Purpose {
        Purpose::Daemon { listen: self.listen, discovery: !self.no_discovery }
    }

    /// As arguments again.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["--listen".to_owned(), self.listen.to_string()];
        words.extend(self.no_discovery.then(|| "--no-discovery".to_owned()));
        words
    }
}

pub(super) fn run(args: Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    match args.action {
        Action::Run { network, detached } => {
            if detached {
                daemon::leave_session()?;
            }
            daemon::run(&network.purpose(), cx)?;
            Ok(Outcome::Done)
        }
        Action::Start { network } => {
            let report = daemon::start(&network.words(), cx)?;
            cx.ui.done(&report, plain)?;
            Ok(Outcome::Done)
        }
        Action::Stop => {
            let stopped = daemon::stop(cx)?;
            let words = if stopped.is_some() { "daemon stopped" } else { "no daemon runs" };
            cx.ui.done(&stopped.unwrap_or_default(), |_, _| vec![Line::from(words)])?;
            Ok(Outcome::Done)
        }
        Action::Status => {
            let report = daemon::status(cx)?;
            cx.ui.result(&report, plain)?;
            Ok(if report.daemon.is_some() { Outcome::Done } else { Outcome::Bad })
        }
    }
}

fn plain(report: &daemon::Report, clock: &Clock) -> Vec<Line> {
    let Some(daemon) = &report.daemon else { return vec![Line::from("no daemon runs")] };
    let since = human::ago(daemon.since, clock);
    let line = Line::new().text("daemon ").add(Style::Good, "running").text(format!(", pid {}, ", daemon.pid));
    vec![line.text(format!("listening on {}, started {since}", daemon.listen))]
}
