//! The program's own trace, for those who look for a fault; to standard error.

use tracing_subscriber::EnvFilter;

/// Starts tracing at `-v` times so many; `PFS_LOG` (in the form of tracing's filters) overrides it.
pub(crate) fn start(verbosity: u8) {
    let level = match verbosity {
        0 => "error",
        1 => "pfs=info,pfs_engine=info,pfs_net=info,warn",
        2 => "pfs=debug,pfs_engine=debug,pfs_net=debug,info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("PFS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let plain = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second start in one process can fail, and then the first one goes on.
    let _ = plain.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init();
}
