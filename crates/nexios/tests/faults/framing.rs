//! Section A, rows 12 and 13: what frames a request on the HTTP routes beside the WebSocket ones (RFC 9112 §6).

use crate::harness::{Attack, Client, Victim, request, text};

const MARKER: &str = "GET /marker HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What is odd about it, its header lines, and what follows them.
type Odd = (&'static str, &'static str, &'static str);

/// Requests whose length two readers may see differently. None may be followed by another on its connection.
const AMBIGUOUS: [Odd; 30] = [
    ("both framings", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("both framings, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
    ("two lengths", "Content-Length: 0\r\nContent-Length: 5", "hello"),
    ("two lengths in a line", "Content-Length: 5, 6", "hello"),
    ("a length with a sign", "Content-Length: +5", "hello"),
    ("a negative length", "Content-Length: -5", "hello"),
    ("a length in hexadecimal", "Content-Length: 0x5", "hello"),
    ("a length with a blank in it", "Content-Length: 5 0", "hello"),
    ("an empty length", "Content-Length:", "hello"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551621", "hello"),
    ("a length with a fraction", "Content-Length: 5.0", "hello"),
    ("an unknown coding", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ("chunked is not the last coding", "Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ("identity", "Transfer-Encoding: identity", "0\r\n\r\n"),
    ("an empty coding", "Transfer-Encoding:", "0\r\n\r\n"),
    ("chunked after a vertical tab", "Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
    ("a blank before the colon", "Content-Length : 5", "hello"),
    ("a tab before the colon", "Transfer-Encoding\t: chunked", "0\r\n\r\n"),
    ("a folded line", "X: a\r\n Content-Length: 5", "hello"),
    ("a line without a colon", "Content-Length 5", "hello"),
    ("a name with a NUL", "Content\0-Length: 5", "hello"),
    ("a carriage return alone", "X: a\rContent-Length: 5", "hello"),
    ("a chunk's size beyond 64 bits", "Transfer-Encoding: chunked", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a chunk's size with too many digits", "Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk's size with 0x", "Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk's size with a sign", "Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"),
    ("no chunk's size", "Transfer-Encoding: chunked", "\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is longer than its size", "Transfer-Encoding: chunked", "3\r\nhello\r\n0\r\n\r\n"),
    ("a line feed ends a chunk's extension", "Transfer-Encoding: chunked", "5;a\nhello\r\n0\r\n\r\n"),
];

/// The statuses of the answers on a connection that must end with them.
fn answers(victim: &Victim, headers: &str, body: &str) -> Vec<u16> {
    let mut client = Client::connect(victim.address);
    client.send(format!("POST /length HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n{body}{MARKER}"));
    statuses(client)
}

/// Those of all answers up to the end of the connection.
fn statuses(mut client: Client) -> Vec<u16> {
    let all = String::from_utf8_lossy(&client.rest()).into_owned();
    all.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

// Row 13.
#[test]
fn a_request_of_doubtful_length_is_the_last_of_its_connection() {
    Attack::new("13", "30 requests of doubtful length, another one behind each").run(|victim| {
        for (headers, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "0\r\n\r\n")] {
            let last = "GET /marker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let good = answers(victim, headers, &format!("{body}{last}"));
            assert_eq!(good, [200, 200], "{headers}");
        }
        for (what, headers, body) in &AMBIGUOUS {
            // RFC 9112 §6.3: of both framings the chunked one may be taken, if the connection ends with the answer.
            let expected = if what.starts_with("both framings") { 200 } else { 400 };
            assert_eq!(answers(victim, headers, body), [expected], "{what}");
        }
        ("28 answered 400, both framings at once by the chunks; each connection ended".to_owned(), ())
    });
}

// Row 13, as RFC 9112 §3.2 has it: 400 for no host, two of them, or one that is none.
#[test]
fn a_request_without_its_one_host_is_the_last_of_its_connection() {
    let cases = ["", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nHost: other\r\n", "Host : test\r\n"];
    Attack::new("13", "requests for a page without a host, or with two").run(|victim| {
        for hosts in cases {
            let mut client = Client::connect(victim.address);
            client.send(format!("GET /marker HTTP/1.1\r\n{hosts}\r\n{MARKER}"));
            assert_eq!(statuses(client), [400], "{hosts:?}");
        }
        ("400, each connection ended".to_owned(), ())
    });
}

// Rows 12 and 13. RFC 9112 §2.2: a recipient may take a line feed alone for the end of a line, and hyper does. Then it must
// do so for every line: what one reader takes for a header must not be another request to the next.
#[test]
fn a_line_feed_alone_ends_a_line_of_the_head_and_hides_nothing() {
    Attack::new("12, 13", "line feeds alone at the ends of lines").run(|victim| {
        let upgrade = request("/ws", &[]).replace("\r\n", "\n");
        let mut client = Client::connect(victim.address);
        client.send([upgrade.as_bytes(), &text("behind it")].concat());
        assert_eq!(client.head().status, 101);
        assert_eq!(client.text(), "behind it");

        let last = "GET /marker HTTP/1.1\nHost: localhost\nConnection: close\n\n";
        for head in [
            "POST /length HTTP/1.1\nHost: localhost\nContent-Length: 5\n\n",
            "POST /length HTTP/1.1\r\nHost: localhost\r\nX: a\nContent-Length: 5\r\n\r\n",
            "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\n",
        ] {
            let mut client = Client::connect(victim.address);
            client.send(format!("{head}hello{last}"));
            assert_eq!(statuses(client), [200, 200], "{head:?}");
        }
        // Two lengths are two lengths, whatever stands between their lines.
        let mut client = Client::connect(victim.address);
        client.send(format!(
            "POST /length HTTP/1.1\nHost: localhost\nContent-Length: 5\nContent-Length: 6\n\nhello{MARKER}"
        ));
        assert_eq!(statuses(client), [400]);
        ("taken for the end of a line everywhere; 101, 200".to_owned(), ())
    });
}
