//! One node: `node --redis URL` or `node --nats URL`. `NEXIOS_HOST` and `NEXIOS_PORT` say where it listens.

use nexios_nats::Nats;
use nexios_redis::Redis;

fn main() -> nexios::Result {
    let mut arguments = std::env::args().skip(1);
    let (engine, url) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let app = match &*engine {
        "--redis" => nexios_nodes::app(Redis::connect(url)),
        "--nats" => nexios_nodes::app(Nats::connect(url)),
        _ => return Err(nexios::Error::other("usage: node --redis URL | --nats URL")),
    };
    app.run()?;
    Ok(())
}
