//! Volumes and who belongs to them: tracking, inviting, joining, admitting, removing.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Captured, Control, Gone, Held, lie_in_each_other};
use crate::disk::{DiskError, Tree, canonical_dir, marker_above};
use crate::engine::{Event, OnProgress};
use crate::error::EngineError;
use crate::failpoint::{self, Point};
use crate::model::entry::{Body, Genesis, Holding, Invite, Member, Role};
use crate::model::ids::{PeerId, VolumeId};
use crate::model::time::Time;
use crate::store::VolumeState;

impl Control {
    /// Makes a directory a volume and captures it.
    pub(crate) fn track(
        &mut self,
        dir: &Path,
        name: &str,
        replicas: u8,
        progress: Option<&OnProgress>,
    ) -> Result<(VolumeId, Captured), EngineError> {
        let dir = self.trackable(dir, name)?;
        let mut nonce = [0; 16];
        self.env.fill(&mut nonce)?;
        let (creator, creator_name) = (self.keys.peer(), self.name.clone());
        let genesis = Genesis { name: name.to_owned(), creator, creator_name, nonce, replicas };
        genesis.check()?;
        let id = genesis.volume();
        self.add_volume(id, name, Some(&dir), Holding::All, false)?;
        self.append(id, Time::from_ms(self.env.wall_ms()), Body::Genesis(genesis))?;
        failpoint::pass(Point::TrackBorn);
        let captured = self.capture(id, Gone::Asked, progress)?;
        Ok((id, captured))
    }

    /// Makes room for a volume whose entries are to come from its members.
    pub(crate) fn adopt(
        &mut self,
        id: VolumeId,
        name: &str,
        dir: &Path,
        holding: Holding,
    ) -> Result<PathBuf, EngineError> {
        if let Some(held) = self.volumes.get(&id)
            && let Some(path) = held.path()
        {
            if path == dir || std::path::absolute(dir).is_ok_and(|dir| dir == path) {
                return Ok(path);
            }
            return Err(EngineError::Tracked { path, name: held.state.name.clone() });
        }
        let dir = self.trackable(dir, name)?;
        self.add_volume(id, name, Some(&dir), holding, true)?;
        failpoint::pass(Point::JoinAdopted);
        Ok(dir)
    }

    /// Stops tracking; the files stay.
    pub(crate) fn untrack(&mut self, id: VolumeId) -> Result<(), EngineError> {
        let held = self.held(id)?;
        if let Some(tree) = &held.tree
            && tree.check_marker().is_ok()
        {
            tree.remove_marker()?;
        }
        failpoint::pass(Point::UntrackMarker);
        held.detach();
        self.volumes.remove(&id);
        self.store.remove_volume(id)?;
        self.tell(&Event::Members(id));
        Ok(())
    }

    /// The directory as it is to be tracked: absolute, neither inside a tracked one nor around one, nor the home's.
    fn trackable(&self, dir: &Path, name: &str) -> Result<PathBuf, EngineError> {
        let dir = canonical_dir(dir)?;
        if lie_in_each_other(&dir, &self.home) {
            return Err(EngineError::AroundHome { path: dir, home: self.home.clone() });
        }
        for held in self.volumes.values() {
            let Some(other) = held.path() else { continue };
            if other == dir {
                return Err(EngineError::Tracked { path: dir, name: held.state.name.clone() });
            }
            if lie_in_each_other(&dir, &other) {
                return Err(EngineError::Nested { path: dir, other });
            }
            if held.state.name == name {
                return Err(EngineError::NameTaken(name.to_owned()));
            }
        }
        match marker_above(&dir) {
            Some((other, volume)) if other == dir => {
                Err(DiskError::Tracked { path: dir.display().to_string(), volume }.into())
            }
            Some((other, _)) => Err(EngineError::Nested { path: dir, other }),
            None => Ok(dir),
        }
    }

    fn add_volume(
        &mut self,
        id: VolumeId,
        name: &str,
        dir: Option<&Path>,
        holding: Holding,
        joining: bool,
    ) -> Result<(), EngineError> {
        let more = super::held::More { joining, ..Default::default() };
        let state = VolumeState {
            path: dir.map(|dir| dir.as_os_str().as_bytes().to_vec()),
            roster: crate::model::codec::encode(&more),
            ..VolumeState::new(name, Role::Writer, holding)
        };
        // In this order, so that no crash leaves a marker of a volume that nobody knows.
        self.store.create_volume(id, &state)?;
        failpoint::pass(Point::TrackVolume);
        if let Some(dir) = dir
            && let Err(error) = Tree::create(dir, id)
        {
            self.store.remove_volume(id)?;
            return Err(error.into());
        }
        failpoint::pass(Point::TrackTree);
        self.volumes.insert(id, Held::open(&self.store, id, Arc::clone(&self.env))?);
        self.attach(id);
        self.tell(&Event::Members(id));
        Ok(())
    }

    /// Opens an invite; gives its secret.
    pub(crate) fn invite(
        &mut self,
        id: VolumeId,
        role: Role,
        expires_ms: u64,
        uses: u32,
    ) -> Result<[u8; 16], EngineError> {
        let mut secret = [0; 16];
        self.env.fill(&mut secret)?;
        let invite = Invite { id: Invite::id_of(&secret), role, uses, expires_ms };
        let time = self.held(id)?.tick();
        self.append(id, time, Body::Invite(invite))?;
        Ok(secret)
    }

    /// Lets a peer in that knows the secret of an invite. Twice is harmless.
    pub(crate) fn admit(
        &mut self,
        id: VolumeId,
        secret: [u8; 16],
        peer: PeerId,
        name: &str,
        holding: Holding,
    ) -> Result<(), EngineError> {
        let held = self.held(id)?;
        let role = held.more.roster.admits(peer, &secret, held.env.wall_ms())?;
        if held.more.roster.members.contains_key(&peer) {
            return Ok(());
        }
        let member = Member { peer, name: name.to_owned(), role, holding, invite: Invite::id_of(&secret) };
        let time = held.tick();
        self.append(id, time, Body::Member(member))
    }

    /// Ends a peer's membership.
    pub(crate) fn remove_member(&mut self, id: VolumeId, peer: PeerId) -> Result<(), EngineError> {
        let time = self.held(id)?.tick();
        self.append(id, time, Body::Remove(peer))
    }
}
