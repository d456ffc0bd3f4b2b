//! What people type: paths, revisions, times, durations, addresses.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use jiff::civil::DateTime;
use jiff::{Span, Timestamp, Zoned};

use crate::api::service::ErrorKind;
use crate::api::types::{RawPath, Revision, Target, WallTime};
use crate::error::CommandError;
use crate::ui::Clock;

/// As few digits of a patch id as will do.
const PREFIX_DIGITS_MIN: usize = 6;
/// All digits of an id.
const ID_DIGITS: usize = 64;

fn usage(message: String, hint: &str) -> CommandError {
    CommandError::new(ErrorKind::Usage, message).hint(hint)
}

/// A PATH or VOLUME argument.
pub(crate) fn target(text: &OsStr) -> Result<Target, CommandError> {
    let absolute = RawPath::from(absolute(Path::new(text))?.as_path());
    Ok(Target { text: text.into(), absolute })
}

/// The path without symlinks on the way to its last component, which itself is not followed. What is not
/// there (any more) is taken as it is written.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    if path.as_os_str().is_empty() {
        return Err(usage("the path is empty".to_owned(), "the current directory is `.`"));
    }
    let whole = std::path::absolute(path).map_err(|e| CommandError::io("finding the path", path.display(), &e))?;
    let (Some(parent), Some(Component::Normal(name))) = (whole.parent(), whole.components().next_back()) else {
        return Ok(fs::canonicalize(&whole).unwrap_or(whole));
    };
    for there in parent.ancestors() {
        if let Ok(real) = fs::canonicalize(there) {
            let rest = parent.strip_prefix(there).expect("an ancestor is a prefix");
            return Ok(real.join(rest).join(name));
        }
    }
    Ok(whole)
}

/// A REV: a patch id or unique prefix, an RFC 3339 time, or an age.
pub(crate) fn revision(text: &str, clock: &Clock) -> Result<Revision, CommandError> {
    let is_id = (PREFIX_DIGITS_MIN..=ID_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id {
        return Ok(Revision::Patch(text.to_ascii_lowercase()));
    }
    past(text, clock).map(Revision::Time).map_err(|_| {
        usage(
            format!("`{text}` is not a revision"),
            "give a patch id (at least 6 digits), a time like 2026-11-20T14:00:00Z, or an age like 2h or 3d",
        )
    })
}

/// A patch id or prefix, lower case.
pub(crate) fn patch(text: &str) -> Result<String, CommandError> {
    match revision(text, &Clock { now: Timestamp::UNIX_EPOCH, zone: jiff::tz::TimeZone::UTC }) {
        Ok(Revision::Patch(id)) => Ok(id),
        _ => Err(usage(
            format!("`{text}` is not a patch id"),
            "`pfs log` and `pfs forks` show ids; 6 digits or more will do",
        )),
    }
}

/// A time in the past: RFC 3339, a local date (with a time or without), or an age.
pub(crate) fn past(text: &str, clock: &Clock) -> Result<WallTime, CommandError> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(WallTime(time));
    }
    let local = text.parse::<DateTime>().ok().and_then(|date| date.to_zoned(clock.zone.clone()).ok());
    let ago = || duration(text).ok().and_then(|age| now(clock).checked_sub(age).ok());
    local.or_else(ago).map(|zoned| WallTime(zoned.timestamp())).ok_or_else(|| {
        usage(
            format!("`{text}` is not a time"),
            "give a time like 2026-11-20T14:00:00Z, a date, or an age like 2h or 3d",
        )
    })
}

/// So far from now.
pub(crate) fn future(text: &str, clock: &Clock) -> Result<WallTime, CommandError> {
    let span = duration(text)?;
    let then = now(clock).checked_add(span).map_err(|_| usage(format!("`{text}` is too long"), "try 7d"))?;
    Ok(WallTime(then.timestamp()))
}

/// How many seconds that is, from now back.
pub(crate) fn seconds(text: &str, clock: &Clock) -> Result<u64, CommandError> {
    let past = now(clock).checked_sub(duration(text)?);
    let past = past.map_err(|_| usage(format!("`{text}` is too long"), "`forever` is longer than anything else"))?;
    Ok((clock.now.as_millisecond() - past.timestamp().as_millisecond()).unsigned_abs() / 1000)
}

/// `7d`, `2h`, `1h 30m`: more than nothing.
fn duration(text: &str) -> Result<Span, CommandError> {
    let span = text.parse::<Span>().ok().filter(|span| span.is_positive());
    span.ok_or_else(|| usage(format!("`{text}` is not a duration"), "try 30m, 2h or 7d"))
}

fn now(clock: &Clock) -> Zoned {
    clock.now.to_zoned(clock.zone.clone())
}

/// `HOST:PORT`; the host is looked up by whoever uses it.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    match parts {
        Some((host, Ok(port))) if !host.is_empty() && port != 0 => Ok(text.to_owned()),
        _ => Err("an address looks like 192.168.1.7:7440, [fe80::1]:7440 or host.example:7440".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use jiff::tz::TimeZone;
    use pfs_fixtures::damage::damaged;
    use proptest::prelude::*;

    use super::*;

    fn clock() -> Clock {
        Clock { now: "2026-11-20T14:03:11Z".parse().unwrap(), zone: TimeZone::fixed(jiff::tz::offset(1)) }
    }

    #[test]
    fn revisions() {
        let time = |text: &str| Revision::Time(WallTime(text.parse().unwrap()));
        let table = [
            ("9F3C21ab", Revision::Patch("9f3c21ab".to_owned())),
            ("123456d", Revision::Patch("123456d".to_owned())),
            ("2h", time("2026-11-20T12:03:11Z")),
            ("3d", time("2026-11-17T14:03:11Z")),
            ("1h30m", time("2026-11-20T12:33:11Z")),
            ("2026-11-20T10:00:00Z", time("2026-11-20T10:00:00Z")),
            ("2026-11-20T10:00:00", time("2026-11-20T09:00:00Z")),
            ("2026-11-20", time("2026-11-19T23:00:00Z")),
        ];
        for (text, want) in table {
            assert_eq!(revision(text, &clock()).unwrap(), want, "{text}");
        }
        for text in ["", "9f3c2", "xyz", "-2h", "0s", "2h ago", "20000y", &"a".repeat(65)] {
            assert_eq!(revision(text, &clock()).unwrap_err().exit_code(), 2, "{text}");
        }
        assert_eq!(future("7d", &clock()).unwrap().to_string(), "2026-11-27T14:03:11.000Z");
        assert_eq!(patch("2h").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn paths_follow_all_but_the_last_component() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("nowhere", root.join("real/broken")).unwrap();
        let table = [
            ("link/broken", "real/broken"),
            ("link", "link"),
            ("link/gone/deep", "real/gone/deep"),
            ("real/../link", "link"),
        ];
        for (typed, want) in table {
            assert_eq!(absolute(&root.join(typed)).unwrap(), root.join(want), "{typed}");
        }
        assert_eq!(absolute(Path::new("/")).unwrap(), Path::new("/"));
        assert_eq!(absolute(Path::new(".")).unwrap(), fs::canonicalize(".").unwrap());
    }

    #[test]
    fn addresses_have_a_port() {
        for text in ["192.168.1.7:7440", "[fe80::1]:7440", "host.example:1"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in ["", "host", ":7440", "host:", "host:0", "host:99999"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    /// What is nearly a word of ours, and texts that are like none.
    fn words() -> impl Strategy<Value = String> {
        let samples = ["9f3c21ab", "2h", "1h 30m", "-P1Y2M", "2026-11-20T14:00:00Z", "9999-12-31", "host.example:7440"];
        let samples = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
        let near = damaged(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        prop_oneof![near, "[0-9]{1,25}(s|m|h|d|w|mo|y)", any::<String>()]
    }

    proptest! {
        #[test]
        fn no_word_makes_it_panic(word in words()) {
            let clock = clock();
            if let Ok(Revision::Patch(id)) = revision(&word, &clock) {
                prop_assert_eq!(id, word.to_ascii_lowercase());
            }
            if let Ok(then) = future(&word, &clock) {
                prop_assert!(then.0 > clock.now, "{}", then);
            }
            let _ = (patch(&word), past(&word, &clock), seconds(&word, &clock), address(&word));
        }
    }
}
