//! What an administrator may do, who shows a secret; and what those learn who try to find it out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexios::auth::{Token, secret_eq};
use nexios::prelude::*;
use nexios::{AppHandle, ClientIp};

use crate::signed_out::SignedOut;

/// How long wrong secrets are counted before the count begins anew.
const WINDOW: Duration = Duration::from_secs(60);
/// Wrong secrets of an address in that time; then none of its secrets is looked at, not even a right one.
const MOST_WRONG: u32 = 5;
/// Addresses whose wrong secrets are counted; others are not listened to until the count begins anew.
const MOST_ADDRESSES: usize = 10_000;

#[derive(Clone)]
pub(crate) struct Admin {
    secret: Arc<str>,
    handle: AppHandle,
    signed_out: SignedOut,
    wrong: Arc<Mutex<Wrong>>,
}

#[derive(Default)]
struct Wrong {
    by_address: HashMap<IpAddr, u32>,
    refused: u32,
}

impl Admin {
    pub(crate) fn new(secret: &str, handle: AppHandle, signed_out: SignedOut) -> nexios::Result<Self> {
        let is_sent = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if !secret.bytes().all(is_sent) {
            return Err(Error::other("ADMIN_SECRET has letters, digits and -._~+/ only: it is sent as a bearer token"));
        }
        Ok(Self { secret: secret.into(), handle, signed_out, wrong: Arc::default() })
    }

    /// Closes all connections of a user, whose tokens are dead from now on.
    pub(crate) async fn sign_out(
        self,
        Path(user): Path<String>,
        from: Option<ClientIp>,
        token: Result<Token, (StatusCode, HeaderMap)>,
    ) -> (StatusCode, String) {
        let from = from.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ClientIp(address)| network(address));
        if self.is_refused(from) {
            return (StatusCode::TOO_MANY_REQUESTS, "too many wrong secrets: wait a minute\n".to_owned());
        }
        if !token.is_ok_and(|token| secret_eq(token.expose(), &*self.secret)) {
            self.note_wrong(from);
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        if !self.signed_out.add(&user) {
            return (StatusCode::INSUFFICIENT_STORAGE, "too many users are signed out\n".to_owned());
        }
        let closed = self.handle.close_user(&user, 3000, "signed out");
        (StatusCode::OK, format!("{closed} connections closed\n"))
    }

    fn is_refused(&self, from: IpAddr) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.by_address.get(&from) {
            Some(count) => *count >= MOST_WRONG,
            None => wrong.by_address.len() >= MOST_ADDRESSES,
        }
    }

    /// The first of a window is logged at once, the others as a sum at its end: a flood of guesses is no flood of lines.
    fn note_wrong(&self, from: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        *wrong.by_address.entry(from).or_default() += 1;
        wrong.refused += 1;
        if wrong.refused > 1 {
            return;
        }
        tracing::warn!(%from, "a wrong admin secret");
        let counts = Arc::clone(&self.wrong);
        tokio::spawn(async move {
            tokio::time::sleep(WINDOW).await;
            let Wrong { by_address, refused } =
                std::mem::take(&mut *counts.lock().unwrap_or_else(PoisonError::into_inner));
            tracing::warn!(secrets = refused, addresses = by_address.len(), "wrong admin secrets in the last minute");
        });
    }
}

/// Of IPv6 a whole /64 is one client's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}
