//! actix-ws on one worker; fan-out through a list of the members' sessions, as its chat example does it.
//! Argument: the port.

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use actix_ws::{Closed, Message, Session};

type Members = Arc<Mutex<Vec<Session>>>;

/// The largest message of the measurements, and room for its header.
const MAX_MESSAGE: usize = (1 << 20) + 16;

async fn echo(request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, messages) = actix_ws::handle(&request, body)?;
    let mut messages = messages.max_frame_size(MAX_MESSAGE);
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.recv().await {
            let sent = match message {
                Message::Text(text) => session.text(text).await,
                Message::Binary(bytes) => session.binary(bytes).await,
                Message::Ping(bytes) => session.pong(&bytes).await,
                Message::Close(_) => Err(Closed),
                _ => Ok(()),
            };
            if sent.is_err() {
                break;
            }
        }
        // The peer has gone, or goes with this.
        let _ = session.close(None).await;
    });
    Ok(response)
}

async fn fan_out(
    request: HttpRequest,
    body: web::Payload,
    members: web::Data<Members>,
) -> actix_web::Result<HttpResponse> {
    let (response, session, mut messages) = actix_ws::handle(&request, body)?;
    members.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.recv().await {
            if let Message::Text(text) = message {
                publish(&members, &text).await;
            }
        }
    });
    Ok(response)
}

/// Sends to all. Nobody leaves while a measurement runs, so the list only grows.
async fn publish(members: &Members, text: &str) {
    let text: Arc<str> = text.into();
    let sessions: Vec<Session> = members.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for mut session in sessions {
        // A member who has left is no reason to stop.
        let _ = session.text(&*text).await;
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("no port")?.parse()?;
    let members = web::Data::new(Members::default());
    let app = move || {
        App::new()
            .app_data(members.clone())
            .route("/echo", web::get().to(echo))
            .route("/fanout", web::get().to(fan_out))
    };
    Ok(HttpServer::new(app).workers(1).bind((Ipv4Addr::LOCALHOST, port))?.run().await?)
}
