//! The opening handshake's request as an accepted connection keeps it.

use std::mem;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use axum::extract::{ConnectInfo, MatchedPath, NestedPath, OriginalUri};
use http::request::Parts;
use http::{Extensions, Uri};

use super::Params;
use super::head::{Extras, PackedHead, survives};
use super::request::{Whole, path_params};
use crate::groups::Groups;

/// A request in about 200 bytes: its head is packed, and so is what axum and the server leave in the extensions. It
/// becomes a [`Parts`] again when somebody asks.
pub(super) struct Compact {
    head: PackedHead,
    matched: Option<MatchedPath>,
    groups: Option<Groups>,
    rare: OnceLock<Box<Rare>>,
}

/// What few connections have or ask for.
#[derive(Default)]
struct Rare {
    path: Params,
    nested: Option<NestedPath>,
    /// What cannot be packed: path parameters, and what layers and middleware have put there. It moves into `parts`
    /// and is never cloned, so that a value which is removed then is gone.
    extensions: Mutex<Extensions>,
    query: OnceLock<Params>,
    uri: OnceLock<Box<Uri>>,
    parts: OnceLock<Box<Parts>>,
}

static NO_PARAMS: LazyLock<Params> = LazyLock::new(Params::default);

/// axum's word that a path has no parameters, for the `Path` extractor. Its type is private, and all are alike: one is
/// kept for all connections.
static EMPTY_PARAMS: OnceLock<Extensions> = OnceLock::new();

impl Compact {
    /// Leaves `whole` empty; or as it is, if its target is none that can be packed.
    pub(super) fn of(whole: &mut Whole) -> Option<Self> {
        let Whole { parts, path, peer, .. } = whole;
        if !survives(&parts.uri) {
            return None;
        }
        let extensions = &mut parts.extensions;
        let original = remove_if(extensions, |original: &OriginalUri| survives(&original.0)).map(|original| original.0);
        let connect_info = remove_if(extensions, |info: &ConnectInfo<SocketAddr>| Some(info.0) == *peer).is_some();
        let (matched, nested, groups) = (extensions.remove(), extensions.remove(), extensions.remove());
        let empty_params = take_empty_params(parts);
        let head = PackedHead::pack(parts, *peer, &Extras { original, connect_info, empty_params });
        let extensions = fitted(mem::take(&mut parts.extensions));
        let rare = OnceLock::new();
        if nested.is_some() || !path.is_empty() || !extensions.is_empty() {
            let few = Rare { path: mem::take(path), nested, extensions: Mutex::new(extensions), ..Rare::default() };
            rare.get_or_init(|| Box::new(few));
        }
        Some(Self { head, matched, groups, rare })
    }

    /// Everything again, in place of this.
    pub(super) fn unpack(&mut self) -> Whole {
        let rare = self.rare.take().unwrap_or_default();
        let Rare { path, nested, extensions, query, parts, .. } = *rare;
        let parts = parts.into_inner().map_or_else(|| self.restore(nested, into_inner(extensions)), |parts| *parts);
        Whole { parts, path, peer: self.peer(), query }
    }

    pub(super) fn parts(&self) -> &Parts {
        let rare = self.rare();
        rare.parts.get_or_init(|| {
            let extensions = mem::take(&mut *rare.extensions.lock().unwrap_or_else(PoisonError::into_inner));
            Box::new(self.restore(rare.nested.clone(), extensions))
        })
    }

    pub(super) fn uri(&self) -> &Uri {
        let rare = self.rare();
        match rare.parts.get() {
            Some(parts) => &parts.uri,
            None => rare.uri.get_or_init(|| Box::new(self.target())),
        }
    }

    /// The target, without anything being kept for it.
    pub(super) fn target(&self) -> Uri {
        self.head.read().uri()
    }

    pub(super) fn query(&self) -> &Params {
        self.rare().query.get_or_init(|| Params::from_query(self.target().query().unwrap_or_default()))
    }

    pub(super) fn path(&self) -> &Params {
        self.rare.get().map_or(&NO_PARAMS, |rare| &rare.path)
    }

    /// What layers and middleware have put beside it.
    pub(super) fn clone_extensions(&self) -> Extensions {
        let Some(rare) = self.rare.get() else { return Extensions::new() };
        let kept = || rare.extensions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        rare.parts.get().map_or_else(kept, |parts| parts.extensions.clone())
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.head.read().peer
    }

    pub(super) fn header_pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.head.read().header_pairs()
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    fn restore(&self, nested: Option<NestedPath>, extensions: Extensions) -> Parts {
        let head = self.head.read();
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = head.method();
        parts.version = head.version();
        parts.uri = head.uri();
        parts.headers = head.headers();
        let Extras { original, connect_info, empty_params } = head.extras();
        parts.extensions = if empty_params { EMPTY_PARAMS.get().cloned().unwrap_or_default() } else { extensions };
        insert(&mut parts.extensions, original.map(OriginalUri));
        insert(&mut parts.extensions, head.peer.filter(|_| connect_info).map(ConnectInfo));
        insert(&mut parts.extensions, self.matched.clone());
        insert(&mut parts.extensions, nested);
        insert(&mut parts.extensions, self.groups.clone());
        parts
    }
}

/// Removes axum's path parameters when nothing else is left and there are none.
fn take_empty_params(parts: &mut Parts) -> bool {
    let is_empty = parts.extensions.len() == 1 && path_params(parts).is_some_and(|params| params.is_empty());
    if is_empty {
        let only = mem::take(&mut parts.extensions);
        EMPTY_PARAMS.get_or_init(|| fitted(only));
    }
    is_empty
}

/// The map in a table of its size: a table keeps the size that it once had, unless its entries move to another one.
fn fitted(extensions: Extensions) -> Extensions {
    #[derive(Clone)]
    struct MakesATable;

    if extensions.is_empty() {
        return Extensions::new();
    }
    let mut fitted = Extensions::new();
    fitted.insert(MakesATable);
    fitted.extend(extensions);
    fitted.remove::<MakesATable>();
    fitted
}

fn remove_if<T: Send + Sync + 'static>(extensions: &mut Extensions, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if extensions.get().is_some_and(wanted) { extensions.remove() } else { None }
}

fn insert<T: Clone + Send + Sync + 'static>(extensions: &mut Extensions, value: Option<T>) {
    if let Some(value) = value {
        extensions.insert(value);
    }
}

fn into_inner(extensions: Mutex<Extensions>) -> Extensions {
    extensions.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Request;
    use crate::testing::TestClient;
    use crate::{App, WebSocket};

    async fn accepted(mut websocket: WebSocket) -> crate::Result {
        websocket.accept().await?;
        assert!(is_compact(&websocket));
        assert_eq!(format!("{websocket:?}"), format!("WebSocket {{ id: {:?}, path: \"/ws\", .. }}", websocket.id()));
        assert_eq!(websocket.subprotocols().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((websocket.peer_addr(), websocket.path_params().len()), (None, 0));
        let Request::Compact(compact) = &websocket.inner.request else { panic!("it is compact") };
        assert!(compact.rare.get().is_none(), "nothing of this is kept");
        assert_eq!(websocket.uri(), "/ws?x=1");
        assert_eq!(websocket.query_params().get("x"), Some("1"));
        assert!(compact.rare().parts.get().is_none(), "the maps are not made for these");
        websocket.send_text("done").await
    }

    fn is_compact(websocket: &WebSocket) -> bool {
        matches!(websocket.inner.request, Request::Compact(_))
    }

    #[tokio::test]
    async fn an_accepted_connection_keeps_its_request_compact() {
        let client = TestClient::new(App::new().websocket_route("/ws", accepted));
        let mut websocket = client.request("/ws?x=1").subprotocol("a").subprotocol("b").connect().await.unwrap();
        assert!(is_compact(&websocket));
        assert_eq!(websocket.receive_text().await.unwrap(), "done");
    }

    #[tokio::test]
    async fn accepted_by_middleware_it_is_compact_when_the_extractors_are_done() {
        let app = App::new()
            .websocket_route("/ws", async |mut websocket: WebSocket| {
                assert!(is_compact(&websocket));
                websocket.send_text("done").await
            })
            .add_ws_middleware(async |mut websocket: WebSocket, next: crate::Next| {
                websocket.accept().await?;
                assert!(!is_compact(&websocket));
                next.run(websocket).await
            });
        let mut websocket = TestClient::new(app).connect("/ws").await.unwrap();
        assert_eq!(websocket.receive_text().await.unwrap(), "done");
    }

    #[test]
    fn an_extension_moves_and_is_gone_when_it_is_removed() {
        let value = Arc::new("a layer's");
        let (mut parts, ()) = http::Request::get("/ws").body(()).unwrap().into_parts();
        parts.extensions.insert(Arc::clone(&value));
        let mut request = Request::received(parts);
        request.compact();
        assert_eq!(Arc::strong_count(&value), 2);
        assert_eq!(request.parts().extensions.get(), Some(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        request.parts_mut().extensions.remove::<Arc<&str>>();
        assert_eq!(Arc::strong_count(&value), 1);
        request.compact();
        assert!(request.parts().extensions.is_empty());
    }

    #[test]
    fn what_was_changed_by_an_extractor_stays_changed() {
        let (parts, ()) = http::Request::get("/ws?a").header("x", "1").body(()).unwrap().into_parts();
        let mut request = Request::received(parts);
        request.compact();
        request.parts_mut().uri = "http://example.org/other".parse().unwrap();
        request.parts_mut().headers.clear();
        request.compact();
        assert_eq!(request.uri(), "http://example.org/other");
        assert!(request.parts().headers.is_empty());
    }

    #[test]
    fn what_every_connection_has_is_small() {
        assert!(size_of::<Request>() <= 56);
        assert!(size_of::<super::super::Inner>() <= 88);
    }
}
