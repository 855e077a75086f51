//! What belongs to this process alone, and not to what replicas share.

use super::peers::PeerStreams;
use crate::backup::held::HeldBackups;
use crate::keys::ring::KeyRing;

/// What operations ask that concern this process. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    /// The event streams that it holds open, and the way to those of others.
    pub streams: PeerStreams,
    /// The backup of it that is being fetched.
    pub backups: HeldBackups,
    /// The keys that it signs and verifies with.
    pub keys: KeyRing,
}
