//! Numbers, times and names as people like to read them.

use jiff::Timestamp;

use super::Clock;
use crate::api::types::{Holding, RawPath, Role, WallTime};

/// `78 624`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `3 patches`, `1 patch`; `plural` is the whole word.
pub(crate) fn counted(n: u64, one: &str, plural: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { plural })
}

/// `1.27 GB`: three digits, decimal units.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in ["KB", "MB", "GB", "TB", "PB", "EB"] {
        value /= 1000.0;
        unit = next;
        // What would round up to 1000 is 1 of the next unit.
        if value < 999.5 {
            break;
        }
    }
    // Cut, not rounded to the next power: 9.996 is shown as 10.0, not as 10.00.
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// `2026-11-20 14:03:11`, local.
pub(crate) fn date(time: WallTime, clock: &Clock) -> String {
    time.0.to_zoned(clock.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `3 min ago`, `in 7 d`, `just now`.
pub(crate) fn ago(time: WallTime, clock: &Clock) -> String {
    let seconds = seconds_between(time.0, clock.now);
    let span = duration(seconds.unsigned_abs());
    match seconds {
        ..-1 => format!("in {span}"),
        -1..=1 => "just now".to_owned(),
        2.. => format!("{span} ago"),
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second() - from.as_second()
}

/// `40 s`, `3 min`, `5 h`, `12 d`: the largest unit of which there is one.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", count(seconds / 86400)),
    }
}

/// The first 8 digits of an id.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A path on disk, with `~` for the home directory.
pub(crate) fn on_disk(path: &RawPath) -> String {
    let home = std::env::home_dir().map(|home| RawPath::from(home.as_path()));
    let below = home.as_ref().filter(|home| home.as_bytes().len() > 1);
    match below.and_then(|home| path.as_bytes().strip_prefix(home.as_bytes())) {
        Some(rest) if rest.is_empty() || rest[0] == b'/' => format!("~{}", RawPath::from(rest.to_vec())),
        _ => path.to_string(),
    }
}

/// A word as a shell takes it, quoted only where it must be.
pub(crate) fn quoted(word: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:+,@%=".contains(b) || *b >= 0x80;
    match std::str::from_utf8(word) {
        Ok(text) if !word.is_empty() && word.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let escape = |&b: &u8| if plain(&b) && b < 0x80 { (b as char).to_string() } else { format!("\\x{b:02x}") };
            format!("$'{}'", word.iter().map(escape).collect::<String>())
        }
    }
}

/// A role as it is typed.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Writer => "writer",
        Role::Mirror => "mirror",
        Role::Vault => "vault",
        Role::Thin => "thin",
    }
}

/// A holding as it is typed.
pub(crate) fn holding(holding: Holding) -> &'static str {
    match holding {
        Holding::All => "all",
        Holding::Share => "share",
        Holding::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 KB"),
            (1204, "1.20 KB"),
            (9_994, "9.99 KB"),
            (9_996, "10.0 KB"),
            (99_960, "100 KB"),
            (999_499, "999 KB"),
            (999_500, "1.00 MB"),
            (1_270_000_000, "1.27 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!([count(0), count(999), count(78_624), count(1_000_000)], ["0", "999", "78 624", "1 000 000"]);
    }

    #[test]
    fn times_are_relative_to_now() {
        let now: Timestamp = "2026-11-20T14:03:11Z".parse().unwrap();
        let clock = Clock { now, zone: TimeZone::UTC };
        let at = |seconds: i64| ago(WallTime(Timestamp::from_second(now.as_second() + seconds).unwrap()), &clock);
        assert_eq!([at(0), at(-59), at(-60), at(-7200)], ["just now", "59 s ago", "1 min ago", "2 h ago"]);
        assert_eq!([at(-86400 * 1200), at(86400 * 7)], ["1 200 d ago", "in 7 d"]);
        assert_eq!(date(WallTime(now), &clock), "2026-11-20 14:03:11");
    }

    #[test]
    fn words_survive_a_shell() {
        let table: [(&[u8], &str); 5] = [
            (b"linux:drivers/foo.c", "linux:drivers/foo.c"),
            (b"a b", "'a b'"),
            (b"it's", r"'it'\''s'"),
            (b"", "''"),
            (b"\xe9'\n", r"$'\xe9\x27\x0a'"),
        ];
        for (word, text) in table {
            assert_eq!(quoted(word), text);
        }
    }
}
