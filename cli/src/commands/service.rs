//! `pfs service`

use super::Outcome;
use crate::connect::Context;
use crate::daemon::unit;
use crate::error::CommandError;
use crate::ui::Line;

/// Run the daemon whenever you are logged in, as a systemd user unit
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write the unit
    Install,
    /// Remove the unit
    Uninstall,
}

pub(super) fn run(args: &Args, cx: &mut Context) -> Result<Outcome, CommandError> {
    let (report, next) = match args.action {
        Action::Install => {
            (unit::install(&cx.home)?, "systemctl --user daemon-reload && systemctl --user enable --now pfs")
        }
        Action::Uninstall => (unit::uninstall()?, "systemctl --user daemon-reload"),
    };
    cx.ui.done(&report, |report, _| {
        let what = if report.installed { "wrote " } else { "removed " };
        vec![Line::new().text(what).text(&report.unit), Line::new().dim("next: ").id(next)]
    })?;
    Ok(Outcome::Done)
}
