//! The home: the directory of one peer. Whoever opens its store holds its lock, so a socket that is found
//! while the lock is free belongs to nobody.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::service::ErrorKind;
use crate::error::CommandError;

/// Between two looks at what another process is doing.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Where one peer keeps its key, its store and its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home(PathBuf);

/// The right to open the home's store; ends when dropped, also with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// The home that was asked for, else the platform's data folder.
    pub(crate) fn new(asked: Option<PathBuf>) -> Result<Self, CommandError> {
        let data = || match std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
            Some(dir) => Some(dir),
            None => std::env::home_dir().map(|home| home.join(".local/share")),
        };
        let dir = asked.or_else(|| data().map(|dir| dir.join("pfs"))).ok_or_else(|| {
            CommandError::new(ErrorKind::Usage, "there is no home directory to keep the peer in")
                .hint("name one with --home")
        })?;
        let absolute =
            std::path::absolute(&dir).map_err(|e| CommandError::io("finding the home", dir.display(), &e))?;
        Ok(Self(absolute))
    }

    /// The directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// Where the daemon listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// Where a daemon in the background writes what it has to say.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }

    /// Makes the directory, for this user only.
    pub(crate) fn create(&self) -> Result<(), CommandError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| self.failed("making the home", &error))
    }

    /// The lock, or the process that has it.
    pub(crate) fn try_lock(&self) -> Result<Result<Lock, Holder>, CommandError> {
        let path = self.0.join("lock");
        let locked = || -> io::Result<Result<Lock, Holder>> {
            let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0)?;
                    file.rewind()?;
                    write!(file, "{}", std::process::id())?;
                    Ok(Ok(Lock { _file: file }))
                }
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text)?;
                    Ok(Err(Holder { pid: text.trim().parse().ok() }))
                }
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        locked().map_err(|error| CommandError::io("locking the home", path.display(), &error))
    }

    /// The lock, as soon as whoever has it lets go. `served` looks for a daemon that can be asked instead.
    pub(crate) fn lock_or<T>(
        &self,
        patience: Duration,
        served: impl Fn() -> Option<T>,
    ) -> Result<Result<Lock, T>, CommandError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(instead) = served() {
                return Ok(Err(instead));
            }
            match self.try_lock()? {
                Ok(lock) => return Ok(Ok(lock)),
                Err(holder) if Instant::now() >= deadline => return Err(holder.busy(self)),
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> CommandError {
        CommandError::io(what, self.0.display(), error)
    }
}

/// The process that has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// None for the moment between taking the lock and writing the number.
    pub(crate) pid: Option<u32>,
}

impl Holder {
    /// What to tell somebody who waited in vain.
    pub(crate) fn busy(self, home: &Home) -> CommandError {
        let who = self.pid.map_or_else(|| "another pfs".to_owned(), |pid| format!("another pfs, pid {pid},"));
        CommandError::new(ErrorKind::Timeout, format!("{who} is using {}", home.0.display()))
            .hint("wait until it is done, or stop it; every change on disk is safe meanwhile")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(Some(dir.path().join("a/b"))).unwrap();
        home.create().unwrap();
        let lock = home.try_lock().unwrap().unwrap();
        assert_eq!(home.try_lock().unwrap().unwrap_err(), Holder { pid: Some(std::process::id()) });
        let error = home.lock_or(Duration::ZERO, || None::<()>).unwrap_err();
        assert!(error.message.contains(&format!("pid {}", std::process::id())), "{}", error.message);
        assert_eq!(home.lock_or(Duration::ZERO, || Some(7)).unwrap().unwrap_err(), 7);
        drop(lock);
        assert!(home.try_lock().unwrap().is_ok());
    }
}
