//! A backplane that somebody else has written.

use nexios::backplane::{Backplane, BackplaneError, BoxFuture, Channel, Events, Keep, NodeId, Outgoing, Page, Place};
use nexios::prelude::*;
use nexios::testing::TestClient;
use tokio::net::TcpListener;

/// One that cannot work, or refuses everything.
#[derive(Clone, Copy)]
enum Useless {
    Never,
    Refuses,
}

impl Backplane for Useless {
    fn name(&self) -> &'static str {
        "useless"
    }

    fn start(&self, _node: NodeId, events: Events) -> BoxFuture<'_, Result<(), BackplaneError>> {
        Box::pin(async move {
            match self {
                Self::Never => Err(BackplaneError::settings("the address has no port")),
                Self::Refuses => {
                    events.connected();
                    Ok(())
                }
            }
        })
    }

    fn subscribe<'a>(&'a self, _channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(async { Ok(()) })
    }

    fn unsubscribe<'a>(&'a self, _channels: &'a [Channel]) -> BoxFuture<'a, Result<(), BackplaneError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish<'a>(&'a self, messages: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<Option<Place>, BackplaneError>>> {
        Box::pin(async { messages.iter().map(|_| Err(BackplaneError::refused("too large"))).collect() })
    }

    fn read<'a>(
        &'a self,
        _channel: &'a Channel,
        _keep: Keep,
        _since: Option<Position>,
    ) -> BoxFuture<'a, Result<Page, BackplaneError>> {
        Box::pin(async { Err(BackplaneError::unavailable("no")) })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn an_app_with_a_backplane_that_cannot_work_is_not_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = App::new().backplane(Useless::Never).serve(listener).await.unwrap_err();
    assert_eq!(error.to_string(), "the backplane's settings: the address has no port");
    assert!(matches!(error, Error::Backplane(BackplaneError::Settings(_))));
}

#[test]
fn an_app_with_a_backplane_that_cannot_work_does_not_run() {
    let error = App::new().bind("127.0.0.1:0").backplane(Useless::Never).run().unwrap_err();
    assert!(matches!(error, Error::Backplane(BackplaneError::Settings(_))), "{error}");
}

#[tokio::test]
async fn an_app_that_is_mounted_says_it_in_its_readiness() {
    let client = TestClient::new(App::new().health_checks().backplane(Useless::Never));
    super::eventually("it is not ready", async || client.get("/readyz").await.unwrap().status() == 503).await;
}

#[tokio::test]
async fn a_message_that_the_engine_refuses_is_an_error_where_the_engine_would_have_kept_it() {
    let history = GroupConfig::new().history(History::new());
    let groups = GroupsConfig::new().by_name(move |name| name.starts_with('h').then(|| history.clone()));
    let app = App::new().groups_config(groups).backplane(Useless::Refuses);
    let groups = app.groups();
    let client = TestClient::new(app);
    let error = groups.group("h").send_text("a").await.unwrap_err();
    assert_eq!(error.to_string(), "the backplane refused the message: too large");
    // Members here have it, and those elsewhere are told.
    groups.group("plain").send_text("a").await.unwrap();
    super::eventually("it is counted", async || client.handle().backplane().unwrap().lost > 1).await;
}

#[tokio::test]
async fn an_app_that_is_mounted_goes_on_by_itself_without_one() {
    let setup = super::Setup::new();
    let app = setup.app(&nexios::backplane::Memory::new().node()).backplane(Useless::Never);
    let app = app.backplane_config(nexios::BackplaneConfig::new().timeout(std::time::Duration::from_mins(1)));
    let client = TestClient::new(app);
    let mut ann = super::Client::new(client.connect("/").await.unwrap());
    ann.join("h").await;
    assert_eq!(ann.say("h", "hello").await.len(), 1);
}
