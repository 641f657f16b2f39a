//! What every backplane must do.

use nexios::testing::backplane;
use nexios_engines::{Engine, Setup};
use nexios_redis::Redis;

use crate::servers::{Cluster, Sentinel};

#[tokio::test]
async fn one_server_does_what_every_engine_must_do() {
    let engine = Engine::redis();
    backplane::check(|prefix| Redis::connect(engine.url()).prefix(prefix.as_str())).await;
}

#[tokio::test]
async fn a_cluster_does_what_every_engine_must_do() {
    let cluster = Cluster::start();
    backplane::check(|prefix| Redis::connect(cluster.url()).prefix(prefix.as_str())).await;
}

#[tokio::test]
async fn a_server_behind_a_sentinel_and_a_password_does_too() {
    let engine = Engine::redis();
    let sentinel = Sentinel::watch(&engine);
    let url = format!("{}/1", sentinel.url());
    backplane::check_only("place", |prefix| Redis::connect(&url).prefix(prefix.as_str())).await;
    let engine = Setup::redis().arguments(["--requirepass", "p@ss"]).start();
    let url = format!("redis://:p%40ss@{}/2", engine.address());
    backplane::check_only("stream", |prefix| Redis::connect(&url).prefix(prefix.as_str())).await;
}
