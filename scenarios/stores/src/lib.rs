//! Embedded stores, run as child processes: for now an HDFS.
//!
//! | module | what |
//! |---|---|
//! | `namenode` | the namespace, its edit log, `ClientProtocol`, WebHDFS |
//! | `datanode` | block files, the data transfer protocol, reads of open files |
//! | `leases` | the client that recovers the leases of files whose writer died |
//! | `removal` | the client that removes files which a soak has judged |
//! | `ipc`, `http` | the two protocols under them, served with one thread per connection |
//! | `link` | what our DataNodes and our NameNode say to each other |
//! | `orders` | misbehaviour, on order |
//!
//! Every part keeps in its directory what must outlive a SIGKILL, and nothing is left to be written at
//! the end: SIGTERM and SIGKILL differ only in the exit code. Threads block; there are as many as
//! connections, which in a run are a few dozen.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;
use tracing::{error, info};

mod datanode;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod ipc;
mod leases;
mod link;
mod namenode;
mod orders;
mod removal;

/// What `SoftwareVersion` says.
const VERSION: &str = concat!("flume-bench embedded ", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Parser)]
#[command(
    name = "flume-bench store",
    about = "Runs a part of an embedded store."
)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The NameNode of an HDFS.
    #[command(name = "namenode")]
    NameNode(NameNodeArguments),
    /// A DataNode of an HDFS.
    #[command(name = "datanode")]
    DataNode(DataNodeArguments),
    /// Recovers the lease of every file under a path that is open; works on any HDFS.
    RecoverLeases(LeaseArguments),
    /// Removes every file under a path that is closed and has no in-use name; works on any HDFS.
    RemoveClosed(RemovalArguments),
}

#[derive(Debug, clap::Args)]
struct NameNodeArguments {
    /// Port of the RPC server, on 127.0.0.1.
    #[arg(long)]
    rpc: u16,
    /// Port of the HTTP server, on 127.0.0.1.
    #[arg(long)]
    http: u16,
    /// Copies of a block, for clients that ask for the default.
    #[arg(long, default_value_t = 1)]
    replication: u32,
    /// Bytes of a block, for clients that ask for the default.
    #[arg(long, default_value_t = 128 << 20)]
    block_size: u64,
    /// Where the edit log is kept.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct DataNodeArguments {
    /// Number of this DataNode, for its log.
    #[arg(long)]
    number: u32,
    /// The address that clients and other DataNodes are told.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    announce: Ipv4Addr,
    /// Port of the data transfer, on 127.0.0.1.
    #[arg(long)]
    data: u16,
    /// Port of the RPC server, on 127.0.0.1.
    #[arg(long)]
    ipc: u16,
    /// Port of the HTTP server, on 127.0.0.1.
    #[arg(long)]
    http: u16,
    /// host:port of the NameNode's RPC server.
    #[arg(long)]
    namenode: String,
    /// Where blocks are kept.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct LeaseArguments {
    /// host:port of the NameNode's RPC server.
    #[arg(long)]
    namenode: String,
    /// The directory that is searched, with all below it.
    #[arg(long)]
    under: String,
}

#[derive(Debug, clap::Args)]
struct RemovalArguments {
    /// host:port of the NameNode's RPC server.
    #[arg(long)]
    namenode: String,
    /// The directory that is searched, with all below it.
    #[arg(long)]
    under: String,
    /// Ending of the names of files that are still being written; none where it is empty.
    #[arg(long, default_value = "")]
    in_use_suffix: String,
}

/// Why a part of a store cannot start or go on.
#[derive(Debug, Error)]
enum StoreError {
    #[error("{what} {on}: {source}")]
    Io {
        what: &'static str,
        on: String,
        source: std::io::Error,
    },
    #[error(
        "{file} is damaged at byte {at}: {why}; delete the directory to begin with an empty store"
    )]
    Damaged { file: String, at: u64, why: String },
    #[error("{0}")]
    Call(#[from] ipc::client::CallError),
}

impl StoreError {
    fn io(what: &'static str, on: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let on = on.to_string();
        move |source| Self::Io { what, on, source }
    }
}

/// Runs the part of a store that `args` name (the words after `flume-bench store`), until SIGTERM or
/// SIGINT. Exit code 2: the words are wrong; 4: the part cannot start or go on.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("flume-bench store")).chain(args);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            let code = if wrong.use_stderr() { 2 } else { 0 };
            let _ = wrong.print();
            return ExitCode::from(code);
        }
    };
    // A second start in one process, as in tests, keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    let outcome = match arguments.part {
        Part::NameNode(arguments) => namenode::start(&arguments).and_then(|()| until_told()),
        Part::DataNode(arguments) => datanode::start(&arguments).and_then(|()| until_told()),
        Part::RecoverLeases(arguments) => leases::recover(&arguments, &mut std::io::stdout()),
        Part::RemoveClosed(arguments) => removal::remove(&arguments, &mut std::io::stdout()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            error!("{failed}");
            ExitCode::from(4)
        }
    }
}

/// Waits for SIGTERM or SIGINT. The threads end with the process.
fn until_told() -> Result<(), StoreError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .map_err(StoreError::io("taking", "signals"))?;
    let signal = signals.forever().next();
    info!(?signal, "told to end");
    Ok(())
}

fn listen(port: u16) -> Result<TcpListener, StoreError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).map_err(StoreError::io("listening on", address))
}

/// Starts a thread that serves each connection in a thread of its own.
fn serve(
    listener: TcpListener,
    name: &'static str,
    serve: impl Fn(std::net::TcpStream) + Clone + Send + 'static,
) -> Result<(), StoreError> {
    spawn(name, move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Most likely out of descriptors: some will be closed soon.
                std::thread::sleep(std::time::Duration::from_millis(20));
                continue;
            };
            let _ = stream.set_nodelay(true);
            let serve = serve.clone();
            if let Err(error) = spawn(name, move || serve(stream)) {
                error!("{error}");
            }
        }
    })
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(512 << 10)
        .spawn(body)
        .map(drop)
        .map_err(StoreError::io("starting a thread for", name))
}

/// Locks; a thread that panicked while it held the lock is no reason for the others to stop.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
