//! A message on its way to groups, and what is left to do when it is published.

use std::sync::Arc;

use futures_util::future::join_all;
use nexios_proto::Message;
use serde::Serialize;

use super::position::Position;
use crate::Result;
use crate::backplane::{BackplaneError, Posted, Wait};
use crate::connection::{Form, Key};
use crate::sender::{ConnectionId, give_way};
use crate::websocket::{JsonError, WebSocket};

/// A message on its way to groups.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) message: Message,
    /// The message is JSON text.
    pub(super) is_json: bool,
    pub(super) form: Form,
    pub(super) except: Option<ConnectionId>,
    pub(super) key: Option<Key>,
    /// It goes to several groups under this number.
    pub(super) several: Option<u64>,
}

impl Draft {
    pub(super) fn new(message: impl Into<Message>) -> Self {
        Self { message: message.into(), is_json: false, form: Form::Any, except: None, key: None, several: None }
    }

    pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self { is_json: true, ..Self::new(JsonError::encode(value)?) })
    }

    /// What a node has received, or has back from the engine.
    pub(super) fn of_other(posted: Posted, is_own: bool) -> Self {
        let Posted { message, is_json, form, key, except, several } = posted;
        Self { message, is_json, form, except: except.filter(|_| is_own), key: key.map(Arc::from), several }
    }

    /// For other nodes.
    pub(super) fn posted(&self) -> Posted {
        Posted {
            message: self.message.clone(),
            is_json: self.is_json,
            form: self.form,
            key: self.key.as_deref().map(Box::from),
            except: self.except,
            several: self.several,
        }
    }

    /// Who is in more than one of several groups gets it once.
    pub(super) fn for_several(self) -> Self {
        Self { several: Some(rand::random()), ..self }
    }

    pub(super) fn except(self, except: &WebSocket) -> Self {
        Self { except: Some(except.id()), ..self }
    }

    pub(super) fn keyed(self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}

/// Where a message comes from, and who gives it its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This node: if there are others, they are to get it, too.
    Here,
    /// This node, as long as there is no engine to order it. Others get it later.
    Alone,
    /// Another node.
    Node,
    /// The engine, which has given it this place.
    Engine(Position),
}

/// What is left to do when a message is published.
#[derive(Default)]
pub(super) struct Sent {
    bytes: usize,
    /// Until the engine has given it a place, in each group.
    ordered: Vec<Wait<Result<(), BackplaneError>>>,
}

impl Sent {
    pub(super) fn here(bytes: usize) -> Self {
        Self { bytes, ordered: Vec::new() }
    }

    pub(super) fn ordered(bytes: usize, ordered: Wait<Result<(), BackplaneError>>) -> Self {
        Self { bytes, ordered: vec![ordered] }
    }

    /// Waits for both at the same time.
    pub(super) fn also(&mut self, other: Self) {
        self.ordered.extend(other.ordered);
    }

    pub(super) async fn finish(self) -> Result {
        give_way(self.bytes).await;
        for ordered in join_all(self.ordered).await {
            ordered?;
        }
        Ok(())
    }
}
