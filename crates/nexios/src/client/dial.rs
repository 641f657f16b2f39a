//! A TCP connection to the first of a host's addresses that answers (RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use url::Host;

/// RFC 8305 §8: the recommended delay between two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

pub(super) async fn dial(host: &Host, port: u16) -> io::Result<TcpStream> {
    let stream = match host {
        Host::Ipv4(address) => TcpStream::connect((*address, port)).await?,
        Host::Ipv6(address) => TcpStream::connect((*address, port)).await?,
        // One question for both families, which is what the system's resolver offers: the half of RFC 8305 that asks for each
        // by itself (§3) is not to be had with it.
        Host::Domain(name) => race(interleaved(lookup_host((name.as_str(), port)).await?)).await?,
    };
    // Messages leave whole, in one write; nothing is won by holding a small one back.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// RFC 8305 §4: families in turn, beginning with the one that the system prefers.
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut addresses = addresses.peekable();
    let first_is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut turns = VecDeque::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None; 2] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

/// RFC 8305 §5: the next attempt begins when one has failed, or after the delay, and the others go on beside it.
async fn race(mut addresses: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.pop_front() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(error),
            None => {}
        }
        let is_last = addresses.is_empty();
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(failed) => error = failed,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> VecDeque<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let check = |from: &[&str], to: &[&str]| {
            assert_eq!(interleaved(addresses(from).into_iter()), addresses(to));
        };
        check(&[], &[]);
        check(&["1.1.1.1:1", "2.2.2.2:1"], &["1.1.1.1:1", "2.2.2.2:1"]);
        check(
            &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"],
            &["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"],
        );
        check(&["1.1.1.1:1", "[::1]:1", "[::2]:1"], &["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hold_up_the_next_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = listener.local_addr().unwrap();
        let begun = std::time::Instant::now();
        let stream = race([closed, closed, closed, open].into()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        // Three delays would be 750 ms.
        assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
        assert_eq!(race([closed].into()).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(VecDeque::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// A listener whose queue is full drops the SYNs of others.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_next_one() {
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(0).unwrap();
        let silent_at = silent.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(queued) = tokio::time::timeout(ATTEMPT_DELAY, TcpStream::connect(silent_at)).await {
            queue.push(queued);
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let racing = race([silent_at, open].into());
        let stream = tokio::time::timeout(Duration::from_secs(5), racing).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }
}
