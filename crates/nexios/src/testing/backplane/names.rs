//! No name is taken for another's, or for many.

use super::delivery::payloads;
use super::{Engine, KEEP, a_moment, room};
use crate::backplane::{Channel, Prefix};

/// What means something to one engine or another, what is easily taken for something else, and what is long.
fn odd_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "*",
        "?",
        "[a-z]",
        "a",
        "b",
        "A",
        ">",
        ".",
        "..",
        "a.b",
        "a.*",
        "a.>",
        "*.b",
        " ",
        "a b",
        "\t",
        "\r\n",
        "\0",
        "{a}",
        "{",
        "}",
        "\\",
        "/",
        ":",
        "a:b",
        "$JS.API.>",
        "__keyspace@0__:*",
        "all",
        "g-a",
        "g-",
        "=2a",
        "=",
        "n-0",
        "%2a",
        "#",
        "\"",
        "'",
        "日本",
        "ß",
        "-",
        "_",
        "\u{7f}",
        "\u{1f}",
        "+",
        ",",
        ";",
        "|",
        "e\u{301}",
        "é",
    ]
    .map(str::to_owned)
    .into();
    names.push("ß".repeat(100));
    names.push("*".repeat(200));
    names.push("a".repeat(200));
    names.push("a".repeat(199));
    names
}

pub(super) async fn no_name_is_taken_for_another(engine: &Engine<'_>) {
    let (publisher, all) = engine.two().await;
    let names = odd_names();
    let channels: Vec<Channel> = names.iter().map(|name| room(name)).collect();
    all.subscribe(&channels).await;
    // Each of these would hear the others if it were a pattern.
    let patterns = ["*", ">", "[a-z]", "?", "a.*", "a.>", "$JS.API.>"];
    let mut narrow = Vec::new();
    for pattern in patterns {
        let node = engine.node().await;
        node.subscribe(&[room(pattern)]).await;
        narrow.push(node);
    }
    let batch: Vec<_> = names.iter().map(|name| publisher.message(&room(name), name.clone())).collect();
    publisher.publish(&batch).await;
    for (name, channel) in names.iter().zip(&channels) {
        all.wait_for(channel, 1).await;
        assert_eq!(payloads(&all, channel), [name.as_str()], "in the channel of {name:?}");
    }
    a_moment().await;
    for (pattern, node) in patterns.iter().zip(&narrow) {
        for (name, channel) in names.iter().zip(&channels) {
            let expected = usize::from(name == pattern);
            assert_eq!(node.received(channel).len(), expected, "messages of {name:?} for who is in {pattern:?}");
        }
    }
}

pub(super) async fn names_have_streams_of_their_own(engine: &Engine<'_>) {
    let (publisher, reader) = engine.two().await;
    let names = odd_names();
    let batch: Vec<_> = names.iter().map(|name| publisher.message(&room(name), name.clone()).kept(KEEP)).collect();
    publisher.publish(&batch).await;
    for name in &names {
        let page = reader.read(&room(name), KEEP, None).await;
        let texts: Vec<_> =
            page.messages.iter().map(|kept| String::from_utf8_lossy(&kept.payload).into_owned()).collect();
        assert_eq!(texts, [name.as_str()], "in the stream of {name:?}");
    }
    let page = reader.read(&room("nobody's"), KEEP, None).await;
    assert!(page.messages.is_empty(), "nothing was published there: {page:?}");
}

pub(super) async fn prefixes_never_meet(engine: &Engine<'_>) {
    let base = engine.prefix.as_str();
    let ends = ["", "-", "_", "-g", "-g-a", "g", "A", "a"];
    let prefix = |end: &str| -> Prefix { format!("{base}{end}").parse().unwrap_or_default() };
    let names = ["a", "-a", "g-a", "*", ">"];
    let channels = names.map(room);
    let mut nodes = Vec::new();
    for end in ends {
        let node = engine.node_with(prefix(end)).await;
        node.subscribe(&channels).await;
        nodes.push(node);
    }
    for (end, node) in ends.iter().zip(&nodes) {
        let batch: Vec<_> = channels.iter().map(|channel| node.message(channel, *end).kept(KEEP)).collect();
        node.publish(&batch).await;
    }
    let listener = engine.node_with(prefix("")).await;
    listener.subscribe(&channels).await;
    a_moment().await;
    for (end, node) in ends.iter().zip(&nodes) {
        for (name, channel) in names.iter().zip(&channels) {
            let strangers = payloads(node, channel).into_iter().filter(|text| text != end).collect::<Vec<_>>();
            assert_eq!(strangers, [""; 0], "what {name:?} of the prefix that ends in {end:?} gets from others");
            let page = node.read(channel, KEEP, None).await;
            let texts: Vec<_> = page.messages.iter().map(|kept| kept.payload.clone()).collect();
            assert_eq!(texts, [*end], "what {name:?} of the prefix that ends in {end:?} keeps");
        }
    }
    nodes[0].publish(&[nodes[0].message(&channels[0], "hello")]).await;
    listener.wait_for(&channels[0], 1).await;
}
