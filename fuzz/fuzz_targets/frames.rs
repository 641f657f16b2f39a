//! Arbitrary bytes to one end of a connection, in arbitrary pieces.
//!
//! The first byte of an input chooses the end, its limits and its compression, the second one the pieces; what follows
//! is what the peer sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexios_fuzz::{
    listener::{Heard, Listener, check_answer},
    memory, pieces, twin,
};
use nexios_proto::{Connection, Limit, Limits, Role, handshake::deflate::DeflateParams};

fuzz_target!(|data: &[u8]| {
    let &[choice, seed, ref bytes @ ..] = data else { return };
    let setup = Setup::new(choice);
    memory::within(setup.budget(bytes.len()), || {
        let mut listener = setup.listener();
        for &byte in bytes {
            listener.hear(&[byte]);
            listener.heard.events.clear();
        }
    });
    let whole = setup.hear(bytes, [bytes.len()], Listener::hear);
    let ones = std::iter::repeat_n(1, bytes.len());
    assert_eq!(setup.hear(bytes, ones, Listener::hear), whole, "byte by byte");
    assert_eq!(setup.hear(bytes, pieces::sizes(seed), Listener::hear), whole, "in pieces");
    assert_eq!(setup.hear(bytes, pieces::sizes(seed), Listener::hear_directly), whole, "by direct reads");
    if choice & 0x20 != 0 {
        let (before, after) = bytes.split_at(usize::from(seed).min(bytes.len()));
        let mut listener = setup.listener();
        listener.hear(before);
        listener.give_up();
        listener.hear_directly(after);
    }
    if setup.deflate.is_none() {
        let (events, code) = twin::decode(setup.role, setup.limits, bytes);
        assert_eq!((&whole.events, whole.error.map(|error| error.close_code())), (&events, code), "by the letter");
    }
});

struct Setup {
    role: Role,
    limits: Limits,
    deflate: Option<DeflateParams>,
}

impl Setup {
    fn new(choice: u8) -> Self {
        let limits = match choice >> 3 & 3 {
            0 => Limits::new(),
            1 => Limits::new().message_size(300).frame_size(200).fragments(3),
            2 => Limits::new().message_size(Limit::Unlimited).fragments(Limit::Unlimited),
            _ => Limits::new().message_size(2000).frame_size(1),
        };
        let params = |alone| DeflateParams {
            server_no_context_takeover: alone,
            client_no_context_takeover: alone,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
        };
        Self {
            role: if choice & 1 == 0 { Role::Server } else { Role::Client },
            limits,
            deflate: (choice & 2 != 0).then(|| params(choice & 4 != 0)),
        }
    }

    fn listener(&self) -> Listener {
        let connection = match self.deflate {
            Some(params) => Connection::with_deflate(self.role, self.limits, params),
            None => Connection::new(self.role, self.limits),
        };
        Listener::new(connection, self.limits, self.deflate.is_some())
    }

    /// Bytes of memory that a connection may take for so many that arrive, when nobody keeps its events.
    fn budget(&self, arrived: usize) -> usize {
        // A buffer grows twofold, and is copied when it does.
        let plain = 4 * arrived + 4096;
        match (self.deflate, self.limits.message_size) {
            (None, _) => plain,
            // DEFLATE makes at most 1,032 bytes of one. The thread's pool is in it.
            (Some(_), limit) => {
                let most = arrived.saturating_mul(1032);
                let message = if let Limit::At(limit) = limit { limit.min(most) } else { most };
                plain + 2 * message + 1024 * 1024
            }
        }
    }

    fn hear(&self, bytes: &[u8], sizes: impl IntoIterator<Item = usize>, way: fn(&mut Listener, &[u8])) -> Heard {
        let mut listener = self.listener();
        for piece in pieces::cut(bytes, sizes) {
            way(&mut listener, piece);
        }
        // Whatever comes behind an end is not heard, neither in one piece nor directly.
        if listener.heard.error.is_some() {
            listener.hear(b"\x81\x00\x89\x00");
            listener.hear_directly(b"\x81\x80\0\0\0\0");
        }
        if let Some(error) = listener.heard.error {
            check_answer(&mut listener.connection, self.role, error);
        }
        listener.into_heard()
    }
}
