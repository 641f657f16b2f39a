//! A server that goes down publishes nothing more: what was taken before reaches everybody who is still there.
//!
//! Connections are closed one batch after the other. A message that somebody publishes between two of them would be
//! acknowledged, and never seen by those whose connections are closed already.

use super::names::SHARDS;
use super::{Groups, GroupsInner};
use crate::Result;
use crate::disconnect::{Cause, EndedBy, WebSocketDisconnect};
use nexios_proto::CloseFrame;

impl Groups {
    /// From the return on, no publication is taken, and those that were are noted for all members.
    pub(crate) fn seal(&self, frame: CloseFrame) {
        let inner = self.inner();
        // Sealed before, then.
        let _ = inner.sealed.set(WebSocketDisconnect::new(EndedBy::Local, Cause::Shutdown, None, Some(frame)));
        for shard in 0..SHARDS {
            for group in inner.names.of_shard(shard) {
                // Whoever was publishing, and had not seen the seal, is through.
                drop(group.members());
            }
        }
    }
}

impl GroupsInner {
    /// To be asked under the lock of a group, or when there is none of its name.
    pub(super) fn check_sealed(&self) -> Result {
        self.sealed.get().map_or(Ok(()), |end| Err(end.clone().into()))
    }
}
