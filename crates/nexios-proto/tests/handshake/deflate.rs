use nexios_proto::handshake::{
    client::{Accepted, ClientHandshakeError, verify},
    deflate::{DeflateError, DeflateOptions, DeflateParams},
};

use crate::{Lines, headers};

/// Two letters for the context takeovers of server and client (`-` where there is none), and the two windows.
fn show(params: DeflateParams) -> String {
    let context = |no_takeover, letter| if no_takeover { '-' } else { letter };
    format!(
        "{}{} {} {}",
        context(params.server_no_context_takeover, 's'),
        context(params.client_no_context_takeover, 'c'),
        params.server_max_window_bits,
        params.client_max_window_bits
    )
}

fn answer(options: DeflateOptions, lines: &[&'static str]) -> Option<(String, String)> {
    let lines: Lines = lines.iter().map(|&line| ("Sec-WebSocket-Extensions", line)).collect();
    let answer = options.answer(headers(&lines))?;
    let parameters = answer.header.strip_prefix("permessage-deflate").expect("the name stands first");
    Some((parameters.trim_start_matches("; ").to_owned(), show(answer.params)))
}

#[track_caller]
fn answers(options: DeflateOptions, offer: &'static str, parameters: &str, params: &str) {
    assert_eq!(answer(options, &[offer]), Some((parameters.to_owned(), params.to_owned())), "{offer}");
}

const DEFAULT: DeflateOptions = DeflateOptions::new();

#[test]
fn an_offer_is_answered_with_what_it_asks_for() {
    answers(DEFAULT, "permessage-deflate", "", "sc 15 15");
    answers(DEFAULT, "permessage-deflate; client_max_window_bits", "", "sc 15 15");
    answers(DEFAULT, "permessage-deflate; client_max_window_bits=15", "", "sc 15 15");
    answers(DEFAULT, "permessage-deflate; client_max_window_bits=10", "client_max_window_bits=10", "sc 15 10");
    answers(DEFAULT, "permessage-deflate; client_max_window_bits=8", "client_max_window_bits=8", "sc 15 8");
    answers(DEFAULT, "permessage-deflate; server_max_window_bits=9", "server_max_window_bits=9", "sc 9 15");
    answers(DEFAULT, "permessage-deflate; server_max_window_bits=15", "server_max_window_bits=15", "sc 15 15");
    answers(DEFAULT, "permessage-deflate; server_no_context_takeover", "server_no_context_takeover", "-c 15 15");
    answers(DEFAULT, "permessage-deflate; client_no_context_takeover", "client_no_context_takeover", "s- 15 15");
    answers(
        DEFAULT,
        "permessage-deflate;client_max_window_bits=\"11\";server_max_window_bits = \"\\12\" \
         ;client_no_context_takeover;server_no_context_takeover",
        "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=11",
        "-- 12 11",
    );
}

#[test]
fn a_server_adds_its_own_wishes() {
    let narrow = DEFAULT.server_max_window_bits(10).client_max_window_bits(11);
    answers(narrow, "permessage-deflate", "server_max_window_bits=10", "sc 10 15");
    answers(
        narrow,
        "permessage-deflate; client_max_window_bits",
        "server_max_window_bits=10; client_max_window_bits=11",
        "sc 10 11",
    );
    answers(
        narrow,
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        "server_max_window_bits=9; client_max_window_bits=10",
        "sc 9 10",
    );
    answers(
        narrow,
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=13",
        "server_max_window_bits=10; client_max_window_bits=11",
        "sc 10 11",
    );
    let forgetful = DEFAULT.server_no_context_takeover(true).client_no_context_takeover(true);
    answers(forgetful, "permessage-deflate", "server_no_context_takeover; client_no_context_takeover", "-- 15 15");
}

#[test]
fn windows_count_as_the_nearest_that_zlib_has() {
    let options = DEFAULT.server_max_window_bits(0).client_max_window_bits(200);
    answers(options, "permessage-deflate; client_max_window_bits", "server_max_window_bits=9", "sc 9 15");
}

#[test]
fn an_offer_that_breaks_a_rule_is_declined() {
    for parameters in [
        "unknown",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=+9",
        "server_max_window_bits=1e1",
        "server_max_window_bits=255",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=-9",
        "client_max_window_bits=\"9.0\"",
        "Server_No_Context_Takeover",
        // RFC 7692 lets a server do so, and zlib cannot do 8.
        "server_max_window_bits=8",
    ] {
        let line: &'static str = format!("permessage-deflate; {parameters}").leak();
        assert_eq!(answer(DEFAULT, &[line]), None, "{line}");
        let line: &'static str = format!("{line}, permessage-deflate; client_no_context_takeover").leak();
        answers(DEFAULT, line, "client_no_context_takeover", "s- 15 15");
    }
}

#[test]
fn the_first_offer_that_fits_is_taken_over_all_lines() {
    assert_eq!(answer(DEFAULT, &[]), None);
    assert_eq!(answer(DEFAULT, &["", "x-webkit-deflate-frame, permessage-bzip2"]), None);
    let lines = ["mux, permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=11"];
    assert_eq!(answer(DEFAULT, &lines), Some(("server_max_window_bits=11".into(), "sc 11 15".into())));
    let lines = ["permessage-deflate; server_max_window_bits=10, permessage-deflate"];
    assert_eq!(answer(DEFAULT, &lines), Some(("server_max_window_bits=10".into(), "sc 10 15".into())));
}

#[test]
fn a_line_that_cannot_be_read_offers_nothing() {
    for line in
        ["permessage-deflate; ", "permessage-deflate, a b", "permessage-deflate; a=\"", "permessage-deflate\u{e4}"]
    {
        assert_eq!(answer(DEFAULT, &[line]), None, "{line}");
        assert_eq!(answer(DEFAULT, &[line, "permessage-deflate"]), Some((String::new(), "sc 15 15".into())));
    }
    let long: &'static str = format!("permessage-deflate{}", "; a".repeat(2000)).leak();
    assert_eq!(answer(DEFAULT, &[long]), None);
}

#[test]
fn a_client_offers_what_it_wants() {
    assert_eq!(DEFAULT.offer(), "permessage-deflate; client_max_window_bits");
    let options = DEFAULT
        .server_no_context_takeover(true)
        .client_no_context_takeover(true)
        .server_max_window_bits(10)
        .client_max_window_bits(11);
    assert_eq!(
        options.offer(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; \
         client_max_window_bits=11"
    );
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn verified(
    offered: Option<DeflateOptions>,
    extensions: &[&'static str],
) -> Result<Option<DeflateParams>, ClientHandshakeError> {
    let mut lines: Lines = vec![
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    lines.extend(extensions.iter().map(|&line| ("Sec-WebSocket-Extensions", line)));
    let none: [&str; 0] = [];
    let Accepted { deflate, .. } = verify(101, headers(&lines), KEY, &none, offered.as_ref())?;
    Ok(deflate)
}

#[track_caller]
fn agrees(offered: DeflateOptions, extension: &'static str, params: &str) {
    assert_eq!(verified(Some(offered), &[extension]).map(|agreed| agreed.map(show)), Ok(Some(params.into())));
}

#[test]
fn an_answer_that_fits_the_offer_is_taken() {
    assert_eq!(verified(Some(DEFAULT), &[]), Ok(None));
    agrees(DEFAULT, "permessage-deflate", "sc 15 15");
    agrees(DEFAULT, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "-- 15 15");
    agrees(DEFAULT, "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8", "sc 8 8");
    agrees(DEFAULT, "permessage-deflate; client_max_window_bits=\"15\"", "sc 15 15");
    let offered = DEFAULT
        .server_no_context_takeover(true)
        .client_no_context_takeover(true)
        .server_max_window_bits(12)
        .client_max_window_bits(12);
    agrees(offered, "permessage-deflate; server_no_context_takeover; server_max_window_bits=12", "-- 12 12");
    let extension =
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9";
    agrees(offered, extension, "-- 9 9");
}

#[test]
fn an_answer_that_does_not_fit_the_offer_is_refused() {
    let narrow = DEFAULT.server_max_window_bits(10).client_max_window_bits(10);
    let unknown = |name: &str| DeflateError::UnknownParameter(name.into());
    let repeated = |name: &str| DeflateError::RepeatedParameter(name.into());
    let invalid = |name: &str| DeflateError::InvalidValue(name.into());
    for (offered, parameters, error) in [
        (DEFAULT, "x", unknown("x")),
        (DEFAULT, "client_max_window_bits=9;client_max_window_bits=9", repeated("client_max_window_bits")),
        (DEFAULT, "server_no_context_takeover;server_no_context_takeover", repeated("server_no_context_takeover")),
        (DEFAULT, "server_no_context_takeover=1", invalid("server_no_context_takeover")),
        (DEFAULT, "client_no_context_takeover=1", invalid("client_no_context_takeover")),
        (DEFAULT, "client_max_window_bits", invalid("client_max_window_bits")),
        (DEFAULT, "client_max_window_bits=16", invalid("client_max_window_bits")),
        (DEFAULT, "server_max_window_bits", invalid("server_max_window_bits")),
        (DEFAULT, "server_max_window_bits=09", invalid("server_max_window_bits")),
        (DEFAULT.server_no_context_takeover(true), "client_no_context_takeover", DeflateError::ServerContextTakeover),
        (narrow, "client_max_window_bits=10", DeflateError::ServerWindow(15)),
        (narrow, "server_max_window_bits=11", DeflateError::ServerWindow(11)),
        (narrow, "server_max_window_bits=10; client_max_window_bits=11", DeflateError::ClientWindow(11)),
    ] {
        let extension: &'static str = format!("permessage-deflate; {parameters}").leak();
        assert_eq!(verified(Some(offered), &[extension]), Err(ClientHandshakeError::Deflate(error)), "{extension}");
    }
}

#[test]
fn an_answer_selects_permessage_deflate_once_and_nothing_else() {
    let unoffered = |name: &str| Err(ClientHandshakeError::UnofferedExtension(name.into()));
    assert_eq!(verified(None, &["permessage-deflate"]), unoffered("permessage-deflate"));
    assert_eq!(verified(Some(DEFAULT), &["mux"]), unoffered("mux"));
    assert_eq!(verified(Some(DEFAULT), &["permessage-deflate, mux"]), unoffered("mux"));
    let repeated = Err(ClientHandshakeError::RepeatedExtension("permessage-deflate".into()));
    assert_eq!(verified(Some(DEFAULT), &["permessage-deflate, permessage-deflate"]), repeated);
    assert_eq!(verified(Some(DEFAULT), &["permessage-deflate", "permessage-deflate"]), repeated);
}

#[test]
fn both_halves_agree() {
    let choices = [DEFAULT, DEFAULT.server_no_context_takeover(true), DEFAULT.client_no_context_takeover(true)];
    let windows = [(15, 15), (9, 15), (15, 9), (11, 12)];
    let all = || {
        choices.iter().flat_map(|choice| {
            windows.map(|(server, client)| choice.server_max_window_bits(server).client_max_window_bits(client))
        })
    };
    for client in all() {
        for server in all() {
            let offer: &'static str = client.offer().leak();
            let answer = server.answer(headers(&[("sec-websocket-extensions", offer)])).expect("the offer fits");
            let header: &'static str = answer.header.leak();
            assert_eq!(verified(Some(client), &[header]), Ok(Some(answer.params)), "{offer} {header}");
        }
    }
}
