//! What happens in a simulation, as words: a schedule is a list of acts that can be read, cut down and replayed.
//! An act that makes no sense where it comes does nothing.

use std::fmt;
use std::str::FromStr;

/// A peer, by its place among the peers: `A` is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who(pub(crate) usize);

/// What a user does to a tree. Paths are names joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Writes a file in place.
    Write(String, String),
    /// Writes a file beside it and renames that over it.
    Save(String, String),
    /// Renames it away, writes it anew and removes the old one.
    Backup(String, String),
    Append(String, String),
    Truncate(String),
    Mkdir(String),
    /// With all that is below.
    Remove(String),
    /// Renames; over a file too.
    Move(String, String),
    Chmod(String, u32),
    Link(String, String),
    /// Exchanges two things.
    Swap(String, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Does(Who, Deed),
    /// The user does it when the engine comes to its store for the nth time from now.
    Races(Who, usize, Deed),
    /// The engine takes its hints and does what is due.
    Works(Who),
    /// The watcher lost events: everything is to be looked at.
    Looks(Who),
    /// Somebody asks for a capture.
    Captures(Who),
    /// The nth fork is resolved by the mth choice.
    Resolves(Who, usize, usize),
    /// The process is killed.
    Killed(Who),
    /// The machine loses its power; so many of the writes that nobody waited for are on the disk.
    Unplugged(Who, usize),
    /// The process is started again; in good order, if it runs.
    Starts(Who),
    /// The process is killed at the nth access to its store from now.
    Dies(Who, usize),
    /// The nth access to its store from now finds no room, if it is a write.
    Fills(Who, usize),
    /// A bit of the nth chunk in its store that another peer has, too, is not what it was.
    Flips(Who, usize),
    /// Its home is copied.
    Keeps(Who),
    /// Everybody comes to rest; then the process is killed, and its home put back as it was copied.
    Returns(Who),
    /// The bytes of all versions but the current ones are let go of.
    LetsGo(Who),
    Meets(Who, Who),
    Parts(Who, Who),
    /// One thing happens at the first one's end of their connection; which, the number says.
    Hears(Who, Who, usize),
    /// Milliseconds pass.
    Tick(u64),
    /// Everybody meets, all faults end, and what there is to do is done.
    Rest,
}

impl Deed {
    /// What it is about: one path, or two.
    pub(crate) fn paths(&self) -> (&str, Option<&str>) {
        match self {
            Self::Move(a, b) | Self::Swap(a, b) => (a, Some(b)),
            Self::Write(at, _)
            | Self::Save(at, _)
            | Self::Backup(at, _)
            | Self::Append(at, _)
            | Self::Truncate(at)
            | Self::Mkdir(at)
            | Self::Remove(at)
            | Self::Chmod(at, _)
            | Self::Link(at, _) => (at, None),
        }
    }
}

impl Act {
    /// To whom it happens, if to one.
    pub(crate) fn who(&self) -> Option<Who> {
        match self {
            Self::Does(who, _)
            | Self::Races(who, ..)
            | Self::Works(who)
            | Self::Looks(who)
            | Self::Captures(who)
            | Self::Resolves(who, ..)
            | Self::Killed(who)
            | Self::Unplugged(who, _)
            | Self::Starts(who)
            | Self::Dies(who, _)
            | Self::Fills(who, _)
            | Self::Flips(who, _)
            | Self::Keeps(who)
            | Self::Returns(who)
            | Self::LetsGo(who)
            | Self::Meets(who, _)
            | Self::Parts(who, _)
            | Self::Hears(who, ..) => Some(*who),
            Self::Tick(_) | Self::Rest => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'A' + self.0 as u8))
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(at, token) => write!(f, "write {at} {token}"),
            Self::Save(at, token) => write!(f, "save {at} {token}"),
            Self::Backup(at, token) => write!(f, "backup {at} {token}"),
            Self::Append(at, token) => write!(f, "append {at} {token}"),
            Self::Truncate(at) => write!(f, "truncate {at}"),
            Self::Mkdir(at) => write!(f, "mkdir {at}"),
            Self::Remove(at) => write!(f, "rm {at}"),
            Self::Move(from, to) => write!(f, "mv {from} {to}"),
            Self::Chmod(at, mode) => write!(f, "chmod {at} {mode:o}"),
            Self::Link(at, target) => write!(f, "link {at} {target}"),
            Self::Swap(a, b) => write!(f, "swap {a} {b}"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Does(who, deed) => write!(f, "{who} {deed}"),
            Self::Races(who, after, deed) => write!(f, "{who} races {after} {deed}"),
            Self::Works(who) => write!(f, "{who} works"),
            Self::Looks(who) => write!(f, "{who} looks"),
            Self::Captures(who) => write!(f, "{who} captures"),
            Self::Resolves(who, fork, choice) => write!(f, "{who} resolves {fork} {choice}"),
            Self::Killed(who) => write!(f, "{who} killed"),
            Self::Unplugged(who, kept) => write!(f, "{who} unplugged {kept}"),
            Self::Starts(who) => write!(f, "{who} starts"),
            Self::Dies(who, after) => write!(f, "{who} dies {after}"),
            Self::Fills(who, after) => write!(f, "{who} fills {after}"),
            Self::Flips(who, chunk) => write!(f, "{who} flips {chunk}"),
            Self::Keeps(who) => write!(f, "{who} keeps"),
            Self::Returns(who) => write!(f, "{who} returns"),
            Self::LetsGo(who) => write!(f, "{who} gc"),
            Self::Meets(a, b) => write!(f, "{a} meets {b}"),
            Self::Parts(a, b) => write!(f, "{a} parts {b}"),
            Self::Hears(a, b, pick) => write!(f, "{a} hears {b} {pick}"),
            Self::Tick(ms) => write!(f, "tick {ms}"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

/// Words that are no act.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug")]
pub(crate) struct NoAct(pub(crate) String);

/// The words of an act, one after the other.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl Words<'_> {
    fn word(&mut self) -> Option<String> {
        self.0.next().map(str::to_owned)
    }

    fn number(&mut self) -> Option<usize> {
        self.0.next()?.parse().ok()
    }

    fn who(&mut self) -> Option<Who> {
        match self.0.next()?.as_bytes() {
            [name @ b'A'..=b'Z'] => Some(Who(usize::from(name - b'A'))),
            _ => None,
        }
    }

    fn deed(&mut self, verb: &str) -> Option<Deed> {
        let at = self.word()?;
        Some(match verb {
            "write" => Deed::Write(at, self.word()?),
            "save" => Deed::Save(at, self.word()?),
            "backup" => Deed::Backup(at, self.word()?),
            "append" => Deed::Append(at, self.word()?),
            "truncate" => Deed::Truncate(at),
            "mkdir" => Deed::Mkdir(at),
            "rm" => Deed::Remove(at),
            "mv" => Deed::Move(at, self.word()?),
            "chmod" => Deed::Chmod(at, u32::from_str_radix(&self.word()?, 8).ok()?),
            "link" => Deed::Link(at, self.word()?),
            "swap" => Deed::Swap(at, self.word()?),
            _ => return None,
        })
    }

    fn act(&mut self) -> Option<Act> {
        let mut ahead = Words(self.0.clone());
        match ahead.word()?.as_str() {
            "tick" => return Some(Act::Tick(ahead.number()? as u64)),
            "rest" => return Some(Act::Rest),
            _ => {}
        }
        let who = self.who()?;
        let verb = self.word()?;
        Some(match verb.as_str() {
            "races" => {
                let (after, verb) = (self.number()?, self.word()?);
                Act::Races(who, after, self.deed(&verb)?)
            }
            "works" => Act::Works(who),
            "looks" => Act::Looks(who),
            "captures" => Act::Captures(who),
            "resolves" => Act::Resolves(who, self.number()?, self.number()?),
            "killed" => Act::Killed(who),
            "unplugged" => Act::Unplugged(who, self.number()?),
            "starts" => Act::Starts(who),
            "dies" => Act::Dies(who, self.number()?),
            "fills" => Act::Fills(who, self.number()?),
            "flips" => Act::Flips(who, self.number()?),
            "keeps" => Act::Keeps(who),
            "returns" => Act::Returns(who),
            "gc" => Act::LetsGo(who),
            "meets" => Act::Meets(who, self.who()?),
            "parts" => Act::Parts(who, self.who()?),
            "hears" => Act::Hears(who, self.who()?, self.number()?),
            verb => Act::Does(who, self.deed(verb)?),
        })
    }
}

impl FromStr for Act {
    type Err = NoAct;

    fn from_str(text: &str) -> Result<Self, NoAct> {
        Words(text.split_whitespace()).act().ok_or_else(|| NoAct(text.to_owned()))
    }
}
