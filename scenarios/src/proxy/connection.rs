//! One connection, from accept to end: reaching the server, relaying, and how it is closed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::Listening;
use super::evidence::{Conn, Fate, NoteId, Way};
use super::pump::{Pump, Rules};
use super::rules::{Direction, Verdict};

/// Serves one connection from accept to end.
pub(super) async fn serve(
    proxy: Arc<Listening>,
    conn: Arc<Conn>,
    client: TcpStream,
    mut rules: Rules,
) {
    if let Some(upstream) = reach(&proxy, &conn, &client, &mut rules).await {
        let ending = relay(&proxy, &conn, &client, &upstream, &mut rules).await;
        conn.is_now(Way::Over);
        finish(&conn, ending, client, upstream, &mut rules).await;
    } else {
        conn.is_now(Way::Over);
        reset(client);
    }
    proxy.book.leave(&conn, Instant::now());
}

/// Closes with RST: SO_LINGER 0 makes the kernel throw away what is unsent and say so.
fn reset(stream: TcpStream) {
    drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
}

/// Waits until the link lets a new connection pass and connects to the server, before anything is
/// read from the client. `None`: the client is to be reset.
///
/// A client that gives up while its connection hangs never reaches the server, as if its SYN had
/// been lost: nothing it sent in the meantime is delivered.
async fn reach(
    proxy: &Listening,
    conn: &Conn,
    client: &TcpStream,
    rules: &mut Rules,
) -> Option<TcpStream> {
    let mut hung: Option<NoteId> = None;
    loop {
        let verdict = rules.borrow_and_update().verdict(conn);
        if verdict.reset_client {
            proxy
                .book
                .note(conn, verdict.rules, Fate::Refused, Instant::now());
            return None;
        }
        if !verdict.hang {
            break;
        }
        let note = *hung.get_or_insert_with(|| {
            conn.is_now(Way::Hangs);
            proxy.book.note(
                conn,
                verdict.rules.clone(),
                Fate::Hung { bytes: 0 },
                Instant::now(),
            )
        });
        tokio::select! {
            changed = rules.changed() => if changed.is_err() { return None },
            () = tokio::time::sleep(Duration::from_millis(25)) => {
                let waiting = waiting_bytes(client)?;
                proxy.book.grow(note, Instant::now(), |fate| *fate = Fate::Hung { bytes: waiting });
            }
        }
    }
    if hung.is_some() {
        // Who asked before this had closed before this, and that is seen here.
        conn.is_now(Way::Open);
        waiting_bytes(client)?;
    }
    match TcpStream::connect(proxy.upstream()).await {
        Ok(upstream) => {
            drop(upstream.set_nodelay(true));
            proxy
                .book
                .note(conn, Vec::new(), Fate::Connected, Instant::now());
            Some(upstream)
        }
        Err(error) => {
            let fate = Fate::Unreachable {
                error: error.to_string(),
            };
            proxy.book.note(conn, Vec::new(), fate, Instant::now());
            None
        }
    }
}

/// Bytes a hanging client has sent, without taking them; `None` if it has given up. More than a
/// page of them is not told apart.
fn waiting_bytes(client: &TcpStream) -> Option<u64> {
    let socket = SockRef::from(client);
    let mut page = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
    let bytes = match socket.peek(&mut page) {
        Ok(0) => return None,
        Ok(bytes) => bytes as u64,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(_) => return None,
    };
    // Behind unread bytes a close is not seen by reading; the kernel's state of the socket knows.
    let closed = rustix::event::poll(
        &mut [rustix::event::PollFd::new(
            client,
            rustix::event::PollFlags::RDHUP,
        )],
        Some(&rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    );
    if closed.is_ok_and(|ready| ready > 0) {
        None
    } else {
        Some(bytes)
    }
}

/// Why a connection ends.
enum Ending {
    /// Both streams have ended.
    Clean,
    /// One side broke off; the other is to be reset.
    Broken,
    /// A rule resets it.
    ByRule(Verdict),
}

async fn relay(
    proxy: &Listening,
    conn: &Conn,
    client: &TcpStream,
    upstream: &TcpStream,
    rules: &mut Rules,
) -> Ending {
    let mut up = Pump::new(proxy, conn, Direction::Up, client, upstream, rules.clone());
    let mut down = Pump::new(
        proxy,
        conn,
        Direction::Down,
        upstream,
        client,
        rules.clone(),
    );
    tokio::select! {
        biased;
        verdict = resetting(conn, rules) => {
            let fate = if verdict.refuse { Fate::Refused } else { Fate::Reset };
            proxy.book.note(conn, verdict.rules.clone(), fate, Instant::now());
            Ending::ByRule(verdict)
        }
        ended = async { tokio::try_join!(up.run(), down.run()) } => match ended {
            Ok(_) => Ending::Clean,
            Err(_) => Ending::Broken,
        },
    }
}

/// Resolves when a rule wants the connection reset.
async fn resetting(conn: &Conn, rules: &mut Rules) -> Verdict {
    loop {
        let verdict = rules.borrow_and_update().verdict(conn);
        if verdict.reset_client || verdict.reset_upstream {
            return verdict;
        }
        if rules.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn finish(
    conn: &Conn,
    ending: Ending,
    client: TcpStream,
    upstream: TcpStream,
    rules: &mut Rules,
) {
    match ending {
        Ending::Clean => {}
        Ending::ByRule(verdict) if !(verdict.reset_client && verdict.reset_upstream) => {
            // One side learns of it now; the other hears nothing until the link is whole.
            let (now, later) = if verdict.reset_client {
                (client, upstream)
            } else {
                (upstream, client)
            };
            reset(now);
            while rules.borrow_and_update().verdict(conn).hang {
                if rules.changed().await.is_err() {
                    break;
                }
            }
            reset(later);
        }
        Ending::Broken | Ending::ByRule(_) => {
            reset(client);
            reset(upstream);
        }
    }
}
