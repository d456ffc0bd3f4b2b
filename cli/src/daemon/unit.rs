//! The systemd user unit that keeps a daemon running.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::service::ErrorKind;
use crate::api::types::RawPath;
use crate::error::CommandError;
use crate::home::Home;

/// What was done to the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// The unit's file.
    pub(crate) unit: RawPath,
    pub(crate) installed: bool,
}

/// Writes the unit, over an older one.
pub(crate) fn install(home: &Home) -> Result<Report, CommandError> {
    let path = path()?;
    let failed = |error: io::Error| CommandError::io("writing the unit", path.display(), &error);
    let program = std::env::current_exe().map_err(failed)?;
    let text = text(&program, home.dir()).ok_or_else(|| {
        CommandError::new(ErrorKind::Refused, "a unit can name only paths that are UTF-8 without control characters")
    })?;
    fs::create_dir_all(path.parent().expect("the path has a folder")).map_err(failed)?;
    fs::write(&path, text).map_err(failed)?;
    Ok(Report { unit: path.as_path().into(), installed: true })
}

/// Removes the unit; none is as good.
pub(crate) fn uninstall() -> Result<Report, CommandError> {
    let path = path()?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CommandError::io("removing the unit", path.display(), &error))
        }
        _ => Ok(Report { unit: path.as_path().into(), installed: false }),
    }
}

fn path() -> Result<PathBuf, CommandError> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let config = config.ok_or_else(|| CommandError::new(ErrorKind::Failed, "there is no folder for user units"))?;
    Ok(config.join("systemd/user/pfs.service"))
}

fn text(program: &Path, home: &Path) -> Option<String> {
    let (program, home) = (quoted(program)?, quoted(home)?);
    Some(format!(
        "[Unit]\n\
         Description=pfs: keeps directories in sync\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart={program} --home {home} daemon run\n\
         Restart=on-failure\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// A word of `ExecStart`, in which `%` and `$` would be expanded.
fn quoted(path: &Path) -> Option<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control))?;
    let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Some(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_systemd() {
        let unit = text(Path::new("/opt/a b/pfs"), Path::new("/home/100%/$x\"")).unwrap();
        let line = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert_eq!(line, r#"ExecStart="/opt/a b/pfs" --home "/home/100%%/$$x\"" daemon run"#);
        assert!(text(Path::new("/a\nb"), Path::new("/")).is_none());
    }
}
