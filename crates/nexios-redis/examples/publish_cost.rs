//! What publishing costs: `cargo run --release -p nexios-redis --example publish_cost`.
//!
//! Starts a Redis server of its own, publishes batches of kept messages of 100 bytes for a second each, and prints the
//! CPU time of both processes for a message.

#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::fs;
use std::time::{Duration, Instant};

use nexios::backplane::{Channel, Keep};
use nexios::testing::backplane::{Happening, TestNode};
use nexios_engines::Setup;
use nexios_redis::Redis;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let engine = Setup::redis().arguments(["--appendonly", "no"]).start();
    let server = engine.pid().unwrap_or_default();
    let node = TestNode::start(Redis::connect(engine.url())).await?;
    node.wait_until("connected", |happened| happened.iter().any(|h| matches!(h, Happening::Connected))).await;
    let keep = Keep { messages: 1000, bytes: 1024 * 1024, age: Duration::from_mins(5) };
    println!("| kept | channels | batch | messages/s | µs here | µs in redis-server |");
    println!("|---|---|---|---|---|---|");
    for is_kept in [true, false] {
        for (channels, batch) in [(1, 1), (1, 16), (1, 256), (16, 16), (256, 256)] {
            let rooms: Vec<_> = (0..channels).map(|n| Channel::group(&format!("{is_kept}-{batch}-{n}"))).collect();
            let (began, here, there) = (Instant::now(), cpu(std::process::id())?, cpu(server)?);
            let mut count = 0_u32;
            while began.elapsed() < Duration::from_secs(2) {
                let messages: Vec<_> = (0..batch)
                    .map(|n| {
                        let message = node.message(&rooms[n % channels], vec![b'x'; 100]);
                        if is_kept { message.kept(keep) } else { message }
                    })
                    .collect();
                node.publish(&messages).await;
                count += u32::try_from(batch)?;
            }
            let each =
                |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(count);
            println!(
                "| {is_kept} | {channels} | {batch} | {:.0} | {:.1} | {:.1} |",
                f64::from(count) / began.elapsed().as_secs_f64(),
                each(here, cpu(std::process::id())?),
                each(there, cpu(server)?),
            );
        }
    }
    Ok(())
}

/// The CPU time of a process, in user and kernel mode (proc(5): `utime` and `stime`, in hundredths of a second).
fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let behind = stat.rsplit_once(") ").map(|(_, behind)| behind).unwrap_or_default();
    let ticks: u64 = behind.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
